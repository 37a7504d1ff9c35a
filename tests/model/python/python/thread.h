/* SPDX-License-Identifier: MIT
 *
 * In place of src/python/thread.h, see freelane/python.h here.
 */
#ifndef FLI_PYTHON_THREAD_H
#define FLI_PYTHON_THREAD_H

#include "python/interpreter.h"

struct fli_py_queue;

struct fli_py_thread {
    struct fli_py_queue *queues;
};

struct fli_py_thread *fli_py_thread_own(void);
struct fli_py_thread *fli_py_thread_make(void);
bool fli_py_thread_open(struct fli_py_thread *thread);

#endif
