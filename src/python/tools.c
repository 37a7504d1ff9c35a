/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/tools.h"

#include "python/heap.h"
#include "python/threads.h"

/* Of AddressSanitizer's runtime; NULL where the process has none. */
extern void *__asan_region_is_poisoned(void *start, size_t bytes) __attribute__((weak));

/* What the debug hooks fill new memory with, and how much of it is looked at. */
enum { FILLING = 0xCD, FILLED = 32 };

static bool looked, found;

/* The runtime is there, and the library does not inform it of each block: a heap that is watched does (base/watch.h), and
 * a checked build that is compiled with the sanitizer. */
static bool is_sanitized(void)
{
    return __asan_region_is_poisoned != NULL && !FLI_RUNTIMES && !(FLI_ADDRESS_SANITIZER && FLI_CHECKED);
}

/* The interpreter's own allocators have no context. With PYTHONMALLOC=malloc all domains have the same one. */
static bool is_hooked(void)
{
    PyMemAllocatorEx raw, object;
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &raw);
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &object);
    return object.ctx != NULL || object.malloc == raw.malloc;
}

/* Under the hook of tracemalloc, the debug hooks can be told only by what they do. Free-threaded builds do not fill an
 * object's header. */
static bool is_filled(void)
{
    unsigned char *block = PyMem_Malloc(FILLED);
    size_t filled = 0;
    while (block != NULL && filled < FILLED && block[filled] == FILLING)
        filled++;
    PyMem_Free(block);
    return filled == FILLED;
}

static bool is_traced(void)
{
    void *data;
    return PyRefTracer_GetTracer(&data) != NULL;
}

void fli_py_tools_ready(void)
{
    if (looked)
        return;
    looked = true;
    found = !fli_py_heap_options.ignore_tools && (is_sanitized() || (is_traced() ? is_filled() : is_hooked()));
    if (found)
        fli_py_threads_bar();
}

bool fli_py_tools_found(void)
{
    return found;
}

#endif
