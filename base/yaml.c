/* SPDX-License-Identifier: Apache-2.0
 * YAML trees, built from a stream's items with a stack of open collections; no recursion.
 *
 * An alias becomes a copy of its target's top node that shares the children. So memory grows by one node,
 * while the stream's limits count the nodes that a reader will walk. Merge keys ("<<") are ordinary keys. */
#include "base/yaml.h"

#include <stdio.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/yaml_stream.h"

enum {
    YAML_TEXT_MAX = 1 << 20,
    YAML_DEPTH_MAX = 64,
    YAML_NODES_MAX = 100000,
};

/* An open collection: its end has not been read yet. */
struct frame {
    struct yaml_node *node;
    struct yaml_node **tail;
    struct yaml_node *key; /* mapping: the key whose value comes next */
    struct strmap keys;    /* mapping: the keys so far */
};

struct builder {
    struct arena *arena;
    struct frame stack[YAML_DEPTH_MAX];
    unsigned depth;
    struct map anchors; /* number -> node */
    unsigned documents;
    struct yaml_node *root;
    char *error;
    size_t error_size;
};

static int yaml_refuse(struct builder *b, const struct yaml_place *place, const char *what)
{
    snprintf(b->error, b->error_size, "line %u, column %u: %s", place->line, place->column, what);
    return ERR_MALFORMED;
}

static int refuse_name(struct builder *b, const struct yaml_place *place, const char *what, struct slice name)
{
    char text[160];
    int n = name.size < 64 ? (int)name.size : 64;
    snprintf(text, sizeof text, "%s \"%.*s\"", what, n, (const char *)name.data);
    return yaml_refuse(b, place, text);
}

static int add_key(struct builder *b, struct frame *f, struct yaml_node *n, const struct yaml_place *place)
{
    if (n->kind != YAML_SCALAR)
        return yaml_refuse(b, place, "a mapping's key must be a scalar");
    if (strmap_put(&f->keys, n->text, n))
        return refuse_name(b, place, "duplicate key", n->text);
    f->key = n;
    return OK;
}

/* Adds a node to the innermost open collection, or makes it the root. */
static int add_node(struct builder *b, struct yaml_node *n, const struct yaml_place *place)
{
    n->line = place->line;
    n->column = place->column;
    if (b->depth == 0) {
        b->root = n;
        return OK;
    }
    struct frame *f = &b->stack[b->depth - 1];
    if (f->node->kind == YAML_MAPPING && !f->key)
        return add_key(b, f, n, place);
    n->key = f->key;
    f->key = NULL;
    *f->tail = n;
    f->tail = &n->next;
    return OK;
}

/* Makes a node. Only tags of the core schema are allowed; "!" and !!str make any scalar a text. */
static int new_node(struct builder *b, const struct yaml_item *item, enum yaml_kind kind,
                    struct yaml_node **ret_node)
{
    enum yaml_tag tag = yaml_tag_of(item->tag);
    if (tag == YAML_TAG_OTHER)
        return refuse_name(b, &item->place, "unknown tag", item->tag);
    struct yaml_node *n = arena_new(b->arena, sizeof *n);
    n->kind = kind;
    if (kind == YAML_SCALAR) {
        n->is_quoted = tag == YAML_TAG_STRING || !item->is_plain;
        n->text = slice_of(arena_string(b->arena, item->text.data, item->text.size), item->text.size);
    }
    if (item->anchor)
        map_put(&b->anchors, item->anchor, n);
    *ret_node = n;
    return add_node(b, n, &item->place);
}

static int on_item(struct builder *b, const struct yaml_item *item)
{
    struct yaml_node *n;
    int err;
    switch (item->kind) {
    case YAML_ITEM_DOCUMENT:
        return b->documents++ ? yaml_refuse(b, &item->place, "a second document") : OK;
    case YAML_ITEM_SCALAR:
        return new_node(b, item, YAML_SCALAR, &n);
    case YAML_ITEM_OPEN:
        err = new_node(b, item, item->is_mapping ? YAML_MAPPING : YAML_SEQUENCE, &n);
        if (!err)
            b->stack[b->depth++] = (struct frame){.node = n, .tail = &n->child};
        return err;
    case YAML_ITEM_CLOSE:
        strmap_done(&b->stack[--b->depth].keys);
        return OK;
    case YAML_ITEM_ALIAS:
        n = arena_copy(b->arena, map_get(&b->anchors, item->anchor), sizeof *n);
        n->next = n->key = NULL;
        return add_node(b, n, &item->place);
    case YAML_ITEM_END:
        break;
    }
    return OK;
}

static int yaml_run(struct builder *b, struct yaml_stream *s)
{
    for (;;) {
        struct yaml_item item;
        if (yaml_stream_next(s, &item))
            return yaml_refuse(b, &yaml_stream_problem(s)->place, yaml_stream_problem(s)->text);
        int err = on_item(b, &item);
        if (err || item.kind == YAML_ITEM_END)
            return err;
    }
}

int yaml_parse(struct slice text, struct arena *a, struct yaml_node **ret_root, char *error,
               size_t error_size)
{
    if (text.size > YAML_TEXT_MAX) {
        snprintf(error, error_size, "line 1, column 1: more than 1 MiB of text");
        return ERR_MALFORMED;
    }
    struct builder *b = mem_new(sizeof *b);
    *b = (struct builder){.arena = a, .error = error, .error_size = error_size};
    struct yaml_stream *s =
        yaml_stream_new(text, (struct yaml_limits){.depth = YAML_DEPTH_MAX, .nodes = YAML_NODES_MAX});
    int err = yaml_run(b, s);
    yaml_stream_free(s);
    while (b->depth > 0)
        strmap_done(&b->stack[--b->depth].keys);
    map_done(&b->anchors);
    if (!err)
        *ret_root = b->root;
    mem_free(b);
    return err;
}

struct yaml_node *yaml_get(struct yaml_node *mapping, const char *key)
{
    if (!mapping || mapping->kind != YAML_MAPPING)
        return NULL;
    struct slice name = slice_text(key);
    for (struct yaml_node *n = mapping->child; n; n = n->next)
        if (slice_equal(n->key->text, name))
            return n;
    return NULL;
}
