/* SPDX-License-Identifier: MIT
 *
 * A queue of references that one thread, its owner, puts into, and that any thread takes out of, first in first out.
 *
 *     taken <= put <= taken + room            numbers of references, which only grow
 *     reference number n lies at  n % room    room is a power of two, or 0
 *     put + reserved <= taken + room          what has been reserved stays until it is used
 *
 * The owner needs no lock to put and to take. Another thread holds the core's registry lock, under which the owner
 * also grows the queue: so the places that it looks at are there.
 *
 *     label  operation                              order     partner
 *     U1     the owner stores `put`                 seq_cst   U2, U6
 *     U2     a taker loads `put`                    acquire   U1: the reference, and what the object holds
 *     U3     a taker's exchange of `taken`          release   U4: it has read the place
 *     U4     the owner loads `taken`                acquire   U3: the place is free
 *     U6     a look whether the queue is empty      seq_cst   U1: see fl_py_decref_later
 */
#ifndef FLI_PYTHON_QUEUE_H
#define FLI_PYTHON_QUEUE_H

#include "base/list.h"
#include "python/interpreter.h"

struct fli_py_thread;

struct fli_py_queue {
    int64_t interpreter; /* its number: the references are dropped in that one */

    /* Changed by the owner, under the registry lock. */
    FLI_ATOMIC(PyObject *) * places;
    uint64_t room;

    uint64_t reserved; /* of the owner: how many more references have been promised a place */

    FLI_ATOMIC(uint64_t) put, taken;

    struct fli_py_queue *of_thread; /* the owner's next one, for another interpreter */

    /* Under the registry lock. */
    struct fli_py_thread *owner; /* NULL: it is left, and nobody puts any more */
    uint64_t seen;               /* `put` when somebody last looked */
    FLI_LINKS(struct fli_py_queue) links;
};

/* Makes an empty queue; NULL if memory is refused. It is not on any list. */
struct fli_py_queue *fli_py_queue_create(int64_t interpreter);

/* Frees a queue that no other thread knows. */
void fli_py_queue_destroy(struct fli_py_queue *queue);

/* Makes room for so many more references, which stays until so many have been put. Returns false if memory is refused. */
bool fli_py_queue_reserve_owner(struct fli_py_queue *queue, size_t count);

/* Puts a reference. Returns false if there is no room and memory is refused. */
bool fli_py_queue_put_owner(struct fli_py_queue *queue, PyObject *object);

/* Gives room beyond `most` references back that is not reserved, if the queue is empty. */
void fli_py_queue_shrink_owner(struct fli_py_queue *queue, size_t most);

/* Takes a reference; NULL if there is none. The owner, or under the registry lock. */
PyObject *fli_py_queue_take(struct fli_py_queue *queue);

/* How many references are in it; under the registry lock. */
size_t fli_py_queue_length_locked(const struct fli_py_queue *queue);

/* Whether one that was put before number `end` is still there; likewise. */
bool fli_py_queue_has_before_locked(const struct fli_py_queue *queue, uint64_t end);

#endif
