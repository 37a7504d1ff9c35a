/* SPDX-License-Identifier: MIT
 *
 * The target of libFuzzer; tests/fuzz/run builds it.
 */
#include "program.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    program_run(bytes, count);
    return 0;
}
