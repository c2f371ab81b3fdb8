/* The token with the largest logit plus Gumbel noise of its own, over whole rows.

   Every token needs the first word of its noise, but few need more: with u = 1 - e the noise is
   -ln(-ln u) <= -ln e, so that a token at `gap` below the top can reach `best` only where
   1 - u <= exp(gap - best). The best logit of a chunk gives one such bound for all of its tokens,
   and their words are compared with that.

   What wins is certain only as far as logarithms are. numpy's and the C library's may differ, each
   within 4 units in the last place: of -ln u by 2**-50 relatively, which moves the noise by 2**-50,
   and of the noise itself, which is below 37 = 53 ln 2 in size, by 2**-50 * 37; adding the gap
   rounds what is below 37 once more, by 2**-53 * 37. That is gumbel_error, for each of the two
   tokens and of the two libraries. Closer ones are left to numpy. */
#ifndef LOGITLAB_GUMBEL_H
#define LOGITLAB_GUMBEL_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bounds.h"
#include "chunks.h"
#include "philox.h"

INLINE double gumbel_error(void) { return slack * 43 * 0x1p-50; }

/* Noise as draw.py has it, from 53 random bits: u is exact, and neither 0 nor 1. */
static double gumbel_noise(uint64_t bits)
{
    return -log(-log(((double)(bits >> 1) + 0.5) * 0x1p-52));
}

/* Fill in the first words of 64 tokens, of ids counted from `base`, each in the low half of 64 bits
   (the high half is of no use). Return whether one of them is at least `least`. */
typedef int gumbel_worder(const uint64_t *ids, uint64_t base, const uint32_t *key,
                          const uint32_t *place, uint32_t least, uint64_t *out);

/* Compilers do not see that half a multiplication of vectors is enough: x86 is told. */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

typedef uint64_t gumbel_words2 __attribute__((vector_size(16)));
typedef uint64_t gumbel_words4 __attribute__((vector_size(32)));
typedef uint64_t gumbel_words8 __attribute__((vector_size(64)));

/* One body for all sizes of vectors: `VECTOR` is one of 64-bit words, `TIMES` multiplies the
   low halves of two. Halves are never cleaned, as neither TIMES nor xor minds the high ones. The
   last round makes the first word only. */
#define GUMBEL_WORDS(NAME, VECTOR, TIMES)                                                         \
    static int NAME(const uint64_t *ids, uint64_t base, const uint32_t *key,                      \
                    const uint32_t *place, uint32_t least, uint64_t *out)                         \
    {                                                                                             \
        enum { LANES = sizeof(VECTOR) / 8 };                                                      \
        const VECTOR zero = {0}, factor_a = zero + 0xD2511F53u, factor_c = zero + 0xCD9E8D57u;    \
        VECTOR below = ~zero; /* negative where no word so far reaches `least` */                 \
        for (int at = 0; at < CHUNK; at += 2 * LANES) {                                           \
            VECTOR a[2], b[2], c[2], d[2];                                                        \
            for (int i = 0; i < 2; i++) {                                                         \
                memcpy(a + i, ids + at + i * LANES, sizeof(VECTOR));                              \
                a[i] += base;                                                                     \
                b[i] = zero + place[0];                                                           \
                c[i] = zero + place[1];                                                           \
                d[i] = zero + place[2];                                                           \
            }                                                                                     \
            uint32_t key_a = key[0], key_c = key[1];                                              \
            for (int round = 0; round < 9; round++) {                                             \
                for (int i = 0; i < 2; i++) {                                                     \
                    VECTOR product_a = TIMES(a[i], factor_a), product_c = TIMES(c[i], factor_c);  \
                    a[i] = (product_c >> 32) ^ b[i] ^ (zero + key_a);                             \
                    b[i] = product_c;                                                             \
                    c[i] = (product_a >> 32) ^ d[i] ^ (zero + key_c);                             \
                    d[i] = product_a;                                                             \
                }                                                                                 \
                key_a += 0x9E3779B9u;                                                             \
                key_c += 0xBB67AE85u;                                                             \
            }                                                                                     \
            for (int i = 0; i < 2; i++) {                                                         \
                a[i] = (TIMES(c[i], factor_c) >> 32) ^ b[i] ^ (zero + key_a);                     \
                memcpy(out + at + i * LANES, a + i, sizeof(VECTOR));                              \
                below &= (a[i] & 0xFFFFFFFFu) - least;                                            \
            }                                                                                     \
        }                                                                                         \
        int reached = 0;                                                                          \
        for (int i = 0; i < LANES; i++)                                                           \
            reached |= !(below[i] >> 63);                                                         \
        return reached;                                                                           \
    }

