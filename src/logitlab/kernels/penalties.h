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
INLINE double patched(const Patch *patch, double x, double value, int64_t count)
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

/* Look for the peaks of the chunks that were touched anew. */
MANY void find_peaks_of(Row *row)
{
    i8 fine = (i8){0} - 1;
    row->top = -INFINITY;
    for (int64_t c = 0; c < row->chunks; c++) {
        if (row->touched[c])
            row->peaks[c] = chunk_peak(chunk_of(row, c), &fine);
        row->top = row->peaks[c] > row->top ? row->peaks[c] : row->top;
    }
}

/* Patch the tokens of row number i as some patches say that are of the same tokens. */
static int patch_tokens(Row *row, const Patch *patches, int64_t many, int64_t i)
{
    int is_bias = patches->kind == BIAS;
    int64_t first = patches->starts[is_bias ? 0 : i], end = patches->starts[is_bias ? 1 : i + 1];
    for (int64_t place = first; place < end; place++) {
        int64_t token = patches->tokens[place];
        float x = row->copy[token];
        if (x == -INFINITY)
            continue;
        for (const Patch *patch = patches; patch < patches + many; patch++) {
            int64_t own = is_bias ? place : 0;
            if (patch->each > 1)
                own += is_bias ? i * end : i;
            double value = patch->values[own];
            if (patch->kind != ADDITIVE && value == (patch->kind == REPETITION))
                continue;
            double y = patched(patch, x, value, is_bias ? 0 : patch->counts[place]);
            if (!(y <= 3.40282346e38 && (y >= -3.40282346e38 || value == -INFINITY)))
                return 0;
            x = (float)y;
        }
        row->copy[token] = x;
        row->touched[token / CHUNK] = 1;
    }
    return 1;
}

/* Patch row number i, which has to be a copy. Returns whether nothing overflows and a token is
 * left. */
static int patch_row(Row *row, const Patch *patches, int64_t many, int64_t i)
{
    memset(row->touched, 0, (size_t)row->chunks);
    for (int64_t k = 0, same; k < many; k += same) {
        for (same = 1; k + same < many && patches[k].kind != BIAS && patches[k + same].kind != BIAS &&
                       patches[k + same].tokens == patches[k].tokens;)
            same++;
        if (!patch_tokens(row, patches + k, same, i))
            return 0;
    }
    fill_tail(row);
    find_peaks_of(row);
    return row->top > -INFINITY;
}

#endif
