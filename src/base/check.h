/* SPDX-License-Identifier: MIT
 *
 * Assertion tiers, the misuse handler, and error texts.
 *
 *     FLI_ASSERT    an invariant of the library itself; tested in checked builds, a failure aborts
 *     fli_misuse    a broken rule of the public contract; goes to the host's handler in every build that sees it
 *     fli_complain  an error that a public call returns, with a text in the caller's buffer
 */
#ifndef FLI_CHECK_H
#define FLI_CHECK_H

#include "base/base.h"

#define FLI_ASSERT(condition)                                                                                        \
    do {                                                                                                             \
        if (FLI_CHECKED && !(condition))                                                                             \
            fli_assert_failed(#condition, __FILE__, __LINE__);                                                       \
    } while (0)

FLI_COLD void fli_assert_failed(const char *condition, const char *file, int line);

/* Reports a misuse of the public function `call` to the host's handler. The message begins with the function's name and
 * names the pointer and the type, if given; `format` says what is wrong with them. */
FLI_COLD FLI_PRINTF(4, 5) void fli_misuse(const char *call, const void *pointer, const char *type, const char *format,
                                          ...);

/* A number that no other OS thread has. A caller asks anew each time, because a fiber may continue on another OS
 * thread. */
uintptr_t fli_thread_mark(void);

/* The number of the calling OS thread in checked builds, 0 in others. */
static inline uintptr_t fli_calling_thread(void)
{
    return FLI_CHECKED ? fli_thread_mark() : 0;
}

/* Reports that a callback of the host returned on another OS thread than the one that called it. */
FLI_COLD void fli_came_back_elsewhere(const char *call, const void *pointer, const char *type, const char *what);

/* Whether a callback that `thread` called returned on that thread; reports it if not. In other than checked builds the
 * answer is always yes. */
static inline bool fli_came_back(uintptr_t thread, const char *call, const void *pointer, const char *type,
                                 const char *what)
{
    if (!FLI_CHECKED || FLI_LIKELY(thread == fli_thread_mark()))
        return true;
    fli_came_back_elsewhere(call, pointer, type, what);
    return false;
}

/* Writes a message into a caller's buffer (nothing if it has none) and returns `result`. */
FLI_COLD FLI_PRINTF(4, 5) int fli_complain(int result, char *error, size_t error_size, const char *format, ...);

#endif
