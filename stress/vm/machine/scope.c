/* SPDX-License-Identifier: MIT */
#include "machine/scope.h"
#include "memory/fail.h"

#include <string.h>

/* ---- Scopes */

static void push(struct scope *scope, enum block_kind kind, size_t begin, size_t jump)
{
    if (scope->block_count == BLOCKS_MOST)
        fail("%s: too many blocks", scope->function->name);
    scope->blocks[scope->block_count++] = (struct block){kind, begin, jump};
}

struct scope *scope_open(struct scope *outer, struct function *function, enum block_kind kind)
{
    struct scope *made = (struct scope *)allocate(sizeof *made);
    made->function = function;
    made->outer = outer;
    push(made, kind, 0, 0);
    return made;
}

void scope_close(struct scope *scope)
{
    free(scope);
}

void scope_emit(struct scope *scope, struct instruction instruction)
{
    struct function *function = scope->function;
    if (function->length == function->capacity) {
        function->capacity = function->capacity == 0 ? 32 : 2 * function->capacity;
        function->code = reallocate(function->code, function->capacity * sizeof *function->code);
    }
    function->code[function->length++] = instruction;
}

void scope_emit_operation(struct scope *scope, enum operation operation, intptr_t operand)
{
    scope_emit(scope, (struct instruction){.operation = operation, .operand = operand});
}

void scope_emit_run(struct scope *scope, run_function *run, intptr_t operand)
{
    scope_emit(scope, (struct instruction){.operation = OP_RUN, .operand = operand, .run = run});
}

/* ---- Variables */

int scope_find(const struct scope *scope, const char *name)
{
    for (unsigned i = 0; i < scope->function->variables; i++)
        if (strcmp(scope->names[i], name) == 0)
            return (int)i;
    return -1;
}

int scope_declare(struct scope *scope, const char *name)
{
    unsigned number = scope->function->variables;
    if (number == VARIABLES_MOST || strlen(name) >= NAME_MOST)
        fail("%s: the variable %s is one too many, or its name is too long", scope->function->name, name);
    strcpy(scope->names[number], name);
    scope->function->variables++;
    return (int)number;
}

/* ---- Blocks */

/* Lets a jump lead to where the next instruction will be. */
static void land(struct scope *scope, size_t jump)
{
    struct function *function = scope->function;
    function->code[jump].operand = (intptr_t)function->length - (intptr_t)jump - 1;
}

static struct block pop(struct scope *scope, enum block_kind expected, const char *word)
{
    struct block last = scope->blocks[scope->block_count - 1];
    if (last.kind != expected)
        fail("%s: %s stands where it does not belong", scope->function->name, word);
    scope->block_count--;
    return last;
}

static void begin_if(struct scope *scope)
{
    push(scope, BLOCK_IF, 0, scope->function->length);
    scope_emit_operation(scope, OP_JUMP_IF_FALSE, 0);
}

static void begin_else(struct scope *scope)
{
    struct block before = pop(scope, BLOCK_IF, "else");
    push(scope, BLOCK_ELSE, 0, scope->function->length);
    scope_emit_operation(scope, OP_JUMP, 0);
    land(scope, before.jump);
}

static void begin_while(struct scope *scope)
{
    push(scope, BLOCK_WHILE, scope->function->length, 0);
}

static void begin_do(struct scope *scope)
{
    struct block before = pop(scope, BLOCK_WHILE, "do");
    push(scope, BLOCK_DO, before.begin, scope->function->length);
    scope_emit_operation(scope, OP_JUMP_IF_FALSE, 0);
}

bool scope_read_block(struct scope *scope, const char *word)
{
    static const struct {
        const char *word;
        void (*begin)(struct scope *scope);
    } blocks[] = {{"if", begin_if}, {"else", begin_else}, {"while", begin_while}, {"do", begin_do}};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (strcmp(blocks[i].word, word) == 0) {
            blocks[i].begin(scope);
            return true;
        }
    return false;
}

enum block_kind scope_end_block(struct scope *scope)
{
    struct block last = scope->blocks[scope->block_count - 1];
    if (last.kind == BLOCK_FILE)
        return BLOCK_FILE;
    scope->block_count--;
    if (last.kind == BLOCK_DO)
        scope_emit_operation(scope, OP_JUMP_BACK, (intptr_t)last.begin - (intptr_t)scope->function->length - 1);
    if (last.kind == BLOCK_DO || last.kind == BLOCK_IF || last.kind == BLOCK_ELSE)
        land(scope, last.jump);
    return last.kind;
}
