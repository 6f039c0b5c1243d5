/* SPDX-License-Identifier: Apache-2.0
 * Scopes of subscriptions on many names; see scope.h. */
#include "server/stream/scope.h"

#include <string.h>

#include "server/stream/private.h"

static bool has_star(struct slice text)
{
    return text.size && memchr(text.data, '*', text.size);
}

bool stream_scope_is_selection(const struct stream_frame *frame)
{
    bool is_list =
        slice_equal(frame->kind, slice_text("services")) || slice_equal(frame->kind, slice_text("configs"));
    bool is_wide = stream_frame_has(frame, STREAM_HAS_NAME) || frame->groups.count || has_star(frame->ns) ||
                   has_star(frame->group) || stream_frame_has(frame, STREAM_HAS_FILTER);
    return slice_equal(frame->kind, slice_text("instances")) || (is_list && is_wide);
}

/* The frame's texts, copied: they outlive it. */
static void copy_frame(struct stream_scope *s, const struct stream_frame *frame)
{
    struct stream_frame *own = &s->frame;
    size_t size =
        frame->kind.size + frame->ns.size + frame->group.size + frame->name.size + frame->prefix.size;
    for (size_t i = 0; i < frame->groups.count; i++)
        size += frame->groups.list[i].size;
    buf_reserve(&s->texts, size + 1);
    *own = (struct stream_frame){.type = STREAM_SUBSCRIBE, .has = frame->has};
    own->kind = stream_subscribe_copy(&s->texts, frame->kind);
    own->ns = stream_subscribe_copy(&s->texts, frame->ns);
    own->group = stream_subscribe_copy(&s->texts, frame->group);
    own->name = stream_subscribe_copy(&s->texts, frame->name);
    own->prefix = stream_subscribe_copy(&s->texts, frame->prefix);
    own->groups.count = frame->groups.count;
    for (size_t i = 0; i < frame->groups.count; i++)
        own->groups.list[i] = stream_subscribe_copy(&s->texts, frame->groups.list[i]);
}

static int read_groups(struct stream_scope *s, const struct stream_frame *frame, char *error,
                       size_t error_size)
{
    struct slice group = stream_subscribe_group(frame);
    bool is_all = !group.size || slice_equal(group, slice_text("*"));
    int err = OK;
    if (frame->groups.count && stream_frame_has(frame, STREAM_HAS_GROUP))
        return stream_subscribe_error(error, error_size, "subscribe: give either group or groups");
    for (size_t i = 0; !err && i < frame->groups.count; i++)
        err = glob_read(&s->groups[s->group_count++], frame->groups.list[i], NAME_SIZE_MAX, "groups", error,
                        error_size);
    if (!frame->groups.count && !is_all)
        err = glob_read(&s->groups[s->group_count++], group, NAME_SIZE_MAX, "group", error, error_size);
    return err;
}

int stream_scope_read(struct stream_scope *s, const struct stream_frame *frame, char *error,
                      size_t error_size)
{
    copy_frame(s, frame);
    s->is_selection = stream_scope_is_selection(frame);
    if (stream_frame_has(frame, STREAM_HAS_NAME) && stream_frame_has(frame, STREAM_HAS_PREFIX))
        return stream_subscribe_error(error, error_size, "subscribe: give either a name or a prefix");
    int err =
        glob_read(&s->ns, stream_subscribe_ns(frame), NAMESPACE_SIZE_MAX, "namespace", error, error_size);
    if (!err)
        err = read_groups(s, frame, error, error_size);
    if (!err && stream_frame_has(frame, STREAM_HAS_NAME))
        err = glob_read(&s->name, frame->name, NAME_SIZE_MAX, "name", error, error_size);
    else if (!err && frame->prefix.size)
        err = name_check(frame->prefix, NAME_SIZE_MAX, "prefix", error, error_size);
    if (!err && !stream_frame_has(frame, STREAM_HAS_NAME))
        glob_set_prefix(&s->name, frame->prefix);
    s->many_namespaces = !glob_is_name(&s->ns);
    s->many_groups = s->many_namespaces || s->group_count != 1 || !glob_is_name(&s->groups[0]);
    return err;
}

