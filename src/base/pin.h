/* SPDX-License-Identifier: MIT
 *
 * Keeps the object that carries the library loaded.
 *
 * A plug-in that carries the static library may be unloaded while threads have handles. At their exit these threads
 * would call code that is no longer mapped. Keys, fork handlers and the helpers of grace periods would stay behind,
 * too. So the library pins the object: dlclose does not unload it, and a program that loads it again finds the same
 * heaps. The shared library is linked so that it cannot be unloaded. The program itself needs no pin.
 */
#ifndef FLI_PIN_H
#define FLI_PIN_H

/* Pins the object that this copy of the library is part of. Any thread calls this before it creates a heap; only the
 * first call does something. No lock may be held: the dynamic linker takes its own, under which other threads may run
 * the host's code. */
void fli_pin_object(void);

#endif
