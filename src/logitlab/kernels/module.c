/* The module logitlab.kernels._rows: kernels over rows of logits.

   It knows Python's limited API and the buffer protocol, and nothing of numpy, so that one file
   serves every Python from 3.11 on. A function first checks whatever it is given, then releases
   the lock and does not touch Python again until it is done. Where this file does not compile,
   logitlab is installed without it and does the same in numpy. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "buffers.h"
#include "gumbel.h"
#include "philox.h"
#include "sums.h"

static int right_number(const char *name, Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return 1;
    PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, got %zd.", name, wanted, given);
    return 0;
}

/* Read a word of 32 bits from a Python integer. */
static int read_word(PyObject *number, const char *name, uint32_t *word)
{
    unsigned long long value = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred() || value > UINT32_MAX) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s must be an integer below 2**32.", name);
        return 0;
    }
    *word = (uint32_t)value;
    return 1;
}

PyDoc_STRVAR(uniforms_doc,
             "uniforms(keys, sequence, position, token, out)\n--\n\n"
             "Fill out, float64, with the uniforms of as many places, for keys of two words of 32\n"
             "bits in uint64, one for all places or one for each of equal shares of them.");

static PyObject *uniforms(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Py_buffer keys = {0}, sequence = {0}, position = {0}, out = {0};
    PyObject *done = NULL;
    uint32_t token;
    if (!right_number("uniforms", number, 5) || !read_word(given[3], "token", &token) ||
        !borrow(given[0], &keys, "keys", WORDS, 8, -1, 0) ||
        !borrow(given[1], &sequence, "sequence", WORDS, 8, -1, 0))
        goto release;
    Py_ssize_t places = sequence.len / 8, several = keys.len / 16;
    if (!borrow(given[2], &position, "position", WORDS, 8, places, 0) ||
        !borrow(given[4], &out, "out", DOUBLES, 8, places, 1))
        goto release;
    if (keys.len % 16 != 0 || several == 0 || places % several != 0) {
        PyErr_SetString(PyExc_ValueError, "keys must be pairs that share the places equally.");
        goto release;
    }
    Py_ssize_t share = places / several;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < several; i++)
        fill_uniforms((const uint64_t *)keys.buf + 2 * i,
                      (const uint64_t *)sequence.buf + i * share,
                      (const uint64_t *)position.buf + i * share, token,
                      (double *)out.buf + i * share, share);
    Py_END_ALLOW_THREADS
    done = Py_None;
    Py_INCREF(done);
release:
    PyBuffer_Release(&keys);
    PyBuffer_Release(&sequence);
    PyBuffer_Release(&position);
    PyBuffer_Release(&out);
    return done;
}

PyDoc_STRVAR(quotients_doc,
             "quotients(row, by, times, out)\n--\n\n"
             "Fill out with row / by, or row * by where times is true, computed in float64 and\n"
             "rounded to the dtype of both. Return whether all of it is finite.");

static PyObject *quotients(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Py_buffer row = {0}, out = {0};
    PyObject *done = NULL;
    int wide, as_wide;
    if (!right_number("quotients", number, 4))
        return NULL;
    double by = PyFloat_AsDouble(given[1]);
    int times = PyObject_IsTrue(given[2]);
    if (PyErr_Occurred() || !borrow_floats(given[0], &row, "row", -1, 0, &wide) ||
        !borrow_floats(given[3], &out, "out", row.len / row.itemsize, 1, &as_wide))
        goto release;
    if (wide != as_wide) {
        PyErr_SetString(PyExc_ValueError, "out must have the dtype of row.");
        goto release;
    }
    int finite;
    Py_BEGIN_ALLOW_THREADS
    finite = sums_quotients(row.buf, wide, row.len / row.itemsize, by, times, out.buf);
    Py_END_ALLOW_THREADS
    done = PyBool_FromLong(finite);
release:
    PyBuffer_Release(&row);
    PyBuffer_Release(&out);
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
    Py_buffer row = {0}, depth = {0}, mass = {0}, depths = {0};
    PyObject *done = NULL;
    int wide;
    if (!right_number("running_sums", number, 4) ||
        !borrow_floats(given[0], &row, "row", -1, 0, &wide))
        goto release;
    Py_ssize_t count = row.len / row.itemsize;
    if (!borrow(given[1], &depth, "depth", DOUBLES, 8, count, 1) ||
        !borrow(given[2], &mass, "mass", DOUBLES, 8, count, 1) ||
        !borrow(given[3], &depths, "depths", DOUBLES, 8, count, 1))
        goto release;
    int64_t head = 0;
    Py_BEGIN_ALLOW_THREADS
    if (count > 0)
        head = sums_in_order(row.buf, wide, count, depth.buf, mass.buf, depths.buf);
    Py_END_ALLOW_THREADS
    done = PyLong_FromLongLong(head);
release:
    PyBuffer_Release(&row);
    PyBuffer_Release(&depth);
    PyBuffer_Release(&mass);
    PyBuffer_Release(&depths);
    return done;
}

