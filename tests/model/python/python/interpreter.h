/* SPDX-License-Identifier: MIT
 *
 * In place of src/python/interpreter.h, see freelane/python.h here.
 */
#ifndef FLI_PYTHON_INTERPRETER_H
#define FLI_PYTHON_INTERPRETER_H

#include <freelane/python.h>

#include "base/atomic.h"
#include "base/base.h"
#include "base/config.h"

enum { FLI_PY_FREE_THREADED = 1 };

#endif
