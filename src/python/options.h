/* SPDX-License-Identifier: MIT
 *
 * The options of an extension's heap: what fl_py_configure says, then what the environment says.
 *
 *     option     default                                  heap
 *     reserve    256 MiB, at most a 64th of RLIMIT_AS     its one range; objects beyond lie with the interpreter
 *     limit      none                                     its limit_bytes; likewise
 *     retain     64 MiB; with the GIL 32 MiB              what keeps its memory while no object needs it
 *     stops      1                                        whether pace.h asks for stops
 *     tools      1                                        whether tools.h looks for tools
 */
#ifndef FLI_PYTHON_OPTIONS_H
#define FLI_PYTHON_OPTIONS_H

#include "python/interpreter.h"

/* Stores the options, with all defaults filled in. Returns 0, or -1 with ValueError if the environment makes no
 * sense. */
int fli_py_options_get(struct fl_py_options *options);

#endif
