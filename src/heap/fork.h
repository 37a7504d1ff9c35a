/* SPDX-License-Identifier: MIT
 *
 * fork(): every heap works in the child as before.
 *
 *     prepare   waits until every lock is free, and keeps others from taking them, so that nothing they guard is copied
 *               half changed (lock.h). It also takes every magazine out of the pool, and out of those that collect
 *               deferred blocks: the kernel copies page after page while other threads work, so it may copy a stack
 *               and the magazines on it at different moments
 *     parent    puts the magazines back and lets others take locks
 *     child     resets the pool to those magazines, and deals with the threads that it does not have. Locks that these
 *               seem to hold are free (lock.h):
 *
 *         handle bound to the forking OS thread, or offline     stays
 *         handle of another OS thread, world stopped            its blocks go home, the handle is gone
 *         handle of another OS thread otherwise                 its caches may be half changed: their blocks count as
 *                                                               lost, the handle is gone
 *
 * Handlers of the host that were registered before the library's run between prepare and the other two. They may
 * call the library on the forking thread. The locks that they ask for are held already (lock.h). The magazines that
 * they take and give are those that were set aside (pool.h). In the child, the first lock that they ask for runs the
 * child handler. Between the handlers nothing waits, because other threads may need the locks, and cancellation is
 * off.
 *
 * Nothing is written to a heap that is at rest, and little of it is read. A process with many heaps would otherwise spend
 * most of a fork on copies of their pages, or on waiting for memory.
 *
 * Deferred blocks wait for grace periods of the child. A thread's magazines of deferred blocks share the fate of its
 * caches.
 *
 * A thread that is gone may have had blocks in hand at that instant, or may have given them to the pool during the
 * fork. In the child these count as live for ever: no thread will free them.
 */
#ifndef FLI_FORK_H
#define FLI_FORK_H

struct fl_heap;

/* Registers the handlers, once. Returns 0, or -ENOMEM if the OS refuses. */
int fli_fork_watch(void);

#endif
