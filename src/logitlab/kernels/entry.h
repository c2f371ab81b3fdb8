/* What Python calls with a batch of rows: the arguments are read here, and the rows run. */
#ifndef LOGITLAB_ENTRY_H
#define LOGITLAB_ENTRY_H

#include "buffers.h"
#include "draw.h"
#include "penalties.h"

enum { FLOAT32, FLOAT16, BFLOAT16, FLOAT64 };
enum { DONE, ALL_STAY, LEFT_OVER }; /* the state of a row */

enum { MOST_PATCHES = 16, OF_PATCH = 5 };

/* The buffers of a call, so that all of them are released. */
typedef struct {
    Py_buffer views[8 + MOST_PATCHES * 4];
    int count;
} Borrowed;

static void *take(Borrowed *borrowed, PyObject *array, const char *name, const char *letters,
                  Py_ssize_t width, Py_ssize_t count, int writable)
{
    Py_buffer *view = borrowed->views + borrowed->count++;
    view->obj = NULL;
    return borrow(array, view, name, letters, width, count, writable) ? view->buf : NULL;
}

static Py_ssize_t items_of(const Borrowed *borrowed)
{
    const Py_buffer *view = borrowed->views + borrowed->count - 1;
    return view->len / view->itemsize;
}

static void release(Borrowed *borrowed)
{
    while (borrowed->count)
        PyBuffer_Release(borrowed->views + --borrowed->count);
}

typedef struct {
    const char *rows;
    long kind;
    int64_t size, number, first, end;
    Program program;
    Patch patches[MOST_PATCHES];
    int64_t patched;
    uint8_t *states;
} Batch;

/* Scratch of a row, piece by piece; each begins on a line of the cache. */
static char *piece(char **scratch, int64_t items, int64_t width)
{
    char *here = *scratch;
    *scratch += (items * width + 63) / 64 * 64;
    return here;
}

static int64_t lay_out(Row *row, char *scratch, int64_t size)
{
    char *start = scratch;
    int64_t chunks = (size + CHUNK - 1) / CHUNK, room = (chunks + 1) * CHUNK;
    row->size = size;
    row->chunks = chunks;
    row->peaks = (float *)piece(&scratch, chunks + 8, sizeof(float));
    row->sums = (double *)piece(&scratch, chunks, sizeof(double));
    row->cum = (double *)piece(&scratch, chunks + 1, sizeof(double));
    row->touched = (uint8_t *)piece(&scratch, chunks, 1);
    row->copy = (float *)piece(&scratch, room, sizeof(float));
    row->weights = (float *)piece(&scratch, room, sizeof(float));
    row->list.ids = (int32_t *)piece(&scratch, room, sizeof(int32_t));
    row->list.y = (double *)piece(&scratch, room, sizeof(double));
    row->list.w = (double *)piece(&scratch, room, sizeof(double));
    for (int i = 0; i < 5; i++)
        row->list.room[i] = (double *)piece(&scratch, room, sizeof(double));
    return scratch - start;
}

static int64_t scratch_needed(int64_t size)
{
    Row row;
    return lay_out(&row, NULL, size) + 64;
}

/* Read row number i, patch it and run the steps. */
static Left run_row(Row *row, const Batch *batch, int64_t i)
{
    int64_t width = batch->kind == FLOAT64 ? 8 : batch->kind == FLOAT32 ? 4 : 2;
    const char *from = batch->rows + i * batch->size * width;
    row->wide = NULL;
    row->t = 1;
    if (batch->kind == FLOAT32)
        row->x = (const float *)from;
    else if (batch->kind == FLOAT64) {
        if (!narrow_row(row, (const double *)from))
            return UNDECIDED;
    } else
        widen_row(row, (const uint16_t *)from, batch->kind == BFLOAT16);
    if (batch->patched && batch->kind == FLOAT32)
        copy_row(row);
    fill_tail(row);
    for (int k = 0; k < 8; k++)
        row->peaks[row->chunks + k] = -INFINITY;
    if (!find_peaks(row))
        return UNDECIDED;
    if (batch->patched && !patch_row(row, batch->patches, batch->patched, i))
        return UNDECIDED;
    if (!set_temperature(row, 1.0))
        return UNDECIDED;
    return run_steps(row, &batch->program, i);
}

