/* SPDX-License-Identifier: MIT
 *
 * The heap of objects without gc, and statistics. The first fl_py_type_ready settles its options. The first thread that
 * needs it makes it (maker.h), so that a copy of Freelane that nobody uses has none. Where the OS refuses it, the
 * interpreter's allocator serves.
 *
 * A thread of a free-threaded build may look at the header of an object that has just died: it loaded the address
 * from a container before. Such threads try to raise its reference count, fail (fl_py_disown says why), and look
 * again. So the heap has stale readers of that header, and stops of the world are its grace periods (stop.h).
 *
 * The heap has one range of address space, fixed and modest, so that one compare tells whose an object is. What does not
 * fit there, or is beyond the heap's limit, the interpreter's allocator serves.
 *
 *     objects without gc = those in the range (the heap's) + those elsewhere (the interpreter's)
 *
 * The types of the blocks are size classes, because the heap has to know no more: python_inline.h has done what an
 * object's deallocation needs when its block comes here.
 */
#ifndef FLI_PYTHON_HEAP_H
#define FLI_PYTHON_HEAP_H

#include "python/interpreter.h"

struct fli_py_thread;

/* Its options, with all defaults filled in; constant once fli_py_heap_ready has returned 0. */
extern struct fl_py_options fli_py_heap_options;

/* Settles the options, once, unless a page of the system is larger than a slab: then there can be no heap, and all types
 * have the interpreter's slots (type.c). Returns 0, or -1 with ValueError if the options make no sense. */
int fli_py_heap_ready(void);

/* Whether that has been done. */
bool fli_py_heap_is_ready(void);

/* The heap; NULL while there is none. */
struct fl_heap *fli_py_heap_get(void);

/* The same, but makes it if there is none. NULL before the options are settled, and where the OS refuses. Does not detach
 * and runs no code of the host. */
struct fl_heap *fli_py_heap_make(void);

/* Whether the heap gave the block. Takes no lock. */
bool fli_py_heap_owns(const void *block);

/* Allocates a block of `size` bytes, up to FL_BLOCK_MAX. `thread` is the calling one, or NULL if there is none.
 * Returns NULL if the heap has no room, the OS refuses memory, or no thread is attached to the heap. While the heap has no
 * block of a size class, a thread asks for one only now and then. */
void *fli_py_heap_alloc(struct fli_py_thread *thread, size_t size);

/* The same where the interpreter has no memory either: searches the whole heap, whatever the thread remembers. There is a
 * thread. Slow. */
void *fli_py_heap_alloc_pressed(struct fli_py_thread *thread, size_t size);

/* Frees a block of the heap. `thread` likewise. */
void fli_py_heap_free(struct fli_py_thread *thread, void *block);

/* Returns free blocks beyond `retain` bytes to the OS, as far as a grace period allows. */
void fli_py_heap_trim(size_t retain);

/* Returns the slabs that have been retired to the OS, as far as their grace period has ended, and tells of strays. */
void fli_py_heap_drain(void);

/* Lets about `bytes` bytes of slabs that are not in use keep their memory from now on. */
void fli_py_heap_keep_warm(size_t bytes);

/* What the heap holds, as of a moment ago. */
struct fli_py_holdings {
    size_t live; /* bytes of slabs that are in use, at least in part */
    size_t free; /* bytes of slabs and of pooled blocks that only objects of their class can use */
};

/* Takes no lock; zeros while there is no heap. */
struct fli_py_holdings fli_py_heap_holdings(void);

/* Bytes of slabs that have been given a class so far; bytes of slabs at home that are all free. Likewise. */
uint64_t fli_py_heap_begun(void);
size_t fli_py_heap_free_slabs(void);

/* Retires free slabs until about `retain` bytes of free blocks are left, those in the caches of all threads included.
 * While the world is stopped; calls nothing of the interpreter. */
void fli_py_heap_flush_stw(size_t retain);

#endif
