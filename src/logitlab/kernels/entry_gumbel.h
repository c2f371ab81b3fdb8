/* What Python calls for draws with Gumbel noise. */
#ifndef LOGITLAB_ENTRY_GUMBEL_H
#define LOGITLAB_ENTRY_GUMBEL_H

#include "entry_sums.h"
#include "gumbel.h"

/* Where the noise of the draws of some rows comes from: (n, m) places, and keys of two words. */
typedef struct {
    int64_t rows, draws, keys;
    const uint64_t *key, *sequence, *position;
} gumbel_luck;

/* Draw at all places; `sure` tells which tokens are certain. */
static void draw_gumbel(gumbel_row *row, const gumbel_luck *luck, int64_t *drawn, uint8_t *sure)
{
    gumbel_worder *words_of = gumbel_words();
    int64_t step = row->size * (row->wide ? 8 : 4), draws = luck->draws;
    for (int64_t i = 0; i < luck->rows; i++) {
        const uint64_t *key = luck->key + (luck->keys > 1 ? 2 * i : 0);
        int64_t first = gumbel_survey(row);
        for (int64_t j = i * draws; j < (i + 1) * draws; j++) {
            uint64_t sequence = luck->sequence[j], position = luck->position[j];
            gumbel_draw draw = {
                .key = {(uint32_t)key[0], (uint32_t)key[1]},
                .place = {(uint32_t)position, (uint32_t)sequence, (uint32_t)(sequence >> 32)},
            };
            int fits = first >= 0 && sequence >> 63 == 0 && position >> 32 == 0;
            sure[j] = fits && gumbel_token(row, words_of, first, &draw);
            drawn[j] = sure[j] ? draw.token : -1;
        }
        row->logits = (const char *)row->logits + step;
        row->ids = row->ids ? row->ids + row->size : NULL;
    }
}

/* Take logits (n, V), and ids of as many. */
static int take_gumbel_row(Borrowed *borrowed, PyObject *logits, PyObject *ids, gumbel_row *row,
                           gumbel_luck *luck)
{
    row->logits = take_floats(borrowed, logits, "logits", -1, 0, &row->wide);
    if (!row->logits)
        return 0;
    const Py_buffer *view = borrowed->views + borrowed->count - 1;
    if (view->ndim != 2 || view->shape[0] == 0 || view->shape[1] == 0) {
        PyErr_SetString(PyExc_ValueError, "logits must have two axes, and something in them.");
        return 0;
    }
    luck->rows = view->shape[0];
    row->size = view->shape[1];
    if (ids != Py_None)
        row->ids = take(borrowed, ids, "ids", WORDS, 8, luck->rows * row->size, 0);
    return ids == Py_None || row->ids != NULL;
}

/* Take the words of keys and places, and check that the rows share them. */
static int take_luck(Borrowed *borrowed, PyObject *const *given, gumbel_luck *luck)
{
    if (!(luck->key = take(borrowed, given[0], "keys", WORDS, 8, -1, 0)))
        return 0;
    Py_ssize_t words = items_of(borrowed);
    if (!(luck->sequence = take(borrowed, given[1], "sequence", WORDS, 8, -1, 0)))
        return 0;
    Py_ssize_t places = items_of(borrowed);
    if (!(luck->position = take(borrowed, given[2], "position", WORDS, 8, places, 0)))
        return 0;
    luck->keys = words / 2;
    luck->draws = places / luck->rows;
    if (words % 2 == 0 && (luck->keys == 1 || luck->keys == luck->rows) &&
        luck->draws * luck->rows == places)
        return 1;
    PyErr_SetString(PyExc_ValueError, "keys and places must be shared equally by the rows.");
    return 0;
}

PyDoc_STRVAR(gumbel_doc,
             "gumbel(logits, ids, keys, sequence, position, drawn, sure)\n--\n\n"
             "For rows of logits (n, V) in float32 or float64, and their token ids (n, V), or None,\n"
             "fill in what is drawn (n, m) at as many places with keys of two words, one for all\n"
             "rows or one for each, and which of it is certain, in uint8.");

static PyObject *gumbel(PyObject *self, PyObject *const *given, Py_ssize_t number)
{
    (void)self;
    Borrowed borrowed = {.count = 0};
    PyObject *done = NULL;
    gumbel_row row = {0};
    gumbel_luck luck = {0};
    if (!right_number("gumbel", number, 7) ||
        !take_gumbel_row(&borrowed, given[0], given[1], &row, &luck) ||
        !take_luck(&borrowed, given + 2, &luck))
        goto release;
    Py_ssize_t places = luck.rows * luck.draws;
    int64_t *drawn = take(&borrowed, given[5], "drawn", WORDS, 8, places, 1);
    uint8_t *sure = drawn ? take(&borrowed, given[6], "sure", "B", 1, places, 1) : NULL;
    if (!sure)
        goto release;
    row.reach = PyMem_Malloc(sizeof(double) * (size_t)(gumbel_chunks(&row) + EXTRA));
    if (!row.reach) {
        PyErr_NoMemory();
        goto release;
    }
    Py_BEGIN_ALLOW_THREADS
    draw_gumbel(&row, &luck, drawn, sure);
    Py_END_ALLOW_THREADS
    done = Py_None;
    Py_INCREF(done);
release:
    PyMem_Free(row.reach);
    release(&borrowed);
    return done;
}

/* ---- for tests ---- */

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

#endif
