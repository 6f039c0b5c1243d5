/* SPDX-License-Identifier: Apache-2.0
 * GET /api/v1/export: the live releases of one revision as a tar.gz (config/archive.h), streamed as fast as
 * the client takes it.
 *
 *   1. collect   After a barrier, in one turn: note the live releases. They are immutable, so later reads
 *                still show that revision.
 *   2. measure   Read every release once. The manifest is the first file and needs data that only releases
 *                have. An unreadable release is an error while an error status can still be sent.
 *   3. send      The manifest, then every release, read again: one content is in memory at a time.
 *
 * Digests and gzip run in slices of a turn (slice.h): 1 MiB of content takes more than 5 ms of each. An
 * export holds in memory: names, the manifest, one content.
 *
 * A sealed content is sent as it is stored, or with decrypt=true in clear. If it is sealed again between the
 * steps, the answer ends unfinished.
 *
 * If a release is gone when it is to be sent (only a retention shorter than the download deletes one), the
 * answer ends unfinished: gunzip reports that. */
#include <inttypes.h>
#include <stdio.h>

#include "base/gzip.h"
#include "base/log.h"
#include "base/tar.h"
#include "base/turn.h"
#include "config/archive.h"
#include "server/api/config_call.h"
#include "server/api/private.h"
#include "server/api/read.h"
#include "server/api/slice.h"

enum {
    EXPORTS_MAX = 4,                  /* at once on one member */
    MANIFEST_MAX = 128 * 1024 * 1024, /* bytes; some 300,000 configurations */
    PIECE = 32 * 1024,                /* bytes digested, packed or sent between two reads of the clock */
    TURN_MS = 10000,                  /* timeout of the barrier */
};

struct export_item {
    struct config_id key;
    uint64_t seq;
    struct slice sealed; /* as the manifest says */
};

struct export
{
    struct config_request step;
    struct api_call *call;
    struct arena names;
    struct export_item *items;
    size_t count, capacity, at;
    int64_t revision;
    struct buf manifest;
    struct buf plain; /* the current content or the manifest: digested or packed up to plain_at */
    size_t plain_at;
    struct digest digest; /* the expected one of the content */
    struct digester *digester;
    struct gzip_writer *gzip; /* NULL: nothing has been sent yet */
    struct buf packed;        /* to be sent */
    bool is_paused;
    bool decrypts; /* sealed contents are sent in clear */
};

static void export_release(struct export *e)
{
    e->call->api->exports--;
    api_slice_never(e->call);
    config_cancel(api_config(e->call), &e->step);
    gzip_writer_free(e->gzip);
    digester_free(e->digester);
    buf_done(&e->manifest);
    buf_done(&e->plain);
    buf_done(&e->packed);
    mem_free(e->items);
    arena_done(&e->names);
}

static struct slice api_config_export_copy(struct export *e, struct slice s)
{
    return slice_of(arena_copy(&e->names, s.data, s.size), s.size);
}

/* --- send ------------------------------------------------------------------------------------------- */

static void api_config_export_fail(struct export *e, enum api_error error, const char *message)
{
    struct api_call *c = e->call;
    if (!e->gzip) {
        export_release(e);
        api_fail(c, error, message);
        return;
    }
    log_warn("an export ends unfinished", F_STR("error", message));
    c->q->state = NULL;
    export_release(e);
    http_stream_break(c->q);
}

static void fail_err(struct export *e, int err, const struct config_result *result)
{
    enum api_error error = api_error_of(err);
    char text[256]; /* the result's own text does not survive export_release */
    snprintf(text, sizeof text, "%s", result && result->error ? result->error : err_text(err));
    api_config_export_fail(e, error == API_OUTCOME_UNKNOWN ? API_UNAVAILABLE : error, text);
}

static void send_packed(struct export *e)
{
    if (e->packed.size)
        http_stream_send_bytes(e->call->q, buf_slice(&e->packed));
    buf_clear(&e->packed);
}

/* Takes the next piece of the current content; empty: the end. */
static struct slice take_piece(struct export *e)
{
    size_t left = e->plain.size - e->plain_at;
    struct slice piece = slice_of(e->plain.data + e->plain_at, left < PIECE ? left : PIECE);
    e->plain_at += piece.size;
    return piece;
}

static void set_plain(struct export *e, struct slice content)
{
    buf_clear(&e->plain);
    buf_add_slice(&e->plain, content);
    e->plain_at = 0;
}

/* A content that does not open here can still be sent sealed. */
static bool can_send(const struct export *e, int err, const struct config_result *result)
{
    return !err || (err == ERR_KEY_MISSING && result->release && !e->decrypts);
}

static void send_more(struct api_call *c);

