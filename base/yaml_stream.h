/* SPDX-License-Identifier: Apache-2.0
 * YAML streams as items, pulled one by one from libyaml's events: the one place that includes libyaml. It
 * rejects the dangerous features of YAML for all readers:
 *
 * - too deep nesting,
 * - aliases that multiply (each counts as the nodes and the levels that it stands for),
 * - cycles and undefined aliases.
 *
 * It builds no tree and does not recurse; its memory grows with the anchors and the depth. */
#ifndef BASE_YAML_STREAM_H
#define BASE_YAML_STREAM_H

#include "base/buf.h"
#include "base/err.h"

struct yaml_limits {
    unsigned depth; /* collections inside each other, up to 1000 */
    size_t nodes;   /* of the whole stream */
};

enum yaml_item_kind {
    YAML_ITEM_DOCUMENT, /* a document begins; the anchors of the previous one are gone */
    YAML_ITEM_SCALAR,
    YAML_ITEM_OPEN,
    YAML_ITEM_CLOSE,
    YAML_ITEM_ALIAS,
    YAML_ITEM_END /* of the stream */
};

struct yaml_place {
    unsigned line, column; /* from 1, as libyaml counts them: in characters, and U+0085 ends a line too */
    size_t index;          /* characters before it */
};

/* Slices live until the next item. */
struct yaml_item {
    enum yaml_item_kind kind;
    struct yaml_place place;
    bool is_mapping;   /* OPEN, CLOSE: else a sequence */
    bool is_plain;     /* SCALAR: neither in quotes nor in block style */
    struct slice text; /* SCALAR: its value; ALIAS: the anchor's name */
    struct slice tag;  /* SCALAR, OPEN: resolved ("tag:yaml.org,2002:str", "!mine"); data NULL if none */
    size_t anchor;     /* SCALAR, OPEN: number of its anchor, from 1; 0 = none. ALIAS: number of its target */
};

/* The error, after ERR_MALFORMED. */
struct yaml_problem {
    struct yaml_place place;
    char text[200];
};

struct yaml_stream;
/* The text must outlive the stream. */
struct yaml_stream *yaml_stream_new(struct slice text, struct yaml_limits limits);
void yaml_stream_free(struct yaml_stream *s);
/* Reads the next item. It must not be called after YAML_ITEM_END or an ERR_MALFORMED. */
MUST_CHECK int yaml_stream_next(struct yaml_stream *s, struct yaml_item *ret_item);
const struct yaml_problem *yaml_stream_problem(const struct yaml_stream *s);

/* The kind of a tag: a string of the core schema (and "!"), another tag of it, or a tag outside it. */
enum yaml_tag { YAML_TAG_NONE, YAML_TAG_STRING, YAML_TAG_CORE, YAML_TAG_OTHER };
enum yaml_tag yaml_tag_of(struct slice tag);

#endif
