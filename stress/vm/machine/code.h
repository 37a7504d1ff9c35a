/* SPDX-License-Identifier: MIT
 *
 * Code: what the reader makes of a program, and the machine runs. It does not change once it is read.
 *
 * There are three kinds of instructions. What is most frequent stands in the dispatch loop (loop.c). Words work on the
 * stack alone, and cannot come to a safepoint. All others get the machine.
 *
 * Two pairs of instructions are so frequent that the reader makes one of them (scope_emit): a constant and what takes
 * it as its second operand, and a comparison and the jump that it decides.
 */
#ifndef VM_CODE_H
#define VM_CODE_H

#include "objects/object.h"

#include <stddef.h>
#include <stdint.h>

struct machine;

enum operation {
    /* In the loop, in this order. */
    OP_CONSTANT,     /* operand: an object that is not counted */
    OP_VARIABLE,     /* its number */
    OP_SET_VARIABLE, /* the same */
    OP_JUMP,
    OP_JUMP_BACK, /* a safepoint */
    OP_JUMP_IF_FALSE,
    OP_CALL, /* the function; a safepoint */
    OP_RETURN,
    OP_GET,
    OP_ADD,
    OP_SUBTRACT,
    OP_MULTIPLY,
    OP_LESS,
    OP_EQUAL,
    /* The same, where the second operand is the instruction's. */
    OP_GET_CONSTANT,
    OP_ADD_CONSTANT,
    OP_SUBTRACT_CONSTANT,
    OP_MULTIPLY_CONSTANT,
    OP_LESS_CONSTANT,
    OP_EQUAL_CONSTANT,
    /* Jumps, if not so. */
    OP_UNLESS_LESS,
    OP_UNLESS_EQUAL,
    OP_UNLESS_LESS_CONSTANT,
    OP_UNLESS_EQUAL_CONSTANT,
    OP_WORD, /* calls `word` */
    OP_RUN   /* calls `run` */
};

/* Takes operands from the stack and pushes results. Returns the new top. */
typedef object_t **word_function(lane_t *lane, object_t **top);
typedef void run_function(struct machine *machine);

struct instruction {
    enum operation operation;
    int32_t distance; /* of a jump, from the next instruction */
    intptr_t operand; /* a number, or a pointer */
    union {
        word_function *word;
        run_function *run;
    };
};

/* The variables of a function are its parameters, then what it captures, then its own. */
struct function {
    const char *name;
    struct instruction *code;
    size_t length, capacity;
    unsigned parameters, captures, variables;
    /* Once it is read: */
    unsigned arguments; /* parameters and captures: what a call finds on the stack */
    unsigned room;      /* the places that it takes beside these, at most */
};

/* A word of the language that is an instruction without an operand. A list of words ends without a name. */
struct word {
    const char *name;
    struct instruction instruction;
};

extern const struct word number_words[], object_words[], machine_words[];

/* ---- Instructions that the reader emits for the structure of a program (machine.c) */

run_function run_global;       /* its number */
run_function run_set_global;   /* the same */
run_function run_make_closure; /* the function; what it captures is on the stack */

#endif
