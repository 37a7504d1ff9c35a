/* SPDX-License-Identifier: MIT
 *
 * OS threads: which handles are bound to each, and what happens at its exit.
 *
 * A handle is bound to the OS thread that attached it or last called fl_thread_online. The exit of that thread
 * detaches the handles bound to it. A thread that detaches a handle first claims it under the registry lock. From
 * then on, other walks over the handles of its OS thread pass over it.
 *
 *     each handle is bound to at most one OS thread, and claimed by at most one
 *
 * Destructors of the host may use their handles in every round of destructors, before and after the library's. So the
 * exit leaves handles that can still be used (thread.h). They are freed when the OS thread is gone (life.h).
 *
 * The calling OS thread reads its own record without a lock. The registry lock guards the bindings and the list of
 * records.
 */
#ifndef FLI_OS_THREAD_H
#define FLI_OS_THREAD_H

#include "base/callback.h"
#include "base/life.h"
#include "base/list.h"
#include "grace/reader.h"

struct fli_thread;

/* What is known of one OS thread, from its first handle to its exit. */
struct fli_os_thread {
    FLI_LINKS(struct fli_os_thread) in_process;
    FLI_PLAIN(struct fli_thread *) bound; /* the handles bound to it */
    struct fli_reader readers[FLI_GRACE_KINDS];
    FLI_PLAIN(struct fli_thread *) left; /* handles that its exit has detached */
    struct fli_life life;
    long number; /* the kernel's */
    void *guest; /* a record that a layer above keeps of it */
    void (*end_guest)(void *guest);
    void (*forget_guest)(void *guest);
};

/* The calling OS thread; NULL while it has had no handle, and once it has exited. */
struct fli_os_thread *fli_os_thread_self(void);

/* Makes it possible to watch the exit of OS threads. Returns 0 or -ENOMEM. Under the registry lock. */
int fli_os_thread_prepare_locked(void);

/* Makes a record of the calling OS thread, unless there is one, so that its exit detaches the handles bound to it. There
 * need not be a heap. Returns 0 or -ENOMEM. Locks. */
int fli_os_thread_watch(void);

/* Makes a handle that is left (thread.h) for the calling OS thread, which exits. NULL if memory is refused. */
struct fli_thread *fli_os_thread_attach_left(struct fl_heap *heap);

/* Frees what OS threads that are gone have left. Those whose exit has been seen are few; `all` OS threads are looked
 * at for the sake of those that attached in the last round of destructors. No lock may be held. */
void fli_os_thread_reap(bool all);

/* Hangs a record of a layer above on that of the calling OS thread, which exists. When the OS thread exits, `end` is
 * called with it, before the handles bound to the thread are detached. In a child that another OS thread has forked,
 * `forget` is called with it; it takes no lock. */
void fli_os_thread_set_guest(void *guest, void (*end)(void *guest), void (*forget)(void *guest));

/* The record that was set; NULL if none was, and once the OS thread has exited. */
void *fli_os_thread_guest(void);

/* Whether the calling OS thread exits: `end` has been called, or is being called. */
bool fli_os_thread_exits(void);

/* Releases the records of all other OS threads. No handle may be bound to these. In the child of a fork, where the
 * calling OS thread is the only one and has another number. */
void fli_os_thread_forget_others_stw(void);

/* ---- Under the registry lock. */

/* The first of the handles that are bound to the calling OS thread, or NULL. */
struct fli_thread *fli_os_thread_first_locked(void);

/* Binds a handle to the calling OS thread, which is watched; or to none. */
void fli_os_thread_bind_locked(struct fli_thread *thread);
void fli_os_thread_unbind_locked(struct fli_thread *thread);

/* Whether no other OS thread uses a handle: it is bound to the calling one or to none, and no other thread detaches
 * it. */
bool fli_os_thread_may_use_locked(const struct fli_thread *thread);

/* Whether a handle is bound to the calling OS thread and no other thread detaches it. */
bool fli_os_thread_is_ours_locked(const struct fli_thread *thread);

/* Claims a handle for the calling OS thread, which will detach it. Returns false if another thread has claimed it.
 * Returns false too if this thread has, unless the host has left that call by longjmp. */
bool fli_os_thread_claim_locked(struct fli_thread *thread, struct fli_frame here);

#endif
