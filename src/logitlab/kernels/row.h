/* A row of logits under a temperature, and the passes over it. */
#ifndef LOGITLAB_ROW_H
#define LOGITLAB_ROW_H

#include <math.h>
#include <string.h>

#include "bounds.h"
#include "chunks.h"
#include "list.h"

typedef struct {
    int64_t size, chunks;
    const float *x;     /* the logits in float32 */
    const double *wide; /* the logits themselves, where they are float64; else NULL */
    float tail[CHUNK];  /* the last chunk, with -inf where there are no more tokens */
    double wide_tail[CHUNK];
    float *peaks; /* the largest logit of each chunk */
    float top;    /* the largest of all */
    double t;     /* the temperature; 1 until there is one */
    double y_top; /* the largest logit under the temperature */
    float *copy;  /* where x can be changed: scratch */
    float *weights;
    double *sums; /* mass of each chunk */
    double *cum;  /* and of all before it */
    uint8_t *touched; /* whether a patch changed a chunk */
    List list;
    /* A nucleus too wide for a list: what reaches a logit, and what is listed beside that. The sums
     * are of it, each off by doubt at most. */
    float edge;
    double doubt;
} Row;

INLINE const float *chunk_of(const Row *row, int64_t c)
{
    return (c + 1) * CHUNK <= row->size ? row->x + c * CHUNK : row->tail;
}

INLINE const double *wide_chunk_of(const Row *row, int64_t c)
{
    return (c + 1) * CHUNK <= row->size ? row->wide + c * CHUNK : row->wide_tail;
}

/* The logit of a token under the temperature, rounded as the dense step rounds it. */
INLINE double y_of(const Row *row, int64_t token)
{
    if (row->wide)
        return row->wide[token] / row->t;
    return (double)(float)((double)row->x[token] / row->t);
}

/* The lowest logit under the temperature of those that reach a float, or just below it. */
INLINE double y_below(const Row *row, float x)
{
    if (row->wide) /* midway to the next lower float, as far down as rounding to this one goes */
        return ((double)x + (double)nextafterf(x, -INFINITY)) / 2 / row->t;
    return (double)(float)((double)x / row->t);
}

/* Put the last tokens where a whole chunk can be read. */
static void fill_tail(Row *row)
{
    int64_t first = row->size / CHUNK * CHUNK;
    for (int64_t i = 0; i < CHUNK; i++) {
        int is_there = first + i < row->size;
        row->tail[i] = is_there ? row->x[first + i] : -INFINITY;
        if (row->wide)
            row->wide_tail[i] = is_there ? row->wide[first + i] : -INFINITY;
    }
}

INLINE float chunk_peak(const float *p, i8 *fine)
{
    const f8 limit = (const f8){0} + 3.40282347e38f;
    f8 v[8];
    for (int i = 0; i < 8; i++)
        v[i] = load8(p + 8 * i);
    for (int i = 0; i < 8; i++)
        *fine &= v[i] <= limit;
    f8 a = larger8(larger8(v[0], v[1]), larger8(v[2], v[3]));
    f8 b = larger8(larger8(v[4], v[5]), larger8(v[6], v[7]));
    return largest_of(larger8(a, b));
}

/* The largest logit of each chunk. Returns whether none is NaN or +inf, and any is finite. */
MANY int find_peaks(Row *row)
{
    i8 fine = (i8){0} - 1;
    float top = -INFINITY;
    for (int64_t c = 0; c < row->chunks; c++) {
        float peak = chunk_peak(chunk_of(row, c), &fine);
        row->peaks[c] = peak;
        top = peak > top ? peak : top;
    }
    row->top = top;
    return !any8(~fine) && top > -INFINITY;
}

/* Copy the row to where it can be changed. */
MANY void copy_row(Row *row)
{
    const float *from = row->x;
    int64_t i = 0;
    for (; i + 8 <= row->size; i += 8)
        store8(row->copy + i, load8(from + i));
    for (; i < row->size; i++)
        row->copy[i] = from[i];
    row->x = row->copy;
}

