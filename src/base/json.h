/* SPDX-License-Identifier: MIT
 *
 * Strings of JSON.
 */
#ifndef FLI_JSON_H
#define FLI_JSON_H

#include "base/base.h"

#include <stdio.h>

/* Prints text, which is taken to be UTF-8, as a string; NULL as null. */
void fli_json_print(const char *text, FILE *stream);

#endif
