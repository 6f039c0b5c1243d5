/* SPDX-License-Identifier: Apache-2.0
 * The values of a YAML stream, document by document, by the core schema of YAML 1.2; see value.h. An alias shares
 * its target's value, so the tree is a graph without cycles (base/yaml_stream.h counts what it stands for). */
#include "base/map.h"
#include "base/text.h"
#include "base/yaml_stream.h"
#include "config/value/value.h"

struct level {
    struct value *value;
    size_t first;  /* of its members, in `members` */
    size_t anchor; /* 0 = none */
    bool has_name, is_merge;
    struct slice name;
    size_t name_place;
    struct value *merged; /* the value of its `<<`; NULL = there is none */
};

struct reader {
    struct value_tree *tree;
    struct yaml_stream *stream;
    struct format_error *error;
    struct buf members;   /* struct value_member, of all open levels */
    struct buf documents; /* struct value * */
    struct value **anchors;
    size_t anchor_capacity;
    unsigned depth;
    struct level levels[FORMAT_DEPTH_MAX];
};

/* --- scalars -------------------------------------------------------------------------------------------- */

static bool is_one_of(struct slice s, const char *a, const char *b, const char *c)
{
    return slice_equal(s, slice_text(a)) || slice_equal(s, slice_text(b)) || slice_equal(s, slice_text(c));
}

static size_t count_digits(struct slice s, size_t at)
{
    size_t n = 0;
    while (at + n < s.size && s.data[at + n] >= '0' && s.data[at + n] <= '9')
        n++;
    return n;
}

/* 0o17, 0xff: as decimal. False: neither, or beyond 64 bits. */
static bool add_other_base(struct slice s, struct buf *out)
{
    uint64_t value = 0;
    uint32_t digit;
    unsigned base = s.size > 2 && s.data[1] == 'o' ? 8 : 16;
    if (s.size < 3 || s.data[0] != '0' || (s.data[1] != 'o' && s.data[1] != 'x'))
        return false;
    for (size_t i = 2; i < s.size; i++)
        if (!text_hex(s.data + i, s.data + i + 1, 1, &digit) || digit >= base ||
            __builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value))
            return false;
    text_add_u64(out, value);
    return true;
}

/* [-+]? ( . [0-9]+ | [0-9]+ ( . [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?, as JSON writes it. */
static bool add_decimal(struct slice s, struct buf *out)
{
    size_t at = s.size && (s.data[0] == '-' || s.data[0] == '+'), zeros = 0, exponent = 0;
    size_t whole = count_digits(s, at), from = at, fraction = 0;
    at += whole;
    if (at < s.size && s.data[at] == '.')
        fraction = count_digits(s, ++at);
    at += fraction;
    if (!whole && !fraction)
        return false;
    if (at < s.size && (s.data[at] == 'e' || s.data[at] == 'E')) {
        size_t sign = at + 1 < s.size && (s.data[at + 1] == '-' || s.data[at + 1] == '+');
        exponent = count_digits(s, at + 1 + sign);
        if (!exponent)
            return false;
        exponent += 1 + sign;
    }
    if (at + exponent != s.size)
        return false;
    if (s.data[0] == '-')
        buf_add_byte(out, '-');
    while (zeros + 1 < whole && s.data[from + zeros] == '0')
        zeros++;
    buf_add(out, whole ? s.data + from + zeros : (const uint8_t *)"0", whole ? whole - zeros : 1);
    if (fraction) {
        buf_add_byte(out, '.');
        buf_add(out, s.data + at - fraction, fraction);
    }
    buf_add(out, s.data + at, exponent);
    return true;
}

static void set_scalar(struct reader *r, struct value *v, const struct yaml_item *item)
{
    struct slice s = item->text;
    enum yaml_tag tag = yaml_tag_of(item->tag);
    struct buf number = {0};
    bool is_true = is_one_of(s, "true", "True", "TRUE");
    v->type = VALUE_STRING;
    v->text = value_keep(r->tree, s);
    if (tag == YAML_TAG_STRING || tag == YAML_TAG_OTHER || (tag == YAML_TAG_NONE && !item->is_plain))
        return;
    if (s.size == 0 || is_one_of(s, "null", "Null", "NULL") || slice_equal(s, slice_text("~"))) {
        v->type = VALUE_NULL;
    } else if (is_true || is_one_of(s, "false", "False", "FALSE")) {
        v->type = VALUE_BOOL;
        v->is_true = is_true;
    } else if (add_other_base(s, &number) || add_decimal(s, &number)) {
        v->type = VALUE_NUMBER;
        value_set_number(r->tree, v, value_keep(r->tree, buf_slice(&number)));
    }
    buf_done(&number);
}

/* --- merge keys ----------------------------------------------------------------------------------------- */

static const struct value_member *members_of(const struct reader *r)
{
    return (const struct value_member *)(const void *)r->members.data;
}

/* Adds the members of a mapping that the level does not have yet; `names` has those that it has. */
static int merge_one(struct reader *r, const struct value *from, struct strmap *names)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct value_member m = from->list[i];
        if (strmap_get(names, m.name))
            continue;
        strmap_put(names, m.name, r);
        if (r->tree->value_count++ >= VALUE_COUNT_MAX)
            return value_refuse_count(r->tree, m.name_place, r->error);
        buf_add(&r->members, &m, sizeof m);
    }
    return OK;
}

