/* SPDX-License-Identifier: MIT
 *
 * Tokens: the text of a program as words, strings in double quotes, and ends of lines. What follows a # is a comment.
 */
#ifndef VM_TOKENS_H
#define VM_TOKENS_H

#include <stdbool.h>
#include <stddef.h>

enum token_kind { TOKEN_WORD, TOKEN_STRING, TOKEN_END };

struct tokens {
    const char *path; /* for messages */
    char *text, *next;
    unsigned line;
    /* The token that was read last. */
    enum token_kind kind;
    char *start; /* its text, which ends with a 0 */
    size_t length;
    bool is_last; /* of its line */
};

/* Reads the file. */
void tokens_open(struct tokens *tokens, const char *path);
void tokens_close(struct tokens *tokens);

/* The next token; false at the end. */
bool tokens_next(struct tokens *tokens);

#endif
