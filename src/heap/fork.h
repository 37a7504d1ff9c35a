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
 * Handlers of the host that were registered before the library's run between prepare and the other two. They may call
 * the library on the forking thread: the locks they ask for are held already (lock.h), and what they take from the pool
 * and give to it are the magazines that were set aside (pool.h). In the child their first lock runs the child handler.
 * Nothing is waited for between the handlers, because other threads may need the locks, and cancellation is off.
 *
 * Deferred blocks go on waiting, for grace periods of the child's; a thread's magazines of them go the way of its
 * caches.
 *
 * What such a thread had in hand at that instant, or gave to the pool while the fork was under way, counts as live
 * for ever: blocks that nobody will free.
 */
#ifndef FLI_FORK_H
#define FLI_FORK_H

struct fl_heap;

/* Sees to it that forks are handled. Returns 0, or -ENOMEM if the process refuses. */
int fli_fork_watch(void);

/* A heap has been entered into the registry, or taken out of it, perhaps by the thread that forks: then the fork's
 * locks include or no longer include the heap's. */
void fli_fork_adopt(struct fl_heap *heap);
void fli_fork_give_up(struct fl_heap *heap);

#endif
