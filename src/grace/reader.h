/* SPDX-License-Identifier: MIT
 *
 * An OS thread as a reader: one for each kind of grace periods, shared by its handles for all heaps of that kind.
 *
 *     no handle bound    not a reader, or offline
 *     handles bound      online; with qsbr all of the time between two quiescent states is a section
 *     sections > 0       inside fl_read_lock and fl_read_unlock
 *
 * Registration with liburcu happens once per OS thread, because it aborts at the second; it ends with the last handle
 * that is detached, or with the OS thread.
 *
 * Written by the OS thread that it describes. Others read `handles`, `sections` and `seen` when they look for one
 * that has stalled: single numbers, so all is relaxed.
 */
#ifndef FLI_READER_H
#define FLI_READER_H

#include "base/atomic.h"
#include "grace/grace.h"

struct fli_reader {
    FLI_ATOMIC(unsigned) handles;  /* bound handles of heaps of this kind */
    FLI_ATOMIC(unsigned) sections; /* depth of nesting */
    FLI_ATOMIC(int64_t) seen; /* the grace period that had begun when it last held no pointers; none later waits */
    bool joined;              /* registered by the library */
    bool foreign;             /* registered by the host */
    const struct fli_reader_calls *calls; /* how it joined */
};

/* A handle is bound to the calling OS thread. */
void fli_reader_add_handle(struct fli_reader *reader, const struct fli_grace *grace);

/* A handle is unbound from it; `detached` if the handle is gone. */
void fli_reader_remove_handle(struct fli_reader *reader, const struct fli_grace *grace, bool detached);

/* The calling OS thread exits, with no handle bound to it. */
void fli_reader_close(struct fli_reader *reader);

void fli_reader_lock(struct fli_reader *reader, const struct fli_grace *grace);
void fli_reader_unlock(struct fli_reader *reader, const struct fli_grace *grace);

/* Ends all sections of an OS thread that exits. The implementation's own destructor may have come first. */
void fli_reader_end_sections(struct fli_reader *reader, const struct fli_grace *grace);

void fli_reader_quiescent(struct fli_reader *reader, const struct fli_grace *grace);

/* Whether grace period `number` waits for this reader. Any thread. */
bool fli_reader_holds_up(const struct fli_reader *reader, enum fl_grace kind, int64_t number);

#endif
