/* SPDX-License-Identifier: MIT
 *
 * Records what a running Python interpreter allocates:
 *
 *     record_python --sizes    prints the sizes as a C++ table, which is common/size_mix.h
 *     record_python --trace    writes each allocation and each free in their order, for the workload `replay` (trace.h)
 *
 * The program embeds Debian's libpython3.11, hooks the allocator of its object domain, and runs a program of everyday
 * work. That program parses and compiles modules of the standard library, reads and writes JSON, and uses regular
 * expressions, classes with attributes, comprehensions, sorting, strings, floats and big integers.
 *
 * Each allocation of 512 bytes or less counts, at its size rounded up to 8 bytes, and at least 16. A reallocation that
 * changes this size counts too. Objects that the interpreter serves from freelists of its own do not arrive here. The
 * sizes are those of five rounds of the program, in parts per 10 000. The trace is that of its second round.
 */
#include "record/trace.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

using namespace bench;

namespace
{

constexpr unsigned kPythonDomainObject = 2; /* PYMEM_DOMAIN_OBJ */

/* PyMemAllocatorEx of CPython 3.11. */
struct Allocator {
    void *context;
    void *(*malloc)(void *context, size_t size);
    void *(*calloc)(void *context, size_t count, size_t size);
    void *(*realloc)(void *context, void *block, size_t size);
    void (*free)(void *context, void *block);
};

Allocator original;
uint64_t counts[kTraceLargest / kTraceStep + 1];

struct Live {
    uint32_t slot;
    uint32_t size;
};

/* The objects there are, and the slots that are free. */
std::unordered_map<void *, Live> live;
std::vector<uint32_t> free_slots;
uint32_t slots;

bool tracing;
std::vector<uint32_t> events;

uint32_t rounded(size_t size)
{
    return static_cast<uint32_t>((std::max<size_t>(size, 16) + kTraceStep - 1) / kTraceStep * kTraceStep);
}

void born(void *block, size_t size)
{
    if (!block || size > kTraceLargest)
        return;
    counts[rounded(size) / kTraceStep]++;
    uint32_t slot = slots;
    if (free_slots.empty()) {
        slots++;
    } else {
        slot = free_slots.back();
        free_slots.pop_back();
    }
    live[block] = {slot, rounded(size)};
    if (tracing)
        events.push_back(trace_event(slot, rounded(size)));
}

void died(void *block)
{
    auto found = live.find(block);
    if (found == live.end())
        return;
    if (tracing)
        events.push_back(trace_event(found->second.slot, 0));
    free_slots.push_back(found->second.slot);
    live.erase(found);
}

void *counting_malloc(void *, size_t size)
{
    void *block = original.malloc(original.context, size);
    born(block, size);
    return block;
}

void *counting_calloc(void *, size_t number, size_t size)
{
    void *block = original.calloc(original.context, number, size);
    born(block, number * size);
    return block;
}

void *counting_realloc(void *, void *old, size_t size)
{
    auto found = live.find(old);
    bool same = found != live.end() && found->second.size == rounded(size);
    void *block = original.realloc(original.context, old, size);
    if (block && !(same && block == old)) {
        died(old);
        born(block, size);
    }
    return block;
}

void counting_free(void *, void *block)
{
    died(block);
    original.free(original.context, block);
}

const char kProgram[] = R"(
import ast, collections, dataclasses, fractions, json, random, re, textwrap, tokenize

random.seed(482)
sources = [open(m.__file__).read() for m in (ast, collections, dataclasses, json, random, re, textwrap, tokenize)]

@dataclasses.dataclass
class Point:
    x: float
    y: float
    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)

class Tree:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None
    def insert(self, key):
        side = 'left' if key < self.key else 'right'
        child = getattr(self, side)
        if child is None:
            setattr(self, side, Tree(key))
        else:
            child.insert(key)

def compile_modules():
    for source in sources:
        compile(ast.parse(source), 'module', 'exec')

def words():
    counts = collections.Counter()
    for source in sources:
        counts.update(match.group().lower() for match in re.finditer(r'\w+', source))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

def records():
    rows = [{'id': i, 'name': f'row {i}', 'tags': [str(i % 7), 'x'], 'score': random.random()} for i in range(5000)]
    return [row for row in json.loads(json.dumps(rows)) if row['score'] > 0.5]

def numbers():
    total = Point(0.0, 0.0)
    for i in range(50000):
        total = total + Point(i * 0.5, i / 3.0)
    big = 1
    for i in range(1, 300):
        big *= i
    return total, big, sum(fractions.Fraction(1, n) for n in range(1, 200))

