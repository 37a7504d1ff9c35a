/* SPDX-License-Identifier: MIT */
#include "machine/reader.h"
#include "machine/scope.h"
#include "machine/tokens.h"
#include "machine/world.h"
#include "objects/closure.h"
#include "objects/list.h"
#include "objects/number.h"
#include "objects/string.h"

#include <string.h>

enum { NAMES = 256 };

struct reader {
    struct machine *machine;
    struct tokens tokens;
    struct scope *scope;
    /* Functions, by name; each has a closure that captures nothing. Anonymous ones have no name. */
    struct function *functions[NAMES];
    object_t *closures[NAMES];
    unsigned function_count;
    char *globals[NAMES];
    unsigned global_count;
};

__attribute__((noreturn)) static void complain(const struct reader *reader, const char *what)
{
    fail("%s:%u: %s: %s", reader->tokens.path, reader->tokens.line, reader->tokens.start, what);
}

/* ---- Constants */

static object_t *constant(struct reader *reader, object_t *made)
{
    object_make_immortal(made);
    objects_add(&reader->machine->world->constants, made);
    return made;
}

static void emit_constant(struct reader *reader, object_t *made)
{
    scope_emit_operation(reader->scope, OP_CONSTANT, (intptr_t)made);
}

/* Small integers are immortal already. */
static bool read_number(struct reader *reader)
{
    const char *start = reader->tokens.start;
    char *end;
    int64_t integer = strtoll(start, &end, 10);
    if (end != start && *end == 0) {
        object_t *small = small_integer(integer);
        emit_constant(reader, small != NULL ? small : constant(reader, integer_new(reader->machine->lane, integer)));
        return true;
    }
    double real = strtod(start, &end);
    if (end == start || *end != 0 || strchr("-.0123456789", *start) == NULL)
        return false;
    emit_constant(reader, constant(reader, real_new(reader->machine->lane, real)));
    return true;
}

static void read_string(struct reader *reader)
{
    const struct tokens *tokens = &reader->tokens;
    emit_constant(reader, string_intern(reader->machine->lane, tokens->start, tokens->length));
}

/* ---- Names */

static int find_function(const struct reader *reader, const char *name)
{
    for (unsigned i = 0; i < reader->function_count; i++)
        if (reader->functions[i]->name[0] != 0 && strcmp(reader->functions[i]->name, name) == 0)
            return (int)i;
    return -1;
}

static int find_global(const struct reader *reader, const char *name)
{
    for (unsigned i = 0; i < reader->global_count; i++)
        if (strcmp(reader->globals[i], name) == 0)
            return (int)i;
    return -1;
}

static void next_name(struct reader *reader)
{
    if (!tokens_next(&reader->tokens) || reader->tokens.kind != TOKEN_WORD)
        complain(reader, "a name should follow");
}

static void read_global(struct reader *reader)
{
    next_name(reader);
    if (reader->global_count == NAMES)
        complain(reader, "too many globals");
    reader->globals[reader->global_count++] = strdup(reader->tokens.start);
    object_incref(reader->machine->lane, &none);
    list_append(reader->machine->lane, reader->machine->world->globals, &none);
}

/* ---- Functions and closures */

static struct function *new_function(struct reader *reader, const char *name)
{
    if (reader->function_count == NAMES)
        complain(reader, "too many functions");
    struct function *function = (struct function *)allocate(sizeof *function);
    function->name = strdup(name);
    reader->functions[reader->function_count++] = function;
    return function;
}

/* Names up to the end of the line: parameters, and behind a colon what is captured. */
static void read_parameters(struct reader *reader)
{
    struct scope *scope = reader->scope;
    bool is_captured = false;
    while (!reader->tokens.is_last) {
        next_name(reader);
        if (strcmp(reader->tokens.start, ":") == 0) {
            is_captured = true;
            continue;
        }
        scope_declare(scope, reader->tokens.start);
        if (is_captured)
            scope->function->captures++;
        else
            scope->function->parameters++;
    }
}

static void begin_function(struct reader *reader)
{
    next_name(reader);
    struct function *function = new_function(reader, reader->tokens.start);
    object_t *closure = closure_new(reader->machine->lane, function, NULL, 0);
    reader->closures[reader->function_count - 1] = constant(reader, closure);
    reader->scope = scope_open(reader->scope, function, BLOCK_FUNCTION);
    read_parameters(reader);
}

static void begin_closure(struct reader *reader)
{
    reader->scope = scope_open(reader->scope, new_function(reader, ""), BLOCK_CLOSURE);
    read_parameters(reader);
}

