/* The steps of a chain, on a whole row and on a list of candidates.
 *
 * On a row a cut finds its list: what it needs to know of the whole row it estimates, computes
 * where the bounds of the estimate do not decide, and gives up where those of float64 do not. */
#ifndef LOGITLAB_CUTS_H
#define LOGITLAB_CUTS_H

#include "row.h"

enum {
    TEMPERATURE,
    TOP_K,
    TOP_P,
    MIN_P,
    TOP_A,
    EPSILON_CUTOFF,
    ETA_CUTOFF,
    P_LESS,
    TOP_N_SIGMA,
    TYPICAL_P,
    EXCLUDE_TOP
};

/* What is left of a row: all of it, a list, or a nucleus too wide for one. */
typedef enum { WHOLE, LISTED, WIDE, UNDECIDED } Left;

INLINE Range about(double x, double relative)
{
    return (Range){x * (1 - relative), x * (1 + relative)};
}

/* In what share of the mass two sums of a list can differ: ours, and one in another order. */
INLINE double bound_listed(const List *list) { return bound64((double)list->count); }

/* The least gap of a ratio to the top, and the least that surely is. ln 1 is exact. */
INLINE Range gap_of(Range ratio)
{
    double low = log(fmin(ratio.low, 1.0)), high = log(fmin(ratio.high, 1.0));
    return (Range){low < 0 ? low - slack * (1e-14 - 1e-15 * low) : 0,
                   high < 0 ? high + slack * (1e-14 - 1e-15 * high) : 0};
}

/* Whether a step changes nothing, with such a value. */
static int is_neutral(int kind, double value, int64_t size)
{
    switch (kind) {
    case TEMPERATURE:
    case TOP_P:
    case TYPICAL_P:
    case EXCLUDE_TOP: return value == 1;
    case TOP_K: return value == 0 || value >= (double)size;
    case TOP_N_SIGMA: return value <= 0;
    default: return value == 0;
    }
}

/* The ratio to the most likely token that a step asks for, from bounds of what it looks at. */
static Range ratio_of(int kind, double value, Range mass, Range mean)
{
    double low, high;
    switch (kind) {
    case MIN_P: return (Range){value, value};
    case TOP_A: return (Range){value / mass.high, value / mass.low};
    case EPSILON_CUTOFF: return (Range){value * mass.low, value * mass.high};
    case ETA_CUTOFF:
        low = fmin(value * mass.low, sqrt(value) * exp(-mean.high));
        high = fmin(value * mass.high, sqrt(value) * exp(-mean.low));
        return (Range){low, high};
    default: return mean; /* P_LESS */
    }
}

/* ---- on a list ---- */

static Moments list_moments(const List *list)
{
    Moments sums = {0};
    for (int64_t i = 0; i < list->count; i++) {
        double w = list->w[i], depth = list->top - list->y[i];
        sums.mass += w, sums.depths += w * depth, sums.squares += w * w;
        sums.spread += depth, sums.spreads += depth * depth;
    }
    sums.count = (double)list->count;
    return sums;
}

/* Bounds of the average that a ratio looks at. */
static Range mean_of(int kind, const Moments *sums, double relative)
{
    double mean = (kind == P_LESS ? sums->squares : sums->depths) / sums->mass;
    double off = 4 * relative * (mean + 1);
    return (Range){fmax(mean - off, 0), mean + off};
}

/* Bounds of n standard deviations; of the variance, as the mean of squares less the squared mean,
 * errors of the sums weigh as much more as it is smaller than the former. */
static Range reach_of(double n, const Moments *sums, double size, int of_sample)
{
    double mean = sums->spread / sums->count, square = sums->spreads / sums->count;
    double variance = square - mean * mean;
    double relative = 4 * bound64(size) * (1 + square / variance);
    if (!(sums->count > 1 && variance > 0 && relative < 1e-3 && sums->spreads < 1e200 &&
          variance > 1e-200))
        return (Range){-1, -1};
    double reach = n * sqrt(variance * sums->count / (sums->count - of_sample));
    return about(reach, relative);
}

