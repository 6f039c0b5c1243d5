/* SPDX-License-Identifier: Apache-2.0
 * YAML documents as trees, read from libyaml's events. Limits: 1 MiB of text, 64 levels, 100,000 nodes with
 * aliases counted as if expanded. Cycles, undefined aliases, duplicate keys and second documents are
 * errors. An error is one sentence with line and column. */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include "base/buf.h"
#include "base/err.h"

struct arena;

enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node {
    enum yaml_kind kind;
    unsigned line, column;          /* from 1 */
    bool is_quoted;                 /* a scalar in quotes or block style: never null, bool or number */
    struct slice text;              /* scalar */
    struct yaml_node *key;          /* in a mapping: the entry's key node (a scalar); else NULL */
    struct yaml_node *child, *next; /* first child; next sibling */
};

/* Parses a document. The tree and its text live in the arena. An empty document gives *ret_root = NULL and
 * OK. */
MUST_CHECK int yaml_parse(struct slice text, struct arena *a, struct yaml_node **ret_root, char *error,
                          size_t error_size);
struct yaml_node *yaml_get(struct yaml_node *mapping, const char *key); /* NULL if absent */

#endif