#define GUMBEL_TIMES2(x, y) (gumbel_words2) _mm_mul_epu32((__m128i)(x), (__m128i)(y))
GUMBEL_WORDS(gumbel_words_sse2, gumbel_words2, GUMBEL_TIMES2)

#ifndef LOGITLAB_BASELINE
#define GUMBEL_TIMES4(x, y) (gumbel_words4) _mm256_mul_epu32((__m256i)(x), (__m256i)(y))
#define GUMBEL_TIMES8(x, y) (gumbel_words8) _mm512_mul_epu32((__m512i)(x), (__m512i)(y))
__attribute__((target("avx2"))) GUMBEL_WORDS(gumbel_words_avx2, gumbel_words4, GUMBEL_TIMES4)
__attribute__((target("avx512f"))) GUMBEL_WORDS(gumbel_words_avx512, gumbel_words8, GUMBEL_TIMES8)
#endif

static gumbel_worder *gumbel_words(void)
{
#ifndef LOGITLAB_BASELINE
    if (__builtin_cpu_supports("avx512f"))
        return gumbel_words_avx512;
    if (__builtin_cpu_supports("avx2"))
        return gumbel_words_avx2;
#endif
    return gumbel_words_sse2;
}
#else
/* The same in plain loops, each of which a compiler can turn into vectors. */
static int gumbel_words_any(const uint64_t *ids, uint64_t base, const uint32_t *key,
                            const uint32_t *place, uint32_t least, uint64_t *out)
{
    uint32_t a[CHUNK], b[CHUNK], c[CHUNK], d[CHUNK];
    for (int i = 0; i < CHUNK; i++) {
        a[i] = (uint32_t)(ids[i] + base);
        b[i] = place[0];
        c[i] = place[1];
        d[i] = place[2];
    }
    uint32_t key_a = key[0], key_c = key[1];
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < CHUNK; i++) {
            uint64_t product_a = (uint64_t)a[i] * 0xD2511F53u;
            uint64_t product_c = (uint64_t)c[i] * 0xCD9E8D57u;
            a[i] = (uint32_t)(product_c >> 32) ^ b[i] ^ key_a;
            b[i] = (uint32_t)product_c;
            c[i] = (uint32_t)(product_a >> 32) ^ d[i] ^ key_c;
            d[i] = (uint32_t)product_a;
        }
        key_a += 0x9E3779B9u;
        key_c += 0xBB67AE85u;
    }
    int reached = 0;
    for (int i = 0; i < CHUNK; i++) {
        out[i] = a[i];
        reached |= a[i] >= least;
    }
    return reached;
}

static gumbel_worder *gumbel_words(void)
{
    return gumbel_words_any;
}
#endif

/* Logits of one row, which tokens they are of, and where it stands in the order of numbers. */
typedef struct {
    const void *logits;
    int wide;
    int64_t size;
    const int64_t *ids; /* or NULL: each is its place */
    double top;
    double *reach; /* of each chunk: exp of how far its best is below the top; and EXTRA more */
} gumbel_row;

enum { EXTRA = 3 }; /* what fills up the last vector */

INLINE int64_t gumbel_chunks(const gumbel_row *row) { return (row->size + CHUNK - 1) / CHUNK; }

INLINE double gumbel_logit(const gumbel_row *row, int64_t at)
{
    return row->wide ? ((const double *)row->logits)[at] : (double)((const float *)row->logits)[at];
}

/* The best of a chunk: as an integer that orders like the number, NaN of either sign at the ends,
   so that whole vectors can be compared. */
INLINE float gumbel_best32(const float *logits, int64_t count)
{
    int32_t best = INT32_MIN;
    for (int64_t i = 0; i < count; i++) {
        int32_t key = key_of(logits[i]);
        best = key > best ? key : best;
    }
    return of_key(best);
}

INLINE double gumbel_best64(const double *logits, int64_t count)
{
    int64_t best = INT64_MIN;
    for (int64_t i = 0; i < count; i++) {
        int64_t key = wide_key_of(logits[i]);
        best = key > best ? key : best;
    }
    return of_wide_key(best);
}

INLINE double gumbel_best(const gumbel_row *row, int64_t at, int64_t count)
{
    return row->wide ? gumbel_best64((const double *)row->logits + at, count)
                     : (double)gumbel_best32((const float *)row->logits + at, count);
}

INLINE void gumbel_bests(const gumbel_row *row)
{
    int64_t at = 0, chunk = 0;
    for (; at + CHUNK <= row->size; at += CHUNK)
        row->reach[chunk++] = gumbel_best(row, at, CHUNK);
    if (at < row->size)
        row->reach[chunk] = gumbel_best(row, at, row->size - at);
}

