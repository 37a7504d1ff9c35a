/* SPDX-License-Identifier: MIT
 *
 * Stands in for rcu.c in a build without liburcu.
 */
#include "grace/rcu.h"

#include <errno.h>

int fli_rcu_init(struct fli_grace *grace)
{
    (void)grace;
    return -ENOTSUP;
}

void fli_rcu_before_fork(void)
{
}

void fli_rcu_lock(void)
{
}

void fli_rcu_after_fork_parent(void)
{
}

void fli_rcu_after_fork_child(void)
{
}
