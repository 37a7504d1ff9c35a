/* SPDX-License-Identifier: MIT
 *
 * A model check of the thread that waits for readers: src/grace/helper.c and src/base/lock.c, compiled over
 * model_atomic.h, run by Relacy (model_check.h).
 *
 *     asked     a thread asks for a grace period, looks when one began, and looks whether it has ended
 *
 * Checked in each execution: the time of a grace period belongs to its number, or to a later one; what was done while it
 * lasted is seen by a thread that sees it ended.
 *
 * usage: model_grace asked [--expect-error]
 */
#include "base/background.h"
#include "grace/grace.h"
#include "grace/helper.h"
#include "model_check.h"

fli_model_words fli_model_globals;

namespace
{

enum { LOOKS = 2 };

struct stopped {
};

void wait_for_readers();

struct grace_world {
    fli_helper helper;
    rl::var<unsigned> waited; /* what happened in the grace period */
    void *(*start)(void *);
    fli_model_atomic<unsigned> started;
    uint64_t now;
};

grace_world *world;

void wait_for_readers()
{
    if (fli_load_relaxed(&world->helper.begun) == 2)
        throw stopped(); /* what follows is not looked at */
    world->waited($) = 1;
}

struct asked : rl::test_suite<asked, 2>, grace_world {
    void before()
    {
        fli_model_begin();
        world = this;
        now = 0;
        helper.wait_for_readers = wait_for_readers;
        fli_mutex_init(&helper.lock, FLI_RANK_GRACE);
        helper.is_idle = helper.lost = false;
        helper.forks = 0;
        helper.hurry = helper.asked = 0;
        fli_store_relaxed(&helper.exists, false);
        fli_store_relaxed(&helper.begun, 0);
        fli_store_relaxed(&helper.begun_at, 0);
        fli_store_relaxed(&helper.completed, 0);
        fli_store_relaxed(&helper.asked_for.changes, 0);
        fli_store_relaxed(&helper.ended.changes, 0);
        fli_store_relaxed(&started, 0u);
        fli_lock_release_all();
        fli_lock_begin_fork();
        fli_lock_end_fork();
        waited($) = 0;
    }

    void after()
    {
        fli_model_end();
    }

    void thread(unsigned self)
    {
        if (self == 0)
            return ask();
        while (fli_load_acquire(&started) == 0)
            rl::yield(1, $);
        try {
            start(&helper);
        } catch (const stopped &) {
        }
    }

    void ask()
    {
        int64_t token = fli_helper_begin(&helper);
        for (unsigned i = 0; i < LOOKS; i++) {
            uint64_t begun_at;
            int64_t begun = fli_helper_latest(&helper, &begun_at);
            RL_ASSERT(begun_at >= (uint64_t)begun);
            if (fli_helper_elapsed(&helper, token))
                RL_ASSERT(waited($) == 1);
        }
        while (!fli_helper_elapsed(&helper, token))
            rl::yield(1, $);
        RL_ASSERT(waited($) == 1);
        (void)fli_helper_begin(&helper); /* where the helper ends */
    }
};

} // namespace

/* ---- In place of the files that helper.c uses. */

int fli_background_start(void *(*start)(void *), void *)
{
    world->start = start;
    fli_store_release(&world->started, 1u);
    return 0;
}

/* The first grace period begins at 1, long ago. */
uint64_t fli_grace_now(void)
{
    return ++world->now;
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("asked", argc, argv, &expect_error))
        return check<asked>(expect_error);
    std::cerr << "usage: " << argv[0] << " asked [--expect-error]" << std::endl;
    return 2;
}
