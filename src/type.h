/* SPDX-License-Identifier: MIT
 *
 * Type descriptors: the two bits, the rules by which a type gets them from what it says and what its base demands,
 * and the dispatch on them when an object dies.
 *
 *     kind       callbacks it must have    it must not have
 *     LEGACY     dealloc
 *     PLAIN                                any
 *     CLEAR      clear                     dealloc, finalize
 *     FINALIZE   finalize                  dealloc
 *
 * where what a type leaves out may come from its base. All of this is settled in fl_type_ready; per object there is
 * one test, and for PLAIN no call. PLAIN runs no code of the host's, now or ever: it drains no queue and polls
 * nothing.
 */
#ifndef FLI_TYPE_H
#define FLI_TYPE_H

#include "alloc.h"

/* "PLAIN" and so on. */
const char *fli_kind_name(enum fl_dealloc_kind kind);

#endif
