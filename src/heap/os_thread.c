/* SPDX-License-Identifier: MIT */
#include "heap/os_thread.h"
#include "base/sanitizer.h"
#include "heap/registry.h"
#include "heap/self.h"
#include "heap/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

__thread struct fli_self fli_self_own;

/* All that have had a handle: those whose exit has not been seen, and those whose exit has. Under the registry lock. */
static FLI_PLAIN(struct fli_os_thread *) os_threads;
static FLI_PLAIN(struct fli_os_thread *) ended;

/* Made under the registry lock. */
static pthread_key_t exit_key;
static bool exit_key_exists;

static void at_exit(void *record);

struct fli_os_thread *fli_os_thread_self(void)
{
    return fli_self_here()->record;
}

/* ---- Binding handles. */

struct fli_thread *fli_os_thread_first_locked(void)
{
    fli_registry_assert_held();
    const struct fli_os_thread *here = fli_os_thread_self();
    if (here == NULL)
        return NULL;
    return here->bound;
}

void fli_os_thread_bind_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    struct fli_os_thread *here = fli_self_here()->record;
    thread->os_thread = here;
    FLI_LIST_ADD(&here->bound, thread, in_os_thread);
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
        return thread->detacher == fli_self_here();
    return thread->os_thread == NULL || thread->os_thread == fli_self_here()->record;
}

bool fli_os_thread_is_ours_locked(const struct fli_thread *thread)
{
    return thread->os_thread != NULL && fli_os_thread_may_use_locked(thread);
}

bool fli_os_thread_claim_locked(struct fli_thread *thread, struct fli_frame here)
{
    fli_registry_assert_held();
    bool was_left = thread->detacher == fli_self_here() && !fli_callback_runs(&thread->detaching, here);
    if (thread->detacher != NULL && !was_left)
        return false;
    thread->detacher = fli_self_here();
    thread->detaching.caller = here;
    if (thread->os_thread != fli_self_here()->record)
        fli_os_thread_unbind_locked(thread);
    return true;
}

/* ---- Records. */

static struct fli_os_thread *create_record(void)
{
    struct fli_os_thread *record = calloc(1, sizeof *record);
    if (record == NULL)
        return NULL;
    record->number = syscall(SYS_gettid);
    fli_life_begin(&record->life);
    return record;
}

/* Frees a record with the handles that are left. */
static void free_record(struct fli_os_thread *record)
{
    for (struct fli_thread *thread; (thread = record->left) != NULL; free(thread))
        FLI_LIST_REMOVE(thread, in_os_thread);
    free(record);
}

static void enter_record(struct fli_os_thread *record, FLI_PLAIN(struct fli_os_thread *) * list)
{
    fli_registry_lock();
    FLI_LIST_ADD(list, record, in_process);
    fli_registry_unlock();
}

int fli_os_thread_prepare_locked(void)
{
    fli_registry_assert_held();
    if (!exit_key_exists)
        exit_key_exists = pthread_key_create(&exit_key, at_exit) == 0;
    return exit_key_exists ? 0 : -ENOMEM;
}

/* The same. A layer above may watch a thread before there is a heap; without this, the record would be stored under key 0,
 * which belongs to others. */
static int prepare(void)
{
    fli_registry_lock();
    int failed = fli_os_thread_prepare_locked();
    fli_registry_unlock();
    return failed;
}

int fli_os_thread_watch(void)
{
    struct fli_self *self = fli_self_here();
    if (self->exits)
        return -ENOMEM;
    if (self->record != NULL)
        return 0;
    if (prepare() != 0)
        return -ENOMEM;
    fli_os_thread_reap(false);
    struct fli_os_thread *record = create_record();
    if (record == NULL)
        return -ENOMEM;
    if (pthread_setspecific(exit_key, record) != 0) {
        fli_life_end(&record->life);
        free_record(record);
        return -ENOMEM;
    }
    enter_record(record, &os_threads);
    self->record = record;
    return 0;
}

/* Keeps a handle that is left until the calling OS thread is gone. Returns 0 or -ENOMEM. */
static int keep_left(struct fli_thread *thread)
{
    struct fli_self *self = fli_self_here();
    if (self->record == NULL) {
        if ((self->record = create_record()) == NULL)
            return -ENOMEM;
        enter_record(self->record, &ended);
    }
    fli_registry_lock();
    FLI_LIST_ADD(&self->record->left, thread, in_os_thread);
    fli_registry_unlock();
    return 0;
}

struct fli_thread *fli_os_thread_attach_left(struct fl_heap *heap)
{
    struct fli_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL || keep_left(thread) != 0) {
        free(thread);
        return NULL;
    }
    thread->left = heap;
    thread->quick_dead = FLI_DEAD_NONE;
    thread->later = FLI_LATER_UNKNOWN;
    return thread;
}

