/* SPDX-License-Identifier: MIT
 *
 * Grace periods by liburcu (Desnoyers, McKenney, Stern, Dagenais, Walpole, User-Level Implementations of
 * Read-Copy-Update, IEEE TPDS 23(2), 2012), flavors qsbr and bp. rcu.c is the only file that includes its headers. A
 * library built without liburcu has rcu_none.c instead.
 */
#ifndef FLI_RCU_H
#define FLI_RCU_H

#include "grace/grace.h"

/* Fills in the grace periods of grace->kind. Returns 0, or -ENOTSUP. */
int fli_rcu_init(struct fli_grace *grace);

/* Called before a fork: fli_rcu_before_fork first, while no lock of the library is held, and fli_rcu_lock last, when
 * all other locks are held. */
void fli_rcu_before_fork(void);
void fli_rcu_lock(void);

/* Called after a fork, when all other locks have been released, except the registry's in the child. */
void fli_rcu_after_fork_parent(void);
void fli_rcu_after_fork_child(void);

#endif