void stream_scope_done(struct stream_scope *s)
{
    glob_done(&s->ns);
    glob_done(&s->name);
    for (size_t i = 0; i < s->group_count; i++)
        glob_done(&s->groups[i]);
    buf_done(&s->texts);
    *s = (struct stream_scope){0};
}

bool stream_scope_fits(const struct stream_scope *s, struct slice ns, struct slice group, struct slice name)
{
    bool fits = !s->group_count;
    if (!glob_matches(&s->ns, ns) || !glob_matches(&s->name, name))
        return false;
    for (size_t i = 0; !fits && i < s->group_count; i++)
        fits = glob_matches(&s->groups[i], group);
    return fits;
}

struct slice stream_scope_ns(const struct stream_scope *s)
{
    return s->many_namespaces ? (struct slice){0} : glob_prefix(&s->ns);
}

struct slice stream_scope_group(const struct stream_scope *s)
{
    bool is_one = s->group_count == 1 && glob_is_name(&s->groups[0]);
    return is_one ? glob_prefix(&s->groups[0]) : (struct slice){0};
}

struct slice stream_scope_id(const struct stream_scope *s, struct buf *id, struct slice ns,
                             struct slice group, struct slice name)
{
    if (!s->many_groups)
        return name;
    buf_clear(id);
    if (s->many_namespaces) {
        buf_add_slice(id, ns);
        buf_add_byte(id, '/');
    }
    buf_add_slice(id, group);
    buf_add_byte(id, '/');
    buf_add_slice(id, name);
    return buf_slice(id);
}

static bool take_part(struct slice *rest, struct slice *ret_part)
{
    const uint8_t *slash = rest->size ? memchr(rest->data, '/', rest->size) : NULL;
    if (!slash)
        return false;
    size_t n = (size_t)(slash - rest->data);
    *ret_part = slice_of(rest->data, n);
    *rest = slice_of(slash + 1, rest->size - n - 1);
    return true;
}

bool stream_scope_split(const struct stream_scope *s, struct slice id, struct stream_name *ret_name)
{
    struct stream_name n = {stream_scope_ns(s), stream_scope_group(s), id};
    if (s->many_namespaces && !take_part(&n.name, &n.ns))
        return false;
    if (s->many_groups && !take_part(&n.name, &n.group))
        return false;
    *ret_name = n;
    return stream_scope_fits(s, n.ns, n.group, n.name);
}

void stream_place_set(struct buf *place, const struct stream_place *p)
{
    struct buf text = {0}; /* p may lie in place */
    stream_subscribe_add_part(&text, p->name.ns);
    stream_subscribe_add_part(&text, p->name.group);
    stream_subscribe_add_part(&text, p->name.name);
    buf_add_slice(&text, p->id);
    buf_done(place);
    *place = buf_move(&text);
}

static struct slice place_part(struct slice *rest)
{
    const uint8_t *end = memchr(rest->data, 0, rest->size);
    size_t n = (size_t)(end - rest->data);
    struct slice part = slice_of(rest->data, n);
    *rest = slice_of(end + 1, rest->size - n - 1);
    return part;
}

struct stream_place stream_place_get(const struct buf *place)
{
    struct stream_place p = {0};
    struct slice rest = buf_slice(place);
    if (!place->size)
        return p;
    p.name.ns = place_part(&rest);
    p.name.group = place_part(&rest);
    p.name.name = place_part(&rest);
    p.id = rest;
    return p;
}

void stream_scope_key(const struct stream_frame *frame, struct buf *out)
{
    bool has_name = stream_frame_has(frame, STREAM_HAS_NAME);
    stream_subscribe_add_part(out, stream_subscribe_ns(frame));
    buf_add_byte(out, (uint8_t)('0' + frame->groups.count));
    for (size_t i = 0; i < frame->groups.count; i++)
        stream_subscribe_add_part(out, frame->groups.list[i]);
    if (!frame->groups.count)
        stream_subscribe_add_part(out, stream_subscribe_group(frame));
    buf_add_byte(out, has_name ? 'n' : 'p');
    stream_subscribe_add_part(out, has_name ? frame->name : frame->prefix);
}
