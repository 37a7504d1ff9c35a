/* example: profile.c */
#include <freelane/freelane.h>

#include <execinfo.h>

/* The functions that are being called. A host may give its own frames instead: the addresses of its code objects. */
static size_t stack(void *context, void **frames, size_t max)
{
    (void)context;
    return (size_t)backtrace(frames, (int)max);
}

int main(void)
{
    struct fl_heap *heap = fl_heap_create(NULL, NULL, 0);
    struct fl_thread *thread = heap != NULL ? fl_thread_attach(heap) : NULL;
    struct fl_profile_options options = {.mean_bytes = FL_PROFILE_MEAN_BYTES, .stack = stack};
    if (thread == NULL || fl_profile_start(heap, &options) != 0)
        return 1;

    for (int i = 0; i < 100000; i++) {
        void *block = fl_alloc(thread, 64);
        if (block != NULL && i % 4 != 0)
            fl_free_sized(thread, block, 64);
    }

    /* About 1.6 MB are live of 6.4 MB: ./profile > heap.prof; pprof --text profile heap.prof */
    int failed = fl_profile_print(heap, stdout, FL_PROFILE_PPROF);
    fl_profile_stop(heap);
    fl_thread_detach(thread);
    fl_heap_destroy(heap);
    return failed == 0 ? 0 : 1;
}
