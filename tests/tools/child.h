/* SPDX-License-Identifier: MIT
 *
 * Plants errors, each in a child process, and tells who finds them: the tool that watches the program (tool.h), Freelane
 * by its misuse handler, or nobody.
 */
#ifndef FREELANE_CHILD_H
#define FREELANE_CHILD_H

#include "tool.h"

#include <freelane/freelane.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a process exits with in which Freelane has reported an error, and no tool has. */
enum { TOLD_EXIT = 42 };

static bool was_told;

static void misused(const struct fl_misuse *misuse)
{
    fprintf(stderr, "%s\n", misuse->message);
    was_told = true;
}

static void require(int condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "not so: %s\n", what);
    exit(3);
}

/* Calls have left pointers on the stack, and in registers, which may hide a leak. */
static __attribute__((noinline)) void wipe(void)
{
    volatile char stack[16384];
    for (size_t i = 0; i < sizeof stack; i++)
        stack[i] = 0;
}

/* Plants an error in a process of its own. Returns who has found it. */
static const char *finder_of(void (*plant)(void))
{
    static unsigned long before = ULONG_MAX; /* which takes long to find out, and is the same for all */
    int status = 0;
    if (before == ULONG_MAX)
        before = tool_count();
    pid_t child = fork();
    require(child >= 0, "there is a process");
    if (child == 0) {
        plant();
        if (tool_count() > before)
            _exit(TOOL_EXIT);
        _exit(was_told ? TOLD_EXIT : 0);
    }
    require(waitpid(child, &status, 0) == child && WIFEXITED(status), "the process exits");
    if (WEXITSTATUS(status) == TOOL_EXIT)
        return TOOL_NAME;
    require(WEXITSTATUS(status) == TOLD_EXIT || WEXITSTATUS(status) == 0, "the process goes on after the error");
    return WEXITSTATUS(status) == TOLD_EXIT ? "Freelane" : "nobody";
}

/* Prints who finds it. */
static void plant(const char *error, const char *kind, void (*run)(void))
{
    printf("%s: %s: %s\n", error, kind, finder_of(run));
    fflush(stdout); /* before the next child, which would print it, too */
}

#endif
