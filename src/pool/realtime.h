/* SPDX-License-Identifier: MIT
 *
 * How a real-time thread (fl_thread_set_realtime) exchanges magazines. What it would do for others it leaves to them:
 *
 *     exchange                   other threads                            a real-time thread
 *     a full magazine            kept, given to another home, or its      kept, or given to the pool as it is
 *                                blocks sent home one by one
 *     no empty magazine at hand  one is carved                            likewise, where that takes no system call and no
 *                                                                         wait; else FLI_REALTIME_BLOCKS are sent home
 *     a refill from slabs        a magazine's worth of blocks             FLI_REALTIME_BLOCKS
 *     a home is busy             tried for a moment                       tried once
 *     no block at home           adopts a slab, then begins one           begins one, then adopts
 *
 * FLI_REALTIME_BLOCKS bounds the work of a call: each block may lie in a slab of its own. Other threads take what is in the
 * pool, and their trims send it home. Upkeep of the heap (bound.h, decay.h, deferred.h) is left out by the callers.
 *
 * A free waits for a lock, or calls the OS, only if three things come together: neither the rack nor the pool has an
 * empty magazine; none is committed ahead; and every home of the last blocks is busy at that moment.
 */
#ifndef FLI_REALTIME_H
#define FLI_REALTIME_H

#include "pool/owner.h"

/* How many blocks a call sends home, or takes out of slabs. */
enum { FLI_REALTIME_BLOCKS = 32 };

/* Gets room for at least one block into a full loaded magazine, whose previous one is full, too, if there is one. Returns
 * false if it can get no magazine. The owning thread only. */
bool fli_realtime_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                  struct fli_owner *owner);

#endif
