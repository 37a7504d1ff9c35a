/* SPDX-License-Identifier: MIT
 *
 * A program that is linked statically: it has no dynamic linker, and linking the library asks for none.
 */
#include <freelane/freelane.h>

int main(void)
{
    char error[256];
    struct fl_heap *heap = fl_heap_create(NULL, error, sizeof error);
    struct fl_thread *thread = heap != NULL ? fl_thread_attach(heap) : NULL;
    void *block = thread != NULL ? fl_alloc(thread, 48) : NULL;
    if (block == NULL)
        return 1;
    fl_free(thread, block);
    fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), 48));
    return fl_heap_check(heap, error, sizeof error) == 0 && fl_thread_detach(thread) == 0 &&
                   fl_heap_destroy(heap) == 0
               ? 0
               : 1;
}
