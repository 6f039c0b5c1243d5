/* SPDX-License-Identifier: Apache-2.0
 * Reads and long polls; see read.h. The life of a GET:
 *
 *   1. barrier   api_read_start: the source's barrier brings the view up to date. A local read skips it,
 *                unless its wait_revision is newer than the view.
 *   2. render    api_read_continue: wait for the result (result.h). Reads with equal queries share it: a
 *                thousand polls for one service cost one rendering a change.
 *   3. decide    on_first_result: without wait_revision answer 200, or 304 if If-None-Match has the ETag.
 *                With it, answer at once by the rules of read.h, else go to 4.
 *   4. watch     wait_for_change: remember the digest of the result, set the deadline, watch the source.
 *   5. change    api_read_changed queues the poll; api_polls_turn renders the new result for it.
 *   6. compare   compare_result: another digest: answer 200. The same: back to waiting.
 *   7. end       Each of these ends the wait:
 *                  the deadline, a drain    render once more; 304 if it is the same, else 200
 *                  the rights change        api_recheck_polls: 401 or 403 if the permission is gone
 *                  the client leaves        on_cancel
 *
 * A result over LONG_BODY is sent in pieces from the one shared text. */
#include "server/api/read.h"

#include <stdio.h>

#include "base/text.h"
#include "server/api/slice.h"

enum { PIECE = 64 * 1024, LONG_BODY = 2 * PIECE };

bool api_is_local(const struct api_call *c)
{
    return slice_equal(api_param(c, PARAM_CONSISTENCY), slice_text("local"));
}

/* --- answers ---------------------------------------------------------------------------------------- */

enum { TAG_SIZE = 2 * API_DIGEST_SIZE };

static void write_tag(const uint8_t tag[API_DIGEST_SIZE], char ret_text[TAG_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < API_DIGEST_SIZE; i++) {
        ret_text[2 * i] = digits[tag[i] >> 4];
        ret_text[2 * i + 1] = digits[tag[i] & 15];
    }
}

void api_add_etag(struct api_call *c, const uint8_t tag[API_DIGEST_SIZE])
{
    char text[TAG_SIZE + 3] = "\"";
    write_tag(tag, text + 1);
    text[TAG_SIZE + 1] = '"';
    http_add_header(c->q, "ETag", text);
}

/* The ETag of the result for the client; false: it is not known yet. */
static bool get_tag(const struct api_read *r, const uint8_t digest[API_DIGEST_SIZE],
                    uint8_t tag[API_DIGEST_SIZE])
{
    memcpy(tag, digest, API_DIGEST_SIZE);
    return !r->source->tag || r->source->tag(r, tag);
}

/* Ends all that could still call back; the read's answer follows, or none. */
static void api_read_leave(struct api_read *r)
{
    list_remove(&r->changed);
    api_result_leave(r);
    if (r->is_at_barrier)
        r->source->cancel_barrier(r);
    if (r->is_watching) {
        r->source->unwatch(r);
        namespace_unsubscribe(api_namespace_view(r->call), r->counted);
    }
    list_remove(&r->poll);
    r->is_at_barrier = r->is_watching = false;
}

/* Waiting polls end too when their permission does. Rights that change during this walk are checked again at
 * the answer, so only this walk moves a poll to the end of the list. */
bool api_recheck_polls(struct api *a)
{
    enum { POLLS_PER_TURN = 512 };
    char error[500] = "";
    uint64_t epoch = guard_epoch(a->options.identity);
    for (unsigned i = 0; i < POLLS_PER_TURN && !list_is_empty(&a->polls); i++) {
        struct api_read *r = container_of(a->polls.next, struct api_read, poll);
        struct api_call *c = r->call;
        if (c->rights_epoch == epoch)
            return false;
        list_remove(&r->poll);
        list_add_last(&a->polls, &r->poll);
        int err = api_recheck_rights(c, error, sizeof error);
        if (err) {
            api_read_leave(r);
            api_refuse(c, err, error);
        }
    }
    return !list_is_empty(&a->polls) &&
           container_of(a->polls.next, struct api_read, poll)->call->rights_epoch != epoch;
}

static void end_stream(struct api_read *r)
{
    api_slice_never(r->call);
    r->sent_from->streams--;
    api_result_unref(r->sent_from);
    r->sent_from = NULL;
}

/* Sends pieces as fast as the client takes them. */
static void send_pieces(struct api_call *c)
{
    struct api_read *r = c->state;
    struct slice body = buf_slice(&r->sent_from->body);
    turn_enter(TURN_HTTP_WRITE);
    /* The answers that are sent from one text share its memory in their accounts. */
    http_charge_output(c->q, r->sent_from->body.capacity / r->sent_from->streams);
    while (r->sent < body.size) {
        size_t n = body.size - r->sent < PIECE ? body.size - r->sent : PIECE;
        http_stream_send_bytes(c->q, slice_of(body.data + r->sent, n));
        r->sent += n;
        if (r->sent < body.size && http_is_congested(c->q))
            return;
        if (r->sent < body.size && api_slice_is_over(c)) {
            api_slice_later(c, send_pieces);
            return;
        }
    }
    c->q->state = NULL;
    end_stream(r);
    http_stream_close(c->q);
}

