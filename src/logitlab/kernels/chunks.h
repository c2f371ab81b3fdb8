/* What is done with a chunk of 64 tokens, in explicit vectors.
 *
 * A vector of 8 floats is one register of AVX2, half of one of AVX-512, two of SSE or NEON: the
 * compiler splits it, and what it makes of it does not change with a comma in a loop. Functions
 * that loop over chunks are compiled for several instruction sets where the loader can choose
 * among them (MANY); what they call is inlined into each (INLINE).
 *
 * Sums may be contracted to fused multiply-adds, and so differ in their last bits from machine to
 * machine: every comparison with one allows for that. See bounds.h.
 */
#ifndef LOGITLAB_CHUNKS_H
#define LOGITLAB_CHUNKS_H

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline, unused))
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && \
    !defined(LOGITLAB_BASELINE) && !defined(__AVX512F__) /* of lesser clones gcc 12 crashes */
#define MANY __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) static
#else
#define MANY static
#endif

/* Where these hold, no number here would be rounded as it has to be. A method of 16 is that of
 * machines with AVX512-FP16: it keeps halves at their own width, and floats and doubles, too. */
#if defined(__FAST_MATH__)
#define ROUNDED 0
#elif defined(__FLT_EVAL_METHOD__)
#define ROUNDED (__FLT_EVAL_METHOD__ == 0 || __FLT_EVAL_METHOD__ == 16)
#else
#define ROUNDED 1
#endif
#if !ROUNDED
#error "kernels need IEEE arithmetic, rounded to the width of each type"
#endif

enum { CHUNK = 64 };

typedef float f8 __attribute__((vector_size(32)));
typedef int32_t i8 __attribute__((vector_size(32)));
typedef uint32_t u8 __attribute__((vector_size(32)));
typedef uint16_t h8 __attribute__((vector_size(16)));
typedef float f4 __attribute__((vector_size(16)));
typedef double d4 __attribute__((vector_size(32)));
typedef int64_t l4 __attribute__((vector_size(32)));
typedef uint64_t q4 __attribute__((vector_size(32)));
/* The same in an array, at any address that an element can have. */
typedef f8 f8_there __attribute__((aligned(4), may_alias));
typedef h8 h8_there __attribute__((aligned(2), may_alias));
typedef f4 f4_there __attribute__((aligned(4), may_alias));
typedef d4 d4_there __attribute__((aligned(8), may_alias));

INLINE f8 load8(const float *p) { return *(const f8_there *)p; }
INLINE void store8(float *p, f8 v) { *(f8_there *)p = v; }
INLINE f4 load_four(const float *p) { return *(const f4_there *)p; }
INLINE void store_four(float *p, f4 v) { *(f4_there *)p = v; }
INLINE d4 load4(const double *p) { return *(const d4_there *)p; }
INLINE void store4(double *p, d4 v) { *(d4_there *)p = v; }
/* Lane by lane, of which gcc makes one instruction: of its own conversion it makes five. */
INLINE d4 double4(f4 v) { return (d4){v[0], v[1], v[2], v[3]}; }
INLINE f4 float4(d4 v) { return (f4){(float)v[0], (float)v[1], (float)v[2], (float)v[3]}; }
/* Rounded to float32 and back. What stands between keeps gcc 12 from leaving out both of the two
 * conversions, as it does where a vector of four doubles fits one register (-mavx2). */
INLINE d4 rounded4(d4 v)
{
    f4 narrow = float4(v);
#if defined(__SSE2__)
    __asm__("" : "+x"(narrow));
#elif defined(__aarch64__)
    __asm__("" : "+w"(narrow));
#else
    volatile f4 kept = narrow;
    narrow = kept;
#endif
    return double4(narrow);
}

INLINE f4 low4(f8 v) { return (f4){v[0], v[1], v[2], v[3]}; }
INLINE f4 high4(f8 v) { return (f4){v[4], v[5], v[6], v[7]}; }

/* C has no choice between vectors, but this compiles to one. */
INLINE f8 select8(i8 which, f8 a, f8 b) { return (f8)(((i8)a & which) | ((i8)b & ~which)); }
INLINE d4 select4(l4 which, d4 a, d4 b) { return (d4)(((l4)a & which) | ((l4)b & ~which)); }
INLINE f8 larger8(f8 a, f8 b) { return select8(a > b, a, b); }
INLINE d4 larger4(d4 a, d4 b) { return select4(a > b, a, b); }

INLINE float largest_of(f8 v)
{
    v = larger8(v, (f8){v[4], v[5], v[6], v[7], v[0], v[1], v[2], v[3]});
    v = larger8(v, (f8){v[2], v[3], v[0], v[1], v[6], v[7], v[4], v[5]});
    return v[0] > v[1] ? v[0] : v[1];
}

