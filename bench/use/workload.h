/* SPDX-License-Identifier: MIT
 *
 * The workloads use/...: programs that allocate objects, use them and drop them, again and again in the same heap. An
 * allocator costs something in all three parts, because the place of an object decides how fast it is used and dropped.
 *
 * Each kind of program is a file of its own: a class template over the backend, and rows that add themselves to rows().
 * The class has these members; an object of it belongs to one thread:
 *
 *     Unit                     what is made and dropped as one: a tree, some documents
 *     W(shape, seed, several)  `several`: a unit is passed to another thread, and is large enough for that
 *     nodes()                  how many objects are made for a unit
 *     nodes_least()            at least so many are made in a round
 *     prepare(&unit)           makes arrays that are no objects of the program, before the start
 *     make(backend, &unit)
 *     use(backend, &unit, clock)
 *                              returns whether all was there; it names other parts to the clock where it makes and
 *                              drops
 *     drop(backend, &unit)
 *     finish(backend)          drops what the object of the class itself has left, at the very end
 *
 * Each block is written and read only where such a program writes and reads it.
 */
#ifndef FREELANE_BENCH_USE_WORKLOAD_H
#define FREELANE_BENCH_USE_WORKLOAD_H

#include "common/backends.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace bench::use
{

enum Part { kMake, kUse, kDrop, kParts };

using Clock = std::chrono::steady_clock;

/* How long a thread was in each part. */
class PartClock
{
  public:
    void begin(Part part)
    {
        Clock::time_point now = Clock::now();
        if (part_ != kParts)
            seconds_[part_] += std::chrono::duration<double>(now - since_).count();
        part_ = part;
        since_ = now;
    }
    /* Until the next begin() no part runs. */
    void pause()
    {
        begin(kParts);
    }
    /* Returns the seconds of each part since the last call. */
    std::vector<double> take()
    {
        std::vector<double> taken(seconds_, seconds_ + kParts);
        for (double &seconds : seconds_)
            seconds = 0;
        return taken;
    }

  private:
    double seconds_[kParts] = {};
    Part part_ = kParts;
    Clock::time_point since_;
};

/* Who makes and who drops. */
enum class Threads {
    kOne,   /* one thread does all */
    kOwn,   /* two threads, each does all of its own */
    kPass,  /* one thread makes, another uses and drops */
    kSwap,  /* two threads, each makes, and then uses and drops what the other made */
    kThree, /* three threads make, one uses and drops */
};

struct Plan {
    Threads threads;
    unsigned rounds;
    bool smoke;
    uint64_t library; /* bytes that the backend allocated when it was loaded */
};

/* One round: nanoseconds per node by part and in all, and minor page faults. */
struct Round {
    double parts[kParts];
    double total;
    long faults;
};

struct Measured {
    bool good = false;
    uint64_t nodes = 0; /* of a round, of all threads */
    uint64_t peak = 0;  /* resident bytes over the start */
    std::vector<Round> rounds;
};

/* The working set of a row: what it fits into, on a processor with 1 MiB of L2 and 32 MiB of L3. */
enum class Set { kL2, kL3, kBeyond };

struct Row {
    std::string name;
    Set set;
    /* Measures the backend of this name; false, if this build cannot. */
    std::function<bool(const std::string &backend, const Plan &plan, Measured *measured)> run;
};

/* All rows, a file's in the order in which they stand there. */
std::vector<Row> &rows();

/* Adds one row, when it is defined at namespace scope. */
struct AddRow {
    explicit AddRow(Row row);
};

} // namespace bench::use

#endif