/* Widen 16 bits to float32: every number of them is one of these. */
MANY void widen_row(Row *row, const uint16_t *from, int is_bfloat)
{
    uint16_t last[8] = {0};
    float out[8];
    int64_t i = 0;
    for (; i + 8 <= row->size; i += 8) {
        h8 bits = *(const h8_there *)(from + i);
        store8(row->copy + i, is_bfloat ? bfloat16s(bits) : float16s(bits));
    }
    memcpy(last, from + i, (size_t)(row->size - i) * 2);
    h8 bits = *(const h8_there *)last;
    store8(out, is_bfloat ? bfloat16s(bits) : float16s(bits));
    memcpy(row->copy + i, out, (size_t)(row->size - i) * 4);
    row->x = row->copy;
}

/* Round float64 to float32: the order stays, equal ones apart. Returns whether nothing overflows. */
MANY int narrow_row(Row *row, const double *from)
{
    int64_t beyond = 0;
    for (int64_t i = 0; i < row->size; i++) {
        row->copy[i] = (float)from[i];
        beyond += from[i] < -3.4e38 && from[i] > -INFINITY;
    }
    row->x = row->copy;
    row->wide = from;
    return beyond == 0;
}

/* The largest logit under the temperature. */
static void find_top(Row *row)
{
    row->y_top = (double)(float)((double)row->top / row->t);
    if (!row->wide)
        return;
    double top = -INFINITY;
    for (int64_t c = 0; c < row->chunks; c++)
        for (int i = 0; row->peaks[c] == row->top && i < CHUNK; i++) {
            double x = wide_chunk_of(row, c)[i];
            top = x > top ? x : top;
        }
    row->y_top = top / row->t;
}

/* Returns whether nothing near the top can overflow. */
static int set_temperature(Row *row, double t)
{
    row->t = t;
    find_top(row);
    return t > 1e-30 && t < 1e30 && fabs(row->y_top) < 1e30;
}

/* The mass of each chunk, estimated in float32. */
MANY double estimate(Row *row)
{
    const f8 zero = {0};
    const f8 top = zero + row->top, factor = zero + (float)(1.0 / row->t);
    double mass = 0;
    for (int64_t c = 0; c < row->chunks; c++) {
        const float *p = chunk_of(row, c);
        f8 w[8];
        for (int i = 0; i < 8; i++)
            w[i] = exp8((load8(p + 8 * i) - top) * factor);
        f8 sum = ((w[0] + w[1]) + (w[2] + w[3])) + ((w[4] + w[5]) + (w[6] + w[7]));
        mass += row->sums[c] = sum4(sum8(sum));
    }
    return mass;
}

/* Weights of the tokens of a chunk, four by four, of quotients as the dense step rounds them. */
INLINE d4 exact4(const float *p, const double *wide, int i, d4 t, d4 top, d4 *y)
{
    if (wide)
        *y = load4(wide + 4 * i) / t;
    else
        *y = rounded4(double4(load_four(p + 4 * i)) / t);
    return exp4(*y - top);
}

/* The weights are stored, or cut, or all of them are summed, of logits that are quotients already. */
enum { STORED, CUT, RAW };

INLINE double compute_as(Row *row, float cut, int how, int is_wide)
{
    const d4 zero = {0}, t = zero + row->t, top = zero + row->y_top, least = zero + (double)cut;
    double *sums = row->sums, mass = 0;
    float *weights = row->weights;
    for (int64_t c = 0; c < row->chunks; c++) {
        const float *p = chunk_of(row, c);
        const double *wide = is_wide ? wide_chunk_of(row, c) : NULL;
        d4 sum = {0};
        for (int i = 0; i < 16; i++) {
            d4 y, w;
            if (how == RAW)
                w = exp4(double4(load_four(p + 4 * i)) - top);
            else
                w = exact4(p, wide, i, t, top, &y);
            if (how == STORED)
                store_four(weights + c * CHUNK + 4 * i, float4(w));
            else if (how == CUT)
                w = select4(double4(load_four(p + 4 * i)) >= least, w, zero);
            sum += w;
        }
        mass += sums[c] = sum4(sum);
    }
    return mass;
}