static void end_body(struct scope *scope)
{
    struct function *function = scope->function;
    scope_emit_operation(scope, OP_CONSTANT, (intptr_t)&none);
    scope_emit_operation(scope, OP_RETURN, 0);
    function->arguments = function->parameters + function->captures;
    function->room = function->variables + (unsigned)function->length + VARIABLES_MOST;
}

/* The outer function pushes what the closure captures, and makes it. */
static void emit_closure(struct reader *reader, const struct scope *inner)
{
    for (unsigned i = 0; i < inner->function->captures; i++) {
        int variable = scope_find(reader->scope, inner->names[inner->function->parameters + i]);
        if (variable < 0)
            complain(reader, "the function around it has no such variable to capture");
        scope_emit_operation(reader->scope, OP_VARIABLE, variable);
    }
    scope_emit_run(reader->scope, run_make_closure, (intptr_t)inner->function);
}

static void end_function(struct reader *reader, enum block_kind kind)
{
    struct scope *inner = reader->scope;
    end_body(inner);
    reader->scope = inner->outer;
    if (kind == BLOCK_CLOSURE)
        emit_closure(reader, inner);
    scope_close(inner);
}

static void end_block(struct reader *reader)
{
    enum block_kind kind = scope_end_block(reader->scope);
    if (kind == BLOCK_FUNCTION || kind == BLOCK_CLOSURE)
        end_function(reader, kind);
    else if (kind == BLOCK_FILE)
        complain(reader, "there is nothing to end");
}

/* ---- Words */

static void read_store(struct reader *reader)
{
    next_name(reader);
    int global = find_global(reader, reader->tokens.start),
        variable = scope_find(reader->scope, reader->tokens.start);
    if (variable < 0 && global >= 0)
        scope_emit_run(reader->scope, run_set_global, global);
    else
        scope_emit_operation(reader->scope, OP_SET_VARIABLE,
                             variable >= 0 ? variable : scope_declare(reader->scope, reader->tokens.start));
}

/* Words that give a program its structure. */
static bool read_structure(struct reader *reader)
{
    static const struct {
        const char *name;
        void (*read)(struct reader *reader);
    } words[] = {{"function", begin_function},
                 {"closure", begin_closure},
                 {"end", end_block},
                 {"global", read_global},
                 {"->", read_store}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i].name, reader->tokens.start) == 0) {
            words[i].read(reader);
            return true;
        }
    return scope_read_block(reader->scope, reader->tokens.start);
}

/* Variables, globals and functions. */
static bool read_name(struct reader *reader)
{
    const char *name = reader->tokens.start;
    int variable = scope_find(reader->scope, name), global = find_global(reader, name);
    int function = find_function(reader, name[0] == '\'' ? name + 1 : name);
    if (variable >= 0)
        scope_emit_operation(reader->scope, OP_VARIABLE, variable);
    else if (global >= 0)
        scope_emit_run(reader->scope, run_global, global);
    else if (function >= 0 && name[0] == '\'')
        emit_constant(reader, reader->closures[function]);
    else if (function >= 0)
        scope_emit_operation(reader->scope, OP_CALL, (intptr_t)reader->functions[function]);
    return variable >= 0 || global >= 0 || function >= 0;
}

static bool read_word(struct reader *reader)
{
    const struct word *const lists[] = {number_words, object_words, machine_words};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (const struct word *word = lists[i]; word->name != NULL; word++)
            if (strcmp(word->name, reader->tokens.start) == 0) {
                scope_emit(reader->scope, word->instruction);
                return true;
            }
    return false;
}

/* ---- The whole */

struct reader *reader_open(struct machine *machine)
{
    struct reader *reader = (struct reader *)allocate(sizeof *reader);
    reader->machine = machine;
    return reader;
}

object_t *reader_read(struct reader *reader, const char *path)
{
    tokens_open(&reader->tokens, path);
    struct function *file = new_function(reader, "");
    reader->scope = scope_open(NULL, file, BLOCK_FILE);
    while (tokens_next(&reader->tokens)) {
        if (reader->tokens.kind == TOKEN_STRING)
            read_string(reader);
        else if (!read_structure(reader) && !read_name(reader) && !read_word(reader) && !read_number(reader))
            complain(reader, "nobody knows this word");
    }
    if (reader->scope->outer != NULL || reader->scope->block_count != 1)
        complain(reader, "a block does not end");
    end_body(reader->scope);
    scope_close(reader->scope);
    tokens_close(&reader->tokens);
    return constant(reader, closure_new(reader->machine->lane, file, NULL, 0));
}

void reader_close(struct reader *reader)
{
    for (unsigned i = 0; i < reader->function_count; i++) {
        free((void *)reader->functions[i]->name);
        free(reader->functions[i]->code);
        free(reader->functions[i]);
    }
    for (unsigned i = 0; i < reader->global_count; i++)
        free(reader->globals[i]);
    free(reader);
}