/* Keep the most typical: those whose depth is nearest to the average, until they hold p. Beyond
 * the end of the list others follow, all of them deeper. */
static int keep_typical(List *list, double p, Range mass, Range depth, double end)
{
    double typical = (depth.low + depth.high) / 2;
    double doubt = depth.high - depth.low + slack * 1e-13 * (1 + depth.high);
    double *far = list->room[4];
    Edge edge;
    for (int64_t i = 0; i < list->count; i++)
        far[i] = -fabs(list->top - list->y[i] - typical);
    double goal = p * (mass.low + mass.high) / 2;
    double off = p * (mass.high - mass.low) / 2 + slack * bound_listed(list) * mass.high;
    int found = find_edge(far, list->w, list->count, goal, off, list->room, &edge);
    if (found != FOUND)
        return found;
    double deviation = -edge.value, at_edge = NAN;
    if (deviation + doubt >= end - typical)
        return NOWHERE;
    if (deviation <= doubt)
        return UNSURE;
    for (int64_t i = 0; i < list->count; i++)
        if (fabs(-far[i] - deviation) <= doubt) {
            if (at_edge == at_edge && at_edge != list->y[i])
                return UNSURE;
            at_edge = list->y[i];
        }
    int64_t kept = 0, ties = 0;
    for (int64_t i = 0; i < list->count; i++) {
        double y = list->y[i];
        int stays = y == at_edge ? ties++ < edge.ties : -far[i] < deviation;
        list->ids[kept] = list->ids[i], list->y[kept] = y, list->w[kept] = list->w[i];
        kept += stays;
    }
    list->count = kept;
    return FOUND;
}

/* Drop the tokens that hold a share of the mass, but for the least likely of them. */
static int drop_top(List *list, double share, Range mass, int ties)
{
    Range gap = gap_of((Range){share * mass.low, share * mass.high});
    if (!(gap.low > -1e30) || (share * mass.high > 1 && share * mass.low <= 1))
        return UNSURE;
    double least = INFINITY;
    int64_t top = 0, equal = 0, seen = 0, kept = 0;
    for (int64_t i = 0; i < list->count && share * mass.low <= 1; i++) {
        double depth = list->y[i] - list->top;
        if (depth >= gap.low && depth < gap.high)
            return UNSURE;
        if (depth >= gap.low) {
            top++;
            if (list->y[i] < least)
                least = list->y[i], equal = 0;
            equal += list->y[i] == least;
        }
    }
    if (top < 2)
        return FOUND;
    for (int64_t i = 0; i < list->count; i++) {
        double y = list->y[i];
        int at_least = y == least;
        int stays = y < least || (at_least && (ties == ALL || seen == (ties == HIGHEST ? equal - 1 : 0)));
        seen += at_least;
        list->ids[kept] = list->ids[i], list->y[kept] = y;
        kept += stays;
    }
    list->count = kept;
    weigh_list(list);
    return FOUND;
}

