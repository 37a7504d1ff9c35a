/* SPDX-License-Identifier: MIT */
#include "machine/tokens.h"
#include "memory/fail.h"

#include <string.h>

void tokens_open(struct tokens *tokens, const char *path)
{
    FILE *file = fopen(path, "r");
    size_t length = 0, capacity = 1 << 16;
    if (file == NULL)
        fail("%s cannot be opened", path);
    char *text = (char *)allocate(capacity);
    while ((length += fread(text + length, 1, capacity - length - 1, file)) == capacity - 1)
        text = (char *)reallocate(text, capacity *= 2);
    text[length] = 0;
    fclose(file);
    *tokens = (struct tokens){.path = path, .text = text, .next = text, .line = 1, .kind = TOKEN_END};
}

void tokens_close(struct tokens *tokens)
{
    free(tokens->text);
}

/* Goes to the next character that is no blank, and in no comment. */
static void skip(struct tokens *tokens)
{
    for (; *tokens->next != 0; tokens->next++) {
        if (*tokens->next == '#')
            tokens->next += strcspn(tokens->next, "\n");
        if (*tokens->next == 0 || strchr(" \t\n", *tokens->next) == NULL)
            return;
        tokens->line += *tokens->next == '\n';
    }
}

/* Whether only blanks and a comment follow on the line. */
static bool is_last_of_line(const char *next)
{
    next += strspn(next, " \t");
    return *next == '\n' || *next == '#' || *next == 0;
}

bool tokens_next(struct tokens *tokens)
{
    skip(tokens);
    if (*tokens->next == 0)
        return false;
    tokens->kind = *tokens->next == '"' ? TOKEN_STRING : TOKEN_WORD;
    tokens->start = tokens->next + (tokens->kind == TOKEN_STRING);
    tokens->length = strcspn(tokens->start, tokens->kind == TOKEN_STRING ? "\"\n" : " \t\n");
    char *end = tokens->start + tokens->length;
    if (tokens->kind == TOKEN_STRING && *end != '"')
        fail("%s:%u: the string does not end", tokens->path, tokens->line);
    tokens->next = *end == 0 ? end : end + 1;
    tokens->is_last = *end == '\n' || is_last_of_line(tokens->next);
    tokens->line += *end == '\n';
    *end = 0;
    return true;
}
