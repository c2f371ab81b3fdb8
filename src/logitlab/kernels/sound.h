/* Whether the compiler has made of this what it says: looked at once, when the module is loaded.
 *
 * gcc 12 left out a rounding to float32 where its flags were those of AVX2, and tokens were others.
 * What it makes of a row is therefore compared with plain steps, each stored before the next. */
#ifndef LOGITLAB_SOUND_H
#define LOGITLAB_SOUND_H

#include "row.h"

static int is_sound(void)
{
    static const double temperatures[] = {0.8, 1.0, 1.5};
    float x[CHUNK];
    double wide[CHUNK], sums[1];
    for (int of_wide = 0; of_wide < 2; of_wide++)
        for (int k = 0; k < 3; k++) {
            volatile double t = temperatures[k], mass = 0;
            for (int i = 0; i < CHUNK; i++) {
                wide[i] = 9.1 - (i * 29 % CHUNK) / (1.7 * t);
                x[i] = (float)wide[i];
                wide[i] = of_wide ? wide[i] : x[i];
            }
            Row row = {.size = CHUNK, .chunks = 1, .x = x, .wide = of_wide ? wide : NULL,
                       .sums = sums, .top = x[0], .t = t};
            volatile float narrow = (float)(wide[0] / t);
            row.y_top = of_wide ? wide[0] / t : narrow;
            for (int i = 0; i < CHUNK; i++) {
                narrow = (float)(wide[i] / t);
                mass += exp((of_wide ? wide[i] / t : narrow) - row.y_top);
            }
            double estimated = estimate(&row), computed = compute(&row, -INFINITY);
            if (!(fabs(computed - mass) <= bound64(CHUNK) * mass &&
                  fabs(estimated - mass) <= bound32(CHUNK, mass, row.y_top, 1) * mass))
                return 0;
        }
    return 1;
}

#endif
