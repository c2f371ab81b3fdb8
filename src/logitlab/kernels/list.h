/* A list of candidates by increasing id, and the edge up to which some of them stay.
 *
 * Nothing is sorted: a cut looks for the value at which a running sum over falling values reaches
 * its goal, as quickselect does, and the list is filtered in place. */
#ifndef LOGITLAB_LIST_H
#define LOGITLAB_LIST_H

#include "bounds.h"
#include "chunks.h"

enum { UNSURE = -1, NOWHERE = 0, FOUND = 1 };
enum { LOWEST, HIGHEST, ALL };

typedef struct {
    int64_t count;
    int32_t *ids;
    double *y, *w; /* logits under the temperature, and exp(y - top) */
    double top;
    double *room[5]; /* scratch, each as long as the list can be */
} List;

/* Which values stay: all above one, and so many of those equal to it. */
typedef struct {
    double value;
    int64_t ties;
} Edge;

MANY void weigh_against(List *list, double top)
{
    const d4 shift = {top, top, top, top};
    int64_t i = 0;
    list->top = top;
    for (; i + 4 <= list->count; i += 4)
        store4(list->w + i, exp4(load4(list->y + i) - shift));
    for (; i < list->count; i++)
        list->w[i] = exp1(list->y[i] - top);
}

static void weigh_list(List *list)
{
    double top = list->y[0];
    for (int64_t i = 1; i < list->count; i++)
        top = list->y[i] > top ? list->y[i] : top;
    weigh_against(list, top);
}

static double list_mass(const List *list)
{
    double mass = 0;
    for (int64_t i = 0; i < list->count; i++)
        mass += list->w[i];
    return mass;
}

/* One of some values, from anywhere among them: of rows that rise and fall, as depths from the
 * typical do in a sorted row, the first, the middle and the last would be the worst of pivots. */
INLINE double any_of(const double *values, int64_t n, uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return values[(*state >> 32) * (uint64_t)n >> 32];
}

/* Where the running sum over falling values first reaches a goal.
 *
 * FOUND says so and fills in the edge; NOWHERE that all of them do not reach it; UNSURE that a sum
 * is within doubt of the goal where it matters. Without masses each value counts 1. */
static int find_edge(const double *value, const double *mass, int64_t n, double goal, double doubt,
                     double *const room[5], Edge *edge)
{
    double *a = room[0], *b = room[1], *lower_a = room[2], *lower_b = room[3];
    double before = 0;
    uint64_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        a[i] = value[i];
        b[i] = mass ? mass[i] : 1.0;
    }
    while (n) {
        double x = any_of(a, n, &state), y = any_of(a, n, &state), z = any_of(a, n, &state);
        double pivot = x > y ? (y > z ? y : x < z ? x : z) : (x > z ? x : y < z ? y : z);
        int64_t above = 0, below = 0, equal = 0;
        double mass_above = 0, mass_equal = 0;
        for (int64_t i = 0; i < n; i++) {
            double v = a[i], m = b[i];
            mass_above += v > pivot ? m : 0.0;
            mass_equal += v == pivot ? m : 0.0;
            equal += v == pivot;
            a[above] = v, b[above] = m;
            above += v > pivot;
            lower_a[below] = v, lower_b[below] = m;
            below += v < pivot;
        }
        double reached = before + mass_above;
        if (above && fabs(reached - goal) < doubt)
            return UNSURE;
        if (above && reached >= goal) {
            n = above;
            continue;
        }
        if (fabs(reached + mass_equal - goal) < doubt)
            return UNSURE;
        if (reached + mass_equal >= goal) {
            double each = mass_equal / (double)equal;
            int64_t ties = 1;
            while (ties < equal && reached + (double)ties * each < goal)
                ties++;
            if (ties < equal && fabs(reached + (double)ties * each - goal) < doubt)
                return UNSURE;
            if (ties > 1 && fabs(reached + (double)(ties - 1) * each - goal) < doubt)
                return UNSURE;
            *edge = (Edge){pivot, ties};
            return FOUND;
        }
        before = reached + mass_equal;
        double *swap = a;
        a = lower_a, lower_a = swap;
        swap = b, b = lower_b, lower_b = swap;
        n = below;
    }
    return NOWHERE;
}

/* Keep the entries above an edge, and those at it by their ids. */
static void keep_to(List *list, Edge edge, int ties)
{
    int64_t equal = 0, kept = 0, seen = 0;
    for (int64_t i = 0; i < list->count; i++)
        equal += list->y[i] == edge.value;
    int64_t from = ties == HIGHEST ? equal - edge.ties : 0;
    int64_t to = ties == LOWEST ? edge.ties : equal;
    for (int64_t i = 0; i < list->count; i++) {
        double y = list->y[i];
        int is_tied = y == edge.value;
        int stays = y > edge.value || (is_tied && seen >= from && seen < to);
        seen += is_tied;
        list->ids[kept] = list->ids[i], list->y[kept] = y, list->w[kept] = list->w[i];
        kept += stays;
    }
    list->count = kept;
}

/* Keep what is at least so many nats from the top, the two bounds agreeing on every entry. */
static int keep_near(List *list, double loose, double strict)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < list->count; i++) {
        double gap = list->y[i] - list->top;
        if (gap >= loose && gap < strict)
            return UNSURE;
        list->ids[kept] = list->ids[i], list->y[kept] = list->y[i], list->w[kept] = list->w[i];
        kept += gap >= loose;
    }
    list->count = kept;
    return FOUND;
}

#endif