static void on_writable(struct api_call *c)
{
    api_slice_later(c, send_pieces);
}

static void on_stream_gone(struct api_call *c)
{
    end_stream(c->state);
}

static void answer_long(struct api_read *r, struct api_shared *result)
{
    struct api_call *c = r->call;
    if (!api_respond_sized(c, result->revision, result->body.size))
        return;
    r->sent_from = api_result_ref(result);
    r->sent_from->streams++;
    c->q->deadline_ms = 0; /* it was the wait's */
    c->cancel = on_stream_gone;
    c->expired = NULL;
    c->drain = NULL;
    c->writable = on_writable;
    api_slice_later(c, send_pieces);
}

static void api_read_answer(struct api_read *r, struct api_shared *result)
{
    struct api_call *c = r->call;
    api_read_leave(r);
    if (result->error == API_ERRORS && r->source->answer) {
        r->is_at_barrier = true;
        r->source->answer(r, result);
        return;
    }
    api_add_etag(c, result->digest);
    if (result->error == API_ERRORS && result->body.size > LONG_BODY)
        answer_long(r, result);
    else if (result->error == API_ERRORS)
        api_respond(c, 200, result->revision, NULL, buf_slice(&result->body));
    else
        api_fail(c, result->error, r->source->missing);
}

static void answer_not_modified(struct api_read *r, const uint8_t digest[API_DIGEST_SIZE])
{
    struct api_call *c = r->call;
    int64_t revision = r->source->revision(r);
    uint8_t tag[API_DIGEST_SIZE];
    bool has_tag = get_tag(r, digest, tag);
    api_read_leave(r);
    if (has_tag)
        api_add_etag(c, tag);
    api_respond(c, 304, revision, NULL, (struct slice){0});
}

/* --- conditions ------------------------------------------------------------------------------------- */

static bool is_hex_of(struct slice hex, const uint8_t digest[API_DIGEST_SIZE])
{
    char text[TAG_SIZE];
    write_tag(digest, text);
    return slice_equal(hex, slice_of(text, TAG_SIZE));
}

/* If-None-Match: a list of quoted tags, perhaps weak; "*" is any. */
bool api_has_tag(const struct api_call *c, const uint8_t tag[API_DIGEST_SIZE])
{
    struct slice list = c->q->if_none_match;
    while (list.size) {
        const uint8_t *open = memchr(list.data, '"', list.size);
        if (!open)
            return slice_equal(list, slice_text("*"));
        size_t left = list.size - (size_t)(open - list.data) - 1;
        const uint8_t *close = memchr(open + 1, '"', left);
        if (!close)
            return false;
        if (is_hex_of(slice_of(open + 1, (size_t)(close - open) - 1), tag))
            return true;
        list = slice_of(close + 1, left - (size_t)(close - open));
    }
    return false;
}

/* --- waiting ---------------------------------------------------------------------------------------- */

static int64_t wait_revision(const struct api_call *c)
{
    return (int64_t)api_number(api_param(c, PARAM_WAIT_REVISION));
}

static void answer_if_changed(struct api_read *r, struct api_shared *now)
{
    if (memcmp(now->digest, r->digest, sizeof r->digest) == 0)
        answer_not_modified(r, now->digest);
    else
        api_read_answer(r, now);
}

/* The deadline or a drain has ended the wait: answer with the current result. */
static void end_wait(struct api_read *r)
{
    api_result_leave(r);
    r->call->q->deadline_ms = 0; /* the rest takes a few slices */
    api_result_await(r, r->source->revision(r), answer_if_changed);
}

static void on_expired(struct api_call *c)
{
    struct api_read *r = c->state;
    if (r->is_watching) {
        end_wait(r);
        return;
    }
    api_read_leave(r);
    api_fail(c, API_DEADLINE, NULL);
}

static void api_read_on_drain(struct api_call *c)
{
    struct api_read *r = c->state;
    r->is_draining = true; /* it must not begin a wait any more */
    if (r->is_watching)
        end_wait(r);
}

