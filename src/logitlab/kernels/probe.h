/* For tests: what the kernels estimate and compute on their way, and how far off they may be. */
#ifndef LOGITLAB_PROBE_H
#define LOGITLAB_PROBE_H

#include "entry.h"

MANY void exponentials32(const float *x, float *out, int64_t count)
{
    for (int64_t i = 0; i + 8 <= count; i += 8)
        store8(out + i, exp8(load8(x + i)));
}

MANY void exponentials64(const double *x, double *out, int64_t count)
{
    for (int64_t i = 0; i + 4 <= count; i += 4)
        store4(out + i, exp4(load4(x + i)));
}

PyDoc_STRVAR(exponentials_doc,
             "exponentials(x, out)\n--\n\n"
             "Fill out with exp(x) of 8 n numbers up to 0, float32 or float64, as kernels do it.");

static PyObject *exponentials(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Borrowed borrowed = {.count = 0};
    PyObject *done = NULL;
    if (!right_number("exponentials", number, 2))
        return NULL;
    const void *x = take(&borrowed, given[0], "x", "f", 4, -1, 0);
    int64_t width = x ? 4 : 8;
    if (!x) {
        PyErr_Clear();
        x = take(&borrowed, given[0], "x", DOUBLES, 8, -1, 0);
    }
    if (!x)
        goto release;
    int64_t count = items_of(&borrowed);
    void *out = take(&borrowed, given[1], "out", width == 4 ? "f" : DOUBLES, width, count, 1);
    if (!out)
        goto release;
    if (width == 4)
        exponentials32(x, out, count);
    else
        exponentials64(x, out, count);
    done = Py_None;
    Py_INCREF(done);
release:
    release(&borrowed);
    return done;
}

enum { OF_ESTIMATE, OF_SUMS, OF_STORED, OF_GAP, OF_MEAN, OF_DEVIATION, OF_TYPICAL, OF_LOGIT };

PyDoc_STRVAR(bound_doc,
             "bound(which, a, b, c)\n--\n\n"
             "Return one of the bounds, by its number in probe.h: the ends of a range, or twice the\n"
             "same number.");

static PyObject *bound(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    if (!right_number("bound", number, 4))
        return NULL;
    long which = PyLong_AsLong(given[0]);
    double a = PyFloat_AsDouble(given[1]), b = PyFloat_AsDouble(given[2]);
    double c = PyFloat_AsDouble(given[3]), one = NAN;
    if (PyErr_Occurred())
        return NULL;
    Range range;
    switch (which) {
    case OF_ESTIMATE: one = bound32(a, b, fabs(c), c != 0); break;
    case OF_SUMS: one = bound64(a); break;
    case OF_STORED: one = bound_stored(a); break;
    case OF_DEVIATION: one = bound_deviation(a, b, c); break;
    case OF_TYPICAL: one = bound_typical(a, b); break;
    case OF_LOGIT: one = bound_logit(a, b, c); break;
    }
    range = which == OF_GAP ? gap_of((Range){a, b}) : which == OF_MEAN ? mean_about(a, b)
                                                                       : (Range){one, one};
    return Py_BuildValue("dd", range.low, range.high);
}

enum { MEASURES = 14 };

/* Everything that is known of a whole row. */
static void measure(Row *row, double *out, double *partial)
{
    double size = (double)row->size;
    Moments sums = moments_of_logits(row);
    Range reach = reach_of(1, &sums, size, 0);
    out[0] = estimate(row);
    out[1] = bound32(size, out[0], row->y_top, row->wide || row->t != 1);
    for (int64_t c = 0; c < row->chunks; c++)
        partial[c] = row->sums[c];
    out[2] = compute(row, -INFINITY);
    out[3] = bound64(size);
    for (int64_t c = 0; c < row->chunks; c++)
        partial[row->chunks + c] = row->sums[c];
    compute_and_store(row);
    out[4] = mass_above(row, -INFINITY);
    out[5] = bound_stored(size);
    sums = moments_of_mass(row);
    Range depth = mean_of(TYPICAL_P, &sums, out[3]), weight = mean_of(P_LESS, &sums, out[3]);
    out[6] = depth.low, out[7] = depth.high, out[8] = weight.low, out[9] = weight.high;
    out[10] = reach.low, out[11] = reach.high;
    float reached = reached_by_peaks(row, row->chunks / 2 + 1);
    double end = list_down_to(row, reached);
    Range mass = {1, size};
    if (end == end && fabs(row->y_top) < PEAKS_KNOWN)
        mass = mass_by_peaks(row, list_mass(&row->list), reached);
    out[12] = mass.low, out[13] = mass.high;
}

PyDoc_STRVAR(measures_doc,
             "measures(rows, kind, size, first, end, steps, values, patches, scratch, states, out,\n"
             "         partial)\n--\n\n"
             "Fill in what is known of rows first to end - 1, 14 numbers each, and the masses of\n"
             "their chunks, twice: as estimated, and as computed.");

static PyObject *measure_rows(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Borrowed borrowed = {.count = 0};
    Batch batch = {0};
    Row row;
    PyObject *done = NULL;
    if (!read_batch(&batch, &row, &borrowed, "measures", given, number, 2))
        goto release;
    int64_t chunks = (batch.size + CHUNK - 1) / CHUNK;
    double *out = take(&borrowed, given[SHARED], "out", DOUBLES, 8, batch.number * MEASURES, 1);
    double *partial = out ? take(&borrowed, given[SHARED + 1], "partial", DOUBLES, 8,
                                 batch.number * 2 * chunks, 1)
                          : NULL;
    if (!partial)
        goto release;
    for (int64_t i = batch.first; i < batch.end; i++) {
        int is_whole = run_row(&row, &batch, i) == WHOLE;
        batch.states[i] = is_whole ? DONE : LEFT_OVER;
        if (is_whole)
            measure(&row, out + i * MEASURES, partial + i * 2 * chunks);
    }
    done = Py_None;
    Py_INCREF(done);
release:
    release(&borrowed);
    return done;
}

PyDoc_STRVAR(slack_doc,
             "slack(factor)\n--\n\nMultiply all bounds by so much: 0 in a test that has to find wrong\n"
             "tokens then. Returns what they were multiplied by before.");

static PyObject *set_slack(PyObject *self, PyObject *factor)
{
    (void)self;
    double before = slack, after = PyFloat_AsDouble(factor);
    if (PyErr_Occurred())
        return NULL;
    slack = after;
    return PyFloat_FromDouble(before);
}

#endif
