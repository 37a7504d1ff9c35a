/* SPDX-License-Identifier: MIT
 *
 * An OS thread as a reader. It has one record for each kind of grace periods, which its handles for all heaps of that
 * kind share.
 *
 *     no handle bound    not a reader, or offline
 *     handles bound      online; with qsbr all of the time between two quiescent states is a section
 *     sections > 0       inside fl_read_lock and fl_read_unlock
 *
 * An OS thread is registered with liburcu once, because liburcu aborts at a second registration. The registration ends
 * when the last handle is detached, or with the OS thread.
 *
 * Only the OS thread that a record describes writes it. Others read `handles`, `sections` and `seen` when they look for
 * a reader that has stalled. These are single numbers, so all accesses are relaxed.
 */
#ifndef FLI_READER_H
#define FLI_READER_H

#include "base/atomic.h"
#include "grace/grace.h"

struct fli_reader {
    FLI_ATOMIC(unsigned) handles;  /* bound handles of heaps of this kind */
    FLI_ATOMIC(unsigned) sections; /* depth of nesting */
    FLI_ATOMIC(int64_t) seen;      /* latest one begun when it last held no pointers; only later ones wait for it */
    bool joined;                   /* registered by the library */
    bool foreign;                  /* registered by the host */
    const struct fli_reader_calls *calls; /* how it joined */
};

/* Notes that a handle was bound to the calling OS thread. */
void fli_reader_add_handle(struct fli_reader *reader, const struct fli_grace *grace);

/* Notes that a handle was unbound from the calling OS thread; `detached` if the handle is gone. */
void fli_reader_remove_handle(struct fli_reader *reader, const struct fli_grace *grace, bool detached);

/* Ends the registration of the calling OS thread, which has no handle bound to it. */
void fli_reader_close(struct fli_reader *reader);

void fli_reader_lock(struct fli_reader *reader, const struct fli_grace *grace);
void fli_reader_unlock(struct fli_reader *reader, const struct fli_grace *grace);

/* Ends all sections of an OS thread that exits. The implementation's own destructor may have ended them before. */
void fli_reader_end_sections(struct fli_reader *reader, const struct fli_grace *grace);

void fli_reader_quiescent(struct fli_reader *reader, const struct fli_grace *grace);

/* Whether grace period `number` waits for this reader. Any thread. */
bool fli_reader_holds_up(const struct fli_reader *reader, enum fl_grace kind, int64_t number);

#endif
