/* SPDX-License-Identifier: MIT
 *
 * Tells whether a function that has called the host is still on the calling stack. A longjmp leaves functions without
 * notice, so stack.c reads the return addresses on the stack, with the tables that exceptions use. A library built
 * without these tables has stack_none.c instead, whose answer is always FLI_NOT_KNOWN.
 */
#ifndef FLI_STACK_H
#define FLI_STACK_H

#include "base/base.h"

/* A call in progress: the address at which the frame of a function begins, which is where the stack of its caller ended,
 * and the address to which the function returns. No later call from the same place has both, unless it is at the same
 * depth. Any other address within the frame would do so on some processor: where a frame is deeper by less than its
 * size, the two overlap. */
struct fli_frame {
    uintptr_t address;
    uintptr_t returns_to;
};

/* Where the calling function's frame begins. What clang calls by the second name is not that on aarch64. */
#if defined(__clang__) && defined(__aarch64__)
#define FLI_FRAME_BEGIN ((uintptr_t)__builtin_sponentry())
#else
#define FLI_FRAME_BEGIN ((uintptr_t)__builtin_dwarf_cfa())
#endif

/* The frame of the function that uses this macro, which must not be inlined. */
#define FLI_FRAME_HERE                                                                                               \
    ((struct fli_frame){.address = FLI_FRAME_BEGIN,                                                                  \
                        .returns_to = (uintptr_t)__builtin_extract_return_addr(__builtin_return_address(0))})

enum fli_on_stack { FLI_NOT_ON_STACK, FLI_ON_STACK, FLI_NOT_KNOWN };

/* Whether the frame is on the calling stack. The answer is FLI_NOT_KNOWN if a function in between has no tables. */
enum fli_on_stack fli_stack_find(struct fli_frame frame);

#endif