/* Draw the tokens of all places of `rows`; `sure` tells which draws are certain. */
static void draw_gumbel(gumbel_row *row, int64_t rows, int64_t places, const uint64_t *keys,
                        int64_t several, const uint64_t *sequence, const uint64_t *position,
                        double error, int64_t *drawn, uint8_t *sure)
{
    gumbel_worder *words_of = gumbel_words();
    int64_t step = row->size * (row->wide ? 8 : 4);
    for (int64_t i = 0; i < rows; i++) {
        const uint64_t *key = keys + (several > 1 ? 2 * i : 0);
        int64_t first = gumbel_survey(row);
        for (int64_t j = i * places; j < (i + 1) * places; j++) {
            gumbel_draw draw = {
                .key = {(uint32_t)key[0], (uint32_t)key[1]},
                .place = {(uint32_t)position[j], (uint32_t)sequence[j],
                          (uint32_t)(sequence[j] >> 32)},
            };
            int fits = sequence[j] >> 63 == 0 && position[j] >> 32 == 0;
            sure[j] = fits && first >= 0 && gumbel_token(row, words_of, first, &draw, error);
            drawn[j] = sure[j] ? draw.token : -1;
        }
        row->logits = (const char *)row->logits + step;
        row->ids = row->ids ? row->ids + row->size : NULL;
    }
}

PyDoc_STRVAR(gumbel_doc,
             "gumbel(logits, ids, keys, sequence, position, error, drawn, sure)\n--\n\n"
             "For rows of logits (n, V) in float32 or float64, and their token ids (n, V), or None,\n"
             "fill in what is drawn (n, m) at as many places with keys of two words, one for all\n"
             "rows or one for each, and which of it is certain, in uint8. Logarithms err by\n"
             "`error` times what is derived.");

static PyObject *gumbel(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Py_buffer logits = {0}, ids = {0}, keys = {0}, sequence = {0}, position = {0}, drawn = {0},
              sure = {0};
    PyObject *done = NULL;
    gumbel_row row = {0};
    if (!right_number("gumbel", number, 8))
        return NULL;
    double error = PyFloat_AsDouble(given[5]);
    if (PyErr_Occurred() || !borrow_floats(given[0], &logits, "logits", -1, 0, &row.wide))
        goto release;
    if (logits.ndim != 2 || logits.shape[0] == 0 || logits.shape[1] == 0) {
        PyErr_SetString(PyExc_ValueError, "logits must have two axes, and something in them.");
        goto release;
    }
    Py_ssize_t rows = logits.shape[0], size = logits.shape[1];
    if ((given[1] != Py_None && !borrow(given[1], &ids, "ids", WORDS, 8, rows * size, 0)) ||
        !borrow(given[2], &keys, "keys", WORDS, 8, -1, 0) ||
        !borrow(given[3], &sequence, "sequence", WORDS, 8, -1, 0) ||
        !borrow(given[4], &position, "position", WORDS, 8, sequence.len / 8, 0) ||
        !borrow(given[6], &drawn, "drawn", WORDS, 8, sequence.len / 8, 1) ||
        !borrow(given[7], &sure, "sure", "B", 1, sequence.len / 8, 1))
        goto release;
    Py_ssize_t several = keys.len / 16, draws = sequence.len / 8;
    if (keys.len % 16 != 0 || (several != 1 && several != rows) || draws % rows != 0) {
        PyErr_SetString(PyExc_ValueError, "keys and places must be shared equally by the rows.");
        goto release;
    }
    row.logits = logits.buf;
    row.size = size;
    row.ids = ids.buf;
    row.reach = PyMem_Malloc(sizeof(double) * (size_t)(size / GUMBEL_CHUNK + 1));
    if (row.reach == NULL) {
        PyErr_NoMemory();
        goto release;
    }
    Py_BEGIN_ALLOW_THREADS
    draw_gumbel(&row, rows, draws / rows, keys.buf, several, sequence.buf, position.buf,
                error * GUMBEL_ERROR, drawn.buf, sure.buf);
    Py_END_ALLOW_THREADS
    done = Py_None;
    Py_INCREF(done);
release:
    PyMem_Free(row.reach);
    PyBuffer_Release(&logits);
    PyBuffer_Release(&ids);
    PyBuffer_Release(&keys);
    PyBuffer_Release(&sequence);
    PyBuffer_Release(&position);
    PyBuffer_Release(&drawn);
    PyBuffer_Release(&sure);
    return done;
}

PyDoc_STRVAR(gumbel_noise_doc, "gumbel_noise(bits)\n--\n\n"
                               "Return the noise of a token, as `gumbel` has it, from 53 bits.");

static PyObject *gumbel_noise_of(PyObject *self, PyObject *bits)
{
    (void)self;
    unsigned long long number = PyLong_AsUnsignedLongLong(bits);
    if (PyErr_Occurred())
        return NULL;
    return PyFloat_FromDouble(gumbel_noise(number & 0x1FFFFFFFFFFFFF));
}

static PyMethodDef functions[] = {
    {"uniforms", (PyCFunction)(void (*)(void))uniforms, METH_FASTCALL, uniforms_doc},
    {"gumbel", (PyCFunction)(void (*)(void))gumbel, METH_FASTCALL, gumbel_doc},
    {"gumbel_noise", gumbel_noise_of, METH_O, gumbel_noise_doc},
    {"quotients", (PyCFunction)(void (*)(void))quotients, METH_FASTCALL, quotients_doc},
    {"running_sums", (PyCFunction)(void (*)(void))running_sums, METH_FASTCALL, running_sums_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_rows",
    .m_doc = "Kernels over rows of logits.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__rows(void)
{
    return PyModuleDef_Init(&definition);
}
