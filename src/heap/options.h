/* SPDX-License-Identifier: MIT
 *
 * The options of a heap: their defaults and what makes sense.
 */
#ifndef FLI_OPTIONS_H
#define FLI_OPTIONS_H

#include "base/base.h"

/* The smallest and largest address space of a heap's slabs. By default a heap begins with FIRST, which is halved until
 * the OS grants it and it is modest, but not below MIN. Then it grows to at most DEFAULT. One that is made when there are
 * MANY heaps already begins with SMALL, and has as much as others once it has used 2 MiB. */
#define FLI_RESERVE_SMALL   (128 * FLI_KIB)
#define FLI_RESERVE_MIN     (4 * FLI_MIB)
#define FLI_RESERVE_MAX     (1024 * FLI_GIB)
#define FLI_RESERVE_FIRST   (FLI_RARE_PATHS ? FLI_RESERVE_MIN : 128 * FLI_MIB)
#define FLI_RESERVE_DEFAULT (FLI_SANITIZED ? FLI_GIB : 64 * FLI_GIB)

enum { FLI_HEAPS_MANY = FLI_RARE_PATHS ? 2 : 16 };

/* When there are so many, the record of a further one lies beside others' (record.h). */
enum { FLI_HEAPS_CROWD = FLI_RARE_PATHS ? 3 : 32 };

/* Bytes that a heap retains by default. */
#define FLI_RETAIN_DEFAULT (256 * FLI_MIB)

/* Copies `given` (NULL: all defaults) to `options` and fills in every default but that of reserve_bytes. Returns 0;
 * or -EINVAL with a message that names the option that makes no sense. */
int fli_options_resolve(const struct fl_options *given, struct fl_options *options, char *error, size_t error_size);

#endif
