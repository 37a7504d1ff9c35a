/* SPDX-License-Identifier: MIT
 *
 * Feature constants. Build macros become enum constants here, and ordinary ifs test them. So every build compiles every
 * branch of the library.
 */
#ifndef FLI_CONFIG_H
#define FLI_CONFIG_H

/* With -std=c11 or -std=c99, the system's headers hide all that is not standard C. A file of the library therefore
 * includes this one before any of them. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

#include <sched.h>
#include <sys/mman.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#include <time.h>
#include <unistd.h>

#if !defined(FREELANE_CHECKED)
#define FREELANE_CHECKED 0
#endif
#if !defined(FREELANE_RARE_PATHS)
#define FREELANE_RARE_PATHS 0
#endif
#if defined(FREELANE_MODEL)
#define FLI_IN_MODEL 1
#else
#define FLI_IN_MODEL 0
#endif

/* Faults that are built in on purpose, for the stress tests to find; see stress/CMakeLists.txt. */
#if !defined(FREELANE_MUTANT_NO_WAIT)
#define FREELANE_MUTANT_NO_WAIT 0
#endif
#if !defined(FREELANE_MUTANT_UNTOLD)
#define FREELANE_MUTANT_UNTOLD 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define FLI_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FLI_ADDRESS_SANITIZER 1
#endif
#endif
#if !defined(FLI_ADDRESS_SANITIZER)
#define FLI_ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__)
#define FLI_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FLI_THREAD_SANITIZER 1
#endif
#endif
#if !defined(FLI_THREAD_SANITIZER)
#define FLI_THREAD_SANITIZER 0
#endif

/* Valgrind's client requests: valgrind/memcheck.h is there, and no sanitizer has its place. */
#if defined(FREELANE_VALGRIND) && FREELANE_VALGRIND && !FLI_ADDRESS_SANITIZER && !FLI_THREAD_SANITIZER &&            \
    !defined(FREELANE_MODEL)
#define FLI_VALGRIND 1
#else
#define FLI_VALGRIND 0
#endif

/* A program that is compiled with a sanitizer may contain this library, which is not. ELF has references to what may be
 * missing. */
#if defined(__ELF__) && !FLI_ADDRESS_SANITIZER && !FLI_THREAD_SANITIZER && !defined(FREELANE_MODEL)
#define FLI_RUNTIMES 1
#else
#define FLI_RUNTIMES 0
#endif

#if defined(CLOCK_MONOTONIC_COARSE)
#define FLI_CLOCK_COARSE CLOCK_MONOTONIC_COARSE
#else
#define FLI_CLOCK_COARSE CLOCK_MONOTONIC
#endif

#if defined(MADV_HUGEPAGE) && defined(MADV_NOHUGEPAGE)
#define FLI_HUGE_PAGES 1
#else
#define FLI_HUGE_PAGES  0
#define MADV_HUGEPAGE   0
#define MADV_NOHUGEPAGE 0
#endif

#if defined(_SC_LEVEL2_CACHE_SIZE)
#define FLI_SC_CACHE_BYTES _SC_LEVEL2_CACHE_SIZE
#else
#define FLI_SC_CACHE_BYTES (-1)
#endif

/* The processor on which the calling thread is; -1 where nobody tells. */
#if defined(__linux__)
#define FLI_PROCESSOR() sched_getcpu()
#else
#define FLI_PROCESSOR() (-1)
#endif

/* Names a mapping for those who read /proc/PID/maps, where the system has such names. */
#if defined(PR_SET_VMA) && defined(PR_SET_VMA_ANON_NAME)
#define FLI_NAME_MAPPING(base, size, name) prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, (base), (size), (name))
#else
#define FLI_NAME_MAPPING(base, size, name) ((void)(base), (void)(size), -1)
#endif

/* Without mremap, the library copies memory that is to move or to change its size. */
#if defined(MREMAP_FIXED)
#define FLI_MREMAP    mremap
#define FLI_MREMAP_TO (MREMAP_MAYMOVE | MREMAP_FIXED)
#else
#define FLI_MREMAP(...) MAP_FAILED
#define FLI_MREMAP_TO   0
#endif

enum {
    /* Every operation takes the slow half, which checks its arguments before it works. */
    FLI_CHECKED = FREELANE_CHECKED,
    /* Magazines hold two blocks, pool tags start just below their wrap, and heaps trim at every occasion. */
    FLI_RARE_PATHS = FREELANE_RARE_PATHS,
    /* The model checker runs the code. */
    FLI_MODEL = FLI_IN_MODEL,
    /* A sanitizer is used under which address space is scarce. */
    FLI_SANITIZED = FLI_ADDRESS_SANITIZER || FLI_THREAD_SANITIZER,
    /* The monotonic clock that is quickest to read. */
    FLI_CLOCK_ABOUT = FLI_CLOCK_COARSE,
    /* The OS takes advice on huge pages. */
    FLI_HAVE_HUGE_PAGES = FLI_HUGE_PAGES,
    FLI_ADVICE_HUGE = MADV_HUGEPAGE,
    FLI_ADVICE_SMALL = MADV_NOHUGEPAGE,
    /* Linux's number for: nobody can touch these pages, which stay part of their mapping (MADV_GUARD_INSTALL). Older
     * systems refuse it. */
    FLI_ADVICE_GUARD = 102,
    /* The OS moves mapped memory. */
    FLI_HAVE_MREMAP = FLI_MREMAP_TO != 0,
    /* What sysconf calls the size of a processor's second cache; -1 where it has no name for it. */
    FLI_SYSCONF_CACHE = FLI_SC_CACHE_BYTES,
    /* Grace periods of liburcu end at once. */
    FLI_MUTANT_NO_WAIT = FREELANE_MUTANT_NO_WAIT,
    /* ThreadSanitizer is not told what grace periods order. */
    FLI_MUTANT_UNTOLD = FREELANE_MUTANT_UNTOLD,
};

#endif
