/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/stock.h"

/* References that a filled or a relieved stock has, and its limit. */
enum { FILL = FLI_RARE_PATHS ? 2 : FL_PY_REFERENCES / 4, LIMIT = FLI_RARE_PATHS ? 3 : FL_PY_REFERENCES };

void fli_py_stock_give_up(PyTypeObject *type, size_t count)
{
    if (count > 0 && !fli_py_try_subtract_references(type, count) && !fli_py_try_subtract_own_references(type, count))
        while (count-- > 0)
            Py_DECREF(type);
}

size_t fli_py_stock_take_legacy(PyTypeObject *type)
{
    if (!fli_py_try_add_own_references(type, FILL))
        fli_py_add_references(type, FILL);
    return FILL;
}

static size_t take(PyTypeObject *type)
{
    fli_py_add_references(type, FILL);
    return FILL;
}

void fli_py_stock_fill(struct fl_py_stock *stock, bool legacy)
{
    if (stock->references > 0)
        return;
    stock->references = legacy ? fli_py_stock_take_legacy(stock->type) : take(stock->type);
    stock->limit = LIMIT;
}

void fli_py_stock_relieve(struct fl_py_stock *stock)
{
    size_t surplus = stock->references - FILL;
    stock->references = FILL;
    fli_py_stock_give_up(stock->type, surplus);
}

void fli_py_stock_close(const struct fl_py_stock *stock)
{
    fli_py_stock_give_up(stock->type, stock->references);
    Py_DECREF(stock->type);
}

#endif
