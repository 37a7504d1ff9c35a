/* SPDX-License-Identifier: MIT
 *
 * A model check of the locks and of the thread that forks: src/base/lock.c, and the lock of a home in src/pool/home.c,
 * compiled over model_atomic.h, run by Relacy (model_check.h). A thread that would wait in the kernel returns early.
 *
 * What a lock guards is a plain variable: two threads that have it without order have a data race.
 *
 *     locked      two threads take a lock; a third one tries it
 *     forked      a thread takes a lock, and another one forks
 *     waited      the same with a second thread that waits for the lock (with three preemptions)
 *     tried       a thread tries the lock, and another one forks
 *     home        the same with the lock of a home
 *     left        two threads take a lock that another process seems to hold; a third one tries it
 *     home_left   two threads take such a lock of a home
 *
 * usage: model_lock locked|forked|waited|tried|home|left|home_left [--expect-error]
 */
#include "base/lock.h"
#include "model_check.h"
#include "pool/homes.h"

fli_model_words fli_model_globals;

namespace
{

const fli_rank RANK = FLI_RANK_TRIM;

void in_child()
{
    RL_ASSERT(!"there is no child");
}

template <typename scenario, int threads> struct lock_model : rl::test_suite<scenario, threads> {
    fli_mutex mutex;
    fli_home home;
    rl::var<unsigned> guarded;

    /* Makes all words that the threads use. */
    void before()
    {
        fli_model_begin();
        fli_mutex_init(&mutex, RANK);
        fli_store_relaxed(&home.lock, 0);
        fli_lock_release_all();
        fli_lock_begin_fork();
        fli_lock_end_fork();
        guarded($) = 0;
    }

    void after()
    {
        RL_ASSERT(guarded($) == scenario::CHANGES);
        fli_model_end();
    }

    void change()
    {
        guarded($) = guarded($) + 1;
    }

    void lock()
    {
        fli_lock(&mutex);
        change();
        fli_unlock(&mutex);
    }

    void fork(void (*await)(lock_model *))
    {
        fli_lock_begin_fork();
        fli_lock_close(FLI_RANK_HOME);
        await(this);
        fli_lock_hold_all(in_child);
        change();
        fli_lock_release_all();
        fli_lock_end_fork();
    }

    void fork()
    {
        fork([](lock_model *model) { fli_lock_await(&model->mutex); });
    }
};

struct locked : lock_model<locked, 3> {
    enum { CHANGES = 2 };
    void thread(unsigned self)
    {
        if (self < 2)
            return lock();
        if (fli_trylock(&mutex))
            fli_unlock(&mutex);
    }
};

struct forked : lock_model<forked, 2> {
    enum { CHANGES = 2 };
    void thread(unsigned self)
    {
        return self == 0 ? lock() : fork();
    }
};

struct waited : lock_model<waited, 3> {
    enum { CHANGES = 3 };
    void thread(unsigned self)
    {
        return self < 2 ? lock() : fork();
    }
};

struct tried : lock_model<tried, 2> {
    enum { CHANGES = 2 };
    void thread(unsigned self)
    {
        if (self == 1)
            return fork();
        while (!fli_trylock(&mutex))
            rl::yield(1, $);
        change();
        fli_unlock(&mutex);
    }
};

struct home_lock : lock_model<home_lock, 2> {
    enum { CHANGES = 2 };
    void thread(unsigned self)
    {
        if (self == 1)
            return fork([](lock_model *model) { fli_home_await(&model->home); });
        fli_home_wait(&home);
        change();
        fli_home_unlock(&home);
    }
};

/* What another process has left in a word. */
enum { LEFT = 4 };

struct left : lock_model<left, 3> {
    enum { CHANGES = 2 };
    void before()
    {
        lock_model<left, 3>::before();
        fli_store_relaxed(&mutex.word, LEFT);
    }
    void thread(unsigned self)
    {
        if (self < 2)
            return lock();
        if (fli_trylock(&mutex))
            fli_unlock(&mutex);
    }
};

struct home_left : lock_model<home_left, 2> {
    enum { CHANGES = 2 };
    void before()
    {
        lock_model<home_left, 2>::before();
        fli_store_relaxed(&home.lock, LEFT);
    }
    void thread(unsigned)
    {
        fli_home_wait(&home);
        change();
        fli_home_unlock(&home);
    }
};

} // namespace

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("locked", argc, argv, &expect_error))
        return check<locked>(expect_error);
    if (is_asked_for("forked", argc, argv, &expect_error))
        return check<forked>(expect_error);
    if (is_asked_for("waited", argc, argv, &expect_error))
        return check<waited>(expect_error, 3);
    if (is_asked_for("tried", argc, argv, &expect_error))
        return check<tried>(expect_error);
    if (is_asked_for("home", argc, argv, &expect_error))
        return check<home_lock>(expect_error);
    if (is_asked_for("left", argc, argv, &expect_error))
        return check<left>(expect_error);
    if (is_asked_for("home_left", argc, argv, &expect_error))
        return check<home_left>(expect_error);
    std::cerr << "usage: " << argv[0] << " locked|forked|waited|tried|home|left|home_left [--expect-error]"
              << std::endl;
    return 2;
}
