/* SPDX-License-Identifier: Apache-2.0
 * YAML as libyaml reads it (1.1 with most of 1.2), item by item from base/yaml_stream.h, which checks depth,
 * aliases and cycles. This file adds one check: no key twice in a mapping, however it is written.
 *
 * Two nodes are the same key if they have the same tag and the same value, as the core schema of YAML 1.2
 * resolves plain scalars. So 10 and 0xA are the same, 1 and "1" are not, and `yes` is a string. Each node is
 * reduced to a digest when it closes:
 *
 *   scalar     from its tag and value
 *   sequence   from its children in order
 *   mapping    from its entries in any order
 *   alias      from its target
 *
 * Only nodes that may be a key, or part of one, get a digest: those in key position or under an anchor.
 * Custom tags, several documents, merge keys and collections as keys are allowed. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/yaml_stream.h"
#include "config/format/check.h"

struct digest {
    uint64_t half[2];
};

struct level {
    bool is_mapping;
    bool is_needed;    /* its digest is needed; else only those of its keys */
    bool has_key;      /* mapping: the next node is a value */
    struct digest key; /* its key */
    struct digest sum; /* of the children so far */
    struct strmap keys;
    struct slice tag; /* copied */
    size_t index;     /* characters before it */
    size_t anchor;
};

struct yaml {
    const struct check *check;
    struct yaml_stream *stream;
    unsigned depth;
    struct level levels[FORMAT_DEPTH_MAX];
    struct digest *anchors; /* by number */
    size_t anchor_capacity;
    struct buf scratch;
};

/* --- plain scalars ---------------------------------------------------------------------------------- */

static bool is_word_of(struct slice s, const char *words)
{
    for (size_t n; *words; words += n + strspn(words + n, " ")) {
        n = strcspn(words, " ");
        if (s.size == n && memcmp(s.data, words, n) == 0)
            return true;
    }
    return false;
}

static struct slice without_sign(struct slice s, bool *ret_is_negative)
{
    *ret_is_negative = s.size && s.data[0] == '-';
    return s.size && (s.data[0] == '-' || s.data[0] == '+') ? slice_of(s.data + 1, s.size - 1) : s;
}

static size_t count_digits(struct slice s, size_t at, unsigned base)
{
    size_t n = 0;
    uint32_t digit;
    for (; at + n < s.size && text_hex(s.data + at + n, s.data + s.size, 1, &digit) && digit < base; n++)
        continue;
    return n;
}

/* 0o17, 0xf, -15: adds the same text for equal numbers. */
static bool add_int(struct slice s, struct buf *out)
{
    bool is_negative;
    unsigned base = 10;
    struct slice digits = without_sign(s, &is_negative);
    if (s.size > 2 && s.data[0] == '0' && (s.data[1] == 'o' || s.data[1] == 'x')) {
        base = s.data[1] == 'o' ? 8 : 16;
        digits = slice_of(s.data + 2, s.size - 2);
    }
    if (!digits.size || count_digits(digits, 0, base) != digits.size)
        return false;
    while (digits.size > 1 && digits.data[0] == '0')
        digits = slice_of(digits.data + 1, digits.size - 1);
    uint64_t value = 0;
    bool fits = true;
    for (size_t i = 0; i < digits.size; i++) {
        uint32_t digit = 0;
        fits = fits && text_hex(digits.data + i, digits.data + i + 1, 1, &digit) &&
               !__builtin_mul_overflow(value, base, &value) && !__builtin_add_overflow(value, digit, &value);
    }
    if (is_negative && (!fits || value))
        buf_add_byte(out, '-');
    if (fits) {
        text_add_u64(out, value);
    } else { /* beyond 64 bits only the spelling within one base is compared */
        buf_add_byte(out, (uint8_t)base);
        for (size_t i = 0; i < digits.size; i++)
            buf_add_byte(out, digits.data[i] | 0x20);
    }
    return true;
}

