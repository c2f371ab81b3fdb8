/* Running sums of a row in descending order, for sweeps: two passes for what takes numpy eight.

   The sums run in the order of the row. Their bits are not those of numpy, whose exponential is
   another one; what that can change is derived in sweeps/prefixes.py, and decided by numpy. */
#ifndef LOGITLAB_SUMS_H
#define LOGITLAB_SUMS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "chunks.h"

/* Weights below 2**-54 change no running sum that starts at 1. */
#define SUMS_STANDSTILL 38.0

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

/* Fill in depths below the first token, and running sums over the tokens that can change one: of
   weights, and of weights times depth. Return how many tokens those are. */
INLINE int64_t sums_of(const void *row, int wide, int64_t count, double *depth, double *mass,
                       double *depths)
{
    double top = sums_logit(row, wide, 0), z = 0.0, s = 0.0;
    int64_t head = 0;
    for (int64_t i = 0; i < count; i++)
        depth[i] = top - sums_logit(row, wide, i);
    /* The weights of a chunk at once, as each sum waits for the one before. */
    while (head < count && depth[head] <= SUMS_STANDSTILL) {
        double weight[CHUNK];
        int64_t i = 0, n = count - head < CHUNK ? count - head : CHUNK;
        for (; i + 4 <= n; i += 4)
            store4(weight + i, exp4_from_700(-load4(depth + head + i)));
        for (; i < n; i++)
            weight[i] = exp1(-depth[head + i]);
        for (i = 0; i < n && depth[head] <= SUMS_STANDSTILL; i++, head++) {
            mass[head] = z += weight[i];
            depths[head] = s += weight[i] * depth[head];
        }
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
