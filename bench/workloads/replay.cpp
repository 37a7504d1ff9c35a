/* SPDX-License-Identifier: MIT
 *
 *     replay   one thread plays all that a running Python allocates and frees, in the same order. The recording is of
 *              a program of everyday work (record/; a million objects, 24 000 to 114 000 alive), and an iteration plays
 *              all of it. An object's size lies beside its pointer, as in `sizes`. After the recording the thread frees
 *              what it left and allocates what it freed (1 event in 500), so that it can be played again
 */
#include "time/harness.h"
#include "record/trace.h"

#include <unistd.h>

#include <algorithm>
#include <type_traits>

namespace bench
{

namespace
{

struct Trace {
    std::vector<uint32_t> start, events;
    std::vector<size_t> largest;              /* object of each slot */
    size_t most[kTraceLargest / 16 + 1] = {}; /* alive at once, by size rounded up to 16 */
};

bool read_part(FILE *file, std::vector<uint32_t> *part)
{
    uint32_t count = 0;
    if (std::fread(&count, sizeof count, 1, file) != 1)
        return false;
    part->resize(count);
    return std::fread(part->data(), sizeof(uint32_t), count, file) == count;
}

/* Adds what brings the slots back to where they started. */
void return_to_start(Trace *trace, const std::vector<uint32_t> &end)
{
    size_t slots = 0;
    const std::vector<uint32_t> *const parts[] = {&trace->start, &trace->events, &end};
    for (const std::vector<uint32_t> *part : parts)
        for (uint32_t event : *part)
            slots = std::max<size_t>(slots, trace_slot(event) + 1);
    std::vector<uint32_t> first(slots), last(slots);
    for (uint32_t event : trace->start)
        first[trace_slot(event)] = event;
    for (uint32_t event : end)
        last[trace_slot(event)] = event;
    for (size_t slot = 0; slot < slots; slot++)
        if (first[slot] != last[slot] && last[slot])
            trace->events.push_back(trace_event(static_cast<uint32_t>(slot), 0));
    for (size_t slot = 0; slot < slots; slot++)
        if (first[slot] != last[slot] && first[slot])
            trace->events.push_back(first[slot]);
    trace->largest.resize(slots);
}

void count(Trace *trace)
{
    std::vector<size_t> in(trace->largest.size());
    size_t alive[kTraceLargest / 16 + 1] = {};
    const std::vector<uint32_t> *const parts[] = {&trace->start, &trace->events};
    for (const std::vector<uint32_t> *part : parts)
        for (uint32_t event : *part) {
            size_t rounded = (trace_size(event) + 15) / 16;
            size_t &largest = trace->largest[trace_slot(event)];
            largest = std::max(largest, trace_size(event));
            if (rounded == 0) {
                alive[in[trace_slot(event)]]--;
                continue;
            }
            in[trace_slot(event)] = rounded;
            trace->most[rounded] = std::max(trace->most[rounded], ++alive[rounded]);
        }
}

/* The recording, made by record_python beside this program; without events if that cannot be. */
Trace record()
{
    Trace trace;
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    std::string program(path, length > 0 ? static_cast<size_t>(length) : 0);
    program = program.substr(0, program.rfind('/') + 1) + "record_python";
    FILE *file = popen(("'" + program + "' --trace").c_str(), "r");
    std::vector<uint32_t> end;
    bool good = file && read_part(file, &trace.start) && read_part(file, &trace.events) && read_part(file, &end);
    good = file && pclose(file) == 0 && good;
    if (!good)
        return Trace();
    return_to_start(&trace, end);
    count(&trace);
    return trace;
}

const Trace &trace()
{
    static const Trace recorded = record();
    return recorded;
}

struct Slot {
    void *block = nullptr;
    size_t size = 0;
};

template <class B> void play(B &backend, const std::vector<uint32_t> &events, Slot *slots)
{
    uint64_t stamp = 0;
    for (uint32_t event : events) {
        Slot &slot = slots[trace_slot(event)];
        size_t size = trace_size(event);
        if (size) {
            slot.size = size;
            touch(slot.block = backend.alloc(size, slot.block), stamp++);
        } else {
            backend.free(slot.block, slot.size);
        }
    }
}

template <class B> void run_replay(benchmark::State &state)
{
    const Trace &recorded = trace();
    if (recorded.events.empty()) {
        fail(state, "record_python wrote no recording");
        return;
    }
    B backend;
    for (size_t rounded = 1; rounded <= kTraceLargest / 16; rounded++)
        if (recorded.most[rounded])
            backend.supply(rounded * 16, recorded.most[rounded]);
    std::vector<Slot> slots(recorded.largest.size());
    if constexpr (std::is_same_v<B, None>)
        for (size_t i = 0; i < slots.size(); i++)
            slots[i].block = backend.first(recorded.largest[i]);
    play(backend, recorded.start, slots.data());
    play(backend, recorded.events, slots.data());
    for (auto _ : state)
        play(backend, recorded.events, slots.data());
    report(state, recorded.events.size() / 2);
    for (uint32_t event : recorded.start)
        backend.free(slots[trace_slot(event)].block, slots[trace_slot(event)].size);
}

struct Add {
    template <class B> void visit()
    {
        if (!leaves_out_slow)
            add_workload<B>("replay", run_replay<B>);
    }
};

void add()
{
    AllBackends::visit(Add());
}

const Workloads registered(kOneThread, add);

} // namespace

} // namespace bench
