/* SPDX-License-Identifier: MIT */
#include "heap/os_thread.h"
#include "heap/registry.h"
#include "heap/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The record of the calling OS thread; NULL while no handle has been bound to it. It is not part of the thread's own
 * storage, because a handle that outlives the thread links to it. */
static __thread struct fli_os_thread *os_thread;

/* How many rounds of destructors have called at_exit on the calling OS thread. */
static __thread unsigned exit_round;

/* Whether the last of them was the round that detaches. */
static __thread bool exits;

static struct fli_os_thread *os_threads; /* all that have had a handle; under the registry lock */
static pthread_key_t exit_key;
static bool exit_key_exists;

struct fli_os_thread *fli_os_thread_self(void)
{
    return os_thread;
}

/* ---- Binding handles. */

void fli_os_thread_bind_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    thread->os_thread = os_thread;
    FLI_LIST_ADD(&os_thread->bound, thread, in_os_thread);
}

void fli_os_thread_unbind_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    if (thread->os_thread == NULL)
        return;
    FLI_LIST_REMOVE(thread, in_os_thread);
    thread->os_thread = NULL;
}

bool fli_os_thread_may_use_locked(const struct fli_thread *thread)
{
    fli_registry_assert_held();
    if (thread->detacher != NULL)
        return thread->detacher == &os_thread;
    return thread->os_thread == NULL || thread->os_thread == os_thread;
}

bool fli_os_thread_is_ours_locked(const struct fli_thread *thread)
{
    return thread->os_thread != NULL && fli_os_thread_may_use_locked(thread);
}

bool fli_os_thread_claim_locked(struct fli_thread *thread, struct fli_frame here)
{
    fli_registry_assert_held();
    bool was_left = thread->detacher == &os_thread && !fli_callback_runs(&thread->detaching, here);
    if (thread->detacher != NULL && !was_left)
        return false;
    thread->detacher = &os_thread;
    thread->detaching.caller = here;
    if (thread->os_thread != os_thread)
        fli_os_thread_unbind_locked(thread);
    return true;
}

/* ---- Records. */

static void enter_os_thread(struct fli_os_thread *record)
{
    fli_registry_lock();
    FLI_LIST_ADD(&os_threads, record, in_process);
    fli_registry_unlock();
}

static void release_os_thread_locked(struct fli_os_thread *record)
{
    fli_registry_assert_held();
    FLI_LIST_REMOVE(record, in_process);
    free(record);
}

int fli_os_thread_watch(void)
{
    if (os_thread != NULL)
        return 0;
    struct fli_os_thread *record = calloc(1, sizeof *record);
    if (record == NULL || pthread_setspecific(exit_key, record) != 0) {
        free(record);
        return -ENOMEM;
    }
    record->number = syscall(SYS_gettid);
    enter_os_thread(record);
    os_thread = record;
    return 0;
}

void fli_os_thread_set_guest(void *guest, void (*end)(void *guest))
{
    os_thread->guest = guest;
    os_thread->end_guest = end;
}

void *fli_os_thread_guest(void)
{
    return os_thread != NULL ? os_thread->guest : NULL;
}

bool fli_os_thread_exits(void)
{
    return exits;
}

void fli_os_thread_forget_others_stw(void)
{
    struct fli_os_thread *next;
    for (struct fli_os_thread *record = os_threads; record != NULL; record = next) {
        next = record->in_process.next;
        if (record != os_thread)
            release_os_thread_locked(record);
        else
            record->number = syscall(SYS_gettid);
    }
}

/* ---- Exit. */

/* Ends the read-side sections of a thread that exits inside them. */
static void end_sections(struct fli_thread *thread)
{
    fli_store_own(&thread->sections, 0);
    fli_reader_end_sections(fli_thread_reader(thread), &thread->heap->grace);
}

/* Ends the record of a layer above. It goes first, because it may use a handle. */
static void end_guest(struct fli_os_thread *exiting)
{
    void *guest = exiting->guest;
    exiting->guest = NULL;
    if (guest != NULL)
        exiting->end_guest(guest);
}

/* Claims a handle that is bound to the exiting OS thread; NULL if there is none. */
static struct fli_thread *claim_bound(struct fli_os_thread *exiting)
{
    fli_registry_lock();
    struct fli_thread *thread = exiting->bound;
    if (thread != NULL)
        fli_os_thread_claim_locked(thread, (struct fli_frame){0, 0});
    fli_registry_unlock();
    return thread;
}

/* The destructor of the exit key: detaches the handles that the exiting thread left attached. POSIX runs destructors
 * in rounds while they set keys again. The first round therefore only sets the key again. In it the host's
 * destructors, whatever their order, can use and detach their handles. Later destructors may still use the handle of
 * fl_thread_self: from then on it is the stand-in. */
static void at_exit(void *arg)
{
    struct fli_os_thread *exiting = arg;
    if (++exit_round < 2 && pthread_setspecific(exit_key, exiting) == 0)
        return;
    exits = true;
    fli_thread_note_exit();
    end_guest(exiting);
    struct fli_thread *thread;
    while ((thread = claim_bound(exiting)) != NULL) {
        end_sections(thread);
        fli_thread_detach_claimed(thread);
    }
    for (unsigned kind = 0; kind < FLI_GRACE_KINDS; kind++)
        fli_reader_close(&exiting->readers[kind]);
    os_thread = NULL;
    fli_registry_lock();
    release_os_thread_locked(exiting);
    fli_registry_unlock();
}

int fli_os_thread_prepare_locked(void)
{
    fli_registry_assert_held();
    if (!exit_key_exists)
        exit_key_exists = pthread_key_create(&exit_key, at_exit) == 0;
    return exit_key_exists ? 0 : -ENOMEM;
}
