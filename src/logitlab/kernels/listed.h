/* The steps of a chain on a list of candidates: what they look at is all there. */
#ifndef LOGITLAB_LISTED_H
#define LOGITLAB_LISTED_H

#include "row.h"

enum {
    TEMPERATURE,
    TOP_K,
    TOP_P,
    MIN_P,
    TOP_A,
    EPSILON_CUTOFF,
    ETA_CUTOFF,
    P_LESS,
    TOP_N_SIGMA,
    TYPICAL_P,
    EXCLUDE_TOP
};

/* What is left of a row: all of it, a list, or a nucleus too wide for one. */
typedef enum { WHOLE, LISTED, WIDE, UNDECIDED } Left;

/* In what share of the mass two sums of a list can differ: ours, and one in another order. */
INLINE double bound_listed(const List *list) { return bound64((double)list->count); }

/* Whether a step changes nothing, with such a value. */
static int is_neutral(int kind, double value, int64_t size)
{
    switch (kind) {
    case TEMPERATURE:
    case TOP_P:
    case TYPICAL_P:
    case EXCLUDE_TOP: return value == 1;
    case TOP_K: return value == 0 || value >= (double)size;
    case TOP_N_SIGMA: return value <= 0;
    default: return value == 0;
    }
}

/* The ratio to the most likely token that a step asks for, from bounds of what it looks at. */
static Range ratio_of(int kind, double value, Range mass, Range mean)
{
    double low, high;
    switch (kind) {
    case MIN_P: return (Range){value, value};
    case TOP_A: return (Range){value / mass.high, value / mass.low};
    case EPSILON_CUTOFF: return (Range){value * mass.low, value * mass.high};
    case ETA_CUTOFF:
        low = fmin(value * mass.low, sqrt(value) * exp(-mean.high));
        high = fmin(value * mass.high, sqrt(value) * exp(-mean.low));
        return (Range){low, high};
    default: return mean; /* P_LESS */
    }
}

static Moments list_moments(const List *list)
{
    Moments sums = {0};
    for (int64_t i = 0; i < list->count; i++) {
        double w = list->w[i], depth = list->top - list->y[i];
        sums.mass += w, sums.depths += w * depth, sums.squares += w * w;
        sums.spread += depth, sums.spreads += depth * depth;
    }
    sums.count = (double)list->count;
    return sums;
}

/* Bounds of the average that a ratio looks at. */
static Range mean_of(int kind, const Moments *sums, double relative)
{
    return mean_about((kind == P_LESS ? sums->squares : sums->depths) / sums->mass, relative);
}

/* Bounds of n standard deviations. */
static Range reach_of(double n, const Moments *sums, double size, int of_sample)
{
    double mean = sums->spread / sums->count, square = sums->spreads / sums->count;
    double variance = square - mean * mean;
    double relative = bound_deviation(size, square, variance);
    if (!(sums->count > 1 && variance > 0 && relative < 1e-3 && sums->spreads < 1e200 &&
          variance > 1e-200))
        return (Range){-1, -1};
    double reach = n * sqrt(variance * sums->count / (sums->count - of_sample));
    return about(reach, relative);
}

/* Keep the most typical: those whose depth is nearest to the average, until they hold p. Beyond
 * the end of the list others follow, all of them deeper. */
static int keep_typical(List *list, double p, Range mass, Range depth, double end)
{
    double typical = (depth.low + depth.high) / 2;
    double *far = list->room[4];
    Edge edge;
    for (int64_t i = 0; i < list->count; i++)
        far[i] = -fabs(list->top - list->y[i] - typical);
    double goal = p * (mass.low + mass.high) / 2;
    double off = p * (mass.high - mass.low) / 2 + bound_listed(list) * mass.high;
    int found = find_edge(far, list->w, list->count, goal, off, list->room, &edge);
    if (found != FOUND)
        return found;
    double deviation = -edge.value, at_edge = NAN;
    double doubt = depth.high - depth.low + 2 * bound_typical(deviation, depth.high);
    if (deviation + doubt >= end - typical)
        return NOWHERE;
    if (deviation <= doubt)
        return UNSURE;
    for (int64_t i = 0; i < list->count; i++)
        if (fabs(-far[i] - deviation) <= doubt) {
            if (at_edge == at_edge && at_edge != list->y[i])
                return UNSURE;
            at_edge = list->y[i];
        }
    int64_t kept = 0, ties = 0;
    for (int64_t i = 0; i < list->count; i++) {
        double y = list->y[i];
        int stays = y == at_edge ? ties++ < edge.ties : -far[i] < deviation;
        list->ids[kept] = list->ids[i], list->y[kept] = y;
        kept += stays;
    }
    list->count = kept;
    weigh_list(list); /* the most likely token may be gone */
    return FOUND;
}

