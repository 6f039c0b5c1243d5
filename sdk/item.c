/* SPDX-License-Identifier: Apache-2.0
 * See item.h. */
#include <stdio.h>

#include "base/text.h"
#include "sdk/item.h"

/* --- instances ------------------------------------------------------------------------------------------ */
static const char *item_text(const json_t *item, const char *key, struct arena *a)
{
    const char *text = json_string_value(json_object_get(item, key));
    return text ? arena_string(a, text, strlen(text)) : "";
}

struct cairn_instance instance_of(const json_t *item, struct arena *a)
{
    char *text = json_dumps(item, JSON_COMPACT);
    struct cairn_instance i = {
        .id = item_text(item, "id", a),
        .host = item_text(item, "host", a),
        .port = (int)json_integer_value(json_object_get(item, "port")),
        .protocol = item_text(item, "protocol", a),
        .zone = item_text(item, "zone", a),
        .region = item_text(item, "region", a),
        .cluster = item_text(item, "cluster", a),
        .version = item_text(item, "version", a),
        .state = item_text(item, "state", a),
        .weight = (int)json_integer_value(json_object_get(item, "weight")),
        .is_serving = json_is_true(json_object_get(item, "serving")),
        .is_guarded = json_is_true(json_object_get(item, "guarded")),
        .json = text ? arena_string(a, text, strlen(text)) : "",
    };
    free(text);
    return i;
}

struct cairn_instances *instances_of_list(const json_t *list, int64_t revision, struct arena *a)
{
    size_t n = json_array_size(list), i;
    json_t *item;
    struct cairn_instances *r = arena_new(a, sizeof *r);
    struct cairn_instance *instances = arena_new(a, (n + 1) * sizeof *instances);
    memset(r, 0, sizeof *r);
    json_array_foreach(list, i, item) instances[i] = instance_of(item, a);
    r->list = instances;
    r->count = n;
    r->revision = revision;
    r->is_current = true;
    return r;
}

/* --- entries of lists ----------------------------------------------------------------------------------- */
bool item_content(const json_t *item, struct arena *a, struct cairn_bytes *ret)
{
    const json_t *content = json_object_get(item, "content");
    struct slice text = slice_of(json_string_value(content), json_string_length(content));
    struct buf decoded = {0};
    if (!content) { /* an empty content and a large one may be left out */
        *ret = (struct cairn_bytes){"", 0};
        return json_integer_value(json_object_get(item, "size")) == 0;
    }
    bool is_base64 = json_is_true(json_object_get(item, "base64"));
    if (is_base64 && base64_decode(text, &decoded) != OK) {
        buf_done(&decoded);
        return false;
    }
    if (is_base64)
        text = buf_slice(&decoded);
    *ret = (struct cairn_bytes){arena_string(a, text.data, text.size), text.size};
    buf_done(&decoded);
    return true;
}

struct cairn_item item_of(const json_t *item, struct arena *a)
{
    char *text = json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY);
    const char *format = item_text(item, "format", a);
    struct cairn_item i = {
        .id = item_text(item, "id", a),
        .name = item_text(item, "name", a),
        .group = item_text(item, "group", a),
        .format = *format ? format : item_text(item, "type", a),
        .md5 = item_text(item, "md5", a),
        .seq = (uint64_t)json_integer_value(json_object_get(item, "seq")),
        .revision = json_integer_value(json_object_get(item, "revision")),
        .content = {"", 0},
        .json = text ? arena_string(a, text, strlen(text)) : "",
    };
    i.has_content = json_object_get(item, "md5") && item_content(item, a, &i.content);
    free(text);
    return i;
}

/* --- changes of the audit trail ------------------------------------------------------------------------- */
struct cairn_audit_change audit_change_of(const json_t *item, struct arena *a)
{
    char *text = json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY);
    struct cairn_audit_change c = {
        .record = item_text(item, "record", a),
        .revision = json_integer_value(json_object_get(item, "revision")),
        .time_ms = json_integer_value(json_object_get(item, "time_ms")),
        .user = item_text(item, "author", a),
        .on_behalf_of = item_text(item, "on_behalf_of", a),
        .address = item_text(item, "address", a),
        .kind = item_text(item, "kind", a),
        .operation = item_text(item, "operation", a),
        .ns = item_text(item, "namespace", a),
        .group = item_text(item, "group", a),
        .name = item_text(item, "name", a),
        .id = item_text(item, "id", a),
        .error = item_text(item, "error", a),
        .seq = (uint64_t)json_integer_value(json_object_get(item, "seq")),
        .json = text ? arena_string(a, text, strlen(text)) : "",
    };
    free(text);
    return c;
}

/* --- paths ---------------------------------------------------------------------------------------------- */
void path_add_escaped(struct buf *out, const char *text)
{
    for (const uint8_t *p = (const uint8_t *)text; *p; p++)
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
            strchr("-_.~", *p))
            buf_add_byte(out, *p);
        else
            buf_addf(out, "%%%02X", *p);
}

void path_add_parameter(struct buf *out, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    buf_addf(out, "%c%s=", memchr(out->data, '?', out->size) ? '&' : '?', name);
    path_add_escaped(out, value);
}
