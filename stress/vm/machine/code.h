/* SPDX-License-Identifier: MIT
 *
 * Code: what the reader makes of a program, and the machine runs. It does not change once it is read.
 *
 * There are three kinds of instructions. What is most frequent stands in the dispatch loop (loop.c). Words work on the
 * stack alone, and cannot come to a safepoint. All others get the machine.
 */
#ifndef VM_CODE_H
#define VM_CODE_H

#include "objects/object.h"

#include <stddef.h>
#include <stdint.h>

struct machine;

enum operation {
    /* In the loop, in this order. */
    OP_CONSTANT,      /* operand: an object that is not counted */
    OP_VARIABLE,      /* its number */
    OP_SET_VARIABLE,  /* the same */
    OP_JUMP,          /* how far */
    OP_JUMP_BACK,     /* the same; a safepoint */
    OP_JUMP_IF_FALSE, /* the same */
    OP_CALL,          /* the function; a safepoint */
    OP_RETURN,
    OP_GET,
    OP_ADD,
    OP_SUBTRACT,
    OP_MULTIPLY,
    OP_LESS,
    OP_EQUAL,
    OP_WORD, /* calls `word` */
    OP_RUN   /* calls `run` */
};

/* Takes operands from the stack and pushes results. Returns the new top. */
typedef object_t **word_function(lane_t *lane, object_t **top);
typedef void run_function(struct machine *machine);

struct instruction {
    enum operation operation;
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
    size_t most; /* places on the stack that a call takes, at most */
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
