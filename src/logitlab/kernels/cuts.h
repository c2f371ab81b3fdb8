/* The steps of a chain on a whole row.
 *
 * A cut finds its list: what it needs to know of the row it estimates, computes where the bounds of
 * the estimate do not decide, and gives up where those of float64 do not. */
#ifndef LOGITLAB_CUTS_H
#define LOGITLAB_CUTS_H

#include "nucleus.h"

static Left top_k_of_row(Row *row, double k, int ties)
{
    int64_t count = (int64_t)k;
    float x = count <= row->chunks * 3 / 4
                  ? reached_by(row->peaks, row->chunks, count, count / 4, row->top)
                  : reached_by(row->x, row->size, count, count / 4, row->top);
    if (!gather(row, x))
        return UNDECIDED;
    if (row->list.count > count) {
        Edge edge;
        find_edge(row->list.y, NULL, row->list.count, k, 0, row->list.room, &edge);
        keep_to(&row->list, edge, ties);
    }
    weigh_list(&row->list);
    return LISTED;
}

/* What reaches a ratio to the most likely token. */
static Left ratio_of_row(Row *row, int kind, double value)
{
    int exact = kind == ETA_CUTOFF || kind == P_LESS;
    for (; exact < 2; exact++) {
        Range mass = {1, 1}, mean = {0, 0};
        if (kind != MIN_P && exact) {
            Moments sums = moments_of_mass(row);
            mass = about(sums.mass, bound64((double)row->size));
            mean = mean_of(kind, &sums, bound64((double)row->size));
        } else if (kind != MIN_P) {
            double z = estimate(row);
            mass = mass_of(z, bound32((double)row->size, z, row->y_top, row->wide || row->t != 1),
                           (double)row->size);
        }
        Range gap = gap_of(ratio_of(kind, value, mass, mean));
        if (!(gap.low > -1e30 && gap.high - gap.low < 1))
            continue;
        if (!list_all_above(row, row->top + row->t * widened(gap.low)))
            return UNDECIDED;
        if (keep_near(&row->list, gap.low, gap.high) == FOUND)
            return LISTED;
    }
    return UNDECIDED;
}

static Left top_n_sigma_of_row(Row *row, double n, int of_sample)
{
    Moments sums = moments_of_logits(row);
    Range reach = reach_of(n, &sums, (double)row->size, of_sample);
    if (reach.high < 0 || !list_all_above(row, row->top - row->t * widened(reach.high)))
        return UNDECIDED;
    return keep_near(&row->list, -reach.high, -reach.low) == FOUND ? LISTED : UNDECIDED;
}

/* The most typical tokens are sought among the likely ones, then twice as deep as the average and a
 * little more, then among all. */
static Left typical_of_row(Row *row, double p)
{
    const double size = (double)row->size, relative = bound64(size);
    Moments sums = moments_of_mass(row);
    Range mass = about(sums.mass, relative), mean = mean_of(TYPICAL_P, &sums, relative);
    const float looks[] = {reached_by_peaks(row, row->chunks < 512 ? row->chunks / 2 : 256),
                           (float)(row->top - row->t * (2 * mean.high + 4)), -INFINITY};
    for (int i = 0; i < 3; i++) {
        double end = -INFINITY;
        if (looks[i] > -3e38f)
            end = list_down_to(row, looks[i]);
        else if (!list_all_above(row, -INFINITY))
            end = NAN;
        if (end != end)
            return UNDECIDED;
        int found = keep_typical(&row->list, p, mass, mean, row->y_top - end);
        if (found != NOWHERE)
            return found == FOUND ? LISTED : UNDECIDED;
    }
    return UNDECIDED;
}

