/* SPDX-License-Identifier: MIT */
#include "common/freelane_call.h"

#include <freelane/freelane.h>

namespace bench
{

void *freelane_call_malloc(size_t size)
{
    return fl_alloc(fl_thread_self(), size);
}

void freelane_call_free(void *block)
{
    fl_free(fl_thread_self(), block);
}

void freelane_call_purge()
{
    fl_heap_trim(fl_heap_default(), 0);
}

void freelane_call_thread_done()
{
    fl_thread_flush(fl_thread_self());
}

} // namespace bench
