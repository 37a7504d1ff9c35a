/* SPDX-License-Identifier: MIT
 *
 * OS threads: which handles are bound to each, and its exit.
 *
 * A handle is bound to the OS thread that attached it or last called fl_thread_online; at that thread's exit the
 * handles bound to it are detached. Whoever detaches a handle first claims it under the registry lock: from then on
 * no walk over the handles of its OS thread comes to it, unless that is the one that detaches it.
 */
#ifndef FLI_OS_THREAD_H
#define FLI_OS_THREAD_H

#include "base/callback.h"
#include "base/list.h"
#include "grace/reader.h"

struct fli_thread;

/* What is known of one OS thread, from its first handle to its exit. */
struct fli_os_thread {
    FLI_LINKS(struct fli_os_thread) in_process;
    struct fli_thread *bound; /* the handles bound to it */
    struct fli_reader readers[FLI_GRACE_KINDS];
    long number; /* the kernel's */
    void *guest; /* what a layer above knows of it */
    void (*end_guest)(void *guest);
};

/* The calling OS thread; NULL while it has had no handle, and once it has exited. */
struct fli_os_thread *fli_os_thread_self(void);

/* Sees to it that the exit of OS threads can be watched. Returns 0 or -ENOMEM. Under the registry lock. */
int fli_os_thread_prepare_locked(void);

/* Sees to it that the calling OS thread is known, and detaches what is bound to it when it exits. Returns 0 or
 * -ENOMEM. */
int fli_os_thread_watch(void);

/* Hangs what a layer above knows of the calling OS thread on its record, which exists. `end` is called with it when
 * the OS thread exits, before the handles bound to it are detached. */
void fli_os_thread_set_guest(void *guest, void (*end)(void *guest));

/* What was set; NULL if nothing was, and once the OS thread has exited. */
void *fli_os_thread_guest(void);

/* Whether the calling OS thread exits: `end` has been called, or is being. */
bool fli_os_thread_exits(void);

/* The calling OS thread is the only one of a forked child, where it has another number: releases what is known of the
 * others, to which no handle may be bound any more. */
void fli_os_thread_forget_others_stw(void);

/* ---- Under the registry lock. */

/* Binds a handle to the calling OS thread, which is watched; or to none. */
void fli_os_thread_bind_locked(struct fli_thread *thread);
void fli_os_thread_unbind_locked(struct fli_thread *thread);

/* Whether no other OS thread uses a handle: it is bound to the calling one, or to none, and no other detaches it. */
bool fli_os_thread_may_use_locked(const struct fli_thread *thread);

/* The calling OS thread will detach a handle. Returns false if another does so already, or if it does so itself, in a
 * function that the host has not left without returning. */
bool fli_os_thread_claim_locked(struct fli_thread *thread, struct fli_frame here);

#endif
