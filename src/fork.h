/* SPDX-License-Identifier: MIT
 *
 * fork(): the child goes on with every heap.
 *
 *     prepare   takes every lock, so that nothing they guard is caught half changed; and takes every magazine out of
 *               the pool, and of those that collect deferred blocks, because the kernel copies page after page while
 *               other threads work, so that a stack and the magazines on it may be copied at different moments
 *     parent    puts the magazines back and releases the locks
 *     child     resets the pool to those magazines, deals with the threads that it does not have, and releases the
 *               locks, which its only thread took:
 *
 *         handle bound to the forking OS thread, or offline     goes on
 *         handle of another OS thread, world stopped            its caches go to the pool, the handle is gone
 *         handle of another OS thread otherwise                 its caches may be half changed: their blocks count as
 *                                                               lost, the handle is gone
 *
 * Deferred blocks go on waiting, for grace periods of the child's; a thread's magazines of them go the way of its
 * caches.
 *
 * What such a thread had in hand at that instant, or gave to the pool while the fork was under way, counts as live
 * for ever: blocks that nobody will free.
 */
#ifndef FLI_FORK_H
#define FLI_FORK_H

/* Sees to it that forks are handled. Returns 0, or -ENOMEM if the process refuses. */
int fli_fork_watch(void);

#endif
