/* SPDX-License-Identifier: Apache-2.0
 * GET /api/v1/export: what is live, as a tar.gz (config/archive.h), of one revision, streamed as the client
 * takes it.
 *
 *   collect   behind a barrier, in one turn: which releases are live. They are immutable, so what is read
 *             later is still that revision
 *   measure   every release is read once: the manifest stands first in the archive, and has what only
 *             releases know; and what cannot be read is an error while an error can still be told
 *   send      the manifest, then every release, read again: one at a time is in memory
 *
 * What is held: names, the manifest, one content. A release that is gone by its turn to be sent (only a
 * retention shorter than the download collects one) ends the answer unfinished: gunzip will say so. */
#include <inttypes.h>
#include <stdio.h>

#include "base/gzip.h"
#include "base/log.h"
#include "base/tar.h"
#include "config/archive.h"
#include "server/api/config_call.h"
#include "server/api/private.h"
#include "server/api/read.h"

enum {
    EXPORTS_MAX = 4,                  /* at once on one member */
    MANIFEST_MAX = 128 * 1024 * 1024, /* bytes; some 300,000 configurations */
    MANIFEST_PIECE = 256 * 1024,      /* sent in one turn */
    TURN_MS = 10000,
};

struct exported {
    struct config_id key;
    uint64_t seq;
};

struct export
{
    struct config_request step;
    struct api_call *call;
    struct arena names;
    struct exported *items;
    size_t count, capacity, at;
    int64_t revision;
    struct buf manifest, text, packed;
    size_t manifest_at;
    struct gzip_writer *gzip; /* NULL: nothing was sent yet */
    bool is_paused;
};

static void let_go(struct export *e)
{
    e->call->api->exports--;
    config_cancel(api_config(e->call), &e->step);
    gzip_writer_free(e->gzip);
    buf_done(&e->manifest);
    buf_done(&e->text);
    buf_done(&e->packed);
    mem_free(e->items);
    arena_done(&e->names);
}

/* --- send -------------------------------------------------------------------------------------------------
 */

static void go_on(struct export *e);

static void fail(struct export *e, enum api_error error, const char *message)
{
    struct api_call *c = e->call;
    if (!e->gzip) {
        let_go(e);
        api_fail(c, error, message);
        return;
    }
    log_warn("an export ends unfinished", F_STR("error", message));
    c->q->state = NULL;
    let_go(e);
    http_stream_break(c->q);
}

static void fail_err(struct export *e, int err, const struct config_result *result)
{
    enum api_error error = api_error_of(err);
    char text[256]; /* the result's own does not outlive let_go */
    snprintf(text, sizeof text, "%s", result && result->error ? result->error : err_text(err));
    fail(e, error == API_OUTCOME_UNKNOWN ? API_UNAVAILABLE : error, text);
}

static void send_packed(struct export *e)
{
    http_stream_send_bytes(e->call->q, buf_slice(&e->packed));
    buf_clear(&e->packed);
}

static void add_packed(struct export *e, struct slice bytes)
{
    gzip_write(e->gzip, bytes, &e->packed);
}

static void on_turn(struct config_request *q, int err, const struct config_result *result)
{
    struct export *e = container_of(q, struct export, step);
    size_t size = e->manifest.size - e->manifest_at;
    if (err) {
        fail_err(e, err, result);
        return;
    }
    size = size < MANIFEST_PIECE ? size : MANIFEST_PIECE;
    add_packed(e, slice_of(e->manifest.data + e->manifest_at, size));
    e->manifest_at += size;
    if (e->manifest_at == e->manifest.size)
        buf_done(&e->manifest);
    send_packed(e);
    go_on(e);
}

static void on_content(struct config_request *q, int err, const struct config_result *result)
{
    struct export *e = container_of(q, struct export, step);
    const struct exported *item = &e->items[e->at];
    if (err) {
        fail_err(e, err, result);
        return;
    }
    const struct config_release *r = result->release;
    struct buf path = {0};
    archive_add_path(&path, &item->key);
    buf_clear(&e->text);
    tar_add_file(&e->text, buf_slice(&path), r->content.size, r->time_ms / 1000);
    add_packed(e, buf_slice(&e->text));
    add_packed(e, r->content);
    buf_clear(&e->text);
    tar_add_padding(&e->text, r->content.size);
    add_packed(e, buf_slice(&e->text));
    buf_done(&path);
    e->at++;
    send_packed(e);
    go_on(e);
}

static void finish(struct export *e)
{
    struct http_request *q = e->call->q;
    buf_clear(&e->text);
    tar_add_end(&e->text);
    add_packed(e, buf_slice(&e->text));
    gzip_write_end(e->gzip, &e->packed);
    send_packed(e);
    q->state = NULL;
    let_go(e);
    http_stream_close(q);
}

/* One piece a turn, while the client takes them. */
static void go_on(struct export *e)
{
    char error[500] = "";
    e->is_paused = http_is_congested(e->call->q);
    if (e->is_paused)
        return;
    int err = api_judge(e->call, error, sizeof error);
    if (err) {
        fail(e, api_error_of(guard_public_error(err)), error);
        return;
    }
    if (e->manifest.size) {
        e->step.done = on_turn;
        config_wait_revision(api_config(e->call), &e->step, 0, TURN_MS);
    } else if (e->at < e->count) {
        e->step.done = on_content;
        config_read(api_config(e->call), &e->step, &e->items[e->at].key, e->items[e->at].seq, true);
    } else {
        finish(e);
    }
}

static void writable(struct api_call *c)
{
    struct export *e = c->state;
    if (e->is_paused)
        go_on(e);
}

