/* SPDX-License-Identifier: Apache-2.0
 * Shared by the checkers of config/format/; private to the folder. */
#ifndef CONFIG_FORMAT_CHECK_H
#define CONFIG_FORMAT_CHECK_H

#include "base/buf.h"
#include "base/map.h"
#include "config/format/format.h"

struct check {
    struct slice text;
    struct format_error *error;
};

/* Both return ERR_MALFORMED and compute line and column, once for a text: it is refused only once. */
int check_refuse(const struct check *c, size_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int check_refuse_utf8(const struct check *c, size_t offset);

/* Refuses bytes that are no UTF-8 and U+0000; every text format begins with it.
 * ERR_MALFORMED, with the place in c. */
MUST_CHECK int check_characters(const struct check *c);

/* Remembers the key's offset; refuses a second key with the same bytes and names the line of the first. what
 * is "key" or the like. ERR_MALFORMED. */
MUST_CHECK int check_unique(const struct check *c, struct strmap *keys, const char *what, struct slice key,
                            size_t offset);
int check_refuse_duplicate(const struct check *c, const char *what, struct slice key, size_t offset,
                           size_t first);

/* A part of the text for an error sentence: cut between characters, control characters as '?'. */
struct quote {
    char text[132];
};
struct quote check_quote(struct slice s);
struct quote check_quote_at(const struct check *c, size_t offset); /* the character there, or "the end" */

int format_check_text(const struct check *c);
int format_check_json(const struct check *c);
int format_check_yaml(const struct check *c);
int format_check_properties(const struct check *c);
int format_check_toml(const struct check *c);
int format_check_xml(const struct check *c);
int format_check_bin(const struct check *c);

#endif
