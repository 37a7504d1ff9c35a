/* SPDX-License-Identifier: MIT
 *
 * Code: what the reader makes of a program, and the machine runs. It does not change once it is read.
 *
 * An instruction is a C function with an operand. So the dispatch loop is a call, and there is no list of opcodes. An
 * instruction finds its operand by machine_operand.
 */
#ifndef VM_CODE_H
#define VM_CODE_H

#include <stddef.h>
#include <stdint.h>

struct machine;

struct instruction {
    void (*run)(struct machine *machine);
    intptr_t operand; /* a number, or a pointer */
};

/* The variables of a function are its parameters, then what it captures, then its own. */
struct function {
    const char *name;
    struct instruction *code;
    size_t length, capacity;
    unsigned parameters, captures, variables;
};

/* A word of the language that is an instruction without an operand. A list of words ends with a NULL. */
struct word {
    const char *name;
    void (*run)(struct machine *machine);
};

extern const struct word number_words[], object_words[], machine_words[];

/* ---- Instructions that the reader emits for the structure of a program (machine.c) */

void run_constant(struct machine *machine);      /* operand: an object that is not counted */
void run_variable(struct machine *machine);      /* its number */
void run_set_variable(struct machine *machine);  /* the same */
void run_global(struct machine *machine);        /* its number */
void run_set_global(struct machine *machine);    /* the same */
void run_jump(struct machine *machine);          /* how far */
void run_jump_back(struct machine *machine);     /* the same; a safepoint */
void run_jump_if_false(struct machine *machine); /* how far */
void run_call(struct machine *machine);          /* the function */
void run_make_closure(struct machine *machine);  /* the function; what it captures is on the stack */
void run_return(struct machine *machine);

#endif