/* The mass of each chunk in float64, of the tokens that reach a cut. */
MANY double compute(Row *row, float cut)
{
    if (row->t == 1 && cut == -INFINITY && !row->wide)
        return compute_as(row, cut, RAW, 0);
    return row->wide ? compute_as(row, cut, CUT, 1) : compute_as(row, cut, CUT, 0);
}

/* The same of all tokens; and the weights are stored. */
MANY double compute_and_store(Row *row)
{
    return row->wide ? compute_as(row, 0, STORED, 1) : compute_as(row, 0, STORED, 0);
}

typedef struct {
    double mass;    /* sum of w */
    double depths;  /* sum of w (top - y) */
    double squares; /* sum of w * w */
    double spread;  /* sum of top - y over what is not removed */
    double spreads; /* sum of its squares */
    double count;   /* how many that are */
} Moments;

enum { OF_MASS, OF_LOGITS };

INLINE Moments moments_as(const Row *row, int of, int is_wide)
{
    const d4 zero = {0}, one = zero + 1.0, none = zero - INFINITY;
    const d4 t = zero + row->t, top = zero + row->y_top;
    d4 mass = zero, depths = zero, squares = zero, spread = zero, spreads = zero, count = zero;
    for (int64_t c = 0; c < row->chunks; c++) {
        const float *p = chunk_of(row, c);
        const double *wide = is_wide ? wide_chunk_of(row, c) : NULL;
        d4 part[3] = {zero, zero, zero};
        for (int i = 0; i < 16; i++) {
            d4 y, w = exact4(p, wide, i, t, top, &y);
            /* A quotient that overflows has no weight, but it is not removed: its depth, infinite,
             * leaves the row to the dense step. */
            l4 alive = of == OF_MASS ? y > none : double4(load_four(p + 4 * i)) > none;
            d4 depth = select4(alive, top - y, zero);
            if (of == OF_MASS) {
                part[0] += w;
                part[1] += w * depth;
                part[2] += w * w;
            } else {
                part[0] += depth;
                part[1] += depth * depth;
                part[2] += select4(alive, one, zero);
            }
        }
        if (of == OF_MASS)
            mass += part[0], depths += part[1], squares += part[2];
        else
            spread += part[0], spreads += part[1], count += part[2];
    }
    return (Moments){sum4(mass),   sum4(depths),  sum4(squares),
                     sum4(spread), sum4(spreads), sum4(count)};
}

/* Averages over the distribution: of depths, and of weights. */
MANY Moments moments_of_mass(const Row *row)
{
    return row->wide ? moments_as(row, OF_MASS, 1) : moments_as(row, OF_MASS, 0);
}

/* Averages over the logits that are not removed. */
MANY Moments moments_of_logits(const Row *row)
{
    return row->wide ? moments_as(row, OF_LOGITS, 1) : moments_as(row, OF_LOGITS, 0);
}

/* Mass of the stored weights of the tokens that reach a cut. */
MANY double mass_above(const Row *row, float cut)
{
    const f8 least = (const f8){0} + cut, zero = {0};
    double mass = 0;
    for (int64_t c = 0; c < row->chunks; c++) {
        const float *p = chunk_of(row, c), *w = row->weights + c * CHUNK;
        d4 sum = {0};
        for (int i = 0; i < 8; i++)
            sum += sum8(select8(load8(p + 8 * i) >= least, load8(w + 8 * i), zero));
        mass += sum4(sum);
    }
    return mass;
}

/* The same for each chunk; the tokens between that cut and a lower one are listed. */
MANY double fence(Row *row, float high, float low, int32_t *between, int64_t *count)
{
    const f8 zero = {0}, upper = zero + high, lower = zero + low;
    double mass = 0;
    int64_t found = 0;
    for (int64_t c = 0; c < row->chunks; c++) {
        const float *p = chunk_of(row, c), *w = row->weights + c * CHUNK;
        d4 sum = {0};
        i8 some = {0};
        for (int i = 0; i < 8; i++) {
            f8 x = load8(p + 8 * i);
            i8 above = x >= upper;
            some |= (x >= lower) & ~above;
            sum += sum8(select8(above, load8(w + 8 * i), zero));
        }
        mass += row->sums[c] = sum4(sum);
        if (!any8(some))
            continue;
        for (int i = 0; i < CHUNK; i++) {
            between[found] = (int32_t)(c * CHUNK + i);
            found += p[i] < high && p[i] >= low;
        }
    }
    *count = found;
    return mass;
}

