/* SPDX-License-Identifier: Apache-2.0
 * The two tokens of JSON (RFC 8259) that are not one byte or one word: strings and numbers, read in place.
 * Who calls says in words of his own what is wrong and where. Pure. */
#ifndef BASE_JSON_LEX_H
#define BASE_JSON_LEX_H

#include "base/buf.h"

enum json_string_fault {
    JSON_STRING_FINE,
    JSON_STRING_ENDS,    /* the text ends inside */
    JSON_STRING_CONTROL, /* a control character that is not escaped */
    JSON_STRING_ESCAPE,  /* an unknown escape, or half a surrogate pair */
    JSON_STRING_UTF8     /* invalid UTF-8 */
};

/* The string whose opening quote is at p. It is borrowed from the text, or lies in unescaped (cleared) if it
 * has escapes. *ret_at is behind the closing quote, or where the fault is: the backslash of an escape, the
 * first byte that is no UTF-8. */
enum json_string_fault json_lex_string(const uint8_t *p, const uint8_t *end, struct buf *unescaped,
                                       struct slice *ret_string, const uint8_t **ret_at);

/* How many bytes from p on stand in a string as they are: ASCII, no quote, backslash, control character or
 * DEL. */
size_t json_plain_size(const uint8_t *p, size_t size);

/* The first member of an object that has this name, if it is a string (as json_lex_string gives it); the
 * token is text[*ret_from, *ret_to). False: there is none, or what stands before it is no JSON. What stands
 * behind it is not looked at. */
bool json_find_string(struct slice text, const char *name, struct buf *unescaped, struct slice *ret_string,
                      size_t *ret_from, size_t *ret_to);

/* Behind the number at p; NULL = by the grammar there is none, or a letter or digit follows it. */
const uint8_t *json_lex_number(const uint8_t *p, const uint8_t *end);

/* A byte that cannot follow a number or true, false, null. */
bool json_is_word(uint8_t c);

#endif
