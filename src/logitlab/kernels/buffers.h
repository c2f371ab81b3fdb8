/* Arrays as buffers: what Python passes is checked here, before any kernel reads it. */
#ifndef LOGITLAB_BUFFERS_H
#define LOGITLAB_BUFFERS_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

/* The letters of the buffer protocol. One letter alone means native order; how wide "l" is depends
   on the machine, so that the width is asked for beside it. */
#define WORDS "QLql"
#define DOUBLES "d"

/* Borrow a C-contiguous, aligned array of `count` items (any number where it is negative), or say
   what is wrong with it and return 0. A view that was not borrowed has no owner, and may be
   released like any other. */
static int borrow(PyObject *array, Py_buffer *view, const char *name, const char *letters,
                  Py_ssize_t width, Py_ssize_t count, int writable)
{
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(array, view, flags) < 0) {
        view->obj = NULL;
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s must be a %scontiguous array.", name,
                     writable ? "writable, " : "");
        return 0;
    }
    const char *format = view->format ? view->format : "B";
    const char *wrong = NULL;
    if (format[0] == 0 || format[1] != 0 || strchr(letters, format[0]) == NULL ||
        view->itemsize != width)
        wrong = "%s must have another dtype.";
    else if (count >= 0 && view->len != count * width)
        wrong = "%s must have another size.";
    else if ((uintptr_t)view->buf % (uintptr_t)width != 0)
        wrong = "%s must be aligned.";
    if (wrong == NULL)
        return 1;
    PyErr_Format(PyExc_ValueError, wrong, name);
    return 0;
}

#endif