static int cut_list(Row *row, int kind, double value, int option)
{
    List *list = &row->list;
    double doubt = bound_listed(list);
    Edge edge;
    int found;
    switch (kind) {
    case TEMPERATURE:
        if (value == 0) {
            found = find_edge(list->y, NULL, list->count, 1, 0, list->room, &edge);
            keep_to(list, edge, LOWEST);
            return found;
        }
        for (int64_t i = 0; i < list->count; i++) {
            double y = list->y[i] / value;
            list->y[i] = row->wide ? y : (double)(float)y;
            if (!(fabs(list->y[i]) < 1e30))
                return UNSURE;
        }
        weigh_list(list);
        return FOUND;
    case TOP_K:
        if (value < (double)list->count) {
            found = find_edge(list->y, NULL, list->count, value, 0, list->room, &edge);
            keep_to(list, edge, option);
        }
        return FOUND;
    case TOP_P: {
        double mass = list_mass(list);
        found = find_edge(list->y, list->w, list->count, value * mass, doubt * mass, list->room, &edge);
        if (found == FOUND)
            keep_to(list, edge, option);
        return found == FOUND ? FOUND : UNSURE;
    }
    case TOP_N_SIGMA: {
        if (list->count == 1)
            return FOUND;
        Moments sums = list_moments(list);
        Range reach = reach_of(value, &sums, (double)list->count, option);
        return reach.high < 0 ? UNSURE : keep_near(list, -reach.high, -reach.low);
    }
    case TYPICAL_P: {
        if (list->count == 1)
            return FOUND;
        Moments sums = list_moments(list);
        Range mean = mean_of(kind, &sums, doubt);
        found = keep_typical(list, value, about(sums.mass, doubt), mean, INFINITY);
        return found == FOUND ? FOUND : UNSURE;
    }
    case EXCLUDE_TOP: return drop_top(list, value, about(list_mass(list), 2 * doubt), option);
    default: {
        Moments sums = list_moments(list);
        Range mean = mean_of(kind, &sums, doubt);
        Range gap = gap_of(ratio_of(kind, value, about(sums.mass, doubt), mean));
        return keep_near(list, gap.low, gap.high);
    }
    }
}

/* ---- on a whole row ---- */

static int list_all_above(Row *row, double x)
{
    if (!gather(row, x))
        return 0;
    weigh_list(&row->list);
    return 1;
}

static Left top_k_of_row(Row *row, double k, int ties)
{
    int64_t count = (int64_t)k;
    float x = count <= row->chunks * 3 / 4
                  ? reached_by(row->peaks, row->chunks, count, count / 4, row->top)
                  : reached_by(row->x, row->size, count, count / 4, row->top);
    if (!gather(row, x))
        return UNDECIDED;
    if (row->list.count > count) {
        Edge edge;
        find_edge(row->list.y, NULL, row->list.count, k, 0, row->list.room, &edge);
        keep_to(&row->list, edge, ties);
    }
    weigh_list(&row->list);
    return LISTED;
}

/* What reaches a ratio to the most likely token. */
static Left ratio_of_row(Row *row, int kind, double value)
{
    int exact = kind == ETA_CUTOFF || kind == P_LESS;
    for (; exact < 2; exact++) {
        Range mass = {1, 1}, mean = {0, 0};
        if (kind != MIN_P && exact) {
            Moments sums = moments_of_mass(row);
            mass = about(sums.mass, bound64((double)row->size));
            mean = mean_of(kind, &sums, bound64((double)row->size));
        } else if (kind != MIN_P) {
            double z = estimate(row);
            mass = about(z, bound32((double)row->size, z, row->y_top, row->wide || row->t != 1));
        }
        Range gap = gap_of(ratio_of(kind, value, mass, mean));
        if (!(gap.low > -1e30 && gap.high - gap.low < 1))
            continue;
        if (!list_all_above(row, row->top + row->t * gap.low * (1 + 1e-12)))
            return UNDECIDED;
        if (keep_near(&row->list, gap.low, gap.high) == FOUND)
            return LISTED;
    }
    return UNDECIDED;
}

static Left top_n_sigma_of_row(Row *row, double n, int of_sample)
{
    Moments sums = moments_of_logits(row);
    Range reach = reach_of(n, &sums, (double)row->size, of_sample);
    if (reach.high < 0 || !list_all_above(row, row->top - row->t * reach.high * (1 + 1e-12)))
        return UNDECIDED;
    return keep_near(&row->list, -reach.high, -reach.low) == FOUND ? LISTED : UNDECIDED;
}

/* List the likely tokens that so many chunks' peaks reach. Returns the logit down to which no token
 * is missing, under the temperature, or NAN. */