/* Drop the tokens that hold a share of the mass, but for the least likely of them. */
static int drop_top(List *list, double share, Range mass, int ties)
{
    Range gap = gap_of((Range){share * mass.low, share * mass.high});
    if (!(gap.low > VANISHING) || (share * mass.high > 1 && share * mass.low <= 1))
        return UNSURE;
    double least = INFINITY;
    int64_t top = 0, equal = 0, seen = 0, kept = 0;
    for (int64_t i = 0; i < list->count && share * mass.low <= 1; i++) {
        double depth = list->y[i] - list->top;
        if (depth >= gap.low && depth < gap.high)
            return UNSURE;
        if (depth >= gap.low) {
            top++;
            if (list->y[i] < least)
                least = list->y[i], equal = 0;
            equal += list->y[i] == least;
        }
    }
    if (top < 2)
        return FOUND;
    for (int64_t i = 0; i < list->count; i++) {
        double y = list->y[i];
        int at_least = y == least;
        int stays = y < least || (at_least && (ties == ALL || seen == (ties == HIGHEST ? equal - 1 : 0)));
        seen += at_least;
        list->ids[kept] = list->ids[i], list->y[kept] = y;
        kept += stays;
    }
    list->count = kept;
    weigh_list(list);
    return FOUND;
}

static int cut_list(Row *row, int kind, double value, int option)
{
    List *list = &row->list;
    double doubt = bound_listed(list);
    Edge edge;
    int found;
    switch (kind) {
    case TEMPERATURE:
        if (value == 0) {
            found = find_edge(list->y, NULL, list->count, 1, 0, list->room, &edge);
            keep_to(list, edge, LOWEST);
            return found;
        }
        for (int64_t i = 0; i < list->count; i++) {
            double y = list->y[i] / value;
            list->y[i] = row->wide ? y : (double)(float)y;
            if (!(fabs(list->y[i]) < 1e30))
                return UNSURE;
        }
        weigh_list(list);
        return FOUND;
    case TOP_K:
        if (value < (double)list->count) {
            found = find_edge(list->y, NULL, list->count, value, 0, list->room, &edge);
            keep_to(list, edge, option);
        }
        return FOUND;
    case TOP_P: {
        double mass = list_mass(list);
        doubt = bound_share((double)list->count) * mass;
        found = find_edge(list->y, list->w, list->count, value * mass, doubt, list->room, &edge);
        if (found == FOUND)
            keep_to(list, edge, option);
        return found == FOUND ? FOUND : UNSURE;
    }
    case TOP_N_SIGMA: {
        if (list->count == 1)
            return FOUND;
        Moments sums = list_moments(list);
        Range reach = reach_of(value, &sums, (double)list->count, option);
        return reach.high < 0 ? UNSURE : keep_near(list, -reach.high, -reach.low);
    }
    case TYPICAL_P: {
        if (list->count == 1)
            return FOUND;
        Moments sums = list_moments(list);
        Range mean = mean_of(kind, &sums, doubt);
        found = keep_typical(list, value, about(sums.mass, doubt), mean, INFINITY);
        return found == FOUND ? FOUND : UNSURE;
    }
    case EXCLUDE_TOP: return drop_top(list, value, about(list_mass(list), 2 * doubt), option);
    default: {
        Moments sums = list_moments(list);
        Range mean = mean_of(kind, &sums, doubt);
        Range gap = gap_of(ratio_of(kind, value, about(sums.mass, doubt), mean));
        return keep_near(list, gap.low, gap.high);
    }
    }
}

#endif
