/* SPDX-License-Identifier: MIT
 *
 * How much memory this process has and had, in bytes.
 */
#ifndef FREELANE_BENCH_PROCESS_MEMORY_H
#define FREELANE_BENCH_PROCESS_MEMORY_H

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace bench
{

/* The number of kB that follows `key` in a file of /proc/self, in bytes. */
inline uint64_t read_bytes(const char *path, const char *key)
{
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);)
        if (line.compare(0, std::strlen(key), key) == 0)
            return std::strtoull(line.c_str() + std::strlen(key), nullptr, 10) * 1024;
    return 0;
}

inline uint64_t resident()
{
    return read_bytes("/proc/self/smaps_rollup", "Rss:");
}

/* The highest that resident() was since reset_peak(). */
inline uint64_t peak()
{
    return read_bytes("/proc/self/status", "VmHWM:");
}

inline void reset_peak()
{
    std::ofstream("/proc/self/clear_refs") << 5;
}

/* Resident bytes that no file backs: what was allocated. */
inline uint64_t anonymous()
{
    return read_bytes("/proc/self/smaps_rollup", "Anonymous:");
}

} // namespace bench

#endif