def trees():
    root = Tree(0.5)
    for _ in range(20000):
        root.insert(random.random())
    return root

def closures():
    return sum(f(3) for f in [lambda x, n=n: x * n + 1000 for n in range(30000)])

def generators():
    def pairs(n):
        for a in range(n):
            yield (a * 1000, str(a))
    return dict(pairs(30000)), {a for a, _ in pairs(30000)}

def play(rounds):
    for _ in range(rounds):
        for task in compile_modules, words, records, numbers, trees, closures, generators:
            task()
)";

void *symbol(void *library, const char *name)
{
    void *address = dlsym(library, name);
    if (!address) {
        std::fprintf(stderr, "record_python: %s\n", dlerror());
        std::exit(1);
    }
    return address;
}

void print_table()
{
    uint64_t total = 0;
    for (uint64_t n : counts)
        total += n;
    std::printf(
        "/* SPDX-License-Identifier: MIT\n *\n"
        " * The sizes of the objects that a running Python 3.11 allocates, up to %zu bytes, in parts per\n"
        " * 10 000 allocations. Written by record_python, which says what was running; %llu allocations.\n */\n"
        "#ifndef FREELANE_BENCH_SIZE_MIX_H\n#define FREELANE_BENCH_SIZE_MIX_H\n\n"
        "struct SizeShare {\n    unsigned bytes;\n    unsigned share;\n};\n\n"
        "constexpr SizeShare kSizeMix[] = {\n",
        kTraceLargest, (unsigned long long)total);
    for (size_t i = 0; i <= kTraceLargest / kTraceStep; i++) {
        unsigned share = (unsigned)((counts[i] * 10000 + total / 2) / total);
        if (share)
            std::printf("    {%zu, %u},\n", i * kTraceStep, share);
    }
    std::printf("};\n\n#endif\n");
}

std::vector<uint32_t> live_events()
{
    std::vector<uint32_t> result;
    for (const auto &object : live)
        result.push_back(trace_event(object.second.slot, object.second.size));
    std::sort(result.begin(), result.end());
    return result;
}

void write_part(const std::vector<uint32_t> &part)
{
    uint32_t count = static_cast<uint32_t>(part.size());
    if (std::fwrite(&count, sizeof count, 1, stdout) != 1 ||
        std::fwrite(part.data(), sizeof part[0], count, stdout) != count) {
        std::perror("record_python");
        std::exit(1);
    }
}

} // namespace

int main(int argc, char **argv)
{
    bool trace = argc == 2 && std::strcmp(argv[1], "--trace") == 0;
    if (argc != 2 || (!trace && std::strcmp(argv[1], "--sizes") != 0)) {
        std::fprintf(stderr, "usage: record_python --sizes | --trace\n");
        return 2;
    }
    void *python = dlopen("libpython3.11.so.1.0", RTLD_NOW | RTLD_GLOBAL);
    if (!python) {
        std::fprintf(stderr, "record_python: %s\nrecord_python: install the package libpython3.11\n", dlerror());
        return 1;
    }
    auto get = reinterpret_cast<void (*)(unsigned, Allocator *)>(symbol(python, "PyMem_GetAllocator"));
    auto set = reinterpret_cast<void (*)(unsigned, Allocator *)>(symbol(python, "PyMem_SetAllocator"));
    auto initialize = reinterpret_cast<void (*)(int)>(symbol(python, "Py_InitializeEx"));
    auto run = reinterpret_cast<int (*)(const char *, void *)>(symbol(python, "PyRun_SimpleStringFlags"));
    *static_cast<int *>(symbol(python, "Py_NoSiteFlag")) = 1;
    clearenv();
    setenv("PYTHONHASHSEED", "0", 1); /* the same run every time */

    initialize(0);
    get(kPythonDomainObject, &original);
    Allocator counting = {nullptr, counting_malloc, counting_calloc, counting_realloc, counting_free};
    set(kPythonDomainObject, &counting);
    if (run(kProgram, nullptr) != 0 || run(trace ? "play(1)" : "play(5)", nullptr) != 0)
        return 1;
    if (trace) {
        write_part(live_events());
        tracing = true;
        if (run("play(1)", nullptr) != 0)
            return 1;
        tracing = false;
        write_part(events);
        write_part(live_events());
    }
    set(kPythonDomainObject, &original);
    if (!trace)
        print_table();
    std::fflush(stdout);
    _Exit(0); /* the interpreter is not taken down: what it still holds is no leak */
}
