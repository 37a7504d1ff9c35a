/* SPDX-License-Identifier: MIT
 *
 * A model check of the table of samples: src/heap/sampled.c itself, compiled over model_atomic.h, run by Relacy
 * (model_check.h).
 *
 * Threads allocate blocks and free them, as fli_profile_see does: a block that is a sample is entered under the lock,
 * and a free takes the lock only if the table may have its block. All blocks have the same head in the table. A thread
 * hands a block over to another one by a release that the other one acquires.
 *
 * Checked in each execution:
 *
 *     no free is missed       the table may have each sample that is freed, and has it; at the end none is left
 *     samples are whole       what the lock guards are plain words (FLI_PLAIN): who follows them without it has a data
 *                             race
 *
 *     handed      one thread frees what the other one has entered, while that one enters and frees another block
 *     others      each thread enters and frees blocks of its own; one of them frees a block that is no sample
 *
 * The program is built once as it is, and once for each mutant: one where the lock locks nothing, and one where the
 * host hands the block over without an order, so that the table may seem not to have it.
 *
 * usage: model_sampled handed|others [--expect-error]
 */
#include "heap/sampled.h"
#include "base/lock.h"
#include "model_check.h"

#if !defined(MODEL_HAND_OVER)
#define MODEL_HAND_OVER rl::mo_release
#endif

/* Where a sample was allocated, which the table does not look into. */
struct fli_site {
    char place;
};

namespace
{

enum { RECORDS = 4 };

/* Addresses with one head. */
const void *const blocks[] = {reinterpret_cast<void *>(0x1000), reinterpret_cast<void *>(0x1010),
                              reinterpret_cast<void *>(0x1020)};

/* Of one execution. */
struct ground {
    fli_sample records[RECORDS];
    unsigned used;
};

ground *now;

template <typename scenario> struct sampled_model : rl::test_suite<scenario, 2> {
    ground here;
    fli_sampled sampled;
    fli_mutex lock;
    fli_site site;
    rl::atomic<bool> is_handed;

    void before()
    {
        now = &here;
        here.used = 0;
        fli_mutex_init(&lock, FLI_RANK_MEMORY);
        for (unsigned i = 0; i < FLI_SAMPLED_HEADS; i++)
            fli_store_relaxed(&sampled.heads[i], nullptr);
        sampled.count = 0;
        sampled.unused = nullptr;
        is_handed.store(false, rl::mo_relaxed, $);
    }

    void after()
    {
        RL_ASSERT(sampled.count == 0);
        RL_ASSERT(!fli_sampled_may_have(&sampled, blocks[0]));
        fli_mutex_close(&lock);
    }

    void take_lock()
    {
#if !defined(MODEL_NO_LOCK)
        fli_lock(&lock);
#endif
    }

    void release_lock()
    {
#if !defined(MODEL_NO_LOCK)
        fli_unlock(&lock);
#endif
    }

    void enter(const void *block)
    {
        take_lock();
        bool entered = fli_sampled_enter(&sampled, block, &site);
        release_lock();
        RL_ASSERT(entered);
    }

    void free_block(const void *block, bool is_sample)
    {
        fli_site *found = nullptr;
        if (fli_sampled_may_have(&sampled, block)) {
            take_lock();
            found = fli_sampled_remove(&sampled, block);
            release_lock();
        }
        RL_ASSERT(found == (is_sample ? &site : nullptr));
    }
};

struct handed : sampled_model<handed> {
    void thread(unsigned self)
    {
        if (self == 0) {
            enter(blocks[0]);
            is_handed.store(true, MODEL_HAND_OVER, $);
            enter(blocks[1]);
            free_block(blocks[1], true);
            return;
        }
        while (!is_handed.load(rl::mo_acquire, $))
            rl::yield(1, $);
        free_block(blocks[0], true);
    }
};

struct others : sampled_model<others> {
    void thread(unsigned self)
    {
        if (self == 1)
            free_block(blocks[2], false);
        enter(blocks[self]);
        free_block(blocks[self], true);
    }
};

} // namespace

/* ---- In place of what sampled.c uses. */

void *fli_arena_take(fli_arena *, size_t)
{
    RL_ASSERT(now->used < RECORDS);
    return &now->records[now->used++];
}

void fli_arena_clear(fli_arena *)
{
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("handed", argc, argv, &expect_error))
        return check<handed>(expect_error);
    if (is_asked_for("others", argc, argv, &expect_error))
        return check<others>(expect_error);
    std::cerr << "usage: " << argv[0] << " handed|others [--expect-error]" << std::endl;
    return 2;
}
