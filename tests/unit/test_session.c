/* SPDX-License-Identifier: MIT
 *
 * Sessions that have a heap each: what it takes to create a heap, use a little of it, and destroy it. The test stands in
 * the system's place and counts its calls.
 */
/* link: -Wl,--wrap=mmap -Wl,--wrap=munmap -Wl,--wrap=mprotect -Wl,--wrap=madvise -Wl,--wrap=open -Wl,--wrap=sysconf */
#include "support.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap/options.h"

enum { OBJECTS = 200, SESSIONS = 20 };

static unsigned calls, questions;

void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __real_munmap(void *address, size_t length);
int __real_mprotect(void *address, size_t length, int protection);
int __real_madvise(void *address, size_t length, int advice);
int __real_open(const char *path, int flags, ...);
long __real_sysconf(int name);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __wrap_munmap(void *address, size_t length);
int __wrap_mprotect(void *address, size_t length, int protection);
int __wrap_madvise(void *address, size_t length, int advice);
int __wrap_open(const char *path, int flags, ...);
long __wrap_sysconf(int name);

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    calls++;
    return __real_mmap(address, length, protection, flags, file, offset);
}

int __wrap_munmap(void *address, size_t length)
{
    calls++;
    return __real_munmap(address, length);
}

int __wrap_mprotect(void *address, size_t length, int protection)
{
    calls++;
    return __real_mprotect(address, length, protection);
}

int __wrap_madvise(void *address, size_t length, int advice)
{
    calls++;
    return __real_madvise(address, length, advice);
}

int __wrap_open(const char *path, int flags, ...)
{
    questions++;
    return __real_open(path, flags);
}

/* The page size is known to the C library; other answers may take long. */
long __wrap_sysconf(int name)
{
    questions += name != _SC_PAGESIZE;
    return __real_sysconf(name);
}

static size_t size_of(unsigned object)
{
    static const size_t sizes[] = {16, 24, 32, 48, 64, 80, 96, 200};
    return sizes[object % 8];
}

static void hold_a_session(void)
{
    void *objects[OBJECTS];
    struct bed bed = bed_with(NULL);
    for (unsigned i = 0; i < OBJECTS; i++) {
        objects[i] = fl_alloc(bed.thread, size_of(i));
        assert_non_null(objects[i]);
        memset(objects[i], (int)i, size_of(i));
    }
    for (unsigned i = 0; i < OBJECTS; i++)
        fl_free_sized(bed.thread, objects[i], size_of(i));
    end_bed(&bed);
}

/* What a session takes beside so many heaps. Where the system puts a mapping beside a boundary of huge pages, it takes up to
 * four calls more, as emulated and with musl. */
static void count_beside(unsigned heaps, unsigned most)
{
    struct fl_heap *others[FLI_HEAPS_MANY];
    for (unsigned i = 0; i < heaps; i++)
        others[i] = heap_with(NULL);
    hold_a_session();
    calls = questions = 0;
    for (unsigned i = 0; i < SESSIONS; i++)
        hold_a_session();
    assert_in_range(calls, 1, SESSIONS * most);
    assert_int_equal(questions, 0);
    for (unsigned i = 0; i < heaps; i++)
        end_heap(others[i]);
}

static void a_session_takes_few_calls_of_the_system(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip(); /* sanitizers map memory at any time */
    count_beside(0, 12);
}

static void a_session_beside_many_heaps_takes_few_calls_of_the_system(void **state)
{
    (void)state;
    if (FLI_SANITIZED)
        skip();
    count_beside(FLI_HEAPS_MANY, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_takes_few_calls_of_the_system),
        cmocka_unit_test(a_session_beside_many_heaps_takes_few_calls_of_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