void fli_os_thread_set_guest(void *guest, void (*end)(void *guest), void (*forget)(void *guest))
{
    struct fli_os_thread *here = fli_self_here()->record;
    here->guest = guest;
    here->end_guest = end;
    here->forget_guest = forget;
}

void *fli_os_thread_guest(void)
{
    const struct fli_os_thread *here = fli_self_here()->record;
    return here != NULL ? here->guest : NULL;
}

bool fli_os_thread_exits(void)
{
    return fli_self_here()->exits;
}

static void forget_others(struct fli_os_thread *list)
{
    struct fli_os_thread *next;
    for (struct fli_os_thread *record = list; record != NULL; record = next) {
        next = record->in_process.next;
        if (record == fli_self_here()->record)
            continue;
        FLI_LIST_REMOVE(record, in_process);
        if (record->guest != NULL)
            record->forget_guest(record->guest);
        free_record(record);
    }
}

void fli_os_thread_forget_others_stw(void)
{
    forget_others(os_threads);
    forget_others(ended);
    struct fli_os_thread *here = fli_self_here()->record;
    if (here == NULL)
        return;
    here->number = syscall(SYS_gettid);
    fli_life_begin(&here->life);
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

/* Claims a handle that is bound to an OS thread that exits or is gone; NULL if there is none. */
static struct fli_thread *claim_bound(struct fli_os_thread *exiting)
{
    fli_registry_lock();
    struct fli_thread *thread = exiting->bound;
    if (thread != NULL && exiting != fli_self_here()->record)
        thread->detacher = NULL; /* it may have been the one that is gone */
    if (thread != NULL)
        fli_os_thread_claim_locked(thread, (struct fli_frame){0, 0});
    fli_registry_unlock();
    return thread;
}

/* Detaches a claimed handle, and makes it one that is left. */
static void leave(struct fli_thread *thread)
{
    fli_thread_end_claimed(thread);
    thread->left = thread->heap;
    thread->heap = NULL;
    fli_store_own(&thread->is_quick, false);
    thread->slabs_span = 0;
    thread->dead = thread->other_dead = NULL;
    thread->quick_dead = FLI_DEAD_NONE;
    thread->queue = NULL;
    memset(&thread->face, 0, sizeof thread->face);
    keep_left(thread); /* the record exists */
}

static void close_readers(struct fli_os_thread *exiting)
{
    for (unsigned kind = 0; kind < FLI_GRACE_KINDS; kind++)
        fli_reader_close(&exiting->readers[kind]);
}

/* The destructor of the exit key: detaches the handles that the exiting thread left attached. POSIX runs destructors
 * in rounds while they set keys again. The first round therefore only sets the key again. In it the host's
 * destructors, whatever their order, use their handles at full speed, and can read and defer. Later destructors may
 * still use the handles, which are left, and that of fl_thread_self: from then on it is the stand-in. */
static void at_exit(void *arg)
{
    struct fli_os_thread *exiting = arg;
    struct fli_self *self = fli_self_here();
    if (++self->exit_round < 2 && pthread_setspecific(exit_key, exiting) == 0)
        return;
    self->exits = true;
    fli_thread_note_exit();
    end_guest(exiting);
    struct fli_thread *thread;
    while ((thread = claim_bound(exiting)) != NULL) {
        end_sections(thread);
        leave(thread);
    }
    close_readers(exiting);
    fli_registry_lock();
    FLI_LIST_REMOVE(exiting, in_process);
    FLI_LIST_ADD(&ended, exiting, in_process);
    fli_registry_unlock();
}

/* ---- OS threads that are gone. */

/* Takes the record of an OS thread that is gone off a list. Returns NULL if there is none. */
static struct fli_os_thread *take_gone(FLI_PLAIN(struct fli_os_thread *) * list)
{
    fli_registry_lock();
    struct fli_os_thread *record = *list;
    while (record != NULL && (record == fli_self_here()->record || !fli_life_is_over(&record->life)))
        record = record->in_process.next;
    if (record != NULL)
        FLI_LIST_REMOVE(record, in_process);
    fli_registry_unlock();
    return record;
}

static void reap(FLI_PLAIN(struct fli_os_thread *) * list)
{
    struct fli_os_thread *gone;
    struct fli_thread *thread;
    while ((gone = take_gone(list)) != NULL) {
        while ((thread = claim_bound(gone)) != NULL) {
            fli_thread_end_claimed(thread);
            free(thread);
        }
        for (thread = gone->left; thread != NULL; thread = thread->in_os_thread.next)
            fli_tsan_acquire(thread);
        free_record(gone);
    }
}

void fli_os_thread_reap(bool all)
{
    reap(&ended);
    if (all)
        reap(&os_threads);
}