static double list_head(Row *row, int64_t count, float *reached)
{
    List *list = &row->list;
    *reached = reached_by(row->peaks, row->chunks, count, count / 4, row->top);
    if (!gather(row, *reached))
        return NAN;
    double end = row->wide ? *reached / row->t : (double)(float)((double)*reached / row->t);
    if (row->wide) /* rounded to float32, a logit may be this one or one just below */
        end = nextafterf(*reached, INFINITY) / row->t;
    int64_t kept = 0;
    for (int64_t i = 0; i < list->count; i++) {
        list->ids[kept] = list->ids[i], list->y[kept] = list->y[i];
        kept += list->y[i] >= end;
    }
    list->count = kept;
    if (!kept)
        return NAN;
    weigh_list(list);
    return end;
}

static Left typical_of_row(Row *row, double p)
{
    static const int64_t looks[] = {256, 2048, 16384};
    double relative = bound64((double)row->size);
    Moments sums = moments_of_mass(row);
    Range mean = mean_of(TYPICAL_P, &sums, relative);
    for (int i = 0; i < 3; i++) {
        float reached;
        int64_t count = looks[i] < row->chunks * 3 / 4 ? looks[i] : row->chunks * 3 / 4;
        double end = list_head(row, count < 1 ? 1 : count, &reached);
        if (end != end)
            return UNDECIDED;
        int found = keep_typical(&row->list, p, about(sums.mass, relative), mean, row->y_top - end);
        if (found != NOWHERE)
            return found == FOUND ? LISTED : UNDECIDED;
        if (count < looks[i])
            break;
    }
    if (!list_all_above(row, -INFINITY))
        return UNDECIDED;
    int found = keep_typical(&row->list, p, about(sums.mass, relative), mean, INFINITY);
    return found == FOUND ? LISTED : UNDECIDED;
}

/* A nucleus of many tokens: a fence around its edge, and the few tokens between are looked at.
 *
 * A sample tells roughly where the edge is and how dense the mass is there; the mass above that
 * place tells how far off it is, and with the density where the edge must be. */
static Left wide_nucleus(Row *row, double p, int ties)
{
    List *list = &row->list;
    double *x = list->y, *w = list->w, size = (double)row->size;
    double mass = compute_and_store(row), goal = p * mass, doubt = bound_stored(size) * mass;
    double sampled = 0, near = 0;
    int64_t step = row->chunks >= 512 ? row->chunks / 256 : 1, count = 0;
    for (int64_t c = 0; c < row->size / CHUNK; c += step)
        for (int64_t j = c * CHUNK + c % 8 * 8, end = j + 8; j < end; j++, count++) {
            x[count] = row->x[j];
            sampled += w[count] = row->weights[j];
        }
    Edge edge;
    if (find_edge(x, w, count, p * sampled, 0, list->room, &edge) != FOUND)
        return UNDECIDED;
    double reach = 0.1 * row->t, at = edge.value;
    for (int64_t i = 0; i < count; i++)
        near += fabs(x[i] - at) < reach ? w[i] : 0;
    double density = fmax(near / sampled / (2 * reach), 1e-3); /* share of the mass a logit */
    double off = p - mass_above(row, (float)at) / mass;
    double half = (0.15 * fabs(off) + 2e-4) / density, mass_high;
    float high, low;
    at -= off / density;
    for (int attempt = 0;; attempt++, half *= 4) {
        high = (float)(at + half), low = (float)(at - half);
        if (attempt == 6 || !(low < high))
            return UNDECIDED;
        mass_high = fence(row, high, low, list->ids, row->size / 2, &list->count);
        if (mass_high < 0)
            return UNDECIDED;
        double between = 0;
        for (int64_t i = 0; i < list->count; i++)
            between += row->weights[list->ids[i]];
        if (mass_high > goal - 3 * doubt)
            at = high;
        else if (mass_high + between < goal + 3 * doubt)
            at = low;
        else
            break;
    }
    for (int64_t i = 0; i < list->count; i++)
        list->y[i] = y_of(row, list->ids[i]);
    weigh_against(list, row->y_top);
    int found = UNSURE;
    for (int exact = 0; exact < 2 && found == UNSURE; exact++) {
        if (exact) {
            mass_high = compute(row, high);
            doubt = bound64(size) * mass;
        }
        found = find_edge(list->y, list->w, list->count, goal - mass_high, doubt, list->room, &edge);
    }
    if (found != FOUND)
        return UNDECIDED;
    /* All that is equal to the edge under the temperature has to be between the two. */
    double y_high = (double)(float)((double)high / row->t);
    double y_low = (double)(float)((double)low / row->t);
    if (!row->wide && (y_high == edge.value || y_low == edge.value))
        return UNDECIDED;
    keep_to(list, edge, ties);
    for (int64_t i = 0; i < list->count; i++)
        row->sums[list->ids[i] / CHUNK] += list->w[i];
    row->edge = high;
    row->doubt = doubt;
    return WIDE;
}