static int read_patches(Batch *batch, Borrowed *borrowed, PyObject *patches)
{
    Py_ssize_t many = PyTuple_Check(patches) ? PyTuple_Size(patches) : -1;
    if (many < 0 || many > MOST_PATCHES) {
        PyErr_SetString(PyExc_ValueError, "patches must be a tuple of few.");
        return 0;
    }
    if (many && batch->kind == FLOAT64) {
        PyErr_SetString(PyExc_ValueError, "patches must be of rows that are not float64.");
        return 0;
    }
    for (Py_ssize_t k = 0; k < many; k++) {
        PyObject *given = PyTuple_GetItem(patches, k);
        Patch *patch = batch->patches + k;
        if (!PyTuple_Check(given) || PyTuple_Size(given) != OF_PATCH + 1) {
            PyErr_SetString(PyExc_ValueError, "a patch must be a tuple of six.");
            return 0;
        }
        patch->kind = (int)PyLong_AsLong(PyTuple_GetItem(given, 0));
        patch->presence = PyFloat_AsDouble(PyTuple_GetItem(given, 1));
        if (PyErr_Occurred())
            return 0;
        int is_bias = patch->kind == BIAS;
        patch->tokens = take(borrowed, PyTuple_GetItem(given, 3), "tokens", WORDS, 8, -1, 0);
        if (!patch->tokens)
            return 0;
        int64_t several = items_of(borrowed);
        patch->counts = take(borrowed, PyTuple_GetItem(given, 4), "counts", WORDS, 8, several, 0);
        patch->starts = patch->counts ? take(borrowed, PyTuple_GetItem(given, 5), "starts", WORDS, 8,
                                             is_bias ? 2 : batch->number + 1, 0)
                                      : NULL;
        patch->values = patch->starts ? take(borrowed, PyTuple_GetItem(given, 2), "values", DOUBLES, 8,
                                             -1, 0)
                                      : NULL;
        if (!patch->values)
            return 0;
        int64_t unit = is_bias ? several : 1;
        patch->each = unit ? items_of(borrowed) / unit : 1;
        int fits = patch->kind >= REPETITION && patch->kind <= BIAS &&
                   (patch->each == 1 || patch->each == batch->number) &&
                   (unit == 0 || patch->each * unit == items_of(borrowed));
        int64_t ends = is_bias ? 1 : batch->number;
        fits = fits && patch->starts[0] == 0 && patch->starts[ends] == several;
        for (int64_t i = 0; fits && i < ends; i++)
            fits = patch->starts[i] <= patch->starts[i + 1];
        for (int64_t i = 0; fits && i < several; i++)
            fits = patch->tokens[i] >= 0 && patch->tokens[i] < batch->size;
        if (!fits) {
            PyErr_SetString(PyExc_ValueError, "a patch must fit the rows.");
            return 0;
        }
        batch->patched++;
    }
    return 1;
}

/* rows, kind, size, first, end, steps, values, patches, scratch, states: what all entries take. */
enum { SHARED = 10 };

/* Read these, and where `more` arguments of an entry follow; and make a row of the scratch. */
static int read_batch(Batch *batch, Row *row, Borrowed *borrowed, const char *name,
                      PyObject *const *given, Py_ssize_t number, int more)
{
    if (!right_number(name, number, SHARED + more))
        return 0;
    batch->kind = PyLong_AsLong(given[1]);
    batch->size = PyLong_AsLongLong(given[2]);
    batch->first = PyLong_AsLongLong(given[3]);
    batch->end = PyLong_AsLongLong(given[4]);
    if (PyErr_Occurred())
        return 0;
    if (batch->kind < FLOAT32 || batch->kind > FLOAT64 || batch->size < 1 ||
        batch->size > INT32_MAX / 2) {
        PyErr_SetString(PyExc_ValueError, "kind or size of the rows is none.");
        return 0;
    }
    static const char *const letters[] = {"f", "eH", "H", "d"};
    static const int widths[] = {4, 2, 2, 8};
    batch->rows = take(borrowed, given[0], "rows", letters[batch->kind], widths[batch->kind], -1, 0);
    if (!batch->rows)
        return 0;
    batch->number = items_of(borrowed) / batch->size;
    if (batch->number * batch->size != items_of(borrowed) || batch->first < 0 ||
        batch->first > batch->end || batch->end > batch->number) {
        PyErr_SetString(PyExc_ValueError, "rows must be a whole number of rows, with those asked for.");
        return 0;
    }
    batch->program.steps = take(borrowed, given[5], "steps", "il", 4, -1, 0);
    if (!batch->program.steps)
        return 0;
    batch->program.count = items_of(borrowed) / 2;
    batch->program.values = take(borrowed, given[6], "values", DOUBLES, 8, -1, 0);
    if (!batch->program.values)
        return 0;
    Program *program = &batch->program;
    program->each = program->count ? items_of(borrowed) / program->count : 1;
    if ((program->each != 1 && program->each != batch->number) ||
        program->each * program->count != items_of(borrowed)) {
        PyErr_SetString(PyExc_ValueError, "values must be one for each step, and perhaps each row.");
        return 0;
    }
    if (!read_patches(batch, borrowed, given[7]))
        return 0;
    char *scratch = take(borrowed, given[8], "scratch", DOUBLES, 8, -1, 1);
    if (!scratch)
        return 0;
    if (items_of(borrowed) * 8 < scratch_needed(batch->size)) {
        PyErr_SetString(PyExc_ValueError, "scratch must be larger.");
        return 0;
    }
    lay_out(row, scratch + (64 - (uintptr_t)scratch % 64) % 64, batch->size);
    batch->states = take(borrowed, given[9], "states", "B", 1, batch->number, 1);
    return batch->states != NULL;
}

