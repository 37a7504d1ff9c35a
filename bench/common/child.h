/* SPDX-License-Identifier: MIT
 *
 * What `memory` and `latency` share: they measure each backend in a process of its own, which is the same program with
 * other arguments, and print one JSON document.
 */
#ifndef FREELANE_BENCH_CHILD_H
#define FREELANE_BENCH_CHILD_H

#include "common/backends.h"

#include <string>
#include <vector>

namespace bench
{

struct MeasureOptions {
    bool quick = false;
    bool smoke = false;
    bool allow_missing = false;
    std::string out;                /* a file; empty: stdout */
    std::vector<std::string> child; /* the words after --child; empty in the parent */
};

/* Reads the arguments and executes again with the tunable that jemalloc needs. Exits on unknown ones. */
MeasureOptions parse_measure_options(const char *program, int argc, char **argv);

/* Runs this program with --child and `words` (and --quick or --smoke) and stores what it prints. False, with a
 * message on stderr, if it fails. */
bool run_child(const MeasureOptions &options, const std::vector<std::string> &words, std::string *output);

/* The same for a measurement of one backend. Another allocator that fails is measured once more, and left out, with a
 * message on stderr, if it fails again: then the output is empty. Returns false if Freelane fails. */
bool run_child_of(const MeasureOptions &options, const std::vector<std::string> &words, const std::string &backend,
                  std::string *output);

/* The names of the backends that can be measured here: freelane, then the peers. Empty, with a message on stderr, if
 * a peer of this release is missing and may not be. */
std::vector<std::string> find_backends(const MeasureOptions &options, bool with_none);

/* Loads the one peer of that name, if it is one, in a child. Exits if it cannot. */
void load_backend(const std::string &name);

/* Writes a document of `members`, each a line of JSON, to options.out. False, with a message, if it cannot. */
bool write_document(const MeasureOptions &options, const std::vector<std::string> &members);

/* Calls visitor.visit<B>() for the backend of this name. */
template <class Visitor> bool visit_backend(const std::string &name, Visitor &visitor)
{
    return SharedBackends::visit_named(name, visitor);
}

} // namespace bench

#endif
