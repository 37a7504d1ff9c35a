/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/nest.h"

#include "grace/grace.h"
#include "python/thread.h"
#include "python/waiting.h"

#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/resource.h>

enum {
    /* Bytes of the own stack that deallocations may fill; what lies deeper counts as another stack. ThreadSanitizer
     * follows fewer frames than fit a stack. */
    OWN = FLI_THREAD_SANITIZER ? 1 << 20 : 64 << 20,
    /* The main thread's stack may grow if it has fewer bytes than this. */
    GROWS = 1 << 20,
    /* The most bytes of arguments and environment above the main thread's stack. */
    ARGUMENTS = 4 << 20,
    /* Bytes of the own stack that are left to what destructors call; of a small stack, half. */
    RESERVE = 256 << 10,
    /* Bytes of the own stack, besides, that are left where a frame destroys what waits. They are few, so that this
     * part of the stack stays in the processor's caches. */
    MARGIN = 8 << 10,
    /* Bytes of the own stack within which fl_py_dealloc looks no further. */
    SHALLOW = 256 << 10,
    /* An address counts for frames that lie within as many bytes beneath it. */
    SPAN = 64 << 10,
    /* Deallocations inside each other on a stack whose bounds are not known. */
    LEVELS = FLI_RARE_PATHS ? 8 : 64,
    /* Calls of Python functions inside each other that are left to what destructors call. */
    CALLS = 100,
    /* A frame above that has destroyed nothing for so long is taken to be gone. */
    OVERDUE_MS = 100,
};

static int64_t now_ms(void)
{
    return (int64_t)(fli_grace_now_about() / 1000000);
}

/* Whether `frame` lies just beneath `above`: then both count as frames of one stack. */
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

/* The bounds that the C library knows, without the guard, which some C libraries include; empty if it knows none. */
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

/* Whether it is the main thread's stack, above which the arguments of the process lie. */
static bool is_main(const struct fli_py_stack *stack)
{
    return getauxval(AT_RANDOM) - stack->low < stack->bytes + ARGUMENTS;
}

/* Of the main thread's stack, musl tells only the part that is mapped. The rest is added, as that stack grows. */
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

/* Whether a frame has room to destroy what waits: each object that is destroyed there needs room beneath it. */
static bool has_room_for_waiting(const struct fli_py_stack *stack, uintptr_t frame)
{
    return !is_on(stack, frame) || has_room(stack, frame, fli_min(reserve_of(stack) / 4, MARGIN));
}

/* The C library finds the main thread's stack among all mappings of the process, which takes long where these are many. So
 * it is asked when there is something to destroy. */
static void look_for_stack(struct fli_py_thread *thread)
{
    struct fli_py_stack *stack = &thread->nest.stack;
    *stack = find_stack();
    thread->nest.looked = true;
    thread->face.stack_bytes = fli_min(stack->bytes - reserve_of(stack), SHALLOW);
    thread->face.stack = stack->low + stack->bytes - thread->face.stack_bytes;
}

/* ---- What waits in a thread. */

static void destroy(const struct fl_py_type *self, PyObject *object)
{
    const struct fl_py_current *at = fl_py_here();
    fl_py_destroy(self, object, at, fl_py_thread_at(at), false);
}

/* Makes a dead object an entry of a list. The collector is not to know of it meanwhile. Where memory for the entry is
 * refused, destroys the object at once and returns NULL. */
static void *put_aside(const struct fl_py_type *self, PyObject *object)
{
    if (self->gc)
        PyObject_GC_UnTrack(object);
    void *entry = fli_py_waiting_wrap(object);
    if (entry != NULL)
        return entry;
    if (self->gc)
        PyObject_GC_Track(object);
    destroy(self, object);
    return NULL;
}

static void wait(struct fli_py_thread *thread, const struct fl_py_type *self, PyObject *object)
{
    void *entry = put_aside(self, object);
    if (entry == NULL)
        return;
    if (thread->face.waiting == NULL)
        thread->nest.moved_ms = now_ms();
    fli_py_waiting_push(&thread->face.waiting, entry);
}