INLINE double sum4(d4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }
INLINE d4 sum8(f8 v) { return double4(low4(v)) + double4(high4(v)); }

INLINE int any8(i8 v)
{
    q4 both = (q4)v;
    return ((both[0] | both[1]) | (both[2] | both[3])) != 0;
}

/* Integers that order as floats do, NaN of either sign at the ends, and back. */
INLINE int32_t key_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits ^ ((bits >> 31) & INT32_MAX);
}

INLINE float of_key(int32_t key)
{
    float x;
    key ^= (key >> 31) & INT32_MAX;
    memcpy(&x, &key, sizeof x);
    return x;
}

INLINE int64_t wide_key_of(double x)
{
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits ^ ((bits >> 63) & INT64_MAX);
}

INLINE double of_wide_key(int64_t key)
{
    double x;
    key ^= (key >> 63) & INT64_MAX;
    memcpy(&x, &key, sizeof x);
    return x;
}

/* exp(g) for g <= 0, within EXP32 of itself; below -86 it is that of -86. The magic number rounds
 * to an integer in the low bits of the float; what is left over goes through Cephes' polynomial. */
INLINE f8 exp8(f8 g)
{
    const f8 zero = {0};
    g = larger8(g, zero - 86.0f);
    f8 shifted = g * 1.44269504f + 12582912.0f;
    u8 power = (u8)shifted << 23;
    f8 whole = shifted - 12582912.0f;
    f8 r = g - whole * 0.693359375f;
    r = r - whole * -2.12194440e-4f;
    f8 y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
    return (f8)((u8)y + power);
}

/* exp(g) for g in [-700, 0], within 2.5 * 2**-53 of itself, and exactly 1 for 0; of what is lower,
 * nonsense.
 *
 * g = k ln 2 + r: adding 1.5 * 2**52 to g log2(e) leaves the integer k in the lowest bits of the
 * sum. k has ten bits and the upper part of ln 2 has 32, so that their product and its difference
 * from g are exact; r is rounded by 2**-54 * 0.71. With |r| <= 0.3466 the polynomial, that which
 * meets (exp(r) - 1 - r) / r**2 at its Chebyshev nodes, is within 2**-55.7; of its roundings the
 * last one is by 2**-53, those before by 2**-53 * (0.35 + 0.06 * 5) * exp(0.35). */
INLINE d4 exp4_from_700(d4 g)
{
    d4 shifted = g * 1.4426950408889634 + 6755399441055744.0;
    q4 power = (q4)shifted << 52;
    d4 whole = shifted - 6755399441055744.0;
    d4 r = g - whole * 6.93147180369123816490e-01;
    r = r - whole * 1.90821492927058770002e-10;
    /* By pairs: from the one end to the other, each step would wait for the one before. */
    d4 r2 = r * r, r4 = r2 * r2;
    d4 low = (r * 0.16666666666666669 + 0.5000000000000001) +
             (r * 0.008333333333330051 + 0.04166666666662399) * r2;
    d4 high = (r * 0.00019841269863105968 + 0.0013888888917281794) +
              (r * 2.7557268378684192e-06 + 2.480152119021773e-05) * r2;
    d4 top = r * 2.5100424157005067e-08 + 2.7620138719733994e-07;
    d4 y = low + (high + top * r4) * r4;
    y = y * r2 + r + 1.0;
    return (d4)((q4)y + power);
}

/* The same for all g <= 0: below -700 it is that of -700. */
INLINE d4 exp4(d4 g)
{
    const d4 zero = {0};
    return exp4_from_700(larger4(g, zero - 700.0));
}

INLINE double exp1(double g) { return exp4((d4){g, g, g, g})[0]; }

/* float16 to float32, exactly: a denormal is the difference of two normal floats. */
INLINE f8 float16s(h8 bits)
{
    u8 wide = __builtin_convertvector(bits, u8);
    u8 size = wide & 0x7fff, sign = (wide & 0x8000) << 16;
    u8 normal = (size << 13) + (112u << 23);
    u8 special = (size << 13) | 0x7f800000u;
    f8 small = (f8)((size << 13) | (113u << 23)) - 0x1p-14f;
    u8 is_small = (u8)(size < 0x400), is_special = (u8)(size >= 0x7c00);
    u8 value = ((u8)small & is_small) | (normal & ~(is_small | is_special)) | (special & is_special);
    return (f8)(value | sign);
}

INLINE f8 bfloat16s(h8 bits) { return (f8)(__builtin_convertvector(bits, u8) << 16); }

#endif
