/* SPDX-License-Identifier: MIT
 *
 * The misuse handler is one word for the process. fl_set_misuse_handler writes it, from any thread. A thread that finds
 * a misuse reads it.
 */
#include "base/check.h"
#include "base/atomic.h"
#include "base/watch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void print_and_abort(const struct fl_misuse *misuse)
{
    fprintf(stderr, "freelane: %s\n", misuse->message);
    abort();
}

static FLI_ATOMIC(fl_misuse_handler) handler = print_and_abort;

fl_misuse_handler fl_set_misuse_handler(fl_misuse_handler next)
{
    fl_misuse_handler old = fli_load_relaxed(&handler); /* relaxed: it is only compared and returned */
    /* C1: release, pairs with C2 in fli_misuse: what the host prepared for its handler is visible to it. */
    while (!fli_cas_weak(&handler, &old, next != NULL ? next : print_and_abort, memory_order_release,
                         memory_order_relaxed))
        ;
    return old;
}

void fli_misuse(const char *call, const void *pointer, const char *type, const char *format, ...)
{
    char message[512];
    size_t used = (size_t)snprintf(message, sizeof message, "%s: ", call);
    if (pointer != NULL)
        used += (size_t)snprintf(message + used, sizeof message - used, "%p ", pointer);
    if (type != NULL)
        used += (size_t)snprintf(message + used, sizeof message - used, "of type '%.100s' ", type);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message + used, sizeof message - used, format, arguments);
    va_end(arguments);

    struct fl_misuse misuse = {.call = call, .pointer = pointer, .type = type, .message = message};
    int saved = errno;
    /* C2: acquire, pairs with C1 in fl_set_misuse_handler. */
    fl_misuse_handler tell = fli_load_acquire(&handler);
    fli_watch_pass(&misuse, sizeof misuse);
    fli_watch_wrote(message, sizeof message);
    tell(&misuse);
    errno = saved;
}

uintptr_t fli_thread_mark(void)
{
    /* Volatile, so that the compiler computes the address anew each time: a fiber may continue on another OS thread. */
    static __thread volatile char mark;
    (void)mark;
    return (uintptr_t)&mark;
}

void fli_came_back_elsewhere(const char *call, const void *pointer, const char *type, const char *what)
{
    fli_misuse(call, pointer, type, "%s that returned on another OS thread than the one that called it", what);
}

int fli_complain(int result, char *error, size_t error_size, const char *format, ...)
{
    if (error != NULL && error_size > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error, error_size, format, arguments);
        va_end(arguments);
    }
    return result;
}

void fli_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "freelane: %s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}
