/* SPDX-License-Identifier: MIT
 *
 * What record_python --trace writes: the objects that are alive when the recording begins, the events, and the objects
 * that are alive at its end. Each part is a count of 32 bits and so many events. An object lives in a slot, and the
 * next object takes the slot that was freed last.
 */
#ifndef FREELANE_BENCH_TRACE_H
#define FREELANE_BENCH_TRACE_H

#include <cstddef>
#include <cstdint>

namespace bench
{

/* Sizes are recorded in these steps, up to the largest. */
constexpr size_t kTraceStep = 8;
constexpr size_t kTraceLargest = 512;

/* An object of `size` bytes is allocated into a slot; or if size is 0, the slot's is freed. */
constexpr unsigned kTraceSlotBits = 20;

constexpr uint32_t trace_event(uint32_t slot, size_t size)
{
    return static_cast<uint32_t>(size / kTraceStep) << kTraceSlotBits | slot;
}
constexpr uint32_t trace_slot(uint32_t event)
{
    return event & ((1u << kTraceSlotBits) - 1);
}
constexpr size_t trace_size(uint32_t event)
{
    return (event >> kTraceSlotBits) * kTraceStep;
}

} // namespace bench

#endif