/* Whether no frame has taken anything from the list for so long that none is at work on it. */
static bool is_overdue(const struct fli_py_thread *thread)
{
    return now_ms() - thread->nest.moved_ms > OVERDUE_MS;
}

/* Whether the levels above are out of date: something waits for them to end, and is overdue. Then the calling frame
 * counts as one of a stack that no other frame is on. */
static bool is_out_of_date(struct fli_py_thread *thread)
{
    bool out_of_date = thread->face.waiting != NULL && is_overdue(thread);
    if (out_of_date)
        thread->nest.moved_ms = now_ms();
    return out_of_date;
}

/* The tp_dealloc that the object waited in: that of the declared type, the last base that has the same tp_free. Where
 * that is the interpreter's, the object is of the declared type. */
static destructor waited_for(PyTypeObject *type)
{
    freefunc free = type->tp_free;
    if (free == PyObject_Free || free == PyObject_GC_Del)
        return type->tp_dealloc;
    while (type->tp_base != NULL && type->tp_base->tp_free == free)
        type = type->tp_base;
    return type->tp_dealloc;
}

/* Destroys the object of an entry, which is in no list any more. */
static void resume(void *entry)
{
    PyObject *object = fli_py_waiting_unwrap(entry);
    PyTypeObject *type = Py_TYPE(object);
    if (PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC))
        PyObject_GC_Track(object);
    waited_for(type)(object);
}

/* Destroys an object that waits. Returns false if there is none, or if it had to wait again. */
static bool resume_one(struct fli_py_thread *thread)
{
    void *entry = fli_py_waiting_take(&thread->face.waiting);
    if (entry == NULL)
        return false;
    PyObject *object = fli_py_waiting_object(entry);
    thread->nest.moved_ms = now_ms();
    resume(entry);
    return fli_py_waiting_object(thread->face.waiting) != object;
}

void fl_py_dealloc_waiting(struct fl_py_thread *face)
{
    struct fli_py_thread *thread = fli_py_thread_of(face);
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
    destroy(self, object);
    resume_all(thread);
}

/* The levels are counted for each region of addresses, so that most stacks which are used in turns count apart. */
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
    destroy(self, object);
    if (number < LEVELS)
        resume_all(thread);
    *level = above;
}

/* Deallocates on an OS thread that is about to end, or for which no memory can be had. */
static void dealloc_without_thread(const struct fl_py_type *self, PyObject *object)
{
    struct fli_py_stack stack = find_stack();
    uintptr_t frame = fl_py_frame();
    if (is_on(&stack, frame) && !has_room(&stack, frame, 0)) {
        void *entry = put_aside(self, object);
        if (entry != NULL)
            fli_py_waiting_put_orphan(entry);
        return;
    }
    destroy(self, object);
    void *entry;
    while (has_room_for_waiting(&stack, frame) && (entry = fli_py_waiting_take_orphan()) != NULL)
        resume(entry);
}

void fli_py_nest_dealloc(struct fli_py_thread *thread, const struct fl_py_type *self, PyObject *object)
{
    uintptr_t frame = fl_py_frame();
    if (thread != NULL && !thread->nest.looked)
        look_for_stack(thread);
    if (thread == NULL)
        dealloc_without_thread(self, object);
    else if (is_on(&thread->nest.stack, frame))
        dealloc_on_own_stack(thread, self, object, frame);
    else
        dealloc_on_other_stack(thread, self, object, frame);
}

/* ---- For other files. */

void fli_py_nest_orphan(struct fli_py_thread *thread)
{
    void *entry;
    while ((entry = fli_py_waiting_pop(&thread->face.waiting)) != NULL)
        fli_py_waiting_put_orphan(entry);
}

void fli_py_nest_resume(void)
{
    void *entry = fli_py_waiting_take_orphan();
    struct fli_py_thread *thread = entry != NULL ? fli_py_thread_enter() : NULL;
    for (; entry != NULL && thread != NULL; entry = fli_py_waiting_take_orphan())
        fli_py_waiting_push(&thread->face.waiting, entry);
    if (entry != NULL)
        fli_py_waiting_put_orphan(entry);
    fli_py_nest_resume_own();
}

void fli_py_nest_resume_own(void)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    if (thread != NULL)
        resume_all(thread);
}

#endif
