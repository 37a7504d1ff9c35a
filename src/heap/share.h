/* SPDX-License-Identifier: MIT
 *
 * What each thread may keep: an equal share of what all racks together may hold (rack.h), and of the spare extents of
 * large blocks (large.h).
 *
 *     share = all / threads, at most FLI_RACK_BYTES_MOST
 *     filled magazines of a rack <= 3/4 of the share when they were put there, and <= the share at every moment,
 *                                but for homes that are busy when it falls
 *     empty ones                 <= 1/4 of the share when racks were last looked at
 *
 * The share falls as threads attach. The rack of an idle thread would stay as it is. So all racks are looked at again when
 * the share has fallen below 3/4 of what it was at the last look. What a rack has beyond 3/4 of the new share goes to the
 * pool.
 */
#ifndef FLI_SHARE_H
#define FLI_SHARE_H

#include "heap/heap.h"

/* Says how many bytes all racks together may hold, whatever the heap retains, and shares anew. Any thread. Takes the
 * registry lock. */
void fli_share_bound_racks(struct fl_heap *heap, size_t most);

/* Shares anew, after a thread has come or gone. Under the registry lock. Takes the locks of homes. */
void fli_share_racks_locked(struct fl_heap *heap);

#endif
