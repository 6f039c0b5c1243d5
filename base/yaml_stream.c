/* SPDX-License-Identifier: Apache-2.0
 * YAML items from libyaml's events, with a stack of open collections. See yaml_stream.h.
 *
 * An anchor on a collection is open until the collection ends; an alias to an open anchor would be a cycle.
 * At the end its nodes and its height are known; an alias to it counts as many.
 *
 * libyaml looks ahead for a ':' behind a possible key, at most 1024 characters on one line. So a row of
 * brackets costs it no more before the depth limit ends the parse. */
#include "base/yaml_stream.h"

#include <assert.h>
#include <stdio.h>
#include <yaml.h>

#include "base/map.h"
#include "base/mem.h"

struct anchor {
    size_t nodes;    /* in the expanded subtree, itself included */
    unsigned height; /* levels of collections, itself included; 0 for a scalar */
    bool is_open;
};

/* An open collection: its end has not been read yet. */
struct frame {
    size_t anchor; /* its number; 0 if it has none */
    size_t nodes_before;
    unsigned height; /* of the children */
    bool is_mapping;
};

struct yaml_stream {
    yaml_parser_t parser;
    yaml_event_t event; /* the last item borrows from it */
    struct slice text;
    struct yaml_limits limits;
    struct frame *stack;
    unsigned depth;
    struct strmap names;    /* anchor -> number, as a pointer */
    struct anchor *anchors; /* number - 1 -> anchor */
    size_t anchor_count, anchor_capacity;
    size_t nodes;
    struct yaml_problem problem;
};

static struct yaml_place yaml_stream_place_of(const yaml_mark_t *mark)
{
    return (struct yaml_place){(unsigned)mark->line + 1, (unsigned)mark->column + 1, mark->index};
}

static int yaml_stream_refuse(struct yaml_stream *s, const char *what)
{
    s->problem.place = yaml_stream_place_of(&s->event.start_mark);
    snprintf(s->problem.text, sizeof s->problem.text, "%s", what);
    return ERR_MALFORMED;
}

static int refuse_name(struct yaml_stream *s, const char *what, struct slice name)
{
    char text[160];
    int n = name.size < 64 ? (int)name.size : 64;
    snprintf(text, sizeof text, "%s \"%.*s\"", what, n, (const char *)name.data);
    return yaml_stream_refuse(s, text);
}

/* libyaml counts a line break after a text that ends without one. */
static size_t context_line(const struct yaml_stream *s)
{
    size_t line = s->parser.context_mark.line + 1, last = 1;
    for (size_t i = 0; i + 1 < s->text.size; i++)
        last += s->text.data[i] == '\n';
    return line < last ? line : last;
}

/* Computes line and column of a parser error: libyaml's reader reports a byte offset only. */
static int refuse_parser_error(struct yaml_stream *s)
{
    const yaml_parser_t *p = &s->parser;
    yaml_mark_t mark = p->problem_mark;
    if (p->error == YAML_READER_ERROR) {
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < p->problem_offset && i < s->text.size; i++) {
            bool is_first = (s->text.data[i] & 0xc0) != 0x80;
            mark.index += is_first;
            mark.column += is_first;
            if (s->text.data[i] == '\n') {
                mark.line++;
                mark.column = 0;
            }
        }
    }
    s->problem.place = yaml_stream_place_of(&mark);
    const char *what = p->problem ? p->problem : "not YAML";
    if (p->error != YAML_READER_ERROR && p->context)
        snprintf(s->problem.text, sizeof s->problem.text, "%s, %s from line %zu", what, p->context,
                 context_line(s));
    else
        snprintf(s->problem.text, sizeof s->problem.text, "%s", what);
    return ERR_MALFORMED;
}

static int count_nodes(struct yaml_stream *s, size_t nodes, unsigned height)
{
    char text[96];
    if (nodes > s->limits.nodes - s->nodes) {
        snprintf(text, sizeof text, "more than %zu nodes, aliases counted as what they stand for",
                 s->limits.nodes);
        return yaml_stream_refuse(s, text);
    }
    if (s->depth + height > s->limits.depth) {
        snprintf(text, sizeof text, "nested deeper than %u levels", s->limits.depth);
        return yaml_stream_refuse(s, text);
    }
    s->nodes += nodes;
    if (s->depth && height > s->stack[s->depth - 1].height)
        s->stack[s->depth - 1].height = height;
    return OK;
}

/* --- anchors --------------------------------------------------------------------------------- */

static size_t add_anchor(struct yaml_stream *s, const yaml_char_t *name, struct anchor anchor)
{
    if (!name)
        return 0;
    if (s->anchor_count == s->anchor_capacity) {
        s->anchor_capacity = s->anchor_capacity ? 2 * s->anchor_capacity : 16;
        s->anchors = mem_resize(s->anchors, s->anchor_capacity * sizeof *s->anchors);
    }
    s->anchors[s->anchor_count++] = anchor;
    strmap_put(&s->names, slice_text((const char *)name), (void *)(uintptr_t)s->anchor_count);
    return s->anchor_count;
}

static int take_alias(struct yaml_stream *s, struct yaml_item *item)
{
    struct slice name = slice_text((const char *)s->event.data.alias.anchor);
    size_t number = (size_t)(uintptr_t)strmap_get(&s->names, name);
    if (!number)
        return refuse_name(s, "undefined alias", name);
    const struct anchor *a = &s->anchors[number - 1];
    if (a->is_open)
        return refuse_name(s, "alias inside its own anchor", name);
    item->kind = YAML_ITEM_ALIAS;
    item->text = name;
    item->anchor = number;
    return count_nodes(s, a->nodes, a->height);
}

