/* SPDX-License-Identifier: MIT */
#include "base/json.h"

static void print_character(unsigned char character, FILE *stream)
{
    if (character < ' ')
        fprintf(stream, "\\u%04x", character);
    else
        fprintf(stream, character == '"' || character == '\\' ? "\\%c" : "%c", character);
}

void fli_json_print(const char *text, FILE *stream)
{
    if (text == NULL) {
        fputs("null", stream);
        return;
    }
    fputc('"', stream);
    for (; *text != '\0'; text++)
        print_character((unsigned char)*text, stream);
    fputc('"', stream);
}
