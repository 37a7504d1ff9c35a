/* SPDX-License-Identifier: MIT
 *
 * Runs a scenario of the model check: every interleaving of its threads with at most `context_bound` preemptions, and
 * every value that the C11 memory model lets a load return.
 */
#ifndef FLI_MODEL_CHECK_H
#define FLI_MODEL_CHECK_H

#include "base/atomic.h"

#include <cstring>
#include <iostream>

/* The errors that broken code leads to; any other is the check's own. */
inline bool is_of_the_library(rl::test_result_e result)
{
    return result == rl::test_result_user_assert_failed || result == rl::test_result_data_race ||
           result == rl::test_result_unitialized_access;
}

/* Explores a scenario, which is to be without error, or else to have one. Returns the exit status. */
template <typename scenario> int check(bool expect_error, unsigned context_bound = 2)
{
    std::ostream nowhere(nullptr);
    rl::test_params params;
    params.search_type = rl::sched_bound;
    params.context_bound = context_bound;
    params.execution_depth_limit = 2000;
    params.output_stream = expect_error ? &nowhere : &std::cout;
    params.progress_stream = &nowhere;
    bool clean = rl::simulate<scenario>(params);
    std::cout << params.stop_iteration << " executions, " << rl::test_result_str(params.test_result) << std::endl;
    return (expect_error ? is_of_the_library(params.test_result) : clean) ? 0 : 1;
}

/* Whether the arguments are the name of a scenario and then perhaps --expect-error, which goes to `expect_error`. */
inline bool is_asked_for(const char *scenario, int argc, char **argv, bool *expect_error)
{
    *expect_error = argc > 2 && !std::strcmp(argv[2], "--expect-error");
    return argc > 1 && !std::strcmp(argv[1], scenario);
}

#endif
