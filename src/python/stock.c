/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/stock.h"

/* References that a filled or a relieved stock has, and its limit. */
enum { FILL = FLI_RARE_PATHS ? 2 : FL_PY_REFERENCES / 4, LIMIT = FLI_RARE_PATHS ? 3 : FL_PY_REFERENCES };

/* Gives up so many references. The caller has one more. */
static void give_up(PyTypeObject *type, size_t count)
{
    if (!fli_py_try_subtract_references(type, count))
        while (count-- > 0)
            Py_DECREF(type);
}

void fli_py_stock_fill(struct fl_py_stock *stock)
{
    if (stock->references > 0)
        return;
    fli_py_add_references(stock->type, FILL);
    stock->references = FILL;
    stock->limit = LIMIT;
}

void fli_py_stock_relieve(struct fl_py_stock *stock)
{
    size_t surplus = stock->references - FILL;
    stock->references = FILL;
    give_up(stock->type, surplus);
}

void fli_py_stock_close(const struct fl_py_stock *stock)
{
    give_up(stock->type, stock->references);
    Py_DECREF(stock->type);
}

#endif
