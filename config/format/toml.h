/* SPDX-License-Identifier: Apache-2.0
 * Shared by config/format/toml*.c: the reader over a TOML text, its scalars (toml_scalar.c) and the tables
 * defined so far (toml_table.c). toml.c has the grammar of lines, keys and values. */
#ifndef CONFIG_FORMAT_TOML_H
#define CONFIG_FORMAT_TOML_H

#include "base/mem.h"
#include "config/format/check.h"

/* How a table was made decides what may still add to it. */
enum toml_kind {
    TOML_VALUE,    /* no table: nothing */
    TOML_INLINE,   /* {...}: nothing after its brace */
    TOML_IMPLICIT, /* named on the way by a header: a header of its own, once; headers of tables in it */
    TOML_HEADER,   /* [a]: the lines under it; headers of tables in it */
    TOML_DOTTED,   /* made by a dotted key: other dotted keys of the same lines; headers of tables in it */
    TOML_ARRAY     /* [[a]]: another element; everything else goes to the last element */
};

struct toml_node {
    enum toml_kind kind;
    unsigned depth;
    uint64_t id;
    size_t offset;          /* where it was first named */
    struct toml_node *last; /* ARRAY: its last element, a HEADER */
};

struct toml {
    const struct check *check;
    const uint8_t *start, *at, *end;
    struct arena arena;     /* the nodes */
    struct strmap children; /* parent's id and name -> node */
    struct buf child_key, text;
    uint64_t next_id;
    struct toml_node *root;
};

int toml_refuse(const struct toml *t, const uint8_t *where, const char *what);
int toml_refuse_here(const struct toml *t, const char *wanted);

/* --- toml_scalar.c */

/* A string of any of the four kinds at t->at; its value goes to out (cleared). ERR_MALFORMED,
 * with the place in t. */
MUST_CHECK int toml_take_string(struct toml *t, bool may_be_multiline, struct buf *out);
/* A number, a boolean, a date, a time, or both. ERR_MALFORMED. */
MUST_CHECK int toml_take_word(struct toml *t);
/* Takes a line's end, if there is one: LF or CR LF. A CR alone is none. */
bool toml_take_newline(struct toml *t);

/* --- toml_table.c: one part of a key in a table; `where` is its place in the text. */

/* The table of a header's key part that is not its last. ERR_MALFORMED, here and below: the key is defined
 * already, or is no table. */
MUST_CHECK int toml_pass_header(struct toml *t, struct toml_node *table, struct slice key,
                                const uint8_t *where, struct toml_node **ret_table);
MUST_CHECK int toml_define_table(struct toml *t, struct toml_node *table, struct slice key,
                                 const uint8_t *where, struct toml_node **ret_table);
MUST_CHECK int toml_define_element(struct toml *t, struct toml_node *table, struct slice key,
                                   const uint8_t *where, struct toml_node **ret_table);
/* The same for the dotted key of a value. */
MUST_CHECK int toml_pass_dotted(struct toml *t, struct toml_node *table, struct slice key,
                                const uint8_t *where, struct toml_node **ret_table);
MUST_CHECK int toml_define_value(struct toml *t, struct toml_node *table, struct slice key,
                                 const uint8_t *where, struct toml_node **ret_node);
struct toml_node *toml_new_node(struct toml *t, enum toml_kind kind, unsigned depth, const uint8_t *where);

#endif
