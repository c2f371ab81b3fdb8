/* Steps that change the logits of few tokens: penalties on what occurs, and a bias.
 *
 * Each is computed in float64 and rounded once, as the dense step does it; whatever overflows is
 * left to that. */
#ifndef LOGITLAB_PENALTIES_H
#define LOGITLAB_PENALTIES_H

#include "row.h"

enum { REPETITION, FREQUENCY, PRESENCE, ADDITIVE, BIAS };

typedef struct {
    int kind;
    double presence;      /* of ADDITIVE */
    const double *values; /* one for all rows, or one for each; of BIAS one for each token, too */
    int64_t each;
    const int64_t *tokens; /* which occur, row by row; of BIAS the same in all */
    const int64_t *counts; /* how often */
    const int64_t *starts; /* where those of each row begin, and the end */
} Patch;

/* Products are stored before they are subtracted: a fused operation would round otherwise. */
static double patched(const Patch *patch, double x, double value, int64_t count)
{
    volatile double product = value * (double)count;
    if (patch->kind == REPETITION)
        return x > 0 ? x / value : x * value;
    if (patch->kind == FREQUENCY)
        return x - product;
    if (patch->kind == ADDITIVE) {
        volatile double both = product + patch->presence;
        return x - both;
    }
    return patch->kind == PRESENCE ? x - value : x + value;
}

/* Patch row number i, which has to be a copy. Returns whether nothing overflows and a token is
 * left. */
static int patch_row(Row *row, const Patch *patches, int64_t many, int64_t i, uint8_t *touched)
{
    memset(touched, 0, (size_t)row->chunks);
    for (int64_t k = 0; k < many; k++) {
        const Patch *patch = patches + k;
        int is_bias = patch->kind == BIAS;
        int64_t first = patch->starts[is_bias ? 0 : i], end = patch->starts[is_bias ? 1 : i + 1];
        double neutral = patch->kind == REPETITION;
        const double *values = patch->values;
        if (is_bias && patch->each > 1)
            values += i * end;
        else if (patch->each > 1)
            values += i;
        for (int64_t place = first; place < end; place++) {
            int64_t token = patch->tokens[place];
            double x = row->copy[token], value = values[is_bias ? place : 0];
            if (x == -INFINITY || (value == neutral && patch->kind != ADDITIVE))
                continue;
            double y = patched(patch, x, value, is_bias ? 0 : patch->counts[place]);
            if (!(y <= 3.40282346e38 && (y >= -3.40282346e38 || value == -INFINITY)))
                return 0;
            row->copy[token] = (float)y;
            touched[token / CHUNK] = 1;
        }
    }
    fill_tail(row);
    i8 fine = (i8){0} - 1;
    row->top = -INFINITY;
    for (int64_t c = 0; c < row->chunks; c++) {
        if (touched[c])
            row->peaks[c] = chunk_peak(chunk_of(row, c), &fine);
        row->top = row->peaks[c] > row->top ? row->peaks[c] : row->top;
    }
    return row->top > -INFINITY;
}

#endif
