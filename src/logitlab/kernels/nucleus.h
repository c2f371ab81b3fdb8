/* The nucleus of a row: among its most likely tokens, or too wide for a list. */
#ifndef LOGITLAB_NUCLEUS_H
#define LOGITLAB_NUCLEUS_H

#include "listed.h"

static int list_all_above(Row *row, double x)
{
    if (!gather(row, x))
        return 0;
    weigh_list(&row->list);
    return 1;
}

/* A logit that the peaks of so many chunks reach, or of most of the chunks there are. */
static float reached_by_peaks(const Row *row, int64_t count)
{
    return reached_by(row->peaks, row->chunks, count < 1 ? 1 : count, count / 4, row->top);
}

/* List the tokens that reach a logit. Returns down to where no token is missing, under the
 * temperature, or NAN. */
static double list_down_to(Row *row, float reached)
{
    List *list = &row->list;
    if (!gather(row, reached))
        return NAN;
    double end = (double)(float)((double)reached / row->t);
    if (row->wide) /* rounded to float32, a logit may be this one or one just below */
        end = nextafterf(reached, INFINITY) / row->t;
    int64_t kept = 0;
    for (int64_t i = 0; i < list->count; i++) {
        list->ids[kept] = list->ids[i], list->y[kept] = list->y[i];
        kept += list->y[i] >= end;
    }
    list->count = kept;
    if (!kept)
        return NAN;
    weigh_list(list);
    return end;
}

/* A nucleus of many tokens: a fence around its edge, and the few tokens between are looked at.
 *
 * A sample tells roughly where the edge is and how dense the mass is there; the mass above that
 * place tells how far off it is, and with the density where the edge must be. */
static Left wide_nucleus(Row *row, double p, int ties)
{
    List *list = &row->list;
    double *x = list->y, *w = list->w, size = (double)row->size;
    double mass = compute_and_store(row), goal = p * mass, doubt = bound_stored(size) * mass;
    double sampled = 0, near = 0;
    int64_t step = row->chunks >= 512 ? row->chunks / 256 : 1, count = 0;
    for (int64_t c = 0; c < row->size / CHUNK; c += step)
        for (int64_t j = c * CHUNK + c % 8 * 8, end = j + 8; j < end; j++, count++) {
            x[count] = row->x[j];
            sampled += w[count] = row->weights[j];
        }
    Edge edge;
    if (find_edge(x, w, count, p * sampled, 0, list->room, &edge) != FOUND)
        return UNDECIDED;
    double reach = 0.1 * row->t, at = edge.value;
    for (int64_t i = 0; i < count; i++)
        near += fabs(x[i] - at) < reach ? w[i] : 0;
    double density = fmax(near / sampled / (2 * reach), 1e-3); /* share of the mass a logit */
    double off = p - mass_above(row, (float)at) / mass;
    double half = (0.15 * fabs(off) + 2e-4) / density, mass_high;
    float high, low;
    at -= off / density;
    for (int attempt = 0;; attempt++, half *= attempt > 1 ? 16 : 4) {
        high = (float)(at + half), low = (float)(at - half);
        if (attempt == 6 || !(low < high))
            return UNDECIDED;
        mass_high = fence(row, high, low, list->ids, &list->count);
        double between = 0;
        for (int64_t i = 0; i < list->count; i++)
            between += row->weights[list->ids[i]];
        if (mass_high > goal - 3 * doubt)
            at = high;
        else if (mass_high + between < goal + 3 * doubt)
            at = low;
        else
            break;
    }
    for (int64_t i = 0; i < list->count; i++)
        list->y[i] = y_of(row, list->ids[i]);
    weigh_against(list, row->y_top);
    int found = UNSURE;
    for (int exact = 0; exact < 2 && found == UNSURE; exact++) {
        if (exact) {
            mass_high = compute(row, high);
            doubt = bound64(size) * mass;
        }
        found = find_edge(list->y, list->w, list->count, goal - mass_high, doubt, list->room, &edge);
    }
    if (found != FOUND)
        return UNDECIDED;
    /* All that is equal to the edge under the temperature has to be between the two. */
    if (y_below(row, high) == edge.value || y_below(row, low) == edge.value)
        return UNDECIDED;
    keep_to(list, edge, ties);
    for (int64_t i = 0; i < list->count; i++)
        row->sums[list->ids[i] / CHUNK] += list->w[i];
    row->edge = high;
    row->doubt = doubt;
    return WIDE;
}

/* The nucleus: among the likely tokens, if they hold it, or else wide.
 *
 * The mass of the others is at most that of so many peaks, and their peaks are some of it. Where
 * that does not tell, the mass of the row is estimated, and in the end computed. */
static Left nucleus_of_row(Row *row, double p, int ties)
{
    static const int64_t looks[] = {32, 256, 2048}; /* how many peaks a list reaches down to */
    List *list = &row->list;
    if (row->chunks < 16) { /* too few for a head and a fence: all are listed */
        if (!list_all_above(row, -INFINITY) || cut_list(row, TOP_P, p, ties) != FOUND)
            return UNDECIDED;
        return LISTED;
    }
    const int64_t most = row->chunks * 3 / 4;
    const double size = (double)row->size, relative = bound64(size);
    Range mass = {0, 0};
    int known = fabs(row->y_top) < PEAKS_KNOWN ? 0 : 1; /* 0: by peaks, 1: estimated, 2: computed */
    if (known)
        mass = (Range){1, size};
    for (int i = 0; i < 3; i++) {
        int64_t count = looks[i] < most ? looks[i] : most;
        int is_last = i == 2 || count < looks[i];
        float reached = reached_by_peaks(row, count);
        double end = list_down_to(row, reached);
        if (end != end)
            return UNDECIDED;
        double head = list_mass(list);
        if (!known)
            mass = mass_by_peaks(row, head, reached);
        for (;;) {
            double goal = p * (mass.low + mass.high) / 2;
            double doubt = p * (mass.high - mass.low) / 2 + relative * mass.high;
            Edge edge;
            int found = find_edge(list->y, list->w, list->count, goal, doubt, list->room, &edge);
            if (found == FOUND) {
                keep_to(list, edge, ties);
                return LISTED;
            }
            if (head * (1 + relative) < p * mass.low || (!known && !is_last && i == 0))
                break;
            if (known == 0) {
                double z = estimate(row);
                mass = mass_of(z, bound32(size, z, row->y_top, row->wide || row->t != 1), size);
            } else if (known == 1)
                mass = about(compute(row, -INFINITY), relative);
            else if (found == NOWHERE)
                break;
            else
                return UNDECIDED;
            known++;
        }
        if (is_last || (known == 0 && i == 1) || head < 0.3 * p * mass.low)
            break;
    }
    return wide_nucleus(row, p, ties);
}

#endif
