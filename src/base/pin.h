/* SPDX-License-Identifier: MIT
 *
 * A plug-in that carries the static library may be unloaded while threads have handles, whose exits then call what is
 * no longer mapped; and keys, fork handlers and the helpers of grace periods would stay behind. So the object that
 * carries the library is pinned: dlclose leaves it where it is, and who loads it again finds the heaps that there were.
 * The shared library is linked so that it cannot be unloaded, and for the program itself there is nothing to do.
 */
#ifndef FLI_PIN_H
#define FLI_PIN_H

/* Pins the object that this copy of the library is part of, once. Before its first heap; no lock may be held, because
 * the dynamic linker's is taken, under which other threads may run the host's code. */
void fli_pin_object(void);

#endif