/* --- events ---------------------------------------------------------------------------------- */

static struct slice tag_slice(const yaml_char_t *tag)
{
    return tag ? slice_text((const char *)tag) : (struct slice){0};
}

static int take_scalar(struct yaml_stream *s, struct yaml_item *item)
{
    int err = count_nodes(s, 1, 0);
    if (err)
        return err;
    item->kind = YAML_ITEM_SCALAR;
    item->is_plain = s->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    item->text = slice_of(s->event.data.scalar.value, s->event.data.scalar.length);
    item->tag = tag_slice(s->event.data.scalar.tag);
    item->anchor = add_anchor(s, s->event.data.scalar.anchor, (struct anchor){.nodes = 1});
    return OK;
}

static int take_open(struct yaml_stream *s, struct yaml_item *item, bool is_mapping, const yaml_char_t *tag,
                     const yaml_char_t *anchor)
{
    int err = count_nodes(s, 1, 1);
    if (err)
        return err;
    item->kind = YAML_ITEM_OPEN;
    item->is_mapping = is_mapping;
    item->tag = tag_slice(tag);
    item->anchor = add_anchor(s, anchor, (struct anchor){.is_open = true});
    s->stack[s->depth++] =
        (struct frame){.anchor = item->anchor, .nodes_before = s->nodes - 1, .is_mapping = is_mapping};
    return OK;
}

static void take_close(struct yaml_stream *s, struct yaml_item *item)
{
    assert(s->depth > 0);
    const struct frame *f = &s->stack[--s->depth];
    unsigned height = f->height + 1;
    item->kind = YAML_ITEM_CLOSE;
    item->is_mapping = f->is_mapping;
    if (f->anchor)
        s->anchors[f->anchor - 1] = (struct anchor){.nodes = s->nodes - f->nodes_before, .height = height};
    if (s->depth > 0 && height > s->stack[s->depth - 1].height)
        s->stack[s->depth - 1].height = height;
}

/* Handles an event. *ret_is_item: the event is an item for the caller. */
static int take_event(struct yaml_stream *s, struct yaml_item *item, bool *ret_is_item)
{
    const yaml_event_t *e = &s->event;
    *ret_is_item = true;
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        strmap_done(&s->names);
        item->kind = YAML_ITEM_DOCUMENT;
        return OK;
    case YAML_SCALAR_EVENT:
        return take_scalar(s, item);
    case YAML_ALIAS_EVENT:
        return take_alias(s, item);
    case YAML_SEQUENCE_START_EVENT:
        return take_open(s, item, false, e->data.sequence_start.tag, e->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return take_open(s, item, true, e->data.mapping_start.tag, e->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        take_close(s, item);
        return OK;
    case YAML_STREAM_END_EVENT:
        item->kind = YAML_ITEM_END;
        return OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    *ret_is_item = false;
    return OK;
}

int yaml_stream_next(struct yaml_stream *s, struct yaml_item *ret_item)
{
    for (;;) {
        struct yaml_item item = {0};
        bool is_item;
        yaml_event_delete(&s->event);
        if (!yaml_parser_parse(&s->parser, &s->event))
            return refuse_parser_error(s);
        item.place = yaml_stream_place_of(&s->event.start_mark);
        int err = take_event(s, &item, &is_item);
        if (err)
            return err;
        if (!is_item)
            continue;
        *ret_item = item;
        return OK;
    }
}

const struct yaml_problem *yaml_stream_problem(const struct yaml_stream *s)
{
    return &s->problem;
}

struct yaml_stream *yaml_stream_new(struct slice text, struct yaml_limits limits)
{
    struct yaml_stream *s = mem_new(sizeof *s);
    assert(limits.depth > 0 && limits.depth <= 1000);
    *s = (struct yaml_stream){.text = text, .limits = limits};
    s->stack = mem_new(limits.depth * sizeof *s->stack);
    int is_initialized = yaml_parser_initialize(&s->parser);
    assert(is_initialized); /* fails only without memory */
    (void)is_initialized;
    yaml_parser_set_encoding(&s->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&s->parser, text.size ? text.data : (const uint8_t *)"", text.size);
    return s;
}

void yaml_stream_free(struct yaml_stream *s)
{
    if (!s)
        return;
    yaml_event_delete(&s->event);
    yaml_parser_delete(&s->parser);
    strmap_done(&s->names);
    mem_free(s->anchors);
    mem_free(s->stack);
    mem_free(s);
}

enum yaml_tag yaml_tag_of(struct slice tag)
{
    static const char core[] = "tag:yaml.org,2002:";
    static const char *const others[] = {"int", "float", "bool", "null", "map", "seq"};
    size_t n = sizeof core - 1;
    if (!tag.data)
        return YAML_TAG_NONE;
    if (slice_equal(tag, slice_text("!")) || slice_equal(tag, slice_text("tag:yaml.org,2002:str")))
        return YAML_TAG_STRING;
    if (tag.size > n && memcmp(tag.data, core, n) == 0)
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            if (slice_equal(slice_of(tag.data + n, tag.size - n), slice_text(others[i])))
                return YAML_TAG_CORE;
    return YAML_TAG_OTHER;
}
