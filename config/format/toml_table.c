/* SPDX-License-Identifier: Apache-2.0
 * The tables that a TOML text has defined, and TOML's rules on what may still add to them; kinds in toml.h.
 * All tables share one map, from the parent's number and the name to the node. */
#include "config/format/toml.h"

struct toml_node *toml_new_node(struct toml *t, enum toml_kind kind, unsigned depth, const uint8_t *where)
{
    struct toml_node *n = arena_new(&t->arena, sizeof *n);
    *n = (struct toml_node){
        .kind = kind, .depth = depth, .id = ++t->next_id, .offset = (size_t)(where - t->start)};
    return n;
}

static struct slice child_key(struct toml *t, const struct toml_node *table, struct slice key)
{
    buf_clear(&t->child_key);
    buf_add(&t->child_key, &table->id, sizeof table->id);
    buf_add_slice(&t->child_key, key);
    return buf_slice(&t->child_key);
}

static struct toml_node *format_toml_table_find(struct toml *t, const struct toml_node *table,
                                                struct slice key)
{
    return strmap_get(&t->children, child_key(t, table, key));
}

static int format_toml_table_add(struct toml *t, const struct toml_node *table, struct slice key,
                                 enum toml_kind kind, const uint8_t *where, struct toml_node **ret_node)
{
    if (table->depth >= FORMAT_DEPTH_MAX)
        return toml_refuse(t, where, "nested deeper than 200 levels");
    *ret_node = toml_new_node(t, kind, table->depth + 1, where);
    strmap_put(&t->children, child_key(t, table, key), *ret_node);
    return OK;
}

static int refuse_name(const struct toml *t, const uint8_t *where, struct slice key,
                       const struct toml_node *first, const char *why)
{
    size_t line = 1;
    for (size_t i = 0; i < first->offset; i++)
        line += t->start[i] == '\n';
    return check_refuse(t->check, (size_t)(where - t->start), "\"%s\" %s (first at line %zu)",
                        check_quote(key).text, why, line);
}

static int refuse_duplicate(const struct toml *t, const uint8_t *where, struct slice key,
                            const struct toml_node *first)
{
    return check_refuse_duplicate(t->check, "key", key, (size_t)(where - t->start), first->offset);
}

int toml_pass_header(struct toml *t, struct toml_node *table, struct slice key, const uint8_t *where,
                     struct toml_node **ret_table)
{
    struct toml_node *n = format_toml_table_find(t, table, key);
    if (!n)
        return format_toml_table_add(t, table, key, TOML_IMPLICIT, where, ret_table);
    if (n->kind == TOML_VALUE)
        return refuse_name(t, where, key, n, "is a value, not a table");
    if (n->kind == TOML_INLINE)
        return refuse_name(t, where, key, n, "is an inline table: nothing can be added to it");
    *ret_table = n->kind == TOML_ARRAY ? n->last : n;
    return OK;
}

int toml_define_table(struct toml *t, struct toml_node *table, struct slice key, const uint8_t *where,
                      struct toml_node **ret_table)
{
    struct toml_node *n = format_toml_table_find(t, table, key);
    if (!n)
        return format_toml_table_add(t, table, key, TOML_HEADER, where, ret_table);
    switch (n->kind) {
    case TOML_IMPLICIT:
        n->kind = TOML_HEADER;
        *ret_table = n;
        return OK;
    case TOML_ARRAY:
        return refuse_name(t, where, key, n, "is an array of tables: use [[...]]");
    case TOML_DOTTED:
        return refuse_name(t, where, key, n, "is already a table, by a dotted key");
    case TOML_VALUE:
    case TOML_INLINE:
    case TOML_HEADER:
        break;
    }
    return refuse_duplicate(t, where, key, n);
}

int toml_define_element(struct toml *t, struct toml_node *table, struct slice key, const uint8_t *where,
                        struct toml_node **ret_table)
{
    struct toml_node *n = format_toml_table_find(t, table, key);
    if (!n) {
        int err = format_toml_table_add(t, table, key, TOML_ARRAY, where, &n);
        if (err)
            return err;
    } else if (n->kind == TOML_VALUE) {
        return refuse_duplicate(t, where, key, n);
    } else if (n->kind != TOML_ARRAY) {
        return refuse_name(t, where, key, n, "is a table, not an array of tables");
    }
    *ret_table = n->last = toml_new_node(t, TOML_HEADER, n->depth, where);
    return OK;
}

int toml_pass_dotted(struct toml *t, struct toml_node *table, struct slice key, const uint8_t *where,
                     struct toml_node **ret_table)
{
    struct toml_node *n = format_toml_table_find(t, table, key);
    if (!n)
        return format_toml_table_add(t, table, key, TOML_DOTTED, where, ret_table);
    if (n->kind == TOML_VALUE)
        return refuse_name(t, where, key, n, "is a value, not a table");
    if (n->kind == TOML_INLINE)
        return refuse_name(t, where, key, n, "is an inline table: nothing can be added to it");
    if (n->kind != TOML_DOTTED)
        return refuse_name(t, where, key, n, "has a header: a dotted key cannot add to it");
    *ret_table = n;
    return OK;
}

int toml_define_value(struct toml *t, struct toml_node *table, struct slice key, const uint8_t *where,
                      struct toml_node **ret_node)
{
    struct toml_node *n = format_toml_table_find(t, table, key);
    return n ? refuse_duplicate(t, where, key, n)
             : format_toml_table_add(t, table, key, TOML_VALUE, where, ret_node);
}