/* The nucleus: among the likely tokens, if they hold it, or else wide.
 *
 * The mass of the others is at most that of so many peaks, and their peaks are some of it. Where
 * that does not tell, the mass of the row is estimated, and in the end computed. */
static Left nucleus_of_row(Row *row, double p, int ties)
{
    static const int64_t looks[] = {32, 256, 2048};
    List *list = &row->list;
    if (row->chunks < 16) { /* listing them all is as fast */
        if (!list_all_above(row, -INFINITY) || cut_list(row, TOP_P, p, ties) != FOUND)
            return UNDECIDED;
        return LISTED;
    }
    const int64_t most = row->chunks * 3 / 4;
    const double size = (double)row->size, relative = bound64(size);
    Range mass = {0, 0};
    int known = fabs(row->y_top) < 1e4 ? 0 : 1; /* 0: by peaks, 1: estimated, 2: computed */
    if (known)
        mass = (Range){0, size};
    for (int i = 0; i < 3; i++) {
        int64_t count = looks[i] < most ? looks[i] : most;
        int is_last = i == 2 || count < looks[i];
        float reached;
        double end = list_head(row, count < 1 ? 1 : count, &reached);
        if (end != end)
            return UNDECIDED;
        double head = list_mass(list);
        if (!known)
            mass = mass_by_peaks(row, head, reached);
        for (;;) {
            double goal = p * (mass.low + mass.high) / 2;
            double doubt = p * (mass.high - mass.low) / 2 + relative * mass.high;
            Edge edge;
            int found = find_edge(list->y, list->w, list->count, goal, doubt, list->room, &edge);
            if (found == FOUND) {
                keep_to(list, edge, ties);
                return LISTED;
            }
            if (head * (1 + relative) < p * mass.low || (!known && !is_last && i == 0))
                break;
            if (known == 0) {
                double z = estimate(row);
                mass = about(z, bound32(size, z, row->y_top, row->wide || row->t != 1));
            } else if (known == 1)
                mass = about(compute(row, -INFINITY), relative);
            else if (found == NOWHERE)
                break;
            else
                return UNDECIDED;
            known++;
        }
        if (is_last || (known == 0 && i == 1) || head < 0.3 * p * mass.low)
            break;
    }
    return wide_nucleus(row, p, ties);
}

/* XTC on a whole row: the top choices are listed, and struck from a copy of it. */
static Left exclude_from_row(Row *row, double share, int ties)
{
    List *list = &row->list;
    double size = (double)row->size;
    if (row->wide) {
        if (!list_all_above(row, -INFINITY) || cut_list(row, EXCLUDE_TOP, share, ties) != FOUND)
            return UNDECIDED;
        return LISTED;
    }
    for (int exact = 0; exact < 2; exact++) {
        double z = exact ? compute(row, -INFINITY) : estimate(row);
        Range mass = about(z, exact ? bound64(size) : bound32(size, z, row->y_top, row->t != 1));
        Range gap = gap_of((Range){share * mass.low, share * mass.high});
        if (!(gap.low > -1e30) || !list_all_above(row, row->top + row->t * gap.low * (1 + 1e-12)))
            return UNDECIDED;
        if (share * mass.low > 1)
            return WHOLE;
        if (keep_near(list, gap.low, gap.high) != FOUND || share * mass.high > 1)
            continue;
        if (list->count < 2)
            return WHOLE;
        if (row->x != row->copy)
            copy_row(row);
        double least = INFINITY;
        int64_t equal = 0, seen = 0;
        for (int64_t i = 0; i < list->count; i++) {
            if (list->y[i] < least)
                least = list->y[i], equal = 0;
            equal += list->y[i] == least;
        }
        for (int64_t i = 0; i < list->count; i++) {
            int at_least = list->y[i] == least;
            int stays = at_least && (ties == ALL || seen == (ties == HIGHEST ? equal - 1 : 0));
            seen += at_least;
            if (!stays)
                row->copy[list->ids[i]] = -INFINITY;
        }
        fill_tail(row);
        if (!find_peaks(row))
            return UNDECIDED;
        find_top(row);
        return WHOLE;
    }
    return UNDECIDED;
}