/* How many of some floats reach a cut. */
MANY int64_t count_reaching(const float *p, int64_t n, float cut)
{
    const f8 least = (const f8){0} + cut;
    i8 many = {0};
    int64_t i = 0, count = 0;
    for (; i + 8 <= n; i += 8)
        many -= load8(p + i) >= least;
    for (int k = 0; k < 8; k++)
        count += many[k];
    for (; i < n; i++)
        count += p[i] >= cut;
    return count;
}

/* A float that at least so many of some floats reach, and hardly more than so many and a few. */
static float reached_by(const float *p, int64_t n, int64_t count, int64_t few, float top)
{
    int64_t low = key_of(-INFINITY), high = key_of(top), step = 1 << 20;
    for (int64_t at = high - step; at > low; at = high - step) {
        if (count_reaching(p, n, of_key((int32_t)at)) >= count) {
            low = at;
            break;
        }
        high = at, step *= 2;
    }
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        int64_t reach = count_reaching(p, n, of_key((int32_t)middle));
        if (reach < count)
            high = middle - 1;
        else if (low = middle, reach <= count + few)
            break;
    }
    return of_key((int32_t)low);
}

/* A logit below which no token can be as likely under the temperature as one of this logit. */
INLINE float lowered(const Row *row, double x)
{
    if (row->t == 1.0 && !row->wide)
        return x < -3.4e38 ? -INFINITY : nextafterf((float)x, -INFINITY);
    double low = x - bound_logit(x, row->top, row->t);
    return low < -3.4e38 ? -INFINITY : (float)low;
}

/* List the ids of the tokens that reach a logit, eight by eight where any of them does. */
MANY int64_t ids_reaching(const Row *row, float cut, int32_t *ids)
{
    const f8 least = (const f8){0} + cut;
    int64_t count = 0;
    for (int64_t c = 0; c < row->chunks; c++) {
        if (!(row->peaks[c] >= cut))
            continue;
        const float *p = chunk_of(row, c);
        for (int i = 0; i < CHUNK; i += 8) {
            if (!any8(load8(p + i) >= least))
                continue;
            for (int k = 0; k < 8; k++) {
                ids[count] = (int32_t)(c * CHUNK + i + k);
                count += p[i + k] >= cut;
            }
        }
    }
    return count;
}

/* List the tokens that reach a logit, lowered. Returns whether their quotients are all numbers. */
static int gather(Row *row, double x)
{
    float cut = lowered(row, x);
    List *list = &row->list;
    int64_t count = ids_reaching(row, cut > -INFINITY ? cut : -3.40282347e38f, list->ids);
    int is_finite = 1;
    for (int64_t i = 0; i < count; i++) {
        list->y[i] = y_of(row, list->ids[i]);
        is_finite &= list->y[i] > -1e38; /* lower ones the dense step may squeeze */
    }
    list->count = count;
    return is_finite && count > 0;
}

/* Bounds of the mass of the row, given that of all tokens that reach a logit. */
MANY void add_peaks(const Row *row, float reached, float surely, double *least, double *most)
{
    const f8 zero = {0}, top = zero + row->top, at = zero + reached, below = zero + surely;
    const f8 factor = zero + (float)(1.0 / row->t);
    d4 low = {0}, high = {0};
    for (int64_t c = 0; c < row->chunks; c += 8) { /* -inf beyond the end */
        f8 peak = load8(row->peaks + c);
        f8 w = exp8((select8(peak < at, peak, at) - top) * factor);
        low += sum8(select8(peak < below, w, zero));
        high += sum8(w);
    }
    *least = sum4(low), *most = sum4(high);
}

static Range mass_by_peaks(const Row *row, double head, float reached)
{
    double least, most;
    /* A peak just below may be as likely under the temperature, and in the head. */
    add_peaks(row, reached, lowered(row, reached), &least, &most);
    return mass_beside(head, least, most, (double)row->size);
}

#endif
