/* SPDX-License-Identifier: Apache-2.0
 * Compiled schemas: shared by schema.c, which makes them, and check.c, which follows them. */
#ifndef CONFIG_SCHEMA_SCHEMA_PRIVATE_H
#define CONFIG_SCHEMA_SCHEMA_PRIVATE_H

#include "config/schema/regex.h"
#include "config/schema/schema.h"

enum keyword {
#define KEYWORD(name, text, form, check) KEYWORD_##name,
#define REFUSED(text, why)
#include "config/schema/schema.def"
#undef KEYWORD
#undef REFUSED
    KEYWORDS
};

struct schema_node;

struct schema_child { /* of a map or a list of schemas */
    struct slice name;
    const struct regex *regex; /* patternProperties */
    struct schema_node *node;
};

/* One keyword of a schema. */
struct schema_rule {
    enum keyword keyword;
    const struct schema_node *owner;
    const struct value *value;
    uint32_t number;           /* COUNT */
    unsigned types;            /* TYPE: a bit for each value_type, and SCHEMA_INTEGER */
    const struct regex *regex; /* PATTERN */
    struct schema_child *list; /* SCHEMA: one; SCHEMAS, SCHEMA_MAP, PATTERN_MAP, REF: one */
    size_t count;
};
#define SCHEMA_INTEGER (1u << 16)

struct schema_node {
    const struct value *source;
    bool is_constant, allows; /* the schemas true and false */
    struct schema_rule *rules;
    size_t rule_count;
    const struct schema_rule *of[KEYWORDS];        /* NULL: the schema does not have it */
    enum { NODE_NEW, NODE_OPEN, NODE_DONE } state; /* of the search for cycles */
};

struct schema {
    struct value_tree tree;
    struct slice text;
    struct schema_node *root;
};

#endif
