/* SPDX-License-Identifier: MIT */
#include "base/lock.h"
#include "support.h"

#include <sys/wait.h>
#include <unistd.h>

static struct fli_mutex early = FLI_MUTEX_INITIALIZER(FLI_RANK_TRIM), late = FLI_MUTEX_INITIALIZER(FLI_RANK_MEMORY);
static struct fli_mutex same = FLI_MUTEX_INITIALIZER(FLI_RANK_MEMORY);

static void in_order(void)
{
    fli_lock(&early);
    fli_assert_held(&early);
    fli_lock(&late);
    fli_unlock(&late);
    fli_unlock(&early);
    fli_lock(&early);
    fli_unlock(&early);
}

static void out_of_order(void)
{
    fli_lock(&late);
    fli_lock(&early);
}

static void two_of_a_rank(void)
{
    fli_lock(&late);
    fli_lock(&same);
}

static void two_of_a_rank_in_the_registrys_order(void)
{
    fli_lock(&late);
    fli_lock_next(&same);
    fli_unlock(&same);
    fli_unlock(&late);
}

static void tried_out_of_order(void)
{
    fli_lock(&late);
    if (!fli_trylock(&early))
        abort();
    fli_unlock(&early);
    fli_unlock(&late);
}

static void held_by_nobody(void)
{
    fli_assert_held(&early);
}

static void unlocked_by_another(void)
{
    fli_unlock(&early);
}

/* Whether the function ends a child. */
static bool aborts(void (*function)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        function();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGABRT : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void locks_are_taken_in_the_order_of_ranks(void **state)
{
    (void)state;
    assert_false(aborts(in_order));
    assert_false(aborts(two_of_a_rank_in_the_registrys_order));
    assert_false(aborts(tried_out_of_order));
    if (!FLI_CHECKED)
        return; /* nobody looks */
    assert_true(aborts(out_of_order));
    assert_true(aborts(two_of_a_rank));
    assert_true(aborts(held_by_nobody));
    assert_true(aborts(unlocked_by_another));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(locks_are_taken_in_the_order_of_ranks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
