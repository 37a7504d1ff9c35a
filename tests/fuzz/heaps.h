/* SPDX-License-Identifier: MIT
 *
 * The heaps of a fuzzed program, and their handles.
 */
#ifndef FUZZ_HEAPS_H
#define FUZZ_HEAPS_H

#include "types.h"

enum { HANDLES = 4 };

struct handle {
    struct fl_thread *thread; /* NULL: there is none */
    unsigned os_thread;
    bool is_offline;
    unsigned sections; /* read-side sections that it is in */
};

struct heap {
    struct fl_heap *heap; /* NULL: there is none */
    unsigned number;
    struct fl_options options;
    struct handle handles[HANDLES];
    bool is_traced;
    bool is_profiled, was_profiled;
    size_t traced_live;     /* live blocks when the trace was started */
    uint64_t allocs, frees; /* events since */
    struct fl_trace trace;
};

extern struct heap heaps[MODEL_HEAPS];

void heaps_begin(void);

/* Creates a heap with options from three bytes, unless there is one of this number. */
void heaps_create(unsigned number, unsigned char a, unsigned char b, unsigned char c);

/* Lets all that the heap has end, verifies that nothing is left, and destroys it. */
void heaps_destroy(struct heap *heap);

/* The n-th handle that is online; attached, if there is none. NULL: it is refused. */
struct handle *heaps_handle(struct heap *heap, unsigned n);
/* The n-th handle that is offline; NULL if there is none. */
struct handle *heaps_offline(struct heap *heap, unsigned n);

/* Attaches a handle on an OS thread, if there is room. */
struct handle *heaps_attach(struct heap *heap, unsigned os_thread);
/* Calls fl_thread_detach on an OS thread, by which the handle is gone. */
void heaps_detach(struct handle *handle, unsigned os_thread);

/* Leaves all read-side sections of an OS thread. */
void heaps_leave_sections(unsigned os_thread);
/* Whether the OS thread is in one. */
bool heaps_are_read(unsigned os_thread);

/* Lets the worker exit, with the handles that are bound to it. */
void heaps_end_worker(void);

/* Takes off a trace and verifies what it has told. */
void heaps_trace_stop(struct heap *heap);
void heaps_trace_start(struct heap *heap);

/* Starts, ends or prints a profile, as the number says. */
void heaps_profile(struct heap *heap, unsigned n);

/* Verifies a heap, or its blocks alone. */
void heaps_verify(struct heap *heap, bool walks);

#endif