static void wait_for_change(struct api_read *r, const struct api_shared *now, uint64_t timeout_ms)
{
    struct http_request *q = r->call->q;
    char error[300];
    bool has_namespace = r->call->route->params >> PARAM_NAMESPACE & 1;
    int err = namespace_subscribe(has_namespace ? api_namespace_view(r->call) : NULL, r->call->ns,
                                  &r->counted, error, sizeof error);
    if (err) {
        api_read_leave(r);
        api_fail_err(r->call, err, error);
        return;
    }
    uint64_t deadline_ms = r->call->api->options.mono_ms() + timeout_ms;
    if (!q->deadline_ms || deadline_ms < q->deadline_ms)
        q->deadline_ms = deadline_ms;
    memcpy(r->digest, now->digest, sizeof r->digest);
    r->compared_revision = now->revision;
    r->is_watching = true;
    struct api_call *c = r->call;
    if (c->rights_epoch == guard_epoch(c->api->options.identity))
        list_add_last(&c->api->polls, &r->poll);
    else
        list_add_first(&c->api->polls, &r->poll);
    r->source->watch(r);
    /* The rendering took several turns, and the view may have changed meanwhile. */
    if (r->source->revision(r) != now->revision && r->source->changed(r, now->revision) > now->revision)
        api_read_changed(r);
}

/* Thousands of polls may wait for one change: they are answered in slices. */
void api_read_changed(struct api_read *r)
{
    r->changed_revision = r->source->revision(r);
    if (r->changed_revision == r->compared_revision || link_is_in_list(&r->changed) || r->awaited)
        return; /* the source reports once for each service of a batch */
    list_add_last(&r->call->api->changed, &r->changed);
}

static void compare_result(struct api_read *r, struct api_shared *now)
{
    r->compared_revision = now->revision;
    bool is_same = memcmp(now->digest, r->digest, sizeof r->digest) == 0;
    if (!is_same && now->revision >= r->after) {
        api_read_answer(r, now);
        return;
    }
    if (!is_same &&
        !r->call->q->if_none_match.size) /* this member lags and now reaches the client's revision */
        memcpy(r->digest, now->digest, sizeof r->digest);
    if (r->changed_revision > now->revision) /* another change came during the rendering */
        list_add_last(&r->call->api->changed, &r->changed);
}

bool api_polls_turn(struct api *a)
{
    bool has_some = !list_is_empty(&a->changed) || !list_is_empty(&a->rendered);
    uint64_t end_ns = has_some ? api_now_ns(a) + API_SLICE_NS : 0;
    struct link *l;
    turn_enter(TURN_API_POLLS);
    while (!list_is_empty(&a->rendered)) {
        api_result_resume(container_of(a->rendered.next, struct api_read, waiting));
        if (api_now_ns(a) >= end_ns)
            return true;
    }
    while ((l = list_take_first(&a->changed))) {
        struct api_read *r = container_of(l, struct api_read, changed);
        api_result_await(r, r->changed_revision, compare_result);
        if (api_now_ns(a) >= end_ns)
            break;
    }
    return !list_is_empty(&a->changed);
}

static void on_first_result(struct api_read *r, struct api_shared *now)
{
    struct api_call *c = r->call;
    uint8_t tag[API_DIGEST_SIZE];
    bool is_conditional = c->q->if_none_match.size > 0, has_tag = get_tag(r, now->digest, tag);
    if (is_conditional && !has_tag && !r->has_loaded_tag) {
        r->is_at_barrier = true;
        r->source->load_tag(r);
        return;
    }
    bool is_same = has_tag && api_has_tag(c, tag);
    if (!api_has_param(c, PARAM_WAIT_REVISION)) {
        if (is_same)
            answer_not_modified(r, now->digest);
        else
            api_read_answer(r, now);
        return;
    }
    r->after = wait_revision(c);
    bool is_beyond = r->after > now->revision && !r->has_barrier_failed;
    bool is_unknown = r->source->changed(r, r->after) == INT64_MAX;
    /* A change after the rendering does not count yet: wait_for_change checks for it. */
    bool is_changed = is_beyond || is_unknown || now->last_change > r->after;
    uint64_t timeout_ms = api_duration_ms(api_param(c, PARAM_TIMEOUT));
    if (is_conditional ? !is_same : is_changed)
        api_read_answer(r, now);
    else if (timeout_ms == 0 || r->is_draining)
        answer_not_modified(r, now->digest);
    else
        wait_for_change(r, now, timeout_ms);
}

void api_read_continue(struct api_read *r, int err)
{
    r->is_at_barrier = false;
    r->has_barrier_failed = err != 0;
    if (err && !r->is_local)
        api_fail_err(r->call, err, NULL);
    else
        api_result_await(r, r->source->revision(r), on_first_result);
}

void api_read_tag_loaded(struct api_read *r)
{
    r->has_loaded_tag = true;
    api_read_continue(r, 0);
}

static void on_cancel(struct api_call *c)
{
    api_read_leave(c->state);
}

void api_read_start(struct api_call *c, struct api_read *r, const struct api_source *source)
{
    r->call = c;
    r->source = source;
    r->is_local = api_is_local(c);
    c->state = r;
    c->cancel = on_cancel;
    c->expired = on_expired;
    c->drain = api_read_on_drain;
    /* A local read, too, if the client knows a newer revision than this member: that is not a change. */
    if (r->is_local && wait_revision(c) <= source->revision(r)) {
        api_read_continue(r, 0);
        return;
    }
    r->is_at_barrier = true;
    source->barrier(r);
}