static void on_content(struct config_request *q, int err, const struct config_result *result)
{
    struct export *e = container_of(q, struct export, step);
    const struct export_item *item = &e->items[e->at];
    if (!can_send(e, err, result)) {
        fail_err(e, err, result);
        return;
    }
    const struct config_release *r = result->release;
    const struct slice content = archive_content(r, e->decrypts);
    if (!slice_equal(r->sealed, item->sealed)) {
        api_config_export_fail(e, API_CONFLICT, "a configuration was sealed again meanwhile: export again");
        return;
    }
    struct buf path = {0}, header = {0};
    archive_add_path(&path, &item->key);
    tar_add_file(&header, buf_slice(&path), content.size, r->time_ms / 1000);
    gzip_write(e->gzip, buf_slice(&header), &e->packed);
    set_plain(e, content);
    tar_add_padding(&e->plain, content.size);
    buf_done(&header);
    buf_done(&path);
    e->at++;
    api_slice_later(e->call, send_more);
}

static void api_config_export_finish(struct export *e)
{
    struct http_request *q = e->call->q;
    buf_clear(&e->plain);
    tar_add_end(&e->plain);
    gzip_write(e->gzip, buf_slice(&e->plain), &e->packed);
    gzip_write_end(e->gzip, &e->packed);
    send_packed(e);
    q->state = NULL;
    export_release(e);
    http_stream_close(q);
}

static void read_next(struct export *e,
                      void (*done)(struct config_request *q, int err, const struct config_result *result))
{
    e->step.done = done;
    config_read(api_config(e->call), &e->step, &e->items[e->at].key, e->items[e->at].seq, true);
}

/* One slice: packs the current content as fast as the client takes it, then reads the next one. */
static void send_more(struct api_call *c)
{
    struct export *e = c->state;
    char error[500] = "";
    turn_enter(TURN_CONFIG_EXPORT);
    int err = api_recheck_rights(c, error, sizeof error);
    if (err) {
        api_config_export_fail(e, api_error_of(guard_public_error(err)), error);
        return;
    }
    while (e->plain_at < e->plain.size) {
        e->is_paused = http_is_congested(c->q);
        if (e->is_paused)
            return;
        gzip_write(e->gzip, take_piece(e), &e->packed);
        if (e->packed.size >= PIECE)
            send_packed(e);
        if (api_slice_is_over(c)) {
            api_slice_later(c, send_more);
            return;
        }
    }
    send_packed(e);
    if (e->plain.capacity > CONFIG_CONTENT_MAX)
        buf_done(&e->plain); /* the manifest */
    if (e->at < e->count)
        read_next(e, on_content);
    else
        api_config_export_finish(e);
}

static void export_on_writable(struct api_call *c)
{
    struct export *e = c->state;
    if (e->is_paused)
        api_slice_later(c, send_more);
    e->is_paused = false;
}

static void begin_sending(struct export *e)
{
    struct api_call *c = e->call;
    struct buf header = {0};
    char text[80];
    archive_manifest_end(&e->manifest);
    e->gzip = gzip_writer_new();
    tar_add_file(&header, slice_text(ARCHIVE_MANIFEST), e->manifest.size, 0);
    gzip_write(e->gzip, buf_slice(&header), &e->packed);
    buf_done(&header);
    tar_add_padding(&e->manifest, e->manifest.size);
    buf_done(&e->plain);
    e->plain = buf_move(&e->manifest);
    e->plain_at = e->at = 0;
    snprintf(text, sizeof text, "%" PRId64, e->revision);
    http_add_header(c->q, "X-Cairn-Revision", text);
    snprintf(text, sizeof text, "attachment; filename=\"cairn-configs-%" PRId64 ".tar.gz\"", e->revision);
    http_add_header(c->q, "Content-Disposition", text);
    api_expose_headers(c);
    http_stream_open(c->q, 200, "application/gzip");
    if (c->q->method == HTTP_HEAD) {
        c->q->state = NULL;
        export_release(e);
        http_stream_close(c->q);
        return;
    }
    api_slice_later(c, send_more);
}

/* --- measure ---------------------------------------------------------------------------------------- */

static void measure_next(struct export *e);

static void check_digest(struct export *e)
{
    const struct export_item *item = &e->items[e->at];
    const struct digest digest = digester_finish(e->digester);
    char text[400];
    e->digester = NULL;
    if (digest_equal(&digest, &e->digest)) {
        e->at++;
        measure_next(e);
        return;
    }
    snprintf(text, sizeof text, "the content of %.*s does not match its digests: publish it again",
             (int)item->key.name.size, (const char *)item->key.name.data);
    api_config_export_fail(e, API_INTERNAL, text);
}

