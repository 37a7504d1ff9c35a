/* SPDX-License-Identifier: MIT
 *
 * A client of the installed library, in C.
 */
#include <freelane/freelane.h>

#include <stdio.h>
#include <string.h>

struct point {
    double x, y;
};

static const char *use(struct fl_thread *thread)
{
    struct fl_type type = {.name = "point", .size = sizeof(struct point), .kind = FL_DEALLOC_PLAIN};
    char error[200];
    if (fl_type_ready(&type, NULL, error, sizeof error) != 0)
        return "fl_type_ready";

    struct point *point = fl_type_alloc(thread, &type);
    char *text = fl_alloc(thread, 100);
    if (point == NULL || text == NULL)
        return "an allocation";
    *point = (struct point){1, 2};
    memset(text, 'x', 100);
    if (!fl_owns(fl_thread_heap(thread), text) || fl_usable_size(fl_thread_heap(thread), text) < 100)
        return "fl_owns";
    fl_dealloc(thread, point, &type);
    fl_free(thread, text);
    return NULL;
}

static int failed(const char *what)
{
    fprintf(stderr, "client.c: %s\n", what);
    return 1;
}

int main(void)
{
    char error[200] = "";
    struct fl_heap *heap = fl_heap_create(NULL, error, sizeof error);
    if (heap == NULL)
        return failed(error);
    struct fl_thread *thread = fl_thread_attach(heap);
    if (thread == NULL)
        return failed("fl_thread_attach");
    const char *wrong = use(thread);
    if (wrong != NULL)
        return failed(wrong);
    if (fl_thread_detach(thread) != 0 || fl_heap_check(heap, error, sizeof error) != 0 || fl_heap_destroy(heap) != 0)
        return failed("the end");

    void *block = fl_alloc(fl_thread_self(), 48);
    if (block == NULL)
        return failed("fl_thread_self");
    fl_free_sized(fl_thread_self(), block, 48);
    return 0;
}
