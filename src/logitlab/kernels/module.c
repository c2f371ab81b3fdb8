/* The module logitlab.kernels._rows: kernels over rows of logits.

   It knows Python's limited API and the buffer protocol, and nothing of numpy, so that one file
   serves every Python from 3.11 on. A function first checks whatever it is given, then releases
   the lock and does not touch Python again until it is done. Where this file does not compile,
   logitlab is installed without it and does the same in numpy. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "buffers.h"
#include "philox.h"

#define INTERFACE 3 /* as in __init__.py, which tells when it grows */

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

#include "entry.h"
#include "entry_gumbel.h"
#include "entry_sums.h"
#include "probe.h"
#include "sound.h"

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

static PyMethodDef functions[] = {
    {"uniforms", (PyCFunction)(void (*)(void))uniforms, METH_FASTCALL, uniforms_doc},
    {"draw", (PyCFunction)(void (*)(void))draw_rows, METH_FASTCALL, draw_doc},
    {"survivors", (PyCFunction)(void (*)(void))list_rows, METH_FASTCALL, survivors_doc},
    {"masses", (PyCFunction)(void (*)(void))mass_rows, METH_FASTCALL, masses_doc},
    {"scratch", scratch_of, METH_O, scratch_doc},
    {"gumbel", (PyCFunction)(void (*)(void))gumbel, METH_FASTCALL, gumbel_doc},
    {"gumbel_noise", gumbel_noise_of, METH_O, gumbel_noise_doc},
    {"quotients", (PyCFunction)(void (*)(void))quotients, METH_FASTCALL, quotients_doc},
    {"running_sums", (PyCFunction)(void (*)(void))running_sums, METH_FASTCALL, running_sums_doc},
    {"exponentials", (PyCFunction)(void (*)(void))exponentials, METH_FASTCALL, exponentials_doc},
    {"bound", (PyCFunction)(void (*)(void))bound, METH_FASTCALL, bound_doc},
    {"measures", (PyCFunction)(void (*)(void))measure_rows, METH_FASTCALL, measures_doc},
    {"slack", set_slack, METH_O, slack_doc},
    {NULL, NULL, 0, NULL},
};

static int fill_module(PyObject *module)
{
    if (is_sound())
        return PyModule_AddIntMacro(module, INTERFACE);
    PyErr_SetString(PyExc_ImportError, "the kernels were compiled to something else.");
    return -1;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, fill_module},
    {0, NULL},
};

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
