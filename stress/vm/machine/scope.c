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

/* ---- Instructions */

/* What does the same with the constant that an instruction pushes, as an instruction of its own. */
static bool take_constant(struct instruction *constant, enum operation operation)
{
    if (constant->operation != OP_CONSTANT || operation < OP_GET || operation > OP_EQUAL)
        return false;
    constant->operation = operation - OP_GET + OP_GET_CONSTANT;
    return true;
}

static bool take_condition(struct instruction *comparison, enum operation operation)
{
    if (operation != OP_JUMP_IF_FALSE)
        return false;
    switch (comparison->operation) {
    case OP_LESS:
    case OP_EQUAL:
        comparison->operation += OP_UNLESS_LESS - OP_LESS;
        return true;
    case OP_LESS_CONSTANT:
    case OP_EQUAL_CONSTANT:
        comparison->operation += OP_UNLESS_LESS_CONSTANT - OP_LESS_CONSTANT;
        return true;
    default:
        return false;
    }
}

/* Lets the last instruction do what the next one would, too. */
static bool fuse(struct scope *scope, enum operation next)
{
    const struct function *function = scope->function;
    if (function->length == scope->landing)
        return false;
    struct instruction *last = &function->code[function->length - 1];
    return take_constant(last, next) || take_condition(last, next);
}

void scope_emit(struct scope *scope, struct instruction instruction)
{
    struct function *function = scope->function;
    if (fuse(scope, instruction.operation))
        return;
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

static int32_t distance(size_t from, size_t to)
{
    return (int32_t)to - (int32_t)from - 1;
}

/* Lets a jump lead to where the next instruction will be. */
static void land(struct scope *scope, size_t jump)
{
    scope->landing = scope->function->length;
    scope->function->code[jump].distance = distance(jump, scope->landing);
}

/* A jump whose target is not known yet. */
static size_t emit_jump(struct scope *scope, enum operation operation)
{
    scope_emit_operation(scope, operation, 0);
    return scope->function->length - 1;
}

static void emit_jump_back(struct scope *scope, size_t to)
{
    size_t jump = emit_jump(scope, OP_JUMP_BACK);
    scope->function->code[jump].distance = distance(jump, to);
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
    push(scope, BLOCK_IF, 0, emit_jump(scope, OP_JUMP_IF_FALSE));
}

static void begin_else(struct scope *scope)
{
    struct block before = pop(scope, BLOCK_IF, "else");
    push(scope, BLOCK_ELSE, 0, emit_jump(scope, OP_JUMP));
    land(scope, before.jump);
}

static void begin_while(struct scope *scope)
{
    scope->landing = scope->function->length;
    push(scope, BLOCK_WHILE, scope->landing, 0);
}

static void begin_do(struct scope *scope)
{
    struct block before = pop(scope, BLOCK_WHILE, "do");
    push(scope, BLOCK_DO, before.begin, emit_jump(scope, OP_JUMP_IF_FALSE));
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
        emit_jump_back(scope, last.begin);
    if (last.kind == BLOCK_DO || last.kind == BLOCK_IF || last.kind == BLOCK_ELSE)
        land(scope, last.jump);
    return last.kind;
}
