/* SPDX-License-Identifier: MIT
 *
 * The collector: finds what references alone keep alive, cycles, with the world stopped.
 *
 *     stop the world
 *       no dead object waits    each machine has drained its own before it stopped; this one does now
 *       mark                    from the globals, the constants, and the stack and list of each machine
 *       sweep                   the heap walk tells of all objects; containers without the mark are found
 *       handles                 a fresh handle that was found is marked, with all it leads to, and will be finalized
 *       hold                    takes a reference to what is found and still not marked
 *     let the world go on
 *     break                     empties each of these, and drops the reference: then it dies as any object does
 *
 * An object is found only if nothing that runs can reach it. So it is emptied while the others run. What its handles
 * lead to is left to the next collection: their closures may resurrect it.
 */
#ifndef VM_COLLECT_H
#define VM_COLLECT_H

#include "machine/machine.h"

/* Collects. Returns how many objects were in cycles. At a safepoint. */
size_t collect(struct machine *machine);

#endif
