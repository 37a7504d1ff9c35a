/* SPDX-License-Identifier: MIT
 *
 * A scope is a function that is being read: its variables, and the blocks that are open in it.
 *
 *     if A end                    jump-if-false to the end; A
 *     if A else B end             jump-if-false to B; A; jump to the end; B
 *     while C do A end            C; jump-if-false to the end; A; jump back to C
 */
#ifndef VM_SCOPE_H
#define VM_SCOPE_H

#include "machine/code.h"

#include <stdbool.h>

enum block_kind { BLOCK_FILE, BLOCK_FUNCTION, BLOCK_CLOSURE, BLOCK_IF, BLOCK_ELSE, BLOCK_WHILE, BLOCK_DO };

enum { VARIABLES_MOST = 64, BLOCKS_MOST = 32, NAME_MOST = 32 };

struct block {
    enum block_kind kind;
    size_t begin; /* of a loop: where it jumps back to */
    size_t jump;  /* the jump whose target is not known yet */
};

struct scope {
    struct function *function;
    struct scope *outer;
    char names[VARIABLES_MOST][NAME_MOST]; /* of the variables */
    struct block blocks[BLOCKS_MOST];
    unsigned block_count;
    size_t landing; /* where a jump leads to: what is before it and what is behind it do not become one instruction */
};

struct scope *scope_open(struct scope *outer, struct function *function, enum block_kind kind);
void scope_close(struct scope *scope);

/* Adds an instruction, or makes one of it and the last. Each pushes one object at most, or what a closure captures to
 * call it. */
void scope_emit(struct scope *scope, struct instruction instruction);
void scope_emit_operation(struct scope *scope, enum operation operation, intptr_t operand);
void scope_emit_run(struct scope *scope, run_function *run, intptr_t operand);

/* The number of a variable; -1 if there is none of that name. */
int scope_find(const struct scope *scope, const char *name);

/* Adds a variable. Returns its number. */
int scope_declare(struct scope *scope, const char *name);

/* Reads one of the words if, else, while and do. Returns false if it is another. */
bool scope_read_block(struct scope *scope, const char *word);

/* Ends the block that was begun last. Returns what kind it was. */
enum block_kind scope_end_block(struct scope *scope);

#endif