PyDoc_STRVAR(draw_doc,
             "draw(rows, kind, size, first, end, steps, values, patches, scratch, states, luck, tokens)\n"
             "--\n\n"
             "Draw tokens from rows first to end - 1 of what the steps leave of them.");

static PyObject *draw_rows(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Borrowed borrowed = {.count = 0};
    Batch batch = {0};
    Row row;
    PyObject *done = NULL;
    if (!read_batch(&batch, &row, &borrowed, "draw", given, number, 2))
        goto release;
    const double *luck = take(&borrowed, given[SHARED], "luck", DOUBLES, 8, -1, 0);
    if (!luck)
        goto release;
    int64_t draws = batch.number ? items_of(&borrowed) / batch.number : 0;
    int64_t *tokens = take(&borrowed, given[SHARED + 1], "tokens", "ql", 8, items_of(&borrowed), 1);
    if (!tokens)
        goto release;
    if (draws * batch.number != items_of(&borrowed)) {
        PyErr_SetString(PyExc_ValueError, "luck must be so many for each row.");
        goto release;
    }
    Py_BEGIN_ALLOW_THREADS
    for (int64_t i = batch.first; i < batch.end; i++) {
        Left left = run_row(&row, &batch, i);
        int is_drawn = left != UNDECIDED &&
                       draw(&row, left, luck + i * draws, draws, tokens + i * draws) == FOUND;
        batch.states[i] = is_drawn ? DONE : LEFT_OVER;
    }
    Py_END_ALLOW_THREADS
    done = Py_None;
    Py_INCREF(done);
release:
    release(&borrowed);
    return done;
}

PyDoc_STRVAR(survivors_doc,
             "survivors(rows, kind, size, first, end, steps, values, patches, scratch, states, ids,\n"
             "          logits, counts)\n--\n\n"
             "List what the steps leave of rows first to end - 1: ids and logits one row after\n"
             "another, and how many each has. Returns the number of the first row for which there\n"
             "was no more room.");

static PyObject *list_rows(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Borrowed borrowed = {.count = 0};
    Batch batch = {0};
    Row row;
    PyObject *done = NULL;
    if (!read_batch(&batch, &row, &borrowed, "survivors", given, number, 3))
        goto release;
    int64_t *ids = take(&borrowed, given[SHARED], "ids", "ql", 8, -1, 1);
    if (!ids)
        goto release;
    int64_t room = items_of(&borrowed), used = 0;
    double *logits = take(&borrowed, given[SHARED + 1], "logits", DOUBLES, 8, room, 1);
    int64_t *counts = logits ? take(&borrowed, given[SHARED + 2], "counts", "ql", 8, batch.number, 1) : NULL;
    if (!counts)
        goto release;
    int64_t i = batch.first;
    Py_BEGIN_ALLOW_THREADS
    for (; i < batch.end; i++) {
        Left left = run_row(&row, &batch, i);
        if (left == WIDE)
            left = list_wide(&row);
        batch.states[i] = left == LISTED ? DONE : left == WHOLE ? ALL_STAY : LEFT_OVER;
        counts[i] = 0;
        if (left != LISTED)
            continue;
        if (row.list.count > room - used)
            break;
        counts[i] = row.list.count;
        for (int64_t k = 0; k < row.list.count; k++, used++)
            ids[used] = row.list.ids[k], logits[used] = row.list.y[k];
    }
    Py_END_ALLOW_THREADS
    done = PyLong_FromLongLong(i);
release:
    release(&borrowed);
    return done;
}

PyDoc_STRVAR(masses_doc,
             "masses(rows, kind, size, first, end, steps, values, patches, scratch, states, out)\n--\n\n"
             "Sum exp(x - x_max) over rows first to end - 1, in float64.");

static PyObject *mass_rows(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Borrowed borrowed = {.count = 0};
    Batch batch = {0};
    Row row;
    PyObject *done = NULL;
    if (!read_batch(&batch, &row, &borrowed, "masses", given, number, 1))
        goto release;
    double *out = take(&borrowed, given[SHARED], "out", DOUBLES, 8, batch.number, 1);
    if (!out)
        goto release;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t i = batch.first; i < batch.end; i++) {
        int is_whole = run_row(&row, &batch, i) == WHOLE;
        batch.states[i] = is_whole ? DONE : LEFT_OVER;
        if (is_whole)
            out[i] = compute(&row, -INFINITY);
    }
    Py_END_ALLOW_THREADS
    done = Py_None;
    Py_INCREF(done);
release:
    release(&borrowed);
    return done;
}

PyDoc_STRVAR(scratch_doc, "scratch(size)\n--\n\nReturn how many float64 a row of so many tokens needs.");

static PyObject *scratch_of(PyObject *self, PyObject *size)
{
    (void)self;
    int64_t tokens = PyLong_AsLongLong(size);
    if (PyErr_Occurred())
        return NULL;
    if (tokens < 0 || tokens > INT32_MAX / 2) {
        PyErr_SetString(PyExc_ValueError, "size must be that of a row.");
        return NULL;
    }
    return PyLong_FromLongLong(scratch_needed(tokens) / 8 + 8);
}

#endif