/* One slice of digesting. */
static void digest_more(struct api_call *c)
{
    struct export *e = c->state;
    turn_enter(TURN_CONFIG_EXPORT);
    while (e->plain_at < e->plain.size) {
        digester_add(e->digester, take_piece(e));
        if (e->plain_at < e->plain.size && api_slice_is_over(c)) {
            api_slice_later(c, digest_more);
            return;
        }
    }
    check_digest(e);
}

static void on_measured(struct config_request *q, int err, const struct config_result *result)
{
    struct export *e = container_of(q, struct export, step);
    const struct export_item *item = &e->items[e->at];
    if (!can_send(e, err, result)) {
        fail_err(e, err, result);
        return;
    }
    const struct config_release *r = result->release;
    e->items[e->at].sealed = api_config_export_copy(e, r->sealed);
    archive_manifest_item(&e->manifest, e->at == 0, &item->key, item->seq, r, e->decrypts);
    if (e->manifest.size > MANIFEST_MAX) {
        api_config_export_fail(
            e, API_TOO_LARGE,
            "too many configurations for one archive: narrow it by namespace, group or prefix");
        return;
    }
    if (r->sealed.size) { /* its tag was checked when it was opened; the digest is keyed */
        e->at++;
        measure_next(e);
        return;
    }
    e->digest = r->digest;
    e->digester = digester_new();
    set_plain(e, r->content);
    if (r->content.size <= PIECE) {
        digester_add(e->digester, take_piece(e));
        check_digest(e);
    } else {
        api_slice_later(e->call, digest_more);
    }
}

static void measure_next(struct export *e)
{
    if (e->at == e->count)
        begin_sending(e);
    else
        read_next(e, on_measured);
}

/* --- collect ---------------------------------------------------------------------------------------- */

static bool collect_item(void *arg, const struct config_item *item)
{
    struct export *e = arg;
    if (item->head->is_deleted)
        return true;
    if (e->count == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 64;
        e->items = mem_resize(e->items, e->capacity * sizeof *e->items);
    }
    /* Adjacent items share the texts of namespace and group. */
    const struct config_id *last = e->count ? &e->items[e->count - 1].key : &(struct config_id){0};
    e->items[e->count++] = (struct export_item){
        .key = {slice_equal(last->ns, item->ns) ? last->ns : api_config_export_copy(e, item->ns),
                slice_equal(last->group, item->group) ? last->group : api_config_export_copy(e, item->group),
                api_config_export_copy(e, item->name)},
        .seq = item->head->seq,
    };
    return true;
}

static int api_config_export_compare(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Collects each namespace of the query once, in order; "*" or none means all. */
static void api_config_export_collect(struct export *e)
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
    qsort(list, count, sizeof *list, api_config_export_compare);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || !slice_equal(list[i], list[i - 1]))
            config_each(api_config(c), list[i], group, api_param(c, PARAM_PREFIX), all, collect_item, e);
}

static void api_config_export_on_barrier(struct config_request *q, int err,
                                         const struct config_result *result)
{
    struct export *e = container_of(q, struct export, step);
    if (err) {
        fail_err(e, err, result);
        return;
    }
    e->revision = config_revision(api_config(e->call));
    api_config_export_collect(e);
    archive_manifest_begin(&e->manifest, config_cluster_id(api_config(e->call)), e->revision);
    measure_next(e);
}

/* --- the call --------------------------------------------------------------------------------------- */

static void api_config_export_cancel(struct api_call *c)
{
    export_release(c->state);
}

/* The deadline does not end an answer that has begun. */
static void export_on_expired(struct api_call *c)
{
    struct export *e = c->state;
    c->q->deadline_ms = 0;
    if (!e->gzip)
        api_config_export_fail(e, API_DEADLINE, NULL);
}

void api_config_export(struct api_call *c)
{
    if (!api_authorize_namespaces(c, GUARD_CONFIG))
        return;
    if (c->api->exports >= EXPORTS_MAX) {
        api_fail(c, API_QUOTA_EXCEEDED, "other exports are under way on this member: try again later");
        return;
    }
    struct export *e = arena_new(&c->q->arena, sizeof *e);
    c->api->exports++;
    e->call = c;
    e->decrypts = api_flag(api_param(c, PARAM_DECRYPT));
    c->state = e;
    c->cancel = api_config_export_cancel;
    c->expired = export_on_expired;
    c->writable = export_on_writable;
    e->step.done = api_config_export_on_barrier;
    if (api_is_local(c))
        config_wait_revision(api_config(c), &e->step, 0, TURN_MS);
    else
        config_barrier(api_config(c), &e->step);
}
