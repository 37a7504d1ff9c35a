/* SPDX-License-Identifier: MIT
 *
 * A model check of references that are dropped later, and of stops: src/python/later.c, queue.c, helper.c, stop.c and
 * src/base/lock.c, compiled over model_atomic.h, run by Relacy (model_check.h), without an interpreter (python/).
 *
 *     ends        a thread queues references, and the helper that drops them where nobody else does may be about to end
 *     reused      another thread takes a reference, and the owner puts the next one, in the place of the first or in more
 *                 room
 *     announced   a thread says that the world was stopped and announces the next stop, and another one begins a grace
 *                 period
 *
 * Checked in each execution of `ends`: every reference is dropped once, and what its object holds is seen then. Of
 * `reused`: a place is written again only after it was read, and each reference is taken once. Of `announced`: the grace
 * period ends with the stop that is announced, not with the one before.
 *
 * usage: model_later ends|reused|announced [--expect-error]
 */
#include "base/background.h"
#include "grace/grace.h"
#include "heap/registry.h"
#include "model_check.h"
#include "python/helper.h"
#include "python/join.h"
#include "python/later.h"
#include "python/queue.h"
#include "python/stop.h"
#include "python/thread.h"

fli_model_words fli_model_globals;
PyObject *PyExc_RuntimeError;

namespace
{

enum { OBJECTS = 2 };

struct later_world {
    fli_mutex registry_lock;
    fli_py_thread thread0;
    PyObject objects[OBJECTS];
    unsigned dropped;
    void *(*start)(void *);
    void *argument;
    fli_model_atomic<unsigned> starts, ended;

    void begin()
    {
        fli_model_begin();
        fli_mutex_init(&registry_lock, FLI_RANK_REGISTRY);
        fli_lock_release_all();
        fli_lock_begin_fork();
        fli_lock_end_fork();
    }
};

later_world *world;
PyInterpreterState main_interpreter;
PyThreadState thread_state = {&main_interpreter};

struct ends : rl::test_suite<ends, 2>, later_world {
    void before()
    {
        begin();
        world = this;
        thread0.queues = nullptr;
        dropped = 0;
        fli_store_relaxed(&starts, 0u);
        fli_store_relaxed(&ended, 0u);
        fl_py_stats stats = fl_py_stats();
        fli_py_later_count(&stats);
        RL_ASSERT(stats.later_references == 0);
        fli_py_helper_open();
        objects[0].contents($) = 1;
        fl_py_decref_later(&objects[0]); /* makes the queue, and all words that the threads share */
    }

    void thread(unsigned self)
    {
        if (self == 0) {
            objects[1].contents($) = 1;
            fl_py_decref_later(&objects[1]);
            fli_store_release(&ended, 1u);
            return;
        }
        for (unsigned ran = 0;;) {
            bool last = fli_load_acquire(&ended) != 0;
            for (; ran < fli_load_acquire(&starts); ran++)
                start(argument);
            if (last)
                break;
            rl::yield(1, $);
        }
    }

    void after()
    {
        RL_ASSERT(dropped == OBJECTS);
        fli_py_later_leave(&thread0);
        fli_model_end();
    }
};

struct reused : rl::test_suite<reused, 2>, later_world {
    fli_py_queue *queue;

    void before()
    {
        begin();
        world = this;
        queue = fli_py_queue_create(0);
        queue->places = static_cast<decltype(queue->places)>(malloc(sizeof *queue->places));
        queue->room = 1;
        RL_ASSERT(fli_py_queue_put_owner(queue, &objects[0]));
    }

    void thread(unsigned self)
    {
        if (self == 0) {
            RL_ASSERT(fli_py_queue_put_owner(queue, &objects[1]));
            return;
        }
        fli_registry_lock();
        RL_ASSERT(fli_py_queue_take(queue) == &objects[0]);
        fli_registry_unlock();
    }

    void after()
    {
        RL_ASSERT(fli_py_queue_take(queue) == &objects[1]);
        RL_ASSERT(fli_py_queue_take(queue) == nullptr);
        fli_py_queue_destroy(queue);
        fli_model_end();
    }
};

struct announced : rl::test_suite<announced, 2>, later_world {
    void before()
    {
        begin();
        fli_py_stop_announce(false);
        RL_ASSERT(!fli_py_stop_grace.elapsed(nullptr, 1)); /* makes the word */
    }

    void thread(unsigned self)
    {
        if (self == 0) {
            fli_py_stop_passed();
            return fli_py_stop_announce(true);
        }
        int64_t token = fli_py_stop_grace.begin(nullptr);
        RL_ASSERT(token < 0 || token == 2);
    }

    void after()
    {
        fli_model_end();
    }
};

} // namespace

/* ---- In place of the interpreter and of other files. */

void fli_registry_lock(void)
{
    fli_lock(&world->registry_lock);
}

void fli_registry_unlock(void)
{
    fli_unlock(&world->registry_lock);
}

void fli_registry_assert_held(void)
{
}

int fli_background_start(void *(*start)(void *), void *argument)
{
    world->start = start;
    world->argument = argument;
    fli_store_release(&world->starts, fli_load_relaxed(&world->starts) + 1);
    return 0;
}

/* Long ago: a wait until then has ended. */
uint64_t fli_grace_now(void)
{
    return 1;
}

void Py_DECREF(PyObject *object)
{
    RL_ASSERT(object->contents($) == 1);
    object->contents($) = 0;
    world->dropped++;
}

fli_py_thread *fli_py_thread_own(void)
{
    return &world->thread0;
}

fli_py_thread *fli_py_thread_make(void)
{
    return &world->thread0;
}

bool fli_py_thread_open(fli_py_thread *)
{
    return true;
}

bool fli_py_heap_is_ready(void)
{
    return true;
}

int fli_py_join_once(const void *, int (*)(void))
{
    return 0;
}

int fli_py_join_exit(PyMethodDef *, PyObject *)
{
    return 0;
}

PyThreadState *PyThreadState_GetUnchecked(void)
{
    return &thread_state;
}

PyInterpreterState *PyInterpreterState_Main(void)
{
    return &main_interpreter;
}

int64_t PyInterpreterState_GetID(PyInterpreterState *interpreter)
{
    return interpreter->id;
}

PyGILState_STATE PyGILState_Ensure(void)
{
    return 0;
}

void PyGILState_Release(PyGILState_STATE)
{
}

/* The thread that queues never gets to it. */
int Py_AddPendingCall(int (*)(void *), void *)
{
    return 0;
}

void PyErr_SetString(PyObject *, const char *)
{
}

PyObject *PyErr_NoMemory(void)
{
    return nullptr;
}

PyObject *PyErr_GetRaisedException(void)
{
    return nullptr;
}

void PyErr_SetRaisedException(PyObject *)
{
}

PyObject *PyList_New(int)
{
    return nullptr;
}

void Py_XDECREF(PyObject *)
{
}

int Py_IsFinalizing(void)
{
    return 1;
}

void PyUnstable_GC_VisitObjects(int (*)(PyObject *, void *), void *)
{
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("ends", argc, argv, &expect_error))
        return check<ends>(expect_error);
    if (is_asked_for("reused", argc, argv, &expect_error))
        return check<reused>(expect_error);
    if (is_asked_for("announced", argc, argv, &expect_error))
        return check<announced>(expect_error);
    std::cerr << "usage: " << argv[0] << " ends|reused|announced [--expect-error]" << std::endl;
    return 2;
}
