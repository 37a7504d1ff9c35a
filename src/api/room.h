/* SPDX-License-Identifier: MIT
 *
 * Making room in a heap before an allocation fails: what threads cache goes home, and slabs that are all free go to the
 * class that needs them, or give their memory back to the limit. No lock may be held.
 */
#ifndef FLI_ROOM_H
#define FLI_ROOM_H

#include "heap/thread.h"

/* Has blocks of the class, retired slabs included, come to where a pressed refill finds them. */
FLI_COLD void fli_room_gather(struct fli_thread *thread, unsigned class_index);

/* Turns whole slabs of other classes into some of this one. */
FLI_COLD void fli_room_convert(struct fli_thread *thread, unsigned class_index);

/* Returns memory to the limit, for a large block. */
FLI_COLD void fli_room_make_for_large(struct fli_thread *thread);

#endif
