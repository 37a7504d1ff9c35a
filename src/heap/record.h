/* SPDX-License-Identifier: MIT
 *
 * The memory of struct fl_heap, a heap's record. A fork copies what the kernel keeps of each page that was written to. Of
 * a huge page it keeps as much as of a small one. So where there are many heaps, the records of further ones lie side by
 * side in huge pages:
 *
 *     2 MiB
 *     +------+--------+--------+--------+--   --+--------+
 *     | head | record | record | free   |  ..   | record |     a bit per free place in the head
 *     +------+--------+--------+--------+--   --+--------+
 *
 *     a huge page with free places is on the list `open`; one without a record is returned to the OS
 *
 * Where the OS has no huge pages, they are as many small ones as the records would take elsewhere. The lock of the
 * registry guards all of this.
 */
#ifndef FLI_RECORD_H
#define FLI_RECORD_H

#include "heap/heap.h"

/* Memory of zeros for a heap, in huge pages if there are many heaps and the heap is a `usual` one. NULL if memory is
 * refused. Locks. */
struct fl_heap *fli_record_alloc(bool usual);

/* Gives it back. Locks. */
void fli_record_free(struct fl_heap *heap);

#endif
