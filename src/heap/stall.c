/* SPDX-License-Identifier: MIT */
#include "heap/stall.h"
#include "base/watch.h"
#include "heap/registry.h"
#include "heap/thread.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STALLS_NAMED = 8 }; /* the most readers that are named per grace period */

/* How long a wait lasts before it looks for stalled readers. */
enum { WAIT_MILLISECONDS = 200 };

/* Cancellation is off: deferring and passing a quiescent state are no cancellation points. */
static void print(struct fl_heap *heap, const struct fl_stall *stall)
{
    int state = fli_cancel_off();
    fprintf(stderr, "freelane: heap %p: a grace period has lasted %.1f s and waits for %s (thread %ld, handle %p)\n",
            (void *)heap, stall->seconds, stall->name, stall->os_thread, (void *)stall->thread);
    fli_cancel_restore(state);
}

static void tell(struct fl_heap *heap, const struct fl_stall *stall)
{
    fli_watch_pass(stall, sizeof *stall);
    if (heap->options.on_stall != NULL)
        heap->options.on_stall(heap, stall, heap->options.context);
    else
        print(heap, stall);
}

/* The system's name of a thread of this process. */
static void find_name(long number, char *name, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld/comm", number);
    int state = fli_cancel_off(); /* so that the file is closed again */
    FILE *file = fopen(path, "re");
    if (file == NULL || fgets(name, (int)size, file) == NULL)
        snprintf(name, size, "(no name)");
    name[strcspn(name, "\n")] = '\0';
    if (file != NULL)
        fclose(file);
    fli_cancel_restore(state);
}

/* The handles found so far. Each OS thread is found once. */
struct found {
    struct fl_stall *stalls;
    unsigned count;
};

/* Finds handles of a heap whose OS threads hold grace period `number` up. */
static void find_in_heap_locked(struct found *found, struct fl_heap *heap, int64_t number)
{
    enum fl_grace kind = heap->grace.kind;
    struct fli_thread *thread = heap->threads;
    for (; thread != NULL && found->count < STALLS_NAMED; thread = thread->in_heap.next) {
        if (thread->os_thread == NULL || !fli_reader_holds_up(&thread->os_thread->readers[kind], kind, number))
            continue;
        bool again = false;
        for (unsigned i = 0; i < found->count; i++)
            again = again || found->stalls[i].os_thread == thread->os_thread->number;
        if (!again)
            found->stalls[found->count++] = (struct fl_stall){.thread = &thread->face,
                                                              .os_thread = thread->os_thread->number};
    }
}

/* Finds such handles of all heaps, because all heaps of a kind share it. Returns how many there are. */
static unsigned find_readers(enum fl_grace kind, int64_t number, struct fl_stall *stalls)
{
    struct found found = {.stalls = stalls};
    size_t count;
    fli_registry_lock();
    struct fl_heap *const *heaps = fli_registry_heaps(&count);
    for (size_t i = 0; i < count; i++)
        if (heaps[i]->grace.kind == kind)
            find_in_heap_locked(&found, heaps[i], number);
    fli_registry_unlock();
    return found.count;
}

static void name_readers(struct fl_heap *heap, int64_t number, double seconds)
{
    struct fl_stall stalls[STALLS_NAMED];
    unsigned count = find_readers(heap->grace.kind, number, stalls);
    if (count == 0) {
        stalls[count++] = (struct fl_stall){.thread = NULL};
        snprintf(stalls[0].name, sizeof stalls[0].name, "a reader of the host's");
    }
    for (unsigned i = 0; i < count; i++) {
        stalls[i].seconds = seconds;
        if (stalls[i].os_thread != 0)
            find_name(stalls[i].os_thread, stalls[i].name, sizeof stalls[i].name);
        tell(heap, &stalls[i]);
    }
}

void fli_stall_look(struct fl_heap *heap)
{
    const struct fli_reader_calls *readers = heap->grace.readers;
    if (readers == NULL)
        return;
    uint64_t begun;
    int64_t number = readers->latest(&begun);
    int64_t told = fli_load_hint(&heap->stall_told);
    if (told >= number || fli_grace_elapsed(&heap->grace, number))
        return;
    uint64_t now = fli_grace_now_about();
    uint64_t lasted = now > begun ? now - begun : 0;
    if (lasted < (uint64_t)heap->options.stall_seconds * 1000000000u)
        return;
    /* Relaxed: nothing is read through the word. Of several threads, the one that changes it names the readers. */
    if (!fli_cas_strong(&heap->stall_told, &told, number, memory_order_relaxed, memory_order_relaxed))
        return;
    int saved = errno;
    name_readers(heap, number, (double)lasted / 1e9);
    errno = saved;
}

bool fli_stall_wait(struct fl_heap *heap, int64_t token)
{
    if (fli_grace_wait(&heap->grace, token, WAIT_MILLISECONDS))
        return true;
    fli_stall_look(heap);
    pthread_testcancel();
    return false;
}

void fli_stall_wait_for(void *heap, int64_t token)
{
    fli_stall_wait(heap, token);
}
