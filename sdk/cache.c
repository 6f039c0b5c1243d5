/* SPDX-License-Identifier: Apache-2.0
 * Cache files of the SDK: the last known state of each view, so that a program can start while no member is
 * reachable.
 *
 * - The file's name is a digest of the view's identity. The content repeats the identity; a file with
 *   another identity is ignored.
 * - A file is written beside the old one and renamed, so a reader sees the new one or the old one.
 * - A failed write is ignored: no function fails because of the cache. */
#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"
#include "sdk/stream.h"

enum {
    CACHE_BYTES_MAX = 64 << 20,
    CACHE_VERSION = 1, /* version of the file format; a file without a version has the first one */
};

static void path_of(const struct cairn_client *c, const char *kind, const char *ns, const char *group,
                    const char *name, struct buf *out)
{
    struct buf text = {0};
    uint8_t digest[20];
    buf_addf(&text, "%s\n%s\n%s\n%s", kind, ns, group, name);
    sha1(text.data, text.size, digest);
    buf_done(&text);
    buf_addf(out, "%s/%s-", c->cache_dir, kind);
    for (size_t i = 0; i < sizeof digest; i++)
        buf_addf(out, "%02x", digest[i]);
    buf_add_text(out, ".json");
}

static void write_file(const char *path, struct slice bytes)
{
    struct buf beside = {0};
    buf_addf(&beside, "%s.%ld.new", path, (long)getpid());
    FILE *f = fopen(buf_text(&beside), "w");
    bool is_written = f && fwrite(bytes.data, 1, bytes.size, f) == bytes.size;
    if (f && fclose(f) != 0)
        is_written = false;
    if (!is_written || rename(buf_text(&beside), path) != 0)
        (void)unlink(buf_text(&beside));
    buf_done(&beside);
}

void cache_write(const struct subscription *s)
{
    struct buf path = {0};
    if (!s->client->cache_dir || !s->items || s->is_from_cache)
        return;
    json_t *root =
        json_pack("{si ss ss ss ss sI sO}", "version", CACHE_VERSION, "kind", s->kind, "namespace", s->ns,
                  "group", s->group, "name", s->name, "revision", (json_int_t)s->revision, "items", s->items);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    path_of(s->client, s->kind, s->ns, s->group, s->name, &path);
    if (text)
        write_file(buf_text(&path), slice_text(text));
    free(text);
    json_decref(root);
    buf_done(&path);
}

static bool read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "r");
    size_t n = 1;
    while (f && n && out->size < CACHE_BYTES_MAX) {
        n = fread(buf_reserve(out, 65536), 1, 65536, f);
        out->size += n;
    }
    bool is_read = f && !ferror(f) && !n;
    if (f)
        fclose(f);
    return is_read;
}

static bool field_is(const json_t *root, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(root, key));
    return value && strcmp(value, text) == 0;
}

/* True if this version of the library can read the file. A later version may change the meaning of fields.
 * Unknown fields are ignored. */
static bool is_readable(const json_t *root)
{
    const json_t *version = json_object_get(root, "version");
    return !version || json_integer_value(version) == CACHE_VERSION;
}

json_t *cache_read(const struct cairn_client *c, const char *kind, const char *ns, const char *group,
                   const char *name, int64_t *ret_revision)
{
    struct buf path = {0}, text = {0};
    char why[200];
    json_t *root = NULL, *items = NULL;
    if (!c->cache_dir)
        return NULL;
    path_of(c, kind, ns, group, name, &path);
    if (read_file(buf_text(&path), &text) && json_parse(buf_slice(&text), &root, why, sizeof why) == OK &&
        is_readable(root) && field_is(root, "kind", kind) && field_is(root, "namespace", ns) &&
        field_is(root, "group", group) && field_is(root, "name", name) &&
        json_is_object(json_object_get(root, "items"))) {
        items = json_incref(json_object_get(root, "items"));
        *ret_revision = json_integer_value(json_object_get(root, "revision"));
    }
    json_decref(root);
    buf_done(&path);
    buf_done(&text);
    return items;
}
