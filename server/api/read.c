/* SPDX-License-Identifier: Apache-2.0
 * Reading and waiting; see read.h. Results are rendered into what the api shares for one turn, so that a
 * thousand polls for the same thing cost one rendering for each change. */
#include "server/api/read.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/text.h"

bool api_is_local(const struct api_call *c)
{
    return slice_equal(api_param(c, PARAM_CONSISTENCY), slice_text("local"));
}

/* --- results ----------------------------------------------------------------------------------------------
 */

static bool is_of_waiting(const char *piece)
{
    static const enum api_param waiting[] = {PARAM_WAIT_REVISION, PARAM_TIMEOUT, PARAM_CONSISTENCY};
    for (size_t i = 0; i < sizeof waiting / sizeof *waiting; i++) {
        const char *name = api_params[waiting[i]].name;
        size_t n = strlen(name);
        if (strncmp(piece, name, n) == 0 && (piece[n] == '=' || piece[n] == 0))
            return true;
    }
    return false;
}

/* The path and the part of the query that says what is asked. */
static void add_key(const struct api_read *r, struct buf *key)
{
    const struct http_request *q = r->call->q;
    buf_add_slice(key, q->path);
    for (size_t at = 0; at < q->query.size;) {
        const char *piece = (const char *)q->query.data + at;
        size_t size = strlen(piece) + 1;
        if (!is_of_waiting(piece)) {
            buf_add_byte(key, 0);
            buf_add(key, piece, size);
        }
        at += size;
    }
    if (r->source->add_key)
        r->source->add_key(r, key);
}

static void render(struct api_read *r, struct api_shared *s, int64_t revision)
{
    uint8_t digest[32];
    struct json_writer w = {.out = &s->body};
    struct sha256 *hash = sha256_new();
    jw_open(&w, '{');
    jw_key(&w, "revision");
    jw_int(&w, revision);
    size_t from = s->body.size;
    s->error = r->source->render(r, &w);
    jw_close(&w, '}');
    buf_add_byte(&s->body, '\n');
    if (s->error == API_ERRORS)
        sha256_add(hash, s->body.data + from, s->body.size - from);
    sha256_finish(hash, digest);
    memcpy(s->digest, digest, sizeof s->digest);
    s->revision = revision;
}

/* The result at this revision or a later one. */
static const struct api_shared *result_since(struct api_read *r, int64_t oldest)
{
    struct api *a = r->call->api;
    int64_t revision = r->source->revision(r);
    struct buf key = {0};
    add_key(r, &key);
    for (size_t i = 0; i < API_SHARED; i++) {
        struct api_shared *s = &a->shared[i];
        if (s->is_set && s->revision >= oldest && slice_equal(buf_slice(&s->key), buf_slice(&key))) {
            buf_done(&key);
            return s;
        }
    }
    struct api_shared *s = &a->shared[a->next_shared++ % API_SHARED];
    buf_done(&s->key);
    buf_clear(&s->body);
    s->key = buf_move(&key);
    s->is_set = true;
    render(r, s, revision);
    return s;
}

static const struct api_shared *result_of(struct api_read *r)
{
    return result_since(r, r->source->revision(r));
}

/* --- answers
 * ------------------------------------------------------------------------------------------------
 */

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

/* What the client calls the result by, if that is known. */
static bool tag_of(const struct api_read *r, const uint8_t digest[API_DIGEST_SIZE],
                   uint8_t tag[API_DIGEST_SIZE])
{
    memcpy(tag, digest, API_DIGEST_SIZE);
    return !r->source->tag || r->source->tag(r, tag);
}

/* Nothing may come any more: what follows is the answer, or nothing. */
static void leave(struct api_read *r)
{
    list_remove(&r->changed);
    if (r->is_at_barrier)
        r->source->cancel_barrier(r);
    if (r->is_watching)
        r->source->unwatch(r);
    list_remove(&r->poll);
    r->is_at_barrier = r->is_watching = false;
}

/* Idle ones too end when their rights do. What changes meanwhile is judged when it is answered, so only this
 * walk moves a read to the end of the list. */
bool api_judge_polls(struct api *a)
{
    enum { POLLS_PER_TURN = 512 };
    char error[500] = "";
    uint64_t epoch = guard_epoch(a->options.identity);
    for (unsigned i = 0; i < POLLS_PER_TURN && !list_is_empty(&a->polls); i++) {
        struct api_read *r = container_of(a->polls.next, struct api_read, poll);
        struct api_call *c = r->call;
        if (c->judged == epoch)
            return false;
        list_remove(&r->poll);
        list_add_last(&a->polls, &r->poll);
        int err = api_judge(c, error, sizeof error);
        if (err) {
            leave(r);
            api_refuse(c, err, error);
        }
    }
    return !list_is_empty(&a->polls) &&
           container_of(a->polls.next, struct api_read, poll)->call->judged != epoch;
}

static void answer(struct api_read *r, const struct api_shared *result)
{
    struct api_call *c = r->call;
    leave(r);
    if (result->error == API_ERRORS && r->source->answer) {
        r->is_at_barrier = true;
        r->source->answer(r, result);
        return;
    }
    api_add_etag(c, result->digest);
    if (result->error == API_ERRORS)
        api_respond(c, 200, result->revision, NULL, buf_slice(&result->body));
    else
        api_fail(c, result->error, r->source->missing);
}

