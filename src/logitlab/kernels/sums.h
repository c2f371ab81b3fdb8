/* Running sums of a row in descending order, for sweeps: one pass for what takes numpy eight.

   The sums run in the order of the row. Their bits are not those of numpy, whose exponential is
   another one; what that can change is derived in sweeps/prefixes.py, and decided by numpy. */
#ifndef LOGITLAB_SUMS_H
#define LOGITLAB_SUMS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "chunks.h"

typedef double sums_lanes __attribute__((vector_size(64)));
typedef float sums_narrow __attribute__((vector_size(32)));
typedef uint64_t sums_bits __attribute__((vector_size(64)));
#define SUMS_WIDTH 8

/* Weights below 2**-54 change no running sum that starts at 1. */
#define SUMS_STANDSTILL 38.0

/* exp(g) for g in [-700, 0], within 2.5 * 2**-53 relative, and exactly 1 for 0; of what is lower,
   nonsense. It is exp4 of chunks.h without its clamp, and with a shorter chain of operations, which
   is what a row of exponentials waits for.

   g = k ln 2 + r: adding 1.5 * 2**52 to g log2(e) leaves the integer k in the lowest bits of the
   sum. k has ten bits and the upper part of ln 2 has 32, so that their product and its difference
   from g are exact; r is rounded by 2**-54 * 0.71. With |r| <= 0.3466 the polynomial, that through
   Chebyshev's points, is within 2**-55.7; of its roundings the last one is by 2**-53, those before
   by 2**-53 * (0.35 + 0.06 * 5) * exp(0.35). */
INLINE void sums_exp(sums_lanes *values)
{
    sums_lanes g = *values;
    sums_lanes whole = g * 0x1.71547652b82fep+0 + 0x1.8p52;
    sums_bits power = (sums_bits)whole << 52;
    whole -= 0x1.8p52;
    sums_lanes r = (g - whole * 0x1.62e42feep-1) - whole * 0x1.a39ef35793c76p-33;
    sums_lanes r2 = r * r, r4 = r2 * r2;
    sums_lanes low = (0x1.5555555555556p-3 * r + 0x1.0000000000001p-1)
                     + (0x1.11111111109b5p-7 * r + 0x1.5555555553d68p-5) * r2;
    sums_lanes middle = (0x1.a01a01a7c2f03p-13 * r + 0x1.6c16c17889ef9p-10)
                        + (0x1.71de0db2f585ep-19 * r + 0x1.a019b914985a9p-16) * r2;
    sums_lanes high = 0x1.af389ed28db09p-26 * r + 0x1.28917c8be7ad6p-22;
    sums_lanes y = (((high * r4 + middle) * r4 + low) * r2 + r) + 1.0;
    *values = (sums_lanes)((sums_bits)y + power);
}

/* Divide in double, or multiply, and round to the dtype of the row. Return whether all are finite. */
INLINE int sums_divide(const void *row, int wide, int64_t count, double by, int times, void *out)
{
    int finite = 1;
    for (int64_t i = 0; i < count; i++) {
        double x = wide ? ((const double *)row)[i] : (double)((const float *)row)[i];
        double y = times ? x * by : x / by;
        if (wide) {
            ((double *)out)[i] = y;
            finite &= fabs(y) <= 0x1.fffffffffffffp1023;
        } else {
            float narrow = (float)y;
            ((float *)out)[i] = narrow;
            finite &= fabsf(narrow) <= 0x1.fffffep127f;
        }
    }
    return finite;
}

MANY int sums_quotients(const void *row, int wide, int64_t count, double by, int times, void *out)
{
    if (wide)
        return times ? sums_divide(row, 1, count, by, 1, out)
                     : sums_divide(row, 1, count, by, 0, out);
    return times ? sums_divide(row, 0, count, by, 1, out) : sums_divide(row, 0, count, by, 0, out);
}

INLINE double sums_logit(const void *row, int wide, int64_t at)
{
    return wide ? ((const double *)row)[at] : (double)((const float *)row)[at];
}

/* Depths below the first token of as many as a vector holds. */
INLINE sums_lanes sums_depths(const void *row, int wide, int64_t at, double top)
{
    sums_lanes logits;
    if (wide) {
        memcpy(&logits, (const double *)row + at, sizeof logits);
    } else {
        sums_narrow narrow;
        memcpy(&narrow, (const float *)row + at, sizeof narrow);
        logits = __builtin_convertvector(narrow, sums_lanes);
    }
    return top - logits;
}

/* Fill in depths below the first token, and running sums over the tokens that can change one: of
   weights, and of weights times depth. Return how many tokens those are. */
INLINE int64_t sums_of(const void *row, int wide, int64_t count, double *depth, double *mass,
                       double *depths)
{
    double top = sums_logit(row, wide, 0), z = 0.0, s = 0.0;
    int64_t at = 0, whole = count - SUMS_WIDTH;
    for (; at <= whole && top - sums_logit(row, wide, at + SUMS_WIDTH - 1) <= SUMS_STANDSTILL;
         at += SUMS_WIDTH) {
        sums_lanes below = sums_depths(row, wide, at, top), weight = -below;
        sums_exp(&weight);
        memcpy(depth + at, &below, sizeof below);
        sums_lanes product = weight * below;
        for (int i = 0; i < SUMS_WIDTH; i++) {
            mass[at + i] = z += weight[i];
            depths[at + i] = s += product[i];
        }
    }
    int64_t head = at;
    for (; at < count; at++)
        depth[at] = top - sums_logit(row, wide, at);
    for (; head < count && depth[head] <= SUMS_STANDSTILL; head++) {
        sums_lanes weight = {0};
        weight[0] = -depth[head];
        sums_exp(&weight);
        mass[head] = z += weight[0];
        depths[head] = s += weight[0] * depth[head];
    }
    return head;
}

MANY int64_t sums_in_order(const void *row, int wide, int64_t count, double *depth, double *mass,
                           double *depths)
{
    return wide ? sums_of(row, 1, count, depth, mass, depths)
                : sums_of(row, 0, count, depth, mass, depths);
}

#endif
