/* SPDX-License-Identifier: MIT
 *
 * Stocks: references to a type without gc, many at once. A thread's stock takes them from the type's count and gives
 * them back to it.
 *
 *     references that a type's count says = those of its objects + those in stocks + what else refers to it
 *
 * Types with gc whose deallocation is LEGACY have a stock, too, beside their cache: only cached objects take from it
 * (`references` in struct fl_py_cache).
 *
 * Every object owns one reference, wherever it came from. So an object may die in another thread than that of its
 * birth: it leaves its reference in that other thread's stock. A thread in which more objects die than begin gives
 * back what exceeds its stock's limit.
 *
 * A LEGACY tp_dealloc gives its object's reference up by Py_DECREF, which takes it from the count of the thread that owns
 * the type, if that calls it (interpreter.h). So there the stock is filled from that count, which would soon come to 0
 * otherwise. Then each later Py_DECREF would be an atomic read-modify-write.
 *
 * With the GIL, and where the interpreter counts all references, there are no stocks.
 */
#ifndef FLI_PYTHON_STOCK_H
#define FLI_PYTHON_STOCK_H

#include "python/interpreter.h"

/* Fills an empty stock, of a LEGACY type or another; does nothing if it is not empty. The owning thread. */
void fli_py_stock_fill(struct fl_py_stock *stock, bool legacy);

/* Takes references to a LEGACY type for another stock that is empty, and returns how many. */
size_t fli_py_stock_take_legacy(PyTypeObject *type);

/* Gives them up. The caller has one more. */
void fli_py_stock_give_up(PyTypeObject *type, size_t count);

/* Makes room in a full stock. The owning thread. */
void fli_py_stock_relieve(struct fl_py_stock *stock);

/* Gives up all references of a stock that is in no drawer any more. */
void fli_py_stock_close(const struct fl_py_stock *stock);

#endif
