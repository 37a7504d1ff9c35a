/* SPDX-License-Identifier: MIT
 *
 * Assertions of tests in C++, which throw or run while threads end.
 */
#ifndef FREELANE_TESTS_REQUIRE_H
#define FREELANE_TESTS_REQUIRE_H

#include <cstdio>
#include <cstdlib>

/* Ends the process unless the condition holds. */
#define REQUIRE(condition)                                                                                           \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                                 \
        }                                                                                                            \
    } while (0)

#endif