/* The mapping's own keys come before merged ones; of several mappings the first. */
static int merge(struct reader *r, const struct level *top)
{
    struct strmap names = {0};
    const struct value *v = top->merged;
    int err = OK;
    for (size_t i = top->first; i < r->members.size / sizeof(struct value_member); i++)
        strmap_put(&names, members_of(r)[i].name, r);
    if (v->type == VALUE_OBJECT)
        err = merge_one(r, v, &names);
    for (size_t i = 0; !err && v->type == VALUE_ARRAY && i < v->count; i++)
        err = merge_one(r, v->list[i].value, &names);
    strmap_done(&names);
    return err;
}

/* A mapping, or a sequence of mappings. */
static bool can_merge(const struct value *v)
{
    for (size_t i = 0; v->type == VALUE_ARRAY && i < v->count; i++)
        if (v->list[i].value->type != VALUE_OBJECT)
            return false;
    return v->type == VALUE_OBJECT || v->type == VALUE_ARRAY;
}

/* --- the items ------------------------------------------------------------------------------------------ */

static void set_anchor(struct reader *r, size_t number, struct value *v)
{
    if (!number)
        return;
    if (number > r->anchor_capacity) {
        size_t before = r->anchor_capacity;
        r->anchor_capacity = 2 * number + 16;
        r->anchors = mem_resize(r->anchors, r->anchor_capacity * sizeof *r->anchors);
        memset(r->anchors + before, 0, (r->anchor_capacity - before) * sizeof *r->anchors);
    }
    r->anchors[number - 1] = v;
}

/* Handles a complete value: it is a document, an element, a key or a member's value. */
static int add_value(struct reader *r, struct value *v, bool is_plain, size_t place)
{
    if (!r->depth) {
        buf_add(&r->documents, &v, sizeof v);
        return OK;
    }
    struct level *top = &r->levels[r->depth - 1];
    if (top->value->type == VALUE_OBJECT && !top->has_name) {
        if (v->type == VALUE_OBJECT || v->type == VALUE_ARRAY)
            return value_refuse(r->tree, place, r->error,
                                "a key that is a list or a mapping has no form in JSON");
        top->has_name = true;
        top->name = v->text;
        top->name_place = place;
        top->is_merge = is_plain && slice_equal(v->text, slice_text("<<"));
        return OK;
    }
    const struct value_member m = {top->name, top->name_place, v};
    top->has_name = false;
    if (top->is_merge && can_merge(v))
        top->merged = v;
    else
        buf_add(&r->members, &m, sizeof m);
    top->is_merge = false;
    return OK;
}

static int close_level(struct reader *r)
{
    struct level *top = &r->levels[r->depth - 1];
    int err = top->merged ? merge(r, top) : OK;
    if (err)
        return err;
    size_t count = r->members.size / sizeof(struct value_member) - top->first;
    value_close(r->tree, top->value, members_of(r) ? members_of(r) + top->first : NULL, count);
    r->members.size = top->first * sizeof(struct value_member);
    r->depth--;
    set_anchor(r, top->anchor, top->value);
    return add_value(r, top->value, false, top->value->place);
}

static int on_item(struct reader *r, const struct yaml_item *item)
{
    struct value *v;
    switch (item->kind) {
    case YAML_ITEM_SCALAR:
        if (!(v = value_new(r->tree, VALUE_STRING, item->place.index)))
            return value_refuse_count(r->tree, item->place.index, r->error);
        set_scalar(r, v, item);
        set_anchor(r, item->anchor, v);
        return add_value(r, v, item->is_plain, item->place.index);
    case YAML_ITEM_ALIAS:
        v = r->anchors[item->anchor - 1];
        return add_value(r, v, false, item->place.index);
    case YAML_ITEM_OPEN:
        v = value_new(r->tree, item->is_mapping ? VALUE_OBJECT : VALUE_ARRAY, item->place.index);
        if (!v)
            return value_refuse_count(r->tree, item->place.index, r->error);
        r->levels[r->depth++] = (struct level){
            .value = v, .first = r->members.size / sizeof(struct value_member), .anchor = item->anchor};
        return OK;
    case YAML_ITEM_CLOSE:
        return close_level(r);
    case YAML_ITEM_DOCUMENT:
    case YAML_ITEM_END:
        break;
    }
    return OK;
}

static int walk(struct reader *r)
{
    struct yaml_item item = {0};
    int err = OK;
    while (!err && item.kind != YAML_ITEM_END) {
        if (yaml_stream_next(r->stream, &item)) {
            const struct yaml_problem *p = yaml_stream_problem(r->stream);
            return value_refuse(r->tree, p->place.index, r->error, "%s", p->text);
        }
        err = on_item(r, &item);
    }
    return err;
}

int value_read_yaml(struct value_tree *t, struct format_error *error)
{
    struct reader *r = mem_new(sizeof *r);
    r->tree = t;
    r->error = error;
    r->stream =
        yaml_stream_new(t->text, (struct yaml_limits){.depth = FORMAT_DEPTH_MAX, .nodes = FORMAT_NODES_MAX});
    int err = walk(r);
    if (!err && !r->documents.size) { /* an empty stream is null */
        struct value *none = value_new(t, VALUE_NULL, 0);
        buf_add(&r->documents, &none, sizeof none);
    }
    t->document_count = r->documents.size / sizeof *t->documents;
    t->documents = t->document_count ? arena_copy(&t->arena, r->documents.data, r->documents.size) : NULL;
    yaml_stream_free(r->stream);
    buf_done(&r->members);
    buf_done(&r->documents);
    mem_free(r->anchors);
    mem_free(r);
    return err;
}