static void answer_same(struct api_read *r, const uint8_t digest[API_DIGEST_SIZE])
{
    struct api_call *c = r->call;
    int64_t revision = r->source->revision(r);
    uint8_t tag[API_DIGEST_SIZE];
    bool has_tag = tag_of(r, digest, tag);
    leave(r);
    if (has_tag)
        api_add_etag(c, tag);
    api_respond(c, 304, revision, NULL, (struct slice){0});
}

/* --- conditions
 * ---------------------------------------------------------------------------------------------
 */

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

/* --- waiting
 * ------------------------------------------------------------------------------------------------
 */

static int64_t wait_revision(const struct api_call *c)
{
    return (int64_t)api_number(api_param(c, PARAM_WAIT_REVISION));
}

/* The wait is over, one way or the other. */
static void answer_as_it_is(struct api_read *r)
{
    const struct api_shared *now = result_of(r);
    if (memcmp(now->digest, r->digest, sizeof r->digest) == 0)
        answer_same(r, now->digest);
    else
        answer(r, now);
}

static void on_expired(struct api_call *c)
{
    struct api_read *r = c->state;
    if (r->is_watching) {
        answer_as_it_is(r);
        return;
    }
    leave(r);
    api_fail(c, API_DEADLINE, NULL);
}

static void on_drain(struct api_call *c)
{
    struct api_read *r = c->state;
    if (r->is_watching)
        answer_as_it_is(r);
}

static void wait_for_change(struct api_read *r, const struct api_shared *now, uint64_t timeout_ms)
{
    struct http_request *q = r->call->q;
    uint64_t deadline_ms = r->call->api->options.mono_ms() + timeout_ms;
    if (!q->deadline_ms || deadline_ms < q->deadline_ms)
        q->deadline_ms = deadline_ms;
    memcpy(r->digest, now->digest, sizeof r->digest);
    r->seen = now->revision;
    r->is_watching = true;
    struct api_call *c = r->call;
    if (c->judged == guard_epoch(c->api->options.identity))
        list_add_last(&c->api->polls, &r->poll);
    else
        list_add_first(&c->api->polls, &r->poll);
    r->source->watch(r);
}

/* Thousands may wait for one change: they are answered in slices. */
void api_read_changed(struct api_read *r)
{
    r->changed_revision = r->source->revision(r);
    if (r->changed_revision == r->seen || link_is_in_list(&r->changed))
        return; /* told once for each service of a batch */
    list_add_last(&r->call->api->changed, &r->changed);
}

static void look_again(struct api_read *r)
{
    const struct api_shared *now = result_since(r, r->changed_revision);
    r->seen = now->revision;
    if (memcmp(now->digest, r->digest, sizeof r->digest) == 0)
        return;
    if (now->revision >= r->after)
        answer(r, now);
    else if (!r->call->q->if_none_match.size) /* this member comes to where the client is */
        memcpy(r->digest, now->digest, sizeof r->digest);
}

bool api_polls_turn(struct api *a)
{
    uint64_t end_ns = list_is_empty(&a->changed) ? 0 : api_now_ns(a) + API_SLICE_NS;
    struct link *l;
    while ((l = list_take_first(&a->changed))) {
        look_again(container_of(l, struct api_read, changed));
        if (api_now_ns(a) >= end_ns)
            break;
    }
    return !list_is_empty(&a->changed);
}

void api_read_go(struct api_read *r, int err)
{
    struct api_call *c = r->call;
    r->is_at_barrier = false;
    if (err && !r->is_local) {
        api_fail_err(c, err, NULL);
        return;
    }
    const struct api_shared *now = result_of(r);
    uint8_t tag[API_DIGEST_SIZE];
    bool is_conditional = c->q->if_none_match.size > 0, has_tag = tag_of(r, now->digest, tag);
    if (is_conditional && !has_tag && !r->has_learned) {
        r->is_at_barrier = true;
        r->source->learn(r);
        return;
    }
    bool is_same = has_tag && api_has_tag(c, tag);
    if (!api_has_param(c, PARAM_WAIT_REVISION)) {
        if (is_same)
            answer_same(r, now->digest);
        else
            answer(r, now);
        return;
    }
    r->after = wait_revision(c);
    bool is_beyond = r->after > now->revision && !err;
    bool is_changed = is_beyond || r->source->changed(r, r->after) > r->after;
    uint64_t timeout_ms = api_duration_ms(api_param(c, PARAM_TIMEOUT));
    if (is_conditional ? !is_same : is_changed)
        answer(r, now);
    else if (timeout_ms == 0)
        answer_same(r, now->digest);
    else
        wait_for_change(r, now, timeout_ms);
}

void api_read_learned(struct api_read *r)
{
    r->has_learned = true;
    api_read_go(r, 0);
}

static void on_cancel(struct api_call *c)
{
    leave(c->state);
}

void api_read_start(struct api_call *c, struct api_read *r, const struct api_source *source)
{
    r->call = c;
    r->source = source;
    r->is_local = api_is_local(c);
    c->state = r;
    c->cancel = on_cancel;
    c->expired = on_expired;
    c->drain = on_drain;
    /* Locally too when the client knows more than this member does: that must not look like a change. */
    if (r->is_local && wait_revision(c) <= source->revision(r)) {
        api_read_go(r, 0);
        return;
    }
    r->is_at_barrier = true;
    source->barrier(r);
}