static void begin_sending(struct export *e)
{
    struct api_call *c = e->call;
    char text[80];
    archive_manifest_end(&e->manifest);
    e->gzip = gzip_writer_new();
    tar_add_file(&e->text, slice_text(ARCHIVE_MANIFEST), e->manifest.size, 0);
    add_packed(e, buf_slice(&e->text));
    tar_add_padding(&e->manifest, e->manifest.size);
    e->at = 0;
    snprintf(text, sizeof text, "%" PRId64, e->revision);
    http_add_header(c->q, "X-Cairn-Revision", text);
    snprintf(text, sizeof text, "attachment; filename=\"cairn-configs-%" PRId64 ".tar.gz\"", e->revision);
    http_add_header(c->q, "Content-Disposition", text);
    api_expose_headers(c);
    http_stream_open(c->q, 200, "application/gzip");
    if (c->q->method == HTTP_HEAD) {
        c->q->state = NULL;
        let_go(e);
        http_stream_close(c->q);
        return;
    }
    go_on(e);
}

/* --- measure
 * ------------------------------------------------------------------------------------------------ */

static void measure(struct export *e);

static void on_measured(struct config_request *q, int err, const struct config_result *result)
{
    struct export *e = container_of(q, struct export, step);
    const struct exported *item = &e->items[e->at];
    char text[400];
    if (err) {
        fail_err(e, err, result);
        return;
    }
    const struct config_release *r = result->release;
    const struct digest digest = digest_of(r->content);
    if (!digest_equal(&digest, &r->digest)) {
        snprintf(text, sizeof text, "the content of %.*s is not what its digests are of: publish it again",
                 (int)item->key.name.size, (const char *)item->key.name.data);
        fail(e, API_INTERNAL, text);
        return;
    }
    archive_manifest_item(&e->manifest, e->at == 0, &item->key, item->seq, r);
    if (e->manifest.size > MANIFEST_MAX) {
        fail(e, API_TOO_LARGE,
             "too many configurations for one archive: narrow it by namespace, group or prefix");
        return;
    }
    e->at++;
    measure(e);
}

static void measure(struct export *e)
{
    if (e->at == e->count) {
        begin_sending(e);
        return;
    }
    e->step.done = on_measured;
    config_read(api_config(e->call), &e->step, &e->items[e->at].key, e->items[e->at].seq, true);
}

/* --- collect
 * ------------------------------------------------------------------------------------------------ */

static struct slice copy(struct export *e, struct slice s)
{
    return slice_of(arena_copy(&e->names, s.data, s.size), s.size);
}

static bool collect_item(void *arg, const struct config_item *item)
{
    struct export *e = arg;
    if (item->head->is_deleted)
        return true;
    if (e->count == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 64;
        e->items = mem_resize(e->items, e->capacity * sizeof *e->items);
    }
    /* Neighbors share namespace and group. */
    const struct config_id *last = e->count ? &e->items[e->count - 1].key : &(struct config_id){0};
    e->items[e->count++] = (struct exported){
        .key = {slice_equal(last->ns, item->ns) ? last->ns : copy(e, item->ns),
                slice_equal(last->group, item->group) ? last->group : copy(e, item->group),
                copy(e, item->name)},
        .seq = item->head->seq,
    };
    return true;
}

static int compare(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Each namespace that was asked for once, in order; "*" and none are all. */
static void collect(struct export *e)
{
    struct api_call *c = e->call;
    struct slice list[API_REPEATS_MAX], all = {0}, group = api_param(c, PARAM_GROUP_ONLY);
    size_t count = 0;
    bool is_all = !api_has_param(c, PARAM_NAMESPACES);
    for (size_t at = 0; count < API_REPEATS_MAX && api_next_param(c, PARAM_NAMESPACES, &at, &list[count]);
         count++)
        is_all = is_all || slice_equal(list[count], slice_text("*"));
    if (is_all)
        list[0] = all;
    count = is_all ? 1 : count;
    if (slice_equal(group, slice_text("*")))
        group = all;
    qsort(list, count, sizeof *list, compare);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || !slice_equal(list[i], list[i - 1]))
            config_each(api_config(c), list[i], group, api_param(c, PARAM_PREFIX), all, collect_item, e);
}

static void on_barrier(struct config_request *q, int err, const struct config_result *result)
{
    struct export *e = container_of(q, struct export, step);
    if (err) {
        fail_err(e, err, result);
        return;
    }
    e->revision = config_revision(api_config(e->call));
    collect(e);
    archive_manifest_begin(&e->manifest, config_cluster_id(api_config(e->call)), e->revision);
    measure(e);
}

/* --- the call
 * ------------------------------------------------------------------------------------------------- */

static void cancel(struct api_call *c)
{
    let_go(c->state);
}

/* An answer that has begun goes on. */
static void expired(struct api_call *c)
{
    struct export *e = c->state;
    c->q->deadline_ms = 0;
    if (!e->gzip)
        fail(e, API_DEADLINE, NULL);
}

void api_config_export(struct api_call *c)
{
    if (!api_may_namespaces(c, GUARD_CONFIG))
        return;
    if (c->api->exports >= EXPORTS_MAX) {
        api_fail(c, API_QUOTA_EXCEEDED, "other exports are under way on this member: try again later");
        return;
    }
    struct export *e = arena_new(&c->q->arena, sizeof *e);
    c->api->exports++;
    e->call = c;
    c->state = e;
    c->cancel = cancel;
    c->expired = expired;
    c->writable = writable;
    e->step.done = on_barrier;
    if (api_is_local(c))
        config_wait_revision(api_config(c), &e->step, 0, TURN_MS);
    else
        config_barrier(api_config(c), &e->step);
}