static Left cut_row(Row *row, int kind, double value, int option)
{
    switch (kind) {
    case TOP_K: return top_k_of_row(row, value, option);
    case TOP_P: return nucleus_of_row(row, value, option);
    case TOP_N_SIGMA: return top_n_sigma_of_row(row, value, option);
    case TYPICAL_P: return typical_of_row(row, value);
    case EXCLUDE_TOP: return exclude_from_row(row, value, option);
    default: return ratio_of_row(row, kind, value);
    }
}

/* At temperature 0 the most likely token alone stays, the first of equal ones. */
static Left greedy_of_row(Row *row)
{
    List *list = &row->list;
    row->t = 1;
    if (!gather(row, row->top))
        return UNDECIDED;
    Edge edge;
    find_edge(list->y, NULL, list->count, 1, 0, list->room, &edge);
    keep_to(list, edge, LOWEST);
    weigh_list(list);
    return LISTED;
}

/* List a wide nucleus after all, for steps that follow it. */
static Left list_wide(Row *row)
{
    List *list = &row->list;
    int64_t count = list->count;
    int32_t *beside = (int32_t *)list->room[4];
    memcpy(beside, list->ids, (size_t)count * sizeof(int32_t));
    if (!gather(row, row->edge))
        return UNDECIDED;
    int64_t kept = 0, next = 0, all = list->count, written = 0;
    int32_t *above = (int32_t *)list->room[3];
    for (int64_t i = 0; i < all; i++)
        if (row->x[list->ids[i]] >= row->edge)
            above[kept++] = list->ids[i];
    for (int64_t i = 0; i < kept || next < count;)
        list->ids[written++] =
            next == count || (i < kept && above[i] < beside[next]) ? above[i++] : beside[next++];
    list->count = written;
    for (int64_t i = 0; i < written; i++)
        list->y[i] = y_of(row, list->ids[i]);
    weigh_list(list);
    return LISTED;
}

typedef struct {
    int64_t count;
    const int32_t *steps;  /* kind and option of each */
    const double *values;  /* of each step, for all rows, or one for each */
    int64_t each;          /* how many of these a step has */
} Program;

/* Run the steps of a chain on row number i. */
static Left run_steps(Row *row, const Program *program, int64_t i)
{
    Left left = WHOLE;
    int is_cut = 0;
    for (int64_t s = 0; s < program->count; s++) {
        int kind = program->steps[2 * s], option = program->steps[2 * s + 1];
        double value = program->values[s * program->each + (program->each > 1 ? i : 0)];
        if (is_neutral(kind, value, row->size))
            continue;
        if (left == WIDE && (left = list_wide(row)) == UNDECIDED)
            return UNDECIDED;
        if (left == LISTED) {
            if (cut_list(row, kind, value, option) != FOUND)
                return UNDECIDED;
        } else if (kind == TEMPERATURE) {
            if (value == 0 && !is_cut && row->t == 1)
                left = greedy_of_row(row);
            else if (is_cut || row->t != 1 || !set_temperature(row, value))
                return UNDECIDED;
        } else {
            left = cut_row(row, kind, value, option);
            is_cut = 1;
        }
        if (left == UNDECIDED)
            return UNDECIDED;
    }
    return left;
}

#endif
