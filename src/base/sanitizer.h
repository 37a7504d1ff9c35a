/* SPDX-License-Identifier: MIT
 *
 * What the library tells sanitizers. AddressSanitizer learns which blocks are free, LeakSanitizer that slabs may hold
 * pointers to other memory, ThreadSanitizer what a grace period orders.
 *
 *     the library is compiled with one    it calls the sanitizer
 *     the program is, the library not     it calls the sanitizer's runtime, if the program has one: references to it are
 *                                         weak, and NULL without it. MemorySanitizer, too, learns which memory holds
 *                                         nothing, and watch.h tells more
 *     neither                             it tells Memcheck which memory is free; without Valgrind that does nothing
 */
#ifndef FLI_SANITIZER_H
#define FLI_SANITIZER_H

#include "base/config.h"

#include <stdbool.h>
#include <stddef.h>

#if FLI_VALGRIND
#include <valgrind/memcheck.h>
/* Other tools of Valgrind, such as callgrind, do not answer. */
#define FLI_UNDER_MEMCHECK              (VALGRIND_MAKE_MEM_DEFINED(&(char){0}, 1) != 0)
#define FLI_TELL_MEMCHECK(request, ...) VALGRIND_##request(__VA_ARGS__)
#else
#define FLI_UNDER_MEMCHECK              false
#define FLI_TELL_MEMCHECK(request, ...) ((void)0)
#endif

#if FLI_ADDRESS_SANITIZER

#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#define fli_poison(address, size)        __asan_poison_memory_region((address), (size))
#define fli_unpoison(address, size)      __asan_unpoison_memory_region((address), (size))
#define fli_leak_root_add(base, size)    __lsan_register_root_region((base), (size))
#define fli_leak_root_remove(base, size) __lsan_unregister_root_region((base), (size))

#elif FLI_RUNTIMES

#define FLI_OF_RUNTIME                  __attribute__((weak)) extern
FLI_OF_RUNTIME void __asan_poison_memory_region(const volatile void *address, size_t size);
FLI_OF_RUNTIME void __asan_unpoison_memory_region(const volatile void *address, size_t size);
FLI_OF_RUNTIME void __lsan_register_root_region(const void *base, size_t size);
FLI_OF_RUNTIME void __lsan_unregister_root_region(const void *base, size_t size);
FLI_OF_RUNTIME void __msan_poison(const volatile void *address, size_t size);
FLI_OF_RUNTIME void __msan_unpoison(const volatile void *address, size_t size);
FLI_OF_RUNTIME void __msan_allocated_memory(const volatile void *address, size_t size);
FLI_OF_RUNTIME void __msan_copy_shadow(const volatile void *to, const volatile void *from, size_t size);
FLI_OF_RUNTIME void __msan_unpoison_param(size_t count);

/* Calls a function of a runtime, if the program has it. */
#define FLI_TELL_RUNTIME(function, ...) ((function) != NULL ? (function)(__VA_ARGS__) : (void)0)

/* Nobody may touch the memory. */
static inline void fli_poison(const void *address, size_t size)
{
    (void)FLI_TELL_MEMCHECK(MAKE_MEM_NOACCESS, address, size);
    FLI_TELL_RUNTIME(__asan_poison_memory_region, address, size);
    FLI_TELL_RUNTIME(__msan_poison, address, size);
}

/* Everybody may touch the memory, which has contents. */
static inline void fli_unpoison(const void *address, size_t size)
{
    (void)FLI_TELL_MEMCHECK(MAKE_MEM_DEFINED, address, size);
    FLI_TELL_RUNTIME(__asan_unpoison_memory_region, address, size);
    FLI_TELL_RUNTIME(__msan_unpoison, address, size);
}

static inline void fli_leak_root_add(const void *base, size_t size)
{
    FLI_TELL_RUNTIME(__lsan_register_root_region, base, size);
}

static inline void fli_leak_root_remove(const void *base, size_t size)
{
    FLI_TELL_RUNTIME(__lsan_unregister_root_region, base, size);
}

#else

static inline void fli_poison(const void *address, size_t size)
{
    (void)address, (void)size;
}
static inline void fli_unpoison(const void *address, size_t size)
{
    (void)address, (void)size;
}
static inline void fli_leak_root_add(const void *base, size_t size)
{
    (void)base, (void)size;
}
static inline void fli_leak_root_remove(const void *base, size_t size)
{
    (void)base, (void)size;
}

#endif

#if FLI_THREAD_SANITIZER
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define fli_tsan_acquire(address) __tsan_acquire(address)
#define fli_tsan_release(address) __tsan_release(address)
#else
static inline void fli_tsan_acquire(const void *address)
{
    (void)address;
}
static inline void fli_tsan_release(const void *address)
{
    (void)address;
}
#endif

#endif
