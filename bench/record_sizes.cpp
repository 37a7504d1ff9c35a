/* SPDX-License-Identifier: MIT
 *
 * Records the sizes of the objects that a running Python interpreter allocates and writes them as a C++ table,
 * which size_mix.h is:
 *
 *     build/release/bench/record_sizes > bench/size_mix.h
 *
 * It embeds Debian's libpython3.11, hooks the allocator of its object domain, and runs a program of everyday
 * work: parse and compile modules of the standard library, JSON both ways, regular expressions, classes with
 * attributes, comprehensions, sorting, string building, arithmetic on floats and big integers. Every allocation
 * of 512 bytes or less counts once, at its size rounded up to 8 bytes, as does every reallocation that changes
 * it; what the interpreter serves from freelists of its own never arrives here. Sizes below 16 count as 16. The
 * table holds parts per 10 000.
 */
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace
{

constexpr size_t kLargest = 512;
constexpr size_t kStep = 8;
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
uint64_t counts[kLargest / kStep + 1];

void count(size_t size)
{
    if (size < 16)
        size = 16;
    if (size <= kLargest)
        counts[(size + kStep - 1) / kStep]++;
}

void *counting_malloc(void *, size_t size)
{
    count(size);
    return original.malloc(original.context, size);
}

void *counting_calloc(void *, size_t number, size_t size)
{
    count(number * size);
    return original.calloc(original.context, number, size);
}

void *counting_realloc(void *, void *block, size_t size)
{
    count(size);
    return original.realloc(original.context, block, size);
}

void counting_free(void *, void *block)
{
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

for _ in range(5):
    for task in compile_modules, words, records, numbers, trees, closures, generators:
        task()
)";

void *symbol(void *library, const char *name)
{
    void *address = dlsym(library, name);
    if (!address) {
        std::fprintf(stderr, "record_sizes: %s\n", dlerror());
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
        " * 10 000 allocations. Written by record_sizes, which says what was running; %llu allocations.\n */\n"
        "#ifndef FREELANE_BENCH_SIZE_MIX_H\n#define FREELANE_BENCH_SIZE_MIX_H\n\n"
        "struct SizeShare {\n    unsigned bytes;\n    unsigned share;\n};\n\n"
        "constexpr SizeShare kSizeMix[] = {\n",
        kLargest, (unsigned long long)total);
    for (size_t i = 0; i <= kLargest / kStep; i++) {
        unsigned share = (unsigned)((counts[i] * 10000 + total / 2) / total);
        if (share)
            std::printf("    {%zu, %u},\n", i * kStep, share);
    }
    std::printf("};\n\n#endif\n");
}

} // namespace

int main()
{
    void *python = dlopen("libpython3.11.so.1.0", RTLD_NOW | RTLD_GLOBAL);
    if (!python) {
        std::fprintf(stderr, "record_sizes: %s\nrecord_sizes: install the package libpython3.11\n", dlerror());
        return 1;
    }
    auto get = reinterpret_cast<void (*)(unsigned, Allocator *)>(symbol(python, "PyMem_GetAllocator"));
    auto set = reinterpret_cast<void (*)(unsigned, Allocator *)>(symbol(python, "PyMem_SetAllocator"));
    auto initialize = reinterpret_cast<void (*)(int)>(symbol(python, "Py_InitializeEx"));
    auto run = reinterpret_cast<int (*)(const char *, void *)>(symbol(python, "PyRun_SimpleStringFlags"));
    *static_cast<int *>(symbol(python, "Py_IgnoreEnvironmentFlag")) = 1;
    *static_cast<int *>(symbol(python, "Py_NoSiteFlag")) = 1;

    initialize(0);
    get(kPythonDomainObject, &original);
    Allocator counting = {nullptr, counting_malloc, counting_calloc, counting_realloc, counting_free};
    set(kPythonDomainObject, &counting);
    if (run(kProgram, nullptr) != 0)
        return 1;
    set(kPythonDomainObject, &original);
    print_table();
    return 0;
}