static bool add_float(struct slice s, struct buf *out)
{
    bool is_negative;
    struct slice d = without_sign(s, &is_negative);
    char text[64];
    if (is_word_of(d, ".inf .Inf .INF")) {
        buf_add_text(out, is_negative ? "-inf" : "inf");
        return true;
    }
    if (is_word_of(s, ".nan .NaN .NAN")) {
        buf_add_text(out, "nan");
        return true;
    }
    size_t whole = count_digits(d, 0, 10), at = whole, fraction = 0;
    if (at < d.size && d.data[at] == '.') {
        fraction = count_digits(d, ++at, 10);
        at += fraction;
    }
    if (!whole && !fraction)
        return false;
    if (at < d.size && (d.data[at] == 'e' || d.data[at] == 'E')) {
        at++;
        at += at < d.size && (d.data[at] == '-' || d.data[at] == '+');
        size_t exponent = count_digits(d, at, 10);
        if (!exponent)
            return false;
        at += exponent;
    }
    if (at != d.size)
        return false;
    if (s.size >= sizeof text) { /* too long for the buffer: the spelling is compared */
        buf_add_slice(out, s);
        return true;
    }
    memcpy(text, s.data, s.size);
    text[s.size] = 0;
    buf_addf(out, "%a", strtod(text, NULL));
    return true;
}

/* Without a tag it can only be a string: its first character begins no other type. */
static bool is_surely_text(struct slice s)
{
    return s.size && !strchr("~nNtTfF.+-0123456789", s.data[0]);
}

/* Adds tag and value, so that equal scalars are equal bytes. */
static void add_scalar(const struct yaml_item *item, struct buf *out)
{
    static const char *const bools[] = {"true True TRUE", "false False FALSE"};
    struct slice s = item->text;
    enum yaml_tag tag = yaml_tag_of(item->tag);
    size_t start = out->size;
    if (tag == YAML_TAG_OTHER) {
        buf_addf(out, "!%zu ", item->tag.size);
        buf_add_slice(out, item->tag);
        buf_add_slice(out, s);
        return;
    }
    if (tag == YAML_TAG_STRING || (tag == YAML_TAG_NONE && (!item->is_plain || is_surely_text(s)))) {
        buf_add_text(out, "s");
        buf_add_slice(out, s);
        return;
    }
    if (s.size == 0 || is_word_of(s, "~ null Null NULL")) {
        buf_add_text(out, "n");
        return;
    }
    for (int i = 0; i < 2; i++)
        if (is_word_of(s, bools[i])) {
            buf_add_text(out, i == 0 ? "bt" : "bf");
            return;
        }
    bool is_float = slice_equal(item->tag, slice_text("tag:yaml.org,2002:float"));
    buf_add_text(out, "i");
    if (!is_float && add_int(s, out))
        return;
    out->size = start;
    buf_add_text(out, "f");
    if (add_float(s, out))
        return;
    out->size = start;
    buf_add_text(out, "s");
    buf_add_slice(out, s);
}

/* --- digests ------------------------------------------------------------------------------------- */

/* The digest of the scratch buffer, whose first byte is free. */
static struct digest digest_of(struct yaml *y)
{
    struct digest d;
    for (uint8_t i = 0; i < 2; i++) {
        y->scratch.data[0] = i;
        d.half[i] = hash64(y->scratch.data, y->scratch.size);
    }
    return d;
}

static struct buf *scratch(struct yaml *y, char kind)
{
    buf_clear(&y->scratch);
    buf_add_byte(&y->scratch, 0);
    buf_add_byte(&y->scratch, (uint8_t)kind);
    return &y->scratch;
}

static struct digest digest_pair(struct yaml *y, char kind, struct digest a, struct digest b)
{
    struct buf *s = scratch(y, kind);
    buf_add(s, &a, sizeof a);
    buf_add(s, &b, sizeof b);
    return digest_of(y);
}

static struct digest digest_scalar(struct yaml *y, const struct yaml_item *item)
{
    add_scalar(item, scratch(y, 's'));
    return digest_of(y);
}

static struct digest digest_level(struct yaml *y, const struct level *l)
{
    struct buf *s = scratch(y, l->is_mapping ? 'm' : 'q');
    buf_add(s, &l->sum, sizeof l->sum);
    if (yaml_tag_of(l->tag) == YAML_TAG_OTHER)
        buf_add_slice(s, l->tag);
    return digest_of(y);
}

static void set_anchor(struct yaml *y, size_t number, struct digest d)
{
    if (!number)
        return;
    if (number > y->anchor_capacity) {
        y->anchor_capacity = 2 * number + 16;
        y->anchors = mem_resize(y->anchors, y->anchor_capacity * sizeof *y->anchors);
    }
    y->anchors[number - 1] = d;
}

