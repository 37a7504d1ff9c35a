/* SPDX-License-Identifier: MIT
 *
 * Deallocations inside each other: what destroys an object may drop the next one. An object is destroyed where it is
 * dropped, unless the stack has no room for that; then it waits in a list of the OS thread.
 *
 *     the stack it is dropped on      it waits
 *     the OS thread's own             if less than the reserve is left, or, far down, few calls of the interpreter's
 *     another (a fiber's)             if LEVELS deallocations are under way just above, for OVERDUE_MS at most
 *
 * Nobody owns the list. Each deallocation of an object of kind CLEAR or FINALIZE that has room destroys what waits
 * when it is done, and so do a collection and the end of a thread state. What an OS thread leaves at its end goes to
 * the next collection.
 *
 * A destructor may not come back: it may switch to another stack and stay there, or leave by an exception or longjmp.
 * So nothing is kept that it would have to undo. The frames of deallocations under way are remembered as addresses,
 * which count for what lies just beneath them on the same stack, and which are not followed. An address that is out
 * of date makes something wait that need not, until OVERDUE_MS are over.
 *
 * All state here is the OS thread's own.
 */
#include "python/interpreter.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <time.h>

enum {
    /* Bytes of the own stack that deallocations may fill; what lies deeper counts as another stack. The sanitizer
     * knows fewer frames than fit a stack. */
    OWN = FLI_THREAD_SANITIZER ? 1 << 20 : 64 << 20,
    /* A main thread's stack of fewer bytes may grow; the most that lies above it. */
    GROWS = 1 << 20,
    ARGUMENTS = 4 << 20,
    /* Bytes of the own stack that are left to what destructors call, or half of a small stack. */
    RESERVE = 256 << 10,
    /* Bytes of the own stack, besides, that destroying what waits takes; a few, so that they stay in the caches. */
    MARGIN = 8 << 10,
    /* Bytes of the own stack within which fl_py_dealloc looks no further. */
    SHALLOW = 256 << 10,
    /* A frame counts for what lies within as many bytes beneath it. */
    SPAN = 64 << 10,
    /* Deallocations inside each other on a stack whose bounds are not known. */
    LEVELS = FLI_RARE_PATHS ? 8 : 64,
    /* Calls of Python functions inside each other that are left to what destructors call. */
    CALLS = 100,
    /* When to stop believing in a frame above that would destroy what waits. */
    OVERDUE_MS = 100,
};

