/* SPDX-License-Identifier: MIT
 *
 * A default heap that cannot be made says why, once. Each process has one default heap: the tests are children.
 */
/* link: -Wl,--wrap=sysconf -Wl,--wrap=mmap */
#include "support.h"

#include <freelane/object.h>

#include <sys/mman.h>

static long page_size; /* what the system says, if it is not 0 */
static bool refuses;   /* the system refuses address space */

long __real_sysconf(int name);
long __wrap_sysconf(int name);

long __wrap_sysconf(int name)
{
    return name == _SC_PAGESIZE && page_size != 0 ? page_size : __real_sysconf(name);
}

void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    if (!refuses || protection != PROT_NONE)
        return __real_mmap(address, length, protection, flags, file, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

static struct fl_object one = FL_OBJECT_IMMORTAL(NULL); /* of no heap */

/* Uses objects where there is no heap. */
static void use_objects(int error)
{
    static struct fl_type type = {.name = "number", .size = 32, .kind = FL_DEALLOC_PLAIN};
    if (!type.ready)
        EXPECT(fl_object_type_ready(&type, NULL, NULL, 0) == 0);
    EXPECT(fl_object_alloc(fl_thread_self(), &type) == NULL && errno == error);
    fl_incref(fl_thread_self(), &one);
    fl_incref(fl_thread_self(), &one);
    fl_decref(fl_thread_self(), &one);
    fl_counts_decref(fl_thread_self(), &one.counts);
}

/* What the environment and the system say, and what comes of it. */
struct refusal {
    const char *options;
    long page_size;
    bool refuses;
    int error;
};

static void ask_for_default(void *argument)
{
    const struct refusal *refusal = argument;
    if (refusal->options != NULL)
        setenv("FREELANE_OPTIONS", refusal->options, 1);
    else
        unsetenv("FREELANE_OPTIONS");
    page_size = refusal->page_size;
    refuses = refusal->refuses;
    for (unsigned i = 0; i < 3; i++) {
        errno = 0;
        EXPECT(fl_heap_default() == NULL && errno == refusal->error);
        errno = 0;
        EXPECT(fl_alloc(fl_thread_self(), 48) == NULL && errno == refusal->error);
        errno = 0;
        use_objects(refusal->error);
    }
    page_size = 0;
    refuses = false;
    void *block = fl_alloc(fl_thread_self(), 48);
    EXPECT(block != NULL);
    fl_free(fl_thread_self(), block);
    EXPECT_SOUND(fl_heap_default());
}

static void assert_said_once(struct refusal refusal, const char *why)
{
    struct child_end end = run_child(ask_for_default, &refusal);
    if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0)
        fail_msg("the child ended with status %#x: %s", (unsigned)end.status, end.output);
    assert_contains(end.output, "freelane: the default heap cannot be made: ");
    assert_contains(end.output, why);
    assert_null(strstr(strstr(end.output, "freelane: ") + 1, "freelane: "));
}

static void a_system_that_it_cannot_run_on_is_named(void **state)
{
    (void)state;
    assert_said_once((struct refusal){.page_size = 131072, .error = ENOTSUP}, "pages have 131072 bytes");
}

static void address_space_that_is_refused_is_named(void **state)
{
    (void)state;
    assert_said_once((struct refusal){.refuses = true, .error = ENOMEM}, "4194304 bytes of slabs (option reserve)");
    assert_said_once((struct refusal){.options = "reserve=1G", .refuses = true, .error = ENOMEM},
                     "1073741824 bytes of slabs (option reserve)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_system_that_it_cannot_run_on_is_named),
        cmocka_unit_test(address_space_that_is_refused_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
