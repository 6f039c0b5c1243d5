/* SPDX-License-Identifier: Apache-2.0
 * The view of the schemas, and their documents; see schemas.h. */
#include "config/schemas.h"

#include "base/mem.h"
#include "config/schema/schema.h"

/* --- documents ------------------------------------------------------------------------------------------ */

int schema_document_read(struct slice text, struct arena *a, struct schema_document *ret)
{
    char error[200];
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, sizeof error);
    *ret = (struct schema_document){0};
    document_begin_long(&r, text, "schema");
    if (!document_bytes(&r, "schema", SCHEMA_SIZE_MAX, &ret->schema))
        document_refuse(&r, "schema", "is missing");
    author_read(&r, &ret->author);
    document_number(&r, "time_ms", 0, INT64_MAX, &ret->time_ms);
    return document_end(&r);
}

void schema_document_write(const struct schema_document *d, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    document_add_bytes(&w, "schema", d->schema);
    author_write_members(&d->author, &w);
    document_add_number(&w, "time_ms", d->time_ms);
    jw_close(&w, '}');
}

/* --- the view ------------------------------------------------------------------------------------------- */

bool schemas_matches(struct slice pattern, struct slice name)
{
    bool is_beginning = pattern.size && pattern.data[pattern.size - 1] == '*';
    size_t size = pattern.size - is_beginning;
    if (is_beginning ? name.size < size : name.size != size)
        return false;
    return size == 0 || memcmp(pattern.data, name.data, size) == 0;
}

const struct schemas_namespace *schemas_of(const struct schemas *s, struct slice ns)
{
    return strmap_get(&s->namespaces, ns);
}

/* The place of a schema in the list; the count: it is not there. */
static size_t find(const struct schemas_namespace *n, struct slice group, struct slice pattern)
{
    size_t at = 0;
    while (at < n->count &&
           (!slice_equal(n->list[at]->pattern, pattern) || !slice_equal(n->list[at]->group, group)))
        at++;
    return at;
}

static void remove_at(struct schemas *s, struct slice ns, struct schemas_namespace *n, size_t at)
{
    n->bytes -= n->list[at]->schema.size;
    mem_free(n->list[at]);
    n->list[at] = n->list[--n->count];
    if (n->count)
        return;
    strmap_remove(&s->namespaces, ns);
    mem_free(n->list);
    mem_free(n);
}

void schemas_begin(struct schemas *s, bool is_whole)
{
    s->is_whole = is_whole;
    s->generation += is_whole;
}

static struct slice keep(uint8_t **to, struct slice s)
{
    struct slice kept = slice_of(*to, s.size);
    if (s.size)
        memcpy(*to, s.data, s.size);
    *to += s.size;
    return kept;
}

void schemas_put(struct schemas *s, const struct config_name *name, struct slice text, int64_t revision)
{
    struct schemas_namespace *n = strmap_get(&s->namespaces, name->ns);
    struct arena a = {0};
    struct schema_document d;
    bool is_unreadable = schema_document_read(text, &a, &d) != OK;
    if (is_unreadable)
        d.schema = (struct slice){0};
    struct schema_entry *e = mem_new(sizeof *e + name->group.size + name->name.size + d.schema.size);
    uint8_t *to = (uint8_t *)(e + 1);
    *e = (struct schema_entry){
        .revision = revision, .generation = s->generation, .is_unreadable = is_unreadable};
    e->group = keep(&to, name->group);
    e->pattern = keep(&to, name->name);
    e->schema = keep(&to, d.schema);
    arena_done(&a);
    if (!n)
        strmap_put(&s->namespaces, name->ns, n = mem_new(sizeof *n));
    size_t at = find(n, e->group, e->pattern);
    if (at == n->count) {
        n->list = mem_resize(n->list, (n->count + 1) * sizeof(struct schema_entry *));
        n->list[n->count++] = NULL;
    } else {
        n->bytes -= n->list[at]->schema.size;
        mem_free(n->list[at]);
    }
    n->list[at] = e;
    n->bytes += e->schema.size;
}

void schemas_remove(struct schemas *s, const struct config_name *name)
{
    struct schemas_namespace *n = strmap_get(&s->namespaces, name->ns);
    size_t at = n ? find(n, name->group, name->name) : 0;
    if (n && at < n->count)
        remove_at(s, name->ns, n, at);
}

/* After a whole state: a schema that was not put in it does not exist. */
void schemas_end(struct schemas *s)
{
    struct slice ns;
    void *value;
    for (size_t at = 0; s->is_whole && strmap_next(&s->namespaces, &at, &ns, &value);) {
        struct schemas_namespace *n = value;
        for (size_t i = n->count; i > 0; i--) {
            bool is_last = n->count == 1;
            if (n->list[i - 1]->generation != s->generation)
                remove_at(s, ns, n, i - 1);
            else
                continue;
            if (is_last)
                break; /* the namespace is gone */
        }
    }
    s->is_whole = false;
}

void schemas_done(struct schemas *s)
{
    struct slice ns;
    void *value;
    for (size_t at = 0; strmap_next(&s->namespaces, &at, &ns, &value);) {
        struct schemas_namespace *n = value;
        for (size_t i = 0; i < n->count; i++)
            mem_free(n->list[i]);
        mem_free(n->list);
        mem_free(n);
    }
    strmap_done(&s->namespaces);
}

const struct schema_entry *schemas_find(const struct schemas *s, struct slice ns, struct slice group,
                                        struct slice name)
{
    const struct schemas_namespace *n = schemas_of(s, ns);
    const struct schema_entry *best = NULL;
    for (size_t i = 0; n && i < n->count; i++) {
        const struct schema_entry *e = n->list[i];
        bool is_name = e->pattern.size && e->pattern.data[e->pattern.size - 1] != '*';
        if (!slice_equal(e->group, group) || !schemas_matches(e->pattern, name))
            continue;
        if (is_name)
            return e;
        if (!best || e->pattern.size > best->pattern.size)
            best = e;
    }
    return best;
}

int64_t schemas_revision(const struct schemas *s, struct slice ns)
{
    const struct schemas_namespace *n = schemas_of(s, ns);
    int64_t revision = 0;
    for (size_t i = 0; n && i < n->count; i++)
        if (n->list[i]->revision > revision)
            revision = n->list[i]->revision;
    return revision;
}
