/* SPDX-License-Identifier: MIT
 *
 * Freelane behind the interface of malloc and free: out of line, the size of a freed block unknown, the thread
 * found anew in every call.
 */
#ifndef FREELANE_BENCH_FREELANE_CALL_H
#define FREELANE_BENCH_FREELANE_CALL_H

#include <cstddef>

namespace bench
{

void *freelane_call_malloc(size_t size);
void freelane_call_free(void *block);
void freelane_call_purge();
void freelane_call_thread_done();

} // namespace bench

#endif
