/* SPDX-License-Identifier: MIT
 *
 * Calling on_pressure: the heap's limit has no room for an allocation.
 */
#ifndef FLI_PRESSURE_H
#define FLI_PRESSURE_H

#include "base/base.h"

/* Asks the host to make room for `size` bytes. Allocations that it makes meanwhile fail without asking again. Returns
 * whether the host has made some. No lock may be held. */
bool fli_pressure_relieve(struct fl_heap *heap, size_t size);

#endif
