/* SPDX-License-Identifier: MIT
 *
 * How much memory this process has and had, in bytes.
 */
#ifndef FREELANE_BENCH_PROCESS_MEMORY_H
#define FREELANE_BENCH_PROCESS_MEMORY_H

#include "common/proc_bytes.h"

#include <cstdint>
#include <fstream>

namespace bench
{

inline uint64_t resident()
{
    return proc_bytes("/proc/self/smaps_rollup", "Rss:");
}

/* The highest that resident() was since reset_peak(). */
inline uint64_t peak()
{
    return proc_peak();
}

inline void reset_peak()
{
    std::ofstream("/proc/self/clear_refs") << 5;
}

/* Resident bytes that no file backs: what was allocated. */
inline uint64_t anonymous()
{
    return proc_bytes("/proc/self/smaps_rollup", "Anonymous:");
}

} // namespace bench

#endif
