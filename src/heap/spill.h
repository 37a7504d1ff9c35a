/* SPDX-License-Identifier: MIT
 *
 * Where the stack of dead objects, with its window (dead.h), meets a pile: a full stack spills onto the pile, and a stack
 * of which little is left is refilled from there. The pile of a list is a part of it; the queue's stands apart (queue.h).
 *
 *     the pile has objects  =>  places->few is the window, when objects are taken
 */
#ifndef FLI_SPILL_H
#define FLI_SPILL_H

#include "heap/dead.h"

/* Puts an object onto a full stack, half of which is spilled. Returns false if it finds no place. `server` is the thread
 * that serves the owner's calls (api/serve.h), or NULL if none does. The owning thread, here and below. */
bool fli_spill_put(struct fli_dead_places *places, struct fli_pile *pile, struct fli_dead_object object,
                   struct fli_thread *server);

/* Takes an object of the stack, or of the pile if the stack has no more than a window; one without a type if there is
 * none. */
struct fli_dead_object fli_spill_take(struct fli_dead_places *places, struct fli_pile *pile,
                                      const struct fli_magazines *magazines);

#endif