/* XTC on a whole row: the top choices are listed, and struck from a copy of it. */
static Left exclude_from_row(Row *row, double share, int ties)
{
    List *list = &row->list;
    double size = (double)row->size;
    if (row->wide) {
        if (!list_all_above(row, -INFINITY) || cut_list(row, EXCLUDE_TOP, share, ties) != FOUND)
            return UNDECIDED;
        return LISTED;
    }
    for (int exact = 0; exact < 2; exact++) {
        double z = exact ? compute(row, -INFINITY) : estimate(row);
        double relative = exact ? bound64(size) : bound32(size, z, row->y_top, row->t != 1);
        Range mass = mass_of(z, relative, size);
        Range gap = gap_of((Range){share * mass.low, share * mass.high});
        if (!(gap.low > VANISHING) || !list_all_above(row, row->top + row->t * widened(gap.low)))
            return UNDECIDED;
        if (share * mass.low > 1)
            return WHOLE;
        if (keep_near(list, gap.low, gap.high) != FOUND || share * mass.high > 1)
            continue;
        if (list->count < 2)
            return WHOLE;
        if (row->x != row->copy)
            copy_row(row);
        double least = INFINITY;
        int64_t equal = 0, seen = 0;
        for (int64_t i = 0; i < list->count; i++) {
            if (list->y[i] < least)
                least = list->y[i], equal = 0;
            equal += list->y[i] == least;
        }
        for (int64_t i = 0; i < list->count; i++) {
            int at_least = list->y[i] == least;
            int stays = at_least && (ties == ALL || seen == (ties == HIGHEST ? equal - 1 : 0));
            seen += at_least;
            if (!stays)
                row->copy[list->ids[i]] = -INFINITY;
        }
        fill_tail(row);
        if (!find_peaks(row))
            return UNDECIDED;
        find_top(row);
        return WHOLE;
    }
    return UNDECIDED;
}

static Left cut_row(Row *row, int kind, double value, int option)
{
    switch (kind) {
    case TOP_K: return top_k_of_row(row, value, option);
    case TOP_P: return nucleus_of_row(row, value, option);
    case TOP_N_SIGMA: return top_n_sigma_of_row(row, value, option);
    case TYPICAL_P: return typical_of_row(row, value);
    case EXCLUDE_TOP: return exclude_from_row(row, value, option);
    default: return ratio_of_row(row, kind, value);
    }
}

/* At temperature 0 the most likely token alone stays, the first of equal ones. */
static Left greedy_of_row(Row *row)
{
    List *list = &row->list;
    row->t = 1;
    if (!gather(row, row->top))
        return UNDECIDED;
    Edge edge;
    find_edge(list->y, NULL, list->count, 1, 0, list->room, &edge);
    keep_to(list, edge, LOWEST);
    weigh_list(list);
    return LISTED;
}

/* List a wide nucleus after all, for steps that follow it. */
static Left list_wide(Row *row)
{
    List *list = &row->list;
    int64_t count = list->count;
    int32_t *beside = (int32_t *)list->room[4];
    memcpy(beside, list->ids, (size_t)count * sizeof(int32_t));
    if (!gather(row, row->edge))
        return UNDECIDED;
    int64_t kept = 0, next = 0, all = list->count, written = 0;
    int32_t *above = (int32_t *)list->room[3];
    for (int64_t i = 0; i < all; i++)
        if (row->x[list->ids[i]] >= row->edge)
            above[kept++] = list->ids[i];
    for (int64_t i = 0; i < kept || next < count;)
        list->ids[written++] =
            next == count || (i < kept && above[i] < beside[next]) ? above[i++] : beside[next++];
    list->count = written;
    for (int64_t i = 0; i < written; i++)
        list->y[i] = y_of(row, list->ids[i]);
    weigh_list(list);
    return LISTED;
}

typedef struct {
    int64_t count;
    const int32_t *steps;  /* kind and option of each */
    const double *values;  /* of each step, for all rows, or one for each */
    int64_t each;          /* how many of these a step has */
} Program;

/* Run the steps of a chain on row number i. */
static Left run_steps(Row *row, const Program *program, int64_t i)
{
    Left left = WHOLE;
    int is_cut = 0;
    for (int64_t s = 0; s < program->count; s++) {
        int kind = program->steps[2 * s], option = program->steps[2 * s + 1];
        double value = program->values[s * program->each + (program->each > 1 ? i : 0)];
        if (is_neutral(kind, value, row->size))
            continue;
        if (left == WIDE && (left = list_wide(row)) == UNDECIDED)
            return UNDECIDED;
        if (left == LISTED) {
            if (cut_list(row, kind, value, option) != FOUND)
                return UNDECIDED;
        } else if (kind == TEMPERATURE) {
            if (value == 0 && !is_cut && row->t == 1)
                left = greedy_of_row(row);
            else if (is_cut || row->t != 1 || !set_temperature(row, value))
                return UNDECIDED;
        } else {
            left = cut_row(row, kind, value, option);
            is_cut = 1;
        }
        if (left == UNDECIDED)
            return UNDECIDED;
    }
    return left;
}

#endif
