/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/helper.h"

#include "base/background.h"
#include "base/lock.h"
#include "grace/grace.h"

/* Before all other locks: fli_py_helper.is_needed is asked under it. */
static struct fli_mutex lock = FLI_MUTEX_INITIALIZER(FLI_RANK_DEFAULT);

/* Under the lock. */
static bool is_open;
static unsigned forks; /* under way */
static FLI_PLAIN(struct fli_py_helper *) at_work;
static struct fli_condition changed;

static bool may_work_locked(void)
{
    fli_assert_held(&lock);
    return is_open && forks == 0;
}

static bool is_self(const struct fli_py_helper *helper)
{
    return helper->has_begun && pthread_equal(helper->thread, pthread_self()) != 0;
}

/* ---- The thread. */

static void leave_locked(struct fli_py_helper *helper)
{
    FLI_LIST_REMOVE(helper, links);
    fli_condition_signal(&changed);
}

/* Whether the helper, which has run, ends. From the first store on, others ask for it again; what came up before, it
 * sees itself. */
static bool ends(struct fli_py_helper *helper)
{
    fli_lock(&lock);
    /* X1: seq_cst, pairs with U5 in fl_py_decref_later: a thread that queues sees it, or is_needed sees what that has
     * queued. */
    fli_store_order(&helper->at_work, false, memory_order_seq_cst);
    bool goes_on = may_work_locked() && helper->is_needed != NULL && helper->is_needed();
    fli_store_own(&helper->at_work, goes_on);
    if (!goes_on)
        leave_locked(helper);
    fli_unlock(&lock);
    return !goes_on;
}

static void *help(void *argument)
{
    struct fli_py_helper *helper = argument;
    fli_lock(&lock);
    helper->thread = pthread_self();
    helper->has_begun = true;
    fli_unlock(&lock);
    do
        helper->run();
    while (!ends(helper));
    return NULL;
}

static void begin_locked(struct fli_py_helper *helper)
{
    if (fli_load_own(&helper->at_work) || !may_work_locked())
        return;
    helper->has_begun = helper->serves = false;
    if (fli_background_start(help, helper) != 0)
        return;
    fli_store_own(&helper->at_work, true);
    FLI_LIST_ADD(&at_work, helper, links);
}

void fli_py_helper_get(struct fli_py_helper *helper)
{
    fli_lock(&lock);
    begin_locked(helper);
    fli_unlock(&lock);
}

bool fli_py_helper_wait(unsigned milliseconds)
{
    struct timespec until = fli_background_time(fli_grace_now() + (uint64_t)milliseconds * 1000000);
    fli_lock(&lock);
    while (may_work_locked() && fli_condition_wait_until(&changed, &lock, &until))
        ;
    bool goes_on = may_work_locked();
    fli_unlock(&lock);
    return goes_on;
}

bool fli_py_helper_goes_on(void)
{
    fli_lock(&lock);
    bool goes_on = may_work_locked();
    fli_unlock(&lock);
    return goes_on;
}

static void set_serves(struct fli_py_helper *helper, bool serves)
{
    fli_lock(&lock);
    helper->serves = serves;
    fli_condition_signal(&changed);
    fli_unlock(&lock);
}

void fli_py_helper_serve(struct fli_py_helper *helper, int (*serve)(void *unused))
{
    set_serves(helper, true);
    PyGILState_STATE attached = PyGILState_Ensure();
    (void)serve(NULL);
    PyGILState_Release(attached);
    set_serves(helper, false);
}

/* ---- The interpreter's life. */

void fli_py_helper_open(void)
{
    fli_lock(&lock);
    is_open = true;
    fli_unlock(&lock);
}

/* Whether others are at work; those that serve do not count if so asked. */
static bool others_work_locked(bool but_serving)
{
    for (const struct fli_py_helper *helper = at_work; helper != NULL; helper = helper->links.next)
        if (!is_self(helper) && !(but_serving && helper->serves))
            return true;
    return false;
}

static void wait_for_others_locked(bool but_serving)
{
    fli_assert_held(&lock);
    fli_condition_signal(&changed);
    while (others_work_locked(but_serving))
        fli_condition_wait(&changed, &lock);
}

void fli_py_helper_close(void)
{
    fli_lock(&lock);
    is_open = false;
    wait_for_others_locked(false);
    fli_unlock(&lock);
}

void fli_py_helper_pause(void)
{
    Py_BEGIN_ALLOW_THREADS;
    fli_lock(&lock);
    forks++;
    wait_for_others_locked(true);
    fli_unlock(&lock);
    Py_END_ALLOW_THREADS;
}

void fli_py_helper_resume(void)
{
    fli_lock(&lock);
    if (forks > 0) /* else this copy was loaded during the fork */
        forks--;
    fli_unlock(&lock);
}

void fli_py_helper_forked(void)
{
    fli_lock_free_stw(&lock);
    forks = 0;
    for (struct fli_py_helper *helper = at_work, *next; helper != NULL; helper = next) {
        next = helper->links.next;
        if (is_self(helper))
            continue;
        FLI_LIST_REMOVE(helper, links);
        fli_store_own(&helper->at_work, false);
    }
}

#endif