/* --- the walk over the items ------------------------------------------------------------------------ */

static size_t offset_of(const struct check *c, size_t index)
{
    size_t at = 0;
    for (; index && at < c->text.size; index--) {
        size_t n = utf8_length(slice_of(c->text.data + at, c->text.size - at));
        at += n ? n : 1;
    }
    return at;
}

/* Whether the next node may be a key, or part of one. */
static bool is_next_needed(const struct yaml *y)
{
    const struct level *l = y->depth ? &y->levels[y->depth - 1] : NULL;
    return l && (l->is_needed || (l->is_mapping && !l->has_key));
}

/* Handles a complete node: it is a document, an element, a key or a value. */
static int on_node(struct yaml *y, struct digest d, struct slice shown, size_t index)
{
    if (y->depth == 0)
        return OK;
    struct level *l = &y->levels[y->depth - 1];
    if (!l->is_mapping) {
        if (l->is_needed)
            l->sum = digest_pair(y, 'q', l->sum, d);
        return OK;
    }
    if (l->has_key) {
        struct digest entry = l->is_needed ? digest_pair(y, 'e', l->key, d) : (struct digest){{0}};
        l->sum.half[0] += entry.half[0];
        l->sum.half[1] += entry.half[1];
        l->has_key = false;
        return OK;
    }
    l->key = d;
    l->has_key = true;
    void *first = strmap_put(&l->keys, slice_of(&d, sizeof d), (void *)(uintptr_t)(index + 1));
    return first ? check_refuse_duplicate(y->check, "key", shown, offset_of(y->check, index),
                                          offset_of(y->check, (uintptr_t)first - 1))
                 : OK;
}

static void close_level(struct yaml *y)
{
    struct level *l = &y->levels[--y->depth];
    strmap_done(&l->keys);
    mem_free(l->tag.data);
}

static int format_yaml_on_close(struct yaml *y)
{
    const struct level *l = &y->levels[y->depth - 1];
    struct digest d = l->is_needed ? digest_level(y, l) : (struct digest){{0}};
    bool is_mapping = l->is_mapping;
    size_t index = l->index;
    set_anchor(y, l->anchor, d);
    close_level(y);
    return on_node(y, d, slice_text(is_mapping ? "{...}" : "[...]"), index);
}

static int on_item(struct yaml *y, const struct yaml_item *item)
{
    struct digest d = {{0}};
    bool is_needed = item->anchor || is_next_needed(y);
    switch (item->kind) {
    case YAML_ITEM_SCALAR:
        if (is_needed)
            d = digest_scalar(y, item);
        set_anchor(y, item->anchor, d);
        return on_node(y, d, item->text, item->place.index);
    case YAML_ITEM_ALIAS:
        return on_node(y, y->anchors[item->anchor - 1], item->text, item->place.index);
    case YAML_ITEM_OPEN:
        y->levels[y->depth++] =
            (struct level){.is_mapping = item->is_mapping,
                           .is_needed = is_needed,
                           .tag = slice_of(mem_copy(item->tag.data, item->tag.size), item->tag.size),
                           .index = item->place.index,
                           .anchor = item->anchor};
        return OK;
    case YAML_ITEM_CLOSE:
        return format_yaml_on_close(y);
    case YAML_ITEM_DOCUMENT:
    case YAML_ITEM_END:
        break;
    }
    return OK;
}

static int walk(struct yaml *y)
{
    struct yaml_item item = {0};
    int err = OK;
    while (!err && item.kind != YAML_ITEM_END) {
        if (yaml_stream_next(y->stream, &item)) {
            const struct yaml_problem *p = yaml_stream_problem(y->stream);
            return check_refuse(y->check, offset_of(y->check, p->place.index), "%s", p->text);
        }
        err = on_item(y, &item);
    }
    return err;
}

int format_check_yaml(const struct check *c)
{
    int err = check_characters(c);
    if (err)
        return err;
    struct yaml *y = mem_new(sizeof *y);
    y->check = c;
    y->stream =
        yaml_stream_new(c->text, (struct yaml_limits){.depth = FORMAT_DEPTH_MAX, .nodes = FORMAT_NODES_MAX});
    err = walk(y);
    while (y->depth > 0)
        close_level(y);
    yaml_stream_free(y->stream);
    mem_free(y->anchors);
    buf_done(&y->scratch);
    mem_free(y);
    return err;
}
