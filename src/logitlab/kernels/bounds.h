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

/* What all bounds are multiplied by: 1, and 0 in a test that has to find wrong tokens then. */
static double slack = 1.0;

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
 * 1e-3; weights below exp(-86) are left at that. */
INLINE double bound32(double size, double mass, double top, int rounded)
{
    double gap = log(size) - log(mass) + 1e-3;
    double quotients = rounded ? 3.0 * fabs(top) + gap : 0.0;
    double relative = 1.02 * (quotients + 3.0 * gap + 5.0) * UNIT + size * 5e-38;
    return relative < 1e-3 ? slack * relative : 1.0;
}

/* The same for float64 weights of exact quotients. The dense path adds them up in order, each
 * addition off by 2**-53 of the sum so far; numpy's exponential and ours take 2**-50 together. */
INLINE double bound64(double size) { return slack * (size * 0x1p-52 + 0x1p-49); }

/* The same for weights that were computed in float64 and stored in float32. */
INLINE double bound_stored(double size) { return slack * 1.01 * UNIT + bound64(size); }

#endif
