/* How far an estimate can be from what the dense path computes. Each bound is one function; tests
 * measure the errors and hold them against these. */
#ifndef LOGITLAB_BOUNDS_H
#define LOGITLAB_BOUNDS_H

#include <math.h>
#include <stdint.h>

#include "chunks.h"

#define UNIT 0x1p-24   /* half a unit in the last place of float32 */
#define EXP32 0x2p-24  /* relative error of exp8 from -86 up; below, 5e-38 in all */
#define EXP64 0x1p-51  /* relative error of exp4 from -700 up */
#define VANISHING -690.0 /* below exp(-700) the dense path has weights of 0 */

/* What all bounds are multiplied by: 1, and 0 in a test that has to find wrong tokens then. */
static double slack = 1.0;

typedef struct {
    double low, high;
} Range;

INLINE Range about(double x, double relative)
{
    return (Range){x * (1 - relative), x * (1 + relative)};
}

/* Error of any partial sum of float32 weights, relative to the sum Z of the whole row.
 *
 * The estimate of a weight is exp8(fl(fl(x - top) * fl(1 / t))), the dense path's is
 * exp(fl(x / t) - fl(top / t)), its quotients rounded to float32. With g = (top - x) / t, in units
 * of 2**-24 of a gap: the dense quotients are off by |x / t| and |top / t|, and
 * |x / t| <= |top / t| + g; not at all where t is 1. (Of rows in float64 the quotients are not
 * rounded to float32, but the logits are, before the estimate: the same.) The estimate's
 * subtraction, its factor and its product are off by g each. An absolute error of a gap is a
 * relative one of its weight. To that come 2 for exp8 and 3 for the additions of a chunk, of which
 * three follow each other in float32. Summed with the weights, g becomes the mean gap, which is
 * H - ln Z and so at most ln V - ln Z.
 *
 * Where a sum of such weights meets an exact one, within a chunk or against a list, the rounding of
 * top / t does not cancel: it counts once more. A fiftieth covers what is of second order, up to
 * 1e-3; weights below exp(-86) are left at that. From 1e-3 on nothing is known: 1. */
INLINE double bound32(double size, double mass, double top, int rounded)
{
    double gap = log(size) - log(mass) + 1e-3;
    double quotients = rounded ? 3.0 * fabs(top) + gap : 0.0;
    double relative = 1.02 * (quotients + 3.0 * gap + 5.0) * UNIT + size * 5e-38;
    return relative < 1e-3 ? slack * relative : 1.0;
}

/* The same for float64 weights of exact quotients. The dense path adds them up in order, each
 * addition off by 2**-53 of the sum so far: so is any partial sum, beside the same share of the
 * whole, by size * 2**-53 of the whole at most. So are ours, in whichever order they go; and
 * numpy's exponential and ours take 2**-50 together. */
INLINE double bound64(double size) { return slack * (size * 0x1p-52 + 0x1p-49); }

/* The same for weights that were computed in float64 and stored in float32. */
INLINE double bound_stored(double size) { return slack * 1.01 * UNIT + bound64(size); }

/* The same where the sum of a list and a share of the whole of it are added up in two orders: ours
 * are off twice then. */
INLINE double bound_share(double size) { return 2 * bound64(size); }

/* The sum of a row, given an estimate of it. Of an estimate that may be off by anything no more is
 * known than of any row: one weight is 1, and none is above. */
INLINE Range mass_of(double mass, double relative, double size)
{
    return relative < 1 ? about(mass, relative) : (Range){1, size};
}

/* The same, given that of the tokens which reach a logit, and of the other chunks' largest ones:
 * the least that these are, and the most that 64 of each could be.
 *
 * Weights of peaks are float32: as of bound32, 2 |top / t| + 4 g + 2 units, g at most 86 where they
 * matter. Where |top / t| is below PEAKS_KNOWN these are less than 1.3e-3. As much again comes from
 * a float64 token beside the float32 that it reaches. The hundredth is more. */
#define PEAKS_KNOWN 1e4
INLINE Range mass_beside(double head, double least, double most, double size)
{
    double relative = bound64(size);
    return (Range){(head + 0.99 * least) * (1 - relative),
                   (head + 1.01 * CHUNK * most) * (1 + relative)};
}

/* The least gap of a ratio to the top, and the least that surely is.
 *
 * The dense path compares with ln of a ratio that it has computed from its own sums, whose bounds
 * are those of the ratio here. To these come: two products, a root and an exponential on either
 * side, 2**-51 in all on each, and two logarithms, within two units in the last place each. Thus
 * 2**-50 of the ratio and of its logarithm; taken four times. ln 1 is exact. */
INLINE Range gap_of(Range ratio)
{
    double low = log(fmin(ratio.low, 1.0)), high = log(fmin(ratio.high, 1.0));
    return (Range){low < 0 ? low - slack * 0x1p-48 * (1 - low) : 0,
                   high < 0 ? high + slack * 0x1p-48 * (1 - high) : 0};
}

/* An average over a row, a quotient of two sums whose terms are not negative: each is off by the
 * relative error of a sum, and a term by some units more. Twice that; and what vanishes is below
 * any unit of 1. */
INLINE Range mean_about(double mean, double relative)
{
    double off = 4 * relative * (mean + 1);
    return (Range){fmax(mean - off, 0), mean + off};
}

/* Relative error of a standard deviation. Of the variance, as the mean of squares less the squared
 * mean, errors of the sums weigh as much more as it is smaller than the former: three such errors,
 * of which the root takes half; and the dense path's own, once. */
INLINE double bound_deviation(double size, double square, double variance)
{
    return 4 * bound64(size) * (1 + square / variance);
}

/* How far two deviations |depth - mean depth| can each be from those of the dense path, beside what
 * the bounds of the mean allow for. The depth is the same number in both; the difference is
 * rounded once on each side, and bounds of means were rounded a few times. */
INLINE double bound_typical(double deviation, double mean)
{
    return slack * 0x1p-50 * (1 + deviation + mean);
}

/* By how much less a logit can be than another one whose quotient by t it reaches.
 *
 * Both quotients are rounded to float32: by 2**-24 of each, or by half of the smallest float. As
 * much for a logit and for the top of float64 that were rounded to float32, and for the result.
 * That is three times 2**-24 of |x| + |top|; taken eight times, and 16 halves of the smallest. */
INLINE double bound_logit(double x, double top, double t)
{
    return 0x1p-21 * (fabs(x) + fabs(top)) + 0x1p-146 * (1 + t);
}

/* A gap, a little wider than products of it are rounded. */
INLINE double widened(double gap) { return gap * (1 + 0x1p-40); }

#endif
