/* From a row to tokens: the first of them, by id, at which the running mass exceeds a share. */
#ifndef LOGITLAB_DRAW_H
#define LOGITLAB_DRAW_H

#include "cuts.h"

/* Place among n + 1 rising sums, the first of them 0, of the last that is at most the target. */
static int64_t last_at_most(const double *sums, int64_t n, double target)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (sums[middle] <= target)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static int draw_listed(const List *list, const double *luck, int64_t draws, int64_t *tokens)
{
    double *sums = list->room[0], mass = 0, doubt;
    if (list->count == 1) {
        for (int64_t k = 0; k < draws; k++)
            tokens[k] = list->ids[0];
        return FOUND;
    }
    for (int64_t i = 0; i < list->count; i++) {
        sums[i] = mass;
        mass += list->w[i];
    }
    sums[list->count] = mass;
    doubt = bound_listed(list) * mass;
    for (int64_t k = 0; k < draws; k++) {
        double target = luck[k] * mass;
        int64_t i = last_at_most(sums, list->count, target);
        if (i == list->count || sums[i + 1] - target < doubt || (i && target - sums[i] < doubt))
            return UNSURE;
        tokens[k] = list->ids[i];
    }
    return FOUND;
}

/* Draw from a row, or a wide nucleus of it, whose chunks' masses are known up to a doubt. */
static int draw_row(Row *row, Left left, double doubt, const double *luck, int64_t draws,
                    int64_t *tokens)
{
    const List *list = &row->list;
    double *cum = row->cum;
    cum[0] = 0;
    for (int64_t c = 0; c < row->chunks; c++)
        cum[c + 1] = cum[c] + row->sums[c];
    for (int64_t k = 0; k < draws; k++) {
        double target = luck[k] * cum[row->chunks];
        int64_t c = last_at_most(cum, row->chunks, target), beside = 0;
        if (c == row->chunks)
            return UNSURE;
        if (left == WIDE) /* the first that is listed in this chunk */
            for (int64_t high = list->count; beside < high;) {
                int64_t middle = (beside + high) / 2;
                if (list->ids[middle] < c * CHUNK)
                    beside = middle + 1;
                else
                    high = middle;
            }
        const float *p = chunk_of(row, c);
        double sum = cum[c];
        int64_t token = -1;
        for (int64_t j = c * CHUNK; token < 0 && j < row->size && j < (c + 1) * CHUNK; j++) {
            int stays = p[j - c * CHUNK] > -INFINITY;
            if (left == WIDE) {
                int is_listed = beside < list->count && list->ids[beside] == j;
                beside += is_listed;
                stays = is_listed || p[j - c * CHUNK] >= row->edge;
            }
            if (!stays)
                continue;
            double before = sum;
            sum += exp1(y_of(row, j) - row->y_top);
            if (sum <= target)
                continue;
            if (sum - target < doubt || (before > 0 && target - before < doubt))
                return UNSURE;
            token = j;
        }
        if (token < 0)
            return UNSURE;
        tokens[k] = token;
    }
    return FOUND;
}

/* Draw from what is left of a row. */
static int draw(Row *row, Left left, const double *luck, int64_t draws, int64_t *tokens)
{
    double size = (double)row->size;
    if (left == LISTED)
        return draw_listed(&row->list, luck, draws, tokens);
    if (left == WIDE) {
        if (draw_row(row, WIDE, row->doubt, luck, draws, tokens) == FOUND)
            return FOUND;
        double mass = compute(row, row->edge);
        for (int64_t i = 0; i < row->list.count; i++)
            row->sums[row->list.ids[i] / CHUNK] += row->list.w[i], mass += row->list.w[i];
        return draw_row(row, WIDE, bound64(size) * mass, luck, draws, tokens);
    }
    double mass = estimate(row);
    double relative = bound32(size, mass, row->y_top, row->wide || row->t != 1);
    if (draw_row(row, WHOLE, relative * mass, luck, draws, tokens) == FOUND)
        return FOUND;
    mass = compute(row, -INFINITY);
    return draw_row(row, WHOLE, bound64(size) * mass, luck, draws, tokens);
}

#endif