static struct fli_py_thread *whole(struct fl_py_thread *face)
{
    return (struct fli_py_thread *)(void *)face;
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime((clockid_t)FLI_CLOCK_ABOUT, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether `frame` lies just beneath `above`, so on the same stack for all that is known. */
static bool is_beneath(uintptr_t frame, uintptr_t above)
{
    return above - frame - 1 < SPAN;
}

/* ---- The OS thread's own stack. */

static void move_low(struct fli_py_stack *stack, size_t bytes)
{
    stack->low += stack->bytes - bytes;
    stack->bytes = bytes;
}

/* The bounds that the C library knows, without a guard, which some of them count in; none if it does not know. */
static struct fli_py_stack ask_for_stack(void)
{
    struct fli_py_stack stack = {0};
    pthread_attr_t attributes;
    void *low = NULL;
    size_t guard = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return stack;
    (void)pthread_attr_getstack(&attributes, &low, &stack.bytes);
    (void)pthread_attr_getguardsize(&attributes, &guard);
    (void)pthread_attr_destroy(&attributes);
    stack.low = (uintptr_t)low;
    move_low(&stack, stack.bytes - fli_min(guard, stack.bytes));
    return stack;
}

/* Whether it is that of the process, above which its arguments lie. */
static bool is_main(const struct fli_py_stack *stack)
{
    return getauxval(AT_RANDOM) - stack->low < stack->bytes + ARGUMENTS;
}

/* Of the main thread's stack, musl knows what is mapped, and it grows. */
static struct fli_py_stack find_stack(void)
{
    struct rlimit limit = {0};
    int error = errno;
    struct fli_py_stack stack = ask_for_stack();
    if (stack.bytes < GROWS && is_main(&stack) && getrlimit(RLIMIT_STACK, &limit) == 0)
        move_low(&stack, fli_max(stack.bytes, fli_min(limit.rlim_cur, OWN)));
    move_low(&stack, fli_min(stack.bytes, OWN));
    errno = error;
    return stack;
}

static bool is_on(const struct fli_py_stack *stack, uintptr_t frame)
{
    return frame - stack->low < stack->bytes;
}

static size_t reserve_of(const struct fli_py_stack *stack)
{
    return fli_min(stack->bytes / 2, RESERVE);
}

/* Whether there is room beneath a frame on the stack, besides the reserve, for `margin` bytes. */
static bool has_room(const struct fli_py_stack *stack, uintptr_t frame, size_t margin)
{
    size_t left = frame - stack->low;
    if (left < reserve_of(stack) + margin)
        return false;
    return stack->bytes - left <= SHALLOW || fli_py_calls_left() >= CALLS;
}

/* The same for a frame that is about to destroy what waits: whatever is destroyed there is to find room itself. */
static bool has_room_for_waiting(const struct fli_py_stack *stack, uintptr_t frame)
{
    return !is_on(stack, frame) || has_room(stack, frame, fli_min(reserve_of(stack) / 4, MARGIN));
}

void fli_py_nest_ready(struct fli_py_thread *thread)
{
    struct fli_py_stack *stack = &thread->nest.stack;
    *stack = find_stack();
    thread->face.stack_bytes = fli_min(stack->bytes - reserve_of(stack), SHALLOW);
    thread->face.stack = stack->low + stack->bytes - thread->face.stack_bytes;
}

/* ---- Waiting. */

/* Where no memory is to be had, weak references die early. */
static void *make_entry(PyObject *object)
{
    if (FLI_PY_FREE_THREADED || !fl_py_has_weakrefs(object, Py_TYPE(object)))
        return object;
    struct fli_py_proxy *proxy = malloc(sizeof *proxy);
    if (proxy == NULL) {
        PyObject_ClearWeakRefs(object);
        return object;
    }
    proxy->object = object;
    return (void *)((uintptr_t)proxy + 1);
}

/* The collector is not to know of an object that waits. */
static void *put_aside(const struct fl_py_type *self, PyObject *object)
{
    if (self->gc)
        PyObject_GC_UnTrack(object);
    return make_entry(object);
}

static void wait(struct fli_py_thread *thread, const struct fl_py_type *self, PyObject *object)
{
    void *entry = put_aside(self, object);
    if (thread->face.waiting == NULL)
        thread->nest.moved_ms = now_ms();
    fli_py_push_waiting(&thread->face.waiting, entry);
}

/* Whether the list has not become shorter for so long that nobody is at it. */
static bool is_overdue(const struct fli_py_thread *thread)
{
    return now_ms() - thread->nest.moved_ms > OVERDUE_MS;
}

/* Whether to take the stack for another one than that of the frames above, which nobody has come back to. */
static bool is_out_of_date(struct fli_py_thread *thread)
{
    bool out_of_date = thread->face.waiting != NULL && is_overdue(thread);
    if (out_of_date)
        thread->nest.moved_ms = now_ms();
    return out_of_date;
}

/* The part of tp_dealloc that the object waited in: that of the declared type, which all types have in common that
 * inherit its tp_free. */
static destructor waited_for(PyTypeObject *type)
{
    freefunc free = type->tp_free;
    while (type->tp_base != NULL && type->tp_base->tp_free == free)
        type = type->tp_base;
    return type->tp_dealloc;
}

/* Destroys the object of an entry, which is in no list any more. */
static void resume(void *entry)
{
    PyObject *object = fli_py_waiting_object(entry);
    PyTypeObject *type = Py_TYPE(object);
    free(fli_py_proxy_of(entry));
    if (PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC))
        PyObject_GC_Track(object);
    waited_for(type)(object);
}

/* Destroys an object that waits. Returns false if there is none, or if it had to wait again. */
static bool resume_one(struct fli_py_thread *thread)
{
    void *entry = fli_py_pop_waiting(&thread->face.waiting);
    if (entry == NULL)
        return false;
    PyObject *object = fli_py_waiting_object(entry);
    thread->nest.moved_ms = now_ms();
    resume(entry);
    return fli_py_waiting_object(thread->face.waiting) != object;
}

void fl_py_dealloc_waiting(struct fl_py_thread *face)
{
    struct fli_py_thread *thread = whole(face);
    uintptr_t frame = fl_py_frame(), above = thread->nest.resuming;
    if (!has_room_for_waiting(&thread->nest.stack, frame) || (is_beneath(frame, above) && !is_overdue(thread)))
        return;
    thread->nest.resuming = frame;
    while (has_room_for_waiting(&thread->nest.stack, frame) && resume_one(thread))
        ;
    thread->nest.resuming = above;
}

static void resume_all(struct fli_py_thread *thread)
{
    if (thread->face.waiting != NULL)
        fl_py_dealloc_waiting(&thread->face);
}

/* ---- Deallocation. */

static void dealloc_on_own_stack(struct fli_py_thread *thread, const struct fl_py_type *self, PyObject *object,
                                 uintptr_t frame)
{
    if (!has_room(&thread->nest.stack, frame, 0)) {
        wait(thread, self, object);
        return;
    }
    fl_py_destroy(self, object);
    resume_all(thread);
}

/* The levels are counted per region of addresses, so that stacks that are used in turns count apart, mostly. */
static void dealloc_on_other_stack(struct fli_py_thread *thread, const struct fl_py_type *self, PyObject *object,
                                   uintptr_t frame)
{
    struct fli_py_level *level = &thread->nest.levels[frame / SPAN % FLI_PY_REGIONS], above = *level;
    unsigned number = is_beneath(frame, above.frame) ? above.number + 1 : 1;
    if (number > LEVELS && !is_out_of_date(thread)) {
        wait(thread, self, object);
        return;
    }
    if (number > LEVELS)
        number = 1;
    *level = (struct fli_py_level){frame, number};
    fl_py_destroy(self, object);
    if (number < LEVELS)
        resume_all(thread);
    *level = above;
}

/* On an OS thread that is about to end, or that memory was refused to. */
static void dealloc_without_thread(const struct fl_py_type *self, PyObject *object)
{
    struct fli_py_stack stack = find_stack();
    uintptr_t frame = fl_py_frame();
    if (is_on(&stack, frame) && !has_room(&stack, frame, 0)) {
        fli_py_orphans_put(put_aside(self, object));
        return;
    }
    fl_py_destroy(self, object);
    void *entry;
    while (has_room_for_waiting(&stack, frame) && (entry = fli_py_orphans_take()) != NULL)
        resume(entry);
}

void fli_py_nest_dealloc(struct fli_py_thread *thread, const struct fl_py_type *self, PyObject *object)
{
    uintptr_t frame = fl_py_frame();
    if (thread == NULL)
        dealloc_without_thread(self, object);
    else if (is_on(&thread->nest.stack, frame))
        dealloc_on_own_stack(thread, self, object, frame);
    else
        dealloc_on_other_stack(thread, self, object, frame);
}

/* ---- What waits elsewhere. */

void fli_py_nest_orphan(struct fli_py_thread *thread)
{
    void *entry;
    while ((entry = fli_py_pop_waiting(&thread->face.waiting)) != NULL)
        fli_py_orphans_put(entry);
}

void fli_py_nest_resume(void)
{
    void *entry = fli_py_orphans_take();
    struct fli_py_thread *thread = entry != NULL ? fli_py_thread_enter() : NULL;
    for (; entry != NULL && thread != NULL; entry = fli_py_orphans_take())
        fli_py_push_waiting(&thread->face.waiting, entry);
    if (entry != NULL)
        fli_py_orphans_put(entry);
    fli_py_nest_resume_own();
}

void fli_py_nest_resume_own(void)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    if (thread != NULL)
        resume_all(thread);
}
