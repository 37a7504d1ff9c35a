/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "base/list.h"

struct item {
    char name;
    FLI_LINKS(struct item) in_list;
};

static void assert_names(const struct item *first, const char *names)
{
    for (; first != NULL; first = first->in_list.next)
        assert_int_equal(first->name, *names++);
    assert_int_equal(*names, '\0');
}

static void records_are_removed_from_anywhere(void **state)
{
    (void)state;
    struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'}, d = {.name = 'd'}, *list = NULL;
    FLI_LIST_ADD(&list, &a, in_list);
    FLI_LIST_ADD(&list, &b, in_list);
    FLI_LIST_ADD(&list, &c, in_list);
    FLI_LIST_ADD(&list, &d, in_list);
    assert_names(list, "dcba");
    FLI_LIST_REMOVE(&c, in_list);
    assert_names(list, "dba");
    FLI_LIST_REMOVE(&d, in_list);
    FLI_LIST_REMOVE(&a, in_list);
    assert_names(list, "b");
    FLI_LIST_ADD(&list, &d, in_list);
    FLI_LIST_REMOVE(&b, in_list);
    FLI_LIST_REMOVE(&d, in_list);
    assert_null(list);
}

static void a_walk_goes_on_from_a_record_that_it_has_removed(void **state)
{
    (void)state;
    struct item items[3] = {{.name = 'a'}, {.name = 'b'}, {.name = 'c'}}, *list = NULL;
    unsigned seen = 0;
    for (unsigned i = 0; i < COUNT_OF(items); i++)
        FLI_LIST_ADD(&list, &items[i], in_list);
    for (struct item *item = list; item != NULL; item = item->in_list.next) {
        FLI_LIST_REMOVE(item, in_list);
        seen++;
    }
    assert_int_equal(seen, COUNT_OF(items));
    assert_null(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_removed_from_anywhere),
        cmocka_unit_test(a_walk_goes_on_from_a_record_that_it_has_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
