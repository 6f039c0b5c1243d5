/* SPDX-License-Identifier: Apache-2.0
 * Cache files of the SDK: the last known state of each view, so that a program can start while no member is
 * reachable.
 *
 * - The file's name is a digest of the view's identity. The content repeats the identity; a file with
 *   another identity is ignored.
 * - A file is written beside the old one and renamed, so a reader sees the new one or the old one.
 * - The first line has a CRC-32C and the size of the rest. A torn or changed file is refused: nothing is read
 *   from it, and the log has the reason. So no fsync is needed, which would delay the client's callbacks.
 * - A failed write is logged and otherwise ignored: no function fails because of the cache.
 *
 *     cairn-cache 2 9ae0daaf 1234
 *     {"version":1,"kind":...,"saved_ms":...,"revision":...,"items":{...}}
 *
 * Files without the first line are of older libraries. Their age is not known. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "sdk/stream.h"

enum {
    CACHE_BYTES_MAX = 64 << 20,
    CACHE_VERSION = 1, /* version of the JSON; a file without a version has the first one */
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

static void write_file(struct cairn_client *c, const char *path, struct slice head, struct slice bytes)
{
    struct buf beside = {0};
    buf_addf(&beside, "%s.%ld.new", path, (long)getpid());
    FILE *f = fopen(buf_text(&beside), "w");
    bool is_written = f && fwrite(head.data, 1, head.size, f) == head.size &&
                      fwrite(bytes.data, 1, bytes.size, f) == bytes.size;
    if (f && fclose(f) != 0)
        is_written = false;
    if (!is_written || rename(buf_text(&beside), path) != 0) {
        client_log(c, CAIRN_LOG_WARN, "cache: cannot write %s: %s", path, strerror(errno));
        (void)unlink(buf_text(&beside));
    }
    buf_done(&beside);
}

void cache_write(const struct subscription *s)
{
    struct buf path = {0};
    if (!s->client->cache_dir || !s->items || s->is_from_cache || !subscription_is_plain(s))
        return;
    json_t *root =
        json_pack("{si ss ss ss ss sI sI sO}", "version", CACHE_VERSION, "kind", s->kind, "namespace", s->ns,
                  "group", s->group, "name", s->name, "saved_ms", (json_int_t)(clock_wall_ns() / 1000000),
                  "revision", (json_int_t)s->revision, "items", s->items);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    path_of(s->client, s->kind, s->ns, s->group, s->name, &path);
    if (text) {
        struct buf head = {0};
        buf_addf(&head, "cairn-cache 2 %08x %zu\n", crc32c(0, text, strlen(text)), strlen(text));
        write_file(s->client, buf_text(&path), buf_slice(&head), slice_text(text));
        buf_done(&head);
    }
    free(text);
    json_decref(root);
    buf_done(&path);
}

static bool read_file(const char *path, struct buf *out)
{
    errno = 0;
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

/* Checks and removes the first line. Returns the reason why the file is refused, or NULL. */
static const char *check_head(struct slice *text)
{
    char head[64] = "";
    unsigned sum;
    size_t size;
    int end = 0;
    if (text->size && text->data[0] == '{')
        return NULL; /* of an older library */
    memcpy(head, text->data, text->size < sizeof head - 1 ? text->size : sizeof head - 1);
    if (sscanf(head, "cairn-cache 2 %8x %zu%n", &sum, &size, &end) != 2 || head[end] != '\n')
        return "it is not a cache file of this version";
    *text = slice_of(text->data + end + 1, text->size - (size_t)end - 1);
    if (text->size != size)
        return "it is torn: its size is wrong";
    return crc32c(0, text->data, text->size) == sum ? NULL : "its checksum is wrong";
}

/* The items, or NULL and the reason. */
static json_t *read_items(struct slice text, const char *const identity[4], struct cache_state *ret,
                          const char **ret_why)
{
    static const char *const keys[] = {"kind", "namespace", "group", "name"};
    char why[200];
    json_t *root = NULL, *items = NULL;
    *ret_why = check_head(&text);
    if (!*ret_why && (json_parse(text, &root, why, sizeof why) != OK || !is_readable(root)))
        *ret_why = "its content is not readable by this version";
    for (size_t i = 0; i < 4 && !*ret_why; i++)
        if (!field_is(root, keys[i], identity[i]))
            *ret_why = "it belongs to another view";
    if (!*ret_why && !json_is_object(json_object_get(root, "items")))
        *ret_why = "it has no items";
    if (!*ret_why) {
        json_int_t saved = json_integer_value(json_object_get(root, "saved_ms"));
        json_int_t now = (json_int_t)(clock_wall_ns() / 1000000);
        items = json_incref(json_object_get(root, "items"));
        ret->revision = json_integer_value(json_object_get(root, "revision"));
        ret->age_ms = !saved ? -1 : now > saved ? now - saved : 0;
    }
    json_decref(root);
    return items;
}

json_t *cache_read(struct cairn_client *c, const char *kind, const char *ns, const char *group,
                   const char *name, struct cache_state *ret)
{
    const char *const identity[] = {kind, ns, group, name};
    const char *why = NULL;
    struct buf path = {0}, text = {0};
    json_t *items = NULL;
    if (!c->cache_dir)
        return NULL;
    path_of(c, kind, ns, group, name, &path);
    if (read_file(buf_text(&path), &text))
        items = read_items(buf_slice(&text), identity, ret, &why);
    else if (errno != ENOENT)
        why = "it cannot be read";
    if (why)
        client_log(c, CAIRN_LOG_WARN, "cache: refused %s: %s", buf_text(&path), why);
    buf_done(&path);
    buf_done(&text);
    return items;
}
