/* SPDX-License-Identifier: MIT
 *
 * The tool that watches the program: the sanitizer that it was compiled with, else Memcheck.
 */
#ifndef FREELANE_TOOL_H
#define FREELANE_TOOL_H

#include <stdbool.h>

/* What a process exits with in which the tool has found an error. */
#define TOOL_EXIT            41

#define TOOL_TEXT_OF(number) #number
#define TOOL_TEXT(number)    TOOL_TEXT_OF(number)
#define TOOL_OPTIONS         "exitcode=" TOOL_TEXT(TOOL_EXIT)

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TOOL_IS_ASAN 1
#elif __has_feature(memory_sanitizer)
#define TOOL_IS_MSAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TOOL_IS_ASAN 1
#endif

#if defined(TOOL_IS_ASAN)

#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>

#define TOOL_NAME "AddressSanitizer"

static void tool_spoil_arguments(void)
{
}

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return TOOL_OPTIONS ":detect_leaks=1";
}

/* How much the tool has found that it does not end the process for. */
static unsigned long tool_count(void)
{
    char line[512];
    unsigned long bytes = 0, lost = 0;
    FILE *report = tmpfile();
    if (report == NULL)
        return 0;
    __sanitizer_set_report_fd((void *)(long)fileno(report));
    __lsan_do_recoverable_leak_check();
    __sanitizer_set_report_fd((void *)2L);
    rewind(report);
    while (lost == 0 && fgets(line, sizeof line, report) != NULL)
        (void)sscanf(line, "SUMMARY: AddressSanitizer: %lu byte(s) leaked in %lu", &bytes, &lost);
    fclose(report);
    return lost;
}

#elif defined(TOOL_IS_MSAN)

#define TOOL_NAME "MemorySanitizer"

extern __thread unsigned long long __msan_param_tls[100];

/* Leaves behind what a call leaves that was given undefined arguments. */
static void tool_spoil_arguments(void)
{
    for (unsigned i = 0; i < 6; i++)
        __msan_param_tls[i] = ~0ull;
}

const char *__msan_default_options(void);
const char *__msan_default_options(void)
{
    return TOOL_OPTIONS;
}

static unsigned long tool_count(void)
{
    return 0;
}

#else

#include <valgrind/memcheck.h>

#define TOOL_NAME "Memcheck"

static void tool_spoil_arguments(void)
{
}

static unsigned long tool_count(void)
{
    unsigned long lost = 0, possibly = 0, reachable = 0, suppressed = 0;
    VALGRIND_DO_LEAK_CHECK;
    VALGRIND_COUNT_LEAKS(lost, possibly, reachable, suppressed);
    (void)possibly, (void)reachable, (void)suppressed;
    return VALGRIND_COUNT_ERRORS + lost;
}

#endif

#endif
