/* SPDX-License-Identifier: Apache-2.0
 * JSON lexer: strings and numbers (RFC 8259), read in place. The caller words the error and its place.
 * Pure. */
#ifndef BASE_JSON_LEX_H
#define BASE_JSON_LEX_H

#include "base/buf.h"

enum json_string_fault {
    JSON_STRING_FINE,
    JSON_STRING_ENDS,    /* the text ends inside */
    JSON_STRING_CONTROL, /* a control character that is not escaped */
    JSON_STRING_ESCAPE,  /* an unknown escape, or half of a surrogate pair */
    JSON_STRING_UTF8     /* invalid UTF-8 */
};

/* Reads the string whose opening quote is at p. The result is borrowed from the text, or lies in unescaped
 * (cleared first) if the string has escapes. *ret_at is behind the closing quote, or at the fault: the
 * backslash of an escape, or the first byte that is not UTF-8. */
enum json_string_fault json_lex_string(const uint8_t *p, const uint8_t *end, struct buf *unescaped,
                                       struct slice *ret_string, const uint8_t **ret_at);

/* The number of bytes from p on that need no escape in a string: ASCII except quote, backslash, control
 * characters and DEL. */
size_t json_plain_size(const uint8_t *p, size_t size);

const uint8_t *json_skip_blanks(const uint8_t *p, const uint8_t *end);

/* Returns the position of the value of an object's first field with this name; at most the text's end. NULL:
 * there is no such field, or the text before it is not JSON. The text after it is not checked. */
const uint8_t *json_find_value(struct slice text, const char *name, struct buf *scratch);

/* Skips a value that is not a string, to the comma or bracket after it, over blanks too. Its inside is not
 * checked beyond its strings and the number of its brackets. NULL: the text ends inside, or a string is wrong. */
const uint8_t *json_lex_value_end(const uint8_t *p, const uint8_t *end, struct buf *scratch);

/* json_find_value, and json_lex_string of its value. The token is text[*ret_from, *ret_to). False: there is
 * no such string. */
bool json_find_string(struct slice text, const char *name, struct buf *unescaped, struct slice *ret_string,
                      size_t *ret_from, size_t *ret_to);

/* Returns the position behind the number at p. NULL: there is no number by the grammar, or a letter or
 * digit follows it. */
const uint8_t *json_lex_number(const uint8_t *p, const uint8_t *end);

/* True if a JSON text has more than `max` values, roughly: commas and opening brackets outside strings. */
bool json_has_more_values(struct slice text, size_t max);

/* True for a byte that cannot follow a number or true, false, null. */
bool json_is_word(uint8_t c);

#endif
