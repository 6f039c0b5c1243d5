/* SPDX-License-Identifier: Apache-2.0
 * Paths of values: a.b[2]["x.y"]; see value.h. */
#include <stdio.h>

#include "base/json_lex.h"
#include "base/text.h"
#include "config/value/value.h"

struct walk {
    struct slice path;
    size_t at;
    struct buf unescaped;
    char *error;
    size_t error_size;
};

static int refuse_path(const struct walk *w, const char *why)
{
    snprintf(w->error, w->error_size, "key %.*s: %s at byte %zu; a path is a.b[0][\"any name\"]",
             (int)(w->path.size < 80 ? utf8_valid_size(slice_of(w->path.data, w->path.size)) : 80),
             (const char *)w->path.data, why, w->at + 1);
    return ERR_INVALID;
}

static int refuse_absent(const struct walk *w, const char *why)
{
    size_t size = w->at < 80 ? w->at : 80;
    snprintf(w->error, w->error_size, "there is no key %.*s: %s",
             (int)utf8_valid_size(slice_of(w->path.data, size)), (const char *)w->path.data, why);
    return ERR_NOT_FOUND;
}

static int step_name(const struct walk *w, struct slice name, const struct value **v)
{
    const struct value_member *m = (*v)->type == VALUE_OBJECT ? value_member(*v, name) : NULL;
    char why[64];
    if (m) {
        *v = m->value;
        return OK;
    }
    snprintf(why, sizeof why, "this name is asked of a value of type %s", value_type_name((*v)->type));
    return refuse_absent(w, (*v)->type == VALUE_OBJECT ? "the object has no such name" : why);
}

static int take_plain(struct walk *w, const struct value **v)
{
    size_t from = w->at;
    while (w->at < w->path.size && w->path.data[w->at] != '.' && w->path.data[w->at] != '[')
        w->at++;
    if (w->at == from)
        return refuse_path(w, "a name is missing");
    return step_name(w, slice_of(w->path.data + from, w->at - from), v);
}

static int take_quoted(struct walk *w, const struct value **v)
{
    const uint8_t *end = w->path.data + w->path.size, *at = w->path.data + w->at + 1;
    struct slice name;
    if (json_lex_string(at, end, &w->unescaped, &name, &at) != JSON_STRING_FINE || at == end || *at != ']')
        return refuse_path(w, "[\" must be followed by a JSON string and ]");
    w->at = (size_t)(at - w->path.data) + 1;
    return step_name(w, name, v);
}

static int take_index(struct walk *w, const struct value **v)
{
    size_t from = ++w->at;
    uint64_t index;
    char why[96];
    while (w->at < w->path.size && w->path.data[w->at] >= '0' && w->path.data[w->at] <= '9')
        w->at++;
    if (w->at == w->path.size || w->path.data[w->at] != ']' || w->at - from > 9 ||
        text_to_u64(slice_of(w->path.data + from, w->at - from), &index))
        return refuse_path(w, "[ must be followed by an index or a string, and ]");
    w->at++;
    snprintf(why, sizeof why, "this index is asked of a value of type %s", value_type_name((*v)->type));
    if ((*v)->type != VALUE_ARRAY)
        return refuse_absent(w, why);
    snprintf(why, sizeof why, "the array has %zu elements", (*v)->count);
    if (index >= (*v)->count)
        return refuse_absent(w, why);
    *v = (*v)->list[index].value;
    return OK;
}

static int walk_path(struct walk *w, const struct value **v)
{
    bool has_dot = true; /* a name may stand here */
    while (w->at < w->path.size || has_dot) {
        int err;
        if (w->at < w->path.size && w->path.data[w->at] == '[' && (!has_dot || w->at == 0))
            err = w->at + 1 < w->path.size && w->path.data[w->at + 1] == '"' ? take_quoted(w, v)
                                                                             : take_index(w, v);
        else
            err = has_dot ? take_plain(w, v) : refuse_path(w, "a dot or [ must stand here");
        if (err)
            return err;
        has_dot = w->at < w->path.size && w->path.data[w->at] == '.';
        w->at += has_dot;
    }
    return OK;
}

int value_find(enum format f, const struct value *root, struct slice path, const struct value **ret,
               char *error, size_t error_size)
{
    struct walk w = {.path = path, .error = error, .error_size = error_size};
    const struct value *v = root;
    int err;
    if (!path.size || path.size > VALUE_PATH_MAX) {
        snprintf(error, error_size, "key has %zu bytes; 1 to %d are allowed", path.size, VALUE_PATH_MAX);
        return ERR_INVALID;
    }
    if (f == FORMAT_PROPERTIES) {
        w.at = path.size;
        err = step_name(&w, path, &v);
    } else {
        err = walk_path(&w, &v);
    }
    buf_done(&w.unescaped);
    *ret = v;
    return err;
}

void value_path_add_name(struct buf *path, struct slice name)
{
    bool is_plain = name.size > 0;
    for (size_t i = 0; i < name.size && is_plain; i++)
        is_plain = name.data[i] != '.' && name.data[i] != '[' && name.data[i] != '"' && name.data[i] > ' ';
    if (is_plain) {
        if (path->size)
            buf_add_byte(path, '.');
        buf_add_slice(path, name);
        return;
    }
    struct json_writer w = {.out = path};
    buf_add_byte(path, '[');
    jw_string(&w, name);
    buf_add_byte(path, ']');
}

void value_path_add_index(struct buf *path, size_t index)
{
    buf_addf(path, "[%zu]", index);
}
