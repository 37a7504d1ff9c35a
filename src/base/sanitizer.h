/* SPDX-License-Identifier: MIT
 *
 * What the library tells sanitizers, in the builds that have them. AddressSanitizer learns which blocks are free,
 * LeakSanitizer that slabs may hold pointers to other memory, ThreadSanitizer what a grace period orders. Memcheck
 * learns which memory is free, too (watch.h). In other builds these functions do nothing.
 */
#ifndef FLI_SANITIZER_H
#define FLI_SANITIZER_H

#include "base/config.h"

#include <stddef.h>

#if FLI_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#define fli_poison(address, size)        __asan_poison_memory_region((address), (size))
#define fli_unpoison(address, size)      __asan_unpoison_memory_region((address), (size))
#define fli_leak_root_add(base, size)    __lsan_register_root_region((base), (size))
#define fli_leak_root_remove(base, size) __lsan_unregister_root_region((base), (size))
#else
#if FLI_VALGRIND
#include <valgrind/memcheck.h>
#define fli_poison(address, size)   ((void)VALGRIND_MAKE_MEM_NOACCESS((address), (size)))
#define fli_unpoison(address, size) ((void)VALGRIND_MAKE_MEM_DEFINED((address), (size)))
#else
static inline void fli_poison(const void *address, size_t size)
{
    (void)address, (void)size;
}
static inline void fli_unpoison(const void *address, size_t size)
{
    (void)address, (void)size;
}
#endif
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
