/* SPDX-License-Identifier: Apache-2.0
 * Rendering of references; see render.h. */
#include "config/render/render.h"

#include <stdio.h>

#include "base/text.h"

struct frame { /* a reference that is being inserted */
    const struct frame *up;
    size_t document;
    struct slice path;
};

struct render {
    const struct render_document *documents;
    size_t count;
    struct value_tree trees[RENDER_DOCUMENTS_MAX];
    bool is_read[RENDER_DOCUMENTS_MAX];
    struct render_result *result;
    size_t references;
    size_t place; /* of the reference in the first content */
};

struct reference {
    struct render_name name; /* name empty: the content itself */
    struct slice path;
};

static int expand(struct render *r, size_t document, struct slice text, const struct frame *up,
                  unsigned depth);

static int render_refuse(struct render *r, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int render_refuse(struct render *r, int err, const char *format, ...)
{
    const struct value_tree first = {.text = r->documents[0].content};
    char why[240];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    (void)value_refuse(&first, r->place, &r->result->where, "%s", why);
    return err;
}

/* --- one reference -------------------------------------------------------------------------------------- */

/* Takes the part before the last '/' of s. */
static struct slice take_before_slash(struct slice *s)
{
    const uint8_t *slash = s->size ? memrchr(s->data, '/', s->size) : NULL;
    struct slice last = *s;
    if (!slash) {
        *s = (struct slice){0};
        return last;
    }
    last = slice_of(slash + 1, s->size - (size_t)(slash + 1 - s->data));
    *s = slice_of(s->data, (size_t)(slash - s->data));
    return last;
}

/* text begins behind "${". Returns the bytes up to and with "}"; 0: it is no reference. */
static size_t read_reference(struct slice text, const struct render_name *here, struct reference *ret)
{
    size_t hash = 0, end = 0;
    for (bool has_hash = false; end < text.size && text.data[end] != '}'; end++) {
        if (text.data[end] == '\n' || text.data[end] == '\r' || text.data[end] == '{')
            return 0; /* stops at the next "${" at the latest: linear */
        if (text.data[end] == '#' && !has_hash) {
            hash = end + 1;
            has_hash = true;
        }
    }
    if (!hash || end == text.size)
        return 0;
    struct slice names = slice_of(text.data, hash - 1);
    ret->path = slice_of(text.data + hash, end - hash);
    ret->name.name = take_before_slash(&names);
    ret->name.group = take_before_slash(&names);
    ret->name.ns = names;
    if (!ret->name.name.size)
        ret->name = *here;
    if (!ret->name.group.size)
        ret->name.group = here->group;
    if (!ret->name.ns.size)
        ret->name.ns = here->ns;
    return end + 1;
}

static size_t find_document(const struct render *r, const struct render_name *name)
{
    size_t at = 0;
    while (at < r->count && (!slice_equal(r->documents[at].name.name, name->name) ||
                             !slice_equal(r->documents[at].name.group, name->group) ||
                             !slice_equal(r->documents[at].name.ns, name->ns)))
        at++;
    return at;
}

/* "a.yaml#x -> b.yaml#y", from the outermost. */
static void add_chain(const struct render *r, struct buf *out, const struct frame *f)
{
    if (!f)
        return;
    add_chain(r, out, f->up);
    buf_add_slice(out, r->documents[f->document].name.name);
    buf_add_byte(out, '#');
    buf_add_slice(out, f->path);
    buf_add_text(out, " -> ");
}

static int check_cycle(struct render *r, const struct frame *here)
{
    for (const struct frame *f = here->up; f; f = f->up) {
        if (f->document != here->document || !slice_equal(f->path, here->path))
            continue;
        struct buf chain = {0};
        add_chain(r, &chain, here->up);
        const struct slice name = r->documents[here->document].name.name;
        buf_addf(&chain, "%.*s#%.*s", (int)name.size, (const char *)name.data, (int)here->path.size,
                 (const char *)here->path.data);
        int err = render_refuse(r, ERR_MALFORMED, "the references go round: %.*s",
                                (int)(chain.size < 180 ? chain.size : 180), (const char *)chain.data);
        buf_done(&chain);
        return err;
    }
    return OK;
}

/* The only document of a content. */
static int read_document(struct render *r, size_t at, const struct value **ret)
{
    const struct render_document *d = &r->documents[at];
    const struct slice name = d->name.name;
    struct format_error where;
    int err = OK;
    if (!r->is_read[at]) {
        r->is_read[at] = true;
        err = format_check(d->format, d->content, &where);
        if (!err)
            err = value_read(d->format, d->content, &r->trees[at], &where);
        if (err)
            return render_refuse(r, ERR_MALFORMED, "%.*s has no keys: %.120s",
                                 (int)(name.size < 64 ? name.size : 64), (const char *)name.data, where.text);
    }
    if (r->trees[at].document_count != 1)
        return render_refuse(r, ERR_MALFORMED,
                             "%.*s has no keys: it has several documents, or none that can be read",
                             (int)(name.size < 64 ? name.size : 64), (const char *)name.data);
    *ret = r->trees[at].documents[0];
    return OK;
}

static struct slice keep(struct arena *a, struct slice s)
{
    return slice_of(s.size ? arena_copy(a, s.data, s.size) : (const void *)"", s.size);
}

static int insert(struct render *r, const struct reference *ref, const struct frame *up, unsigned depth)
{
    const struct frame here = {up, find_document(r, &ref->name), ref->path};
    const struct value *v = NULL;
    struct buf json = {0};
    struct json_writer w = {.out = &json};
    char why[256];
    if (++r->references > RENDER_COUNT_MAX)
        return render_refuse(r, ERR_REQUEST_TOO_LARGE, "more than %d references are inserted",
                             RENDER_COUNT_MAX);
    if (here.document == r->count && r->count == RENDER_DOCUMENTS_MAX)
        return render_refuse(r, ERR_REQUEST_TOO_LARGE, "more than %d configurations are needed",
                             RENDER_DOCUMENTS_MAX);
    if (here.document == r->count) {
        struct arena *a = &r->result->arena;
        r->result->needed =
            (struct render_name){keep(a, ref->name.ns), keep(a, ref->name.group), keep(a, ref->name.name)};
        (void)render_refuse(r, ERR_NOT_READY, "%.*s",
                            (int)(ref->name.name.size < 100 ? ref->name.name.size : 100),
                            (const char *)ref->name.name.data);
        return ERR_NOT_READY;
    }
    int err = check_cycle(r, &here);
    if (!err && depth == RENDER_DEPTH_MAX)
        err = render_refuse(r, ERR_REQUEST_TOO_LARGE, "references are nested deeper than %d levels",
                            RENDER_DEPTH_MAX);
    if (!err)
        err = read_document(r, here.document, &v);
    if (err)
        return err;
    if (value_find(r->documents[here.document].format, v, ref->path, &v, why, sizeof why)) {
        const struct slice name = ref->name.name;
        return render_refuse(r, ERR_MALFORMED, "%.*s: %.140s", (int)(name.size < 64 ? name.size : 64),
                             (const char *)name.data, why);
    }
    if (v->type == VALUE_STRING)
        return expand(r, here.document, v->text, &here, depth + 1);
    if (!value_write(v, &w, RENDER_BYTES_MAX))
        err = render_refuse(r, ERR_REQUEST_TOO_LARGE, "the rendered content has more than 1 MiB");
    else
        err = expand(r, here.document, buf_slice(&json), &here, depth + 1);
    buf_done(&json);
    return err;
}

/* --- texts ---------------------------------------------------------------------------------------------- */

static int add_text(struct render *r, struct slice text)
{
    if (r->result->out.size + text.size > RENDER_BYTES_MAX)
        return render_refuse(r, ERR_REQUEST_TOO_LARGE, "the rendered content has more than 1 MiB");
    buf_add_slice(&r->result->out, text);
    return OK;
}

static int expand(struct render *r, size_t document, struct slice text, const struct frame *up,
                  unsigned depth)
{
    size_t from = 0, at = 0;
    int err = OK;
    while (!err && at + 1 < text.size) {
        struct reference ref;
        const uint8_t *dollar = memchr(text.data + at, '$', text.size - at);
        if (!dollar)
            break;
        at = (size_t)(dollar - text.data);
        if (at + 2 < text.size && text.data[at + 1] == '$' && text.data[at + 2] == '{') {
            err = add_text(r, slice_of(text.data + from, at - from));
            from = at + 1; /* the second one stays */
            at += 3;
            continue;
        }
        if (at + 1 >= text.size || text.data[at + 1] != '{') {
            at++;
            continue;
        }
        size_t size = read_reference(slice_of(text.data + at + 2, text.size - at - 2),
                                     &r->documents[document].name, &ref);
        if (!size) {
            at += 2;
            continue;
        }
        r->place = up ? r->place : at;
        err = add_text(r, slice_of(text.data + from, at - from));
        if (!err)
            err = insert(r, &ref, up, depth);
        from = at = at + 2 + size;
    }
    return err ? err : add_text(r, slice_of(text.data + from, text.size - from));
}

int render_run(const struct render_document *documents, size_t count, struct render_result *ret)
{
    struct render *r = mem_new(sizeof *r);
    *ret = (struct render_result){0};
    r->documents = documents;
    r->count = count;
    r->result = ret;
    int err = expand(r, 0, documents[0].content, NULL, 0);
    for (size_t i = 0; i < count; i++)
        value_tree_done(&r->trees[i]);
    mem_free(r);
    return err;
}

void render_result_done(struct render_result *r)
{
    buf_done(&r->out);
    arena_done(&r->arena);
}
