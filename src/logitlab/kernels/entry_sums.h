/* What Python calls for sweeps: quotients and running sums of one row. */
#ifndef LOGITLAB_ENTRY_SUMS_H
#define LOGITLAB_ENTRY_SUMS_H

#include "entry.h"
#include "sums.h"

/* Take a row of float32 or, where `wide` is set then, of float64. */
static void *take_floats(Borrowed *borrowed, PyObject *array, const char *name, Py_ssize_t count,
                         int writable, int *wide)
{
    void *row = take(borrowed, array, name, "f", 4, count, writable);
    const Py_buffer *view = borrowed->views + borrowed->count - 1;
    *wide = row == NULL && view->obj != NULL && view->itemsize == 8;
    if (!*wide)
        return row;
    PyErr_Clear();
    return take(borrowed, array, name, DOUBLES, 8, count, writable);
}

PyDoc_STRVAR(quotients_doc,
             "quotients(row, by, times, out)\n--\n\n"
             "Fill out with row / by, or row * by where times is true, computed in float64 and\n"
             "rounded to the dtype of both. Return whether all of it is finite.");

static PyObject *quotients(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Borrowed borrowed = {.count = 0};
    PyObject *done = NULL;
    int wide, as_wide;
    if (!right_number("quotients", number, 4))
        return NULL;
    double by = PyFloat_AsDouble(given[1]);
    int times = PyObject_IsTrue(given[2]);
    if (PyErr_Occurred())
        return NULL;
    const void *row = take_floats(&borrowed, given[0], "row", -1, 0, &wide);
    int64_t count = row ? items_of(&borrowed) : 0;
    void *out = row ? take_floats(&borrowed, given[3], "out", count, 1, &as_wide) : NULL;
    if (!out)
        goto release;
    if (wide != as_wide) {
        PyErr_SetString(PyExc_ValueError, "out must have the dtype of row.");
        goto release;
    }
    int finite;
    Py_BEGIN_ALLOW_THREADS
    finite = sums_quotients(row, wide, count, by, times, out);
    Py_END_ALLOW_THREADS
    done = PyBool_FromLong(finite);
release:
    release(&borrowed);
    return done;
}

PyDoc_STRVAR(running_sums_doc,
             "running_sums(row, depth, mass, depths)\n--\n\n"
             "For a row of finite logits, largest first, fill in how far below the first each is,\n"
             "and the running sums of exp(-depth) and of exp(-depth) * depth, in float64. Return\n"
             "how many of these there are: deeper than 38 nothing changes a sum.");

static PyObject *running_sums(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Borrowed borrowed = {.count = 0};
    PyObject *done = NULL;
    int wide;
    if (!right_number("running_sums", number, 4))
        return NULL;
    const void *row = take_floats(&borrowed, given[0], "row", -1, 0, &wide);
    int64_t count = row ? items_of(&borrowed) : 0, head = 0;
    static const char *const names[] = {"depth", "mass", "depths"};
    double *out[3] = {NULL};
    for (int i = 0; i < 3 && (i ? out[i - 1] != NULL : row != NULL); i++)
        out[i] = take(&borrowed, given[i + 1], names[i], DOUBLES, 8, count, 1);
    if (!out[2])
        goto release;
    Py_BEGIN_ALLOW_THREADS
    if (count > 0)
        head = sums_in_order(row, wide, count, out[0], out[1], out[2]);
    Py_END_ALLOW_THREADS
    done = PyLong_FromLongLong(head);
release:
    release(&borrowed);
    return done;
}

#endif
