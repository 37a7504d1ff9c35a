/* SPDX-License-Identifier: MIT */
#include "base/stack.h"

#include <unwind.h>

/* One walk up the stack. Of each function the walk learns where its frame begins and which instruction it is at. */
struct walk {
    struct fli_frame wanted;
    uintptr_t instruction; /* of the latest function */
    enum fli_on_stack found;
};

/* Stacks grow downwards. The frame of the function that is called here begins where the stack of this one ends. */
static _Unwind_Reason_Code see(struct _Unwind_Context *context, void *argument)
{
    struct walk *walk = argument;
    walk->instruction = _Unwind_GetIP(context);
    uintptr_t end = _Unwind_GetCFA(context);
    if (end < walk->wanted.address)
        return _URC_NO_REASON;
    bool is_wanted = end == walk->wanted.address && walk->instruction == walk->wanted.returns_to;
    walk->found = is_wanted ? FLI_ON_STACK : FLI_NOT_ON_STACK;
    return _URC_NORMAL_STOP;
}

/* Whether a walk that ended at this instruction has seen the whole stack, and did not meet a function without tables.
 * The outermost function has no caller. On a stack made by makecontext, its caller seems to be the first instruction of
 * some function. */
static bool is_end(uintptr_t instruction)
{
    return instruction == 0 || _Unwind_FindEnclosingFunction((void *)(instruction + 1)) != NULL;
}

enum fli_on_stack fli_stack_find(struct fli_frame frame)
{
    struct walk walk = {.wanted = frame, .found = FLI_NOT_KNOWN};
    _Unwind_Backtrace(see, &walk);
    if (walk.found == FLI_NOT_KNOWN && is_end(walk.instruction))
        return FLI_NOT_ON_STACK;
    return walk.found;
}
