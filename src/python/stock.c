/* SPDX-License-Identifier: MIT
 *
 * References to types, many at once: what a thread's stock takes from the type's count and gives back to it.
 *
 *     references that a type's count says = those of its objects + those in stocks + what else refers to it
 *
 * Every object owns one reference, wherever that came from, so an object may die in another thread than that of its
 * birth: it leaves its reference to that thread's stock. A thread in which more die than begin gives back what
 * exceeds the limit.
 *
 * With the GIL, and where the interpreter counts all references, there are no stocks.
 */
#include "python/interpreter.h"

/* References that a stock gets when it is empty, and that are left to it at its limit. */
enum { FILL = FLI_RARE_PATHS ? 2 : FL_PY_REFERENCES / 4, LIMIT = FLI_RARE_PATHS ? 3 : FL_PY_REFERENCES };

/* The caller has one reference more. */
static void give_types(PyTypeObject *type, size_t count)
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

void fli_py_stock_give(const struct fl_py_stock *stock)
{
    give_types(stock->type, stock->references);
    Py_DECREF(stock->type);
}

void fli_py_stock_relieve(struct fl_py_stock *stock)
{
    size_t surplus = stock->references - FILL;
    stock->references = FILL;
    give_types(stock->type, surplus);
}
