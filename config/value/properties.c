/* SPDX-License-Identifier: Apache-2.0
 * The values of a properties text: one object of loose strings; see value.h. */
#include "base/json_lex.h"
#include "base/text.h"
#include "config/format/properties.h"
#include "config/value/value.h"

/* The other type of the text. */
static void find_loose(struct value_tree *t, struct value *v)
{
    struct slice s = v->text;
    v->is_loose = true;
    if (slice_equal(s, slice_text("true")) || slice_equal(s, slice_text("false"))) {
        v->loose = VALUE_BOOL;
        v->is_true = s.size == 4;
        return;
    }
    if (!s.size || json_lex_number(s.data, s.data + s.size) != s.data + s.size)
        return;
    v->loose = VALUE_NUMBER;
    value_set_number(t, v, s);
}

int value_read_properties(struct value_tree *t, struct format_error *error)
{
    struct properties *p = properties_new(t->text, error);
    struct properties_pair pair;
    struct buf members = {0};
    struct value *root = value_new(t, VALUE_OBJECT, 0);
    bool has = true;
    int err = OK;
    while (!err) {
        err = properties_next(p, &pair, &has);
        if (err || !has)
            break;
        struct value *v = value_new(t, VALUE_STRING, pair.value_offset);
        if (!v) {
            err = value_refuse_count(t, pair.key_offset, error);
            break;
        }
        v->text = value_keep(t, pair.value);
        find_loose(t, v);
        const struct value_member m = {value_keep(t, pair.key), pair.key_offset, v};
        buf_add(&members, &m, sizeof m);
    }
    value_close(t, root, (const struct value_member *)(const void *)members.data,
                members.size / sizeof(struct value_member));
    t->documents = arena_copy(&t->arena, &root, sizeof root);
    t->document_count = 1;
    buf_done(&members);
    properties_free(p);
    return err;
}