/* Find the top, and what each chunk can reach; return the first chunk that has it, or -1 where
   numbers are not what they should be. */
MANY int64_t gumbel_survey(gumbel_row *row)
{
    int64_t chunks = gumbel_chunks(row), first = 0;
    gumbel_bests(row);
    for (int64_t i = 0; i < chunks; i++) {
        if (isnan(row->reach[i]))
            return -1;
        if (row->reach[i] > row->reach[first])
            first = i;
    }
    row->top = chunks > 0 ? row->reach[first] : NAN;
    if (!isfinite(row->top))
        return -1;
    for (int64_t i = 0; i < EXTRA; i++)
        row->reach[chunks + i] = row->top;
    for (int64_t i = 0; i < chunks; i += 4) /* exp(-700) is more than what is lower deserves */
        store4(row->reach + i, exp4(load4(row->reach + i) - row->top));
    return first;
}

/* One draw: the best so far, and the best of the others. */
typedef struct {
    uint32_t key[2], place[3];
    double best, second;
    int64_t token;
    int odd;
} gumbel_draw;

static void gumbel_enter(const gumbel_row *row, gumbel_draw *draw, int64_t at, int64_t id)
{
    double gap = gumbel_logit(row, at) - row->top;
    if (!(gap > -INFINITY))
        return;
    draw->odd |= (uint64_t)id >= UINT32_MAX; /* no token has that id: numpy will say so */
    uint64_t sequence = (uint64_t)draw->place[2] << 32 | draw->place[1];
    double sum = gap + gumbel_noise(random_bits(draw->key[0], draw->key[1], (uint32_t)id, sequence,
                                                draw->place[0]));
    if (sum > draw->best) {
        draw->second = draw->best;
        draw->best = sum;
        draw->token = id;
    } else if (sum > draw->second) {
        draw->second = sum;
    }
}

#define GUMBEL_FOUR(n) (n), (n) + 1, (n) + 2, (n) + 3
#define GUMBEL_SIXTEEN(n) GUMBEL_FOUR(n), GUMBEL_FOUR(n + 4), GUMBEL_FOUR(n + 8), GUMBEL_FOUR(n + 12)

static const uint64_t gumbel_counted[CHUNK] = {
    GUMBEL_SIXTEEN(0), GUMBEL_SIXTEEN(16), GUMBEL_SIXTEEN(32), GUMBEL_SIXTEEN(48)};

/* Let those of a chunk compete that could win. `scale` is exp(-best). */
static void gumbel_run(const gumbel_row *row, gumbel_worder *words_of, gumbel_draw *draw,
                       int64_t chunk, double *scale)
{
    /* A billionth more than can win, which outweighs all rounding here and above. */
    double share = row->reach[chunk] * *scale * (1 + 1e-9);
    if (share < 0x1p-53) /* 1 - u is no less */
        return;
    uint32_t least = 0;
    if (share < 1) {
        double word = (1 - share) * 0x1p32 - 1;
        least = word > 0 ? (uint32_t)word : 0;
    }
    int64_t at = chunk * CHUNK;
    int64_t count = row->size - at < CHUNK ? row->size - at : CHUNK;
    uint64_t words[CHUNK], copy[CHUNK];
    const uint64_t *ids = gumbel_counted;
    if (row->ids) {
        ids = (const uint64_t *)row->ids + at;
        if (count < CHUNK)
            ids = memcpy(memset(copy, 0, sizeof copy), ids, sizeof(uint64_t) * (size_t)count);
    }
    uint64_t base = row->ids ? 0 : (uint64_t)at;
    if (!words_of(ids, base, draw->key, draw->place, least, words))
        return;
    double before = draw->best;
    for (int64_t i = 0; i < count; i++)
        if ((uint32_t)words[i] >= least)
            gumbel_enter(row, draw, at + i, (int64_t)(base + ids[i]));
    if (draw->best > before)
        *scale = exp(-draw->best);
}

/* Draw a token; return whether it is certain. */
static int gumbel_token(const gumbel_row *row, gumbel_worder *words_of, int64_t first,
                        gumbel_draw *draw)
{
    double scale = INFINITY;
    int64_t chunks = gumbel_chunks(row);
    draw->best = draw->second = -INFINITY;
    draw->token = -1;
    draw->odd = 0;
    /* The chunk of the top comes first, as it sets a high mark for the others. */
    gumbel_run(row, words_of, draw, first, &scale);
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        if (chunk != first)
            gumbel_run(row, words_of, draw, chunk, &scale);
    return !draw->odd && draw->best - draw->second > 4 * gumbel_error();
}

#endif
