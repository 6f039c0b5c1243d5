/* SPDX-License-Identifier: Apache-2.0
 * Subscriptions: a view of named items, kept current by the stream.
 *
 * - A snapshot replaces the view when its last part has arrived, not before.
 * - A delta is applied if it names the revision of the frame before it; otherwise the client subscribes
 *   again from the start.
 * - After a reconnect the subscription resumes after the view's revision. */
#include <stdio.h>

#include "sdk/stream.h"

enum { AGAIN_MS = 500 /* before a subscription that was refused for now is sent again */ };

bool subscription_is_plain(const struct subscription *s)
{
    bool is_plain = !s->all_groups && !(s->prefix && *s->prefix);
    for (size_t i = 0; i < SUBSCRIPTION_SELECTORS; i++)
        is_plain &= !s->selectors[i] || !*s->selectors[i];
    return is_plain;
}

/* "a,b" as a list; "key=value,key=value" as an object. */
static void write_list(struct json_writer *w, const char *list, bool is_pairs)
{
    jw_open(w, is_pairs ? '{' : '[');
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ","), k = strcspn(p, "=");
        char key[257];
        if (!is_pairs) {
            jw_string(w, slice_of(p, n));
        } else if (k < n && k < sizeof key) {
            memcpy(key, p, k);
            key[k] = 0;
            jw_key(w, key);
            jw_string(w, slice_of(p + k + 1, n - k - 1));
        }
        p += n + (p[n] == ',');
    }
    jw_close(w, is_pairs ? '}' : ']');
}

static void write_filter(const struct subscription *s, struct json_writer *w)
{
    static const char *const names[SUBSCRIPTION_SELECTORS] = {"cluster", "version", "protocol", "tags",
                                                              "labels"};
    jw_key(w, "filter");
    jw_open(w, '{');
    if (s->only_serving) {
        jw_key(w, "healthy");
        jw_bool(w, true);
    }
    if (s->no_guarded) {
        jw_key(w, "guarded");
        jw_bool(w, false);
    }
    for (size_t i = 0; i < SUBSCRIPTION_SELECTORS; i++) {
        if (!s->selectors[i] || !*s->selectors[i])
            continue;
        jw_key(w, names[i]);
        if (i < 3)
            jw_text(w, s->selectors[i]);
        else
            write_list(w, s->selectors[i], i == 4);
    }
    jw_close(w, '}');
}

static bool has_filter(const struct subscription *s)
{
    bool has = s->only_serving || s->no_guarded;
    for (size_t i = 0; i < SUBSCRIPTION_SELECTORS; i++)
        has |= s->selectors[i] && *s->selectors[i];
    return has;
}

static void subscription_send(struct subscription *s)
{
    struct buf out = {0};
    struct json_writer w = {.out = &out};
    s->sid = stream_add_subscription(s->client, s);
    json_decref(s->incoming);
    s->incoming = NULL;
    s->last_frame = s->revision;
    s->is_answered = false;
    jw_open(&w, '{');
    jw_key(&w, "type");
    jw_text(&w, "subscribe");
    jw_key(&w, "sid");
    jw_uint(&w, s->sid);
    const char *texts[][2] = {
        {"kind", s->kind}, {"namespace", s->ns}, {"group", s->group}, {"name", s->name}};
    for (size_t i = 0; i < 4; i++)
        if (texts[i][1][0]) {
            jw_key(&w, texts[i][0]);
            jw_text(&w, texts[i][1]);
        }
    if (s->revision) {
        jw_key(&w, "from_revision");
        jw_int(&w, s->revision + 1);
    }
    if (s->all_groups) {
        jw_key(&w, "group");
        jw_text(&w, "");
    }
    if (s->prefix && *s->prefix) {
        jw_key(&w, strchr(s->prefix, '*') ? "name" : "prefix");
        jw_text(&w, s->prefix);
    }
    if (has_filter(s))
        write_filter(s, &w);
    if (s->write_more)
        s->write_more(s, &w);
    jw_close(&w, '}');
    stream_send(s->client, buf_slice(&out));
    buf_done(&out);
}

static void send_unsubscribe(struct subscription *s)
{
    char text[64];
    if (!s->sid)
        return;
    int n = snprintf(text, sizeof text, "{\"type\":\"unsubscribe\",\"sid\":%u}", s->sid);
    stream_drop_subscription(s->client, s->sid);
    stream_send(s->client, slice_of(text, (size_t)n));
    s->sid = 0;
}

static void subscription_restart(struct subscription *s)
{
    send_unsubscribe(s);
    if (!s->on_items)
        s->revision = 0;
    subscription_send(s);
}

/* --- feeds ---------------------------------------------------------------------------------------------- */

/* Its snapshot has begun and is not complete: s->incoming is set then, as in a view. */
static void feed_frame(struct subscription *s, const char *type, const json_t *frame)
{
    int64_t revision = json_integer_value(json_object_get(frame, "revision"));
    bool is_delta = strcmp(type, "delta") == 0;
    bool is_first = !is_delta && json_integer_value(json_object_get(frame, "part")) == 1;
    bool is_last = is_delta || json_is_true(json_object_get(frame, "last"));
    if (is_delta && json_integer_value(json_object_get(frame, "previous")) != s->last_frame) {
        subscription_restart(s);
        return;
    }
    if (!is_delta && !is_first && !s->incoming)
        return;
    json_decref(s->incoming);
    s->incoming = is_last ? NULL : json_object();
    s->last_frame = revision;
    s->revision = is_last ? revision : 0; /* an incomplete snapshot begins again */
    s->on_items(s, json_object_get(frame, is_delta ? "put" : "items"), is_first);
}

static void put_items(json_t *to, const json_t *list)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *id = json_string_value(json_object_get(item, "id"));
        if (id)
            json_object_set(to, id, item);
    }
}

static void subscription_on_snapshot(struct subscription *s, const json_t *frame)
{
    if (json_integer_value(json_object_get(frame, "part")) == 1) {
        json_decref(s->incoming);
        s->incoming = json_object();
    }
    if (!s->incoming)
        return;
    put_items(s->incoming, json_object_get(frame, "items"));
    s->last_frame = json_integer_value(json_object_get(frame, "revision"));
    if (!json_is_true(json_object_get(frame, "last")))
        return;
    json_decref(s->items);
    s->items = s->incoming;
    s->incoming = NULL;
    s->revision = s->last_frame;
    s->is_from_cache = false;
    s->is_absent = json_is_true(json_object_get(frame, "absent"));
    s->on_change(s);
}

static void on_delta(struct subscription *s, const json_t *frame)
{
    if (json_integer_value(json_object_get(frame, "previous")) != s->last_frame || s->incoming || !s->items) {
        subscription_restart(s);
        return;
    }
    size_t i;
    json_t *id;
    json_array_foreach(json_object_get(frame, "delete"), i, id) if (json_string_value(id))
        json_object_del(s->items, json_string_value(id));
    put_items(s->items, json_object_get(frame, "put"));
    s->revision = s->last_frame = json_integer_value(json_object_get(frame, "revision"));
    s->is_from_cache = false;
    s->is_absent = json_is_true(json_object_get(frame, "absent"));
    s->on_change(s);
}

void subscription_frame(struct subscription *s, const char *type, const json_t *frame)
{
    s->is_answered = true;
    if (s->on_items && (strcmp(type, "snapshot") == 0 || strcmp(type, "delta") == 0))
        feed_frame(s, type, frame);
    else if (strcmp(type, "snapshot") == 0)
        subscription_on_snapshot(s, frame);
    else if (strcmp(type, "delta") == 0)
        on_delta(s, frame);
    /* resync: a snapshot follows and replaces the view */
}

/* Moves the view's revision: all changes up to it have been sent. Only the next subscription uses it. */
void subscription_mark(struct subscription *s, int64_t revision)
{
    if (s->revision && !s->incoming && revision > s->revision)
        s->revision = revision;
}

/* Handles a refused subscription. An error of an `applied` frame changes nothing. */
/* A member without a leader refuses at once: without the pause this would be a loop. */
static void subscription_on_again(struct timer *t)
{
    subscription_restart(container_of(t, struct subscription, again));
}

void subscription_refused(struct subscription *s, const struct cairn_error *error)
{
    if (s->is_answered && error->code != CAIRN_DENIED && error->code != CAIRN_UNAUTHENTICATED)
        return;
    stream_drop_subscription(s->client, s->sid);
    s->sid = 0;
    if (error->code == CAIRN_FUTURE && !s->on_items) {
        subscription_restart(s);
    } else if (error->code == CAIRN_UNAVAILABLE || error->code == CAIRN_FUTURE) {
        s->again.run = subscription_on_again;
        timer_start(s->client, &s->again, AGAIN_MS);
    } else {
        s->on_refused(s, error);
    }
}

/* --- connection changes --------------------------------------------------------------------------------- */
static void subscription_on_ready(struct stream_user *u)
{
    subscription_send(container_of(u, struct subscription, user));
}

/* The connection was lost before any data arrived: the view comes from the cache folder. */
static void on_lost(struct stream_user *u)
{
    struct subscription *s = container_of(u, struct subscription, user);
    s->sid = 0;
    json_decref(s->incoming);
    s->incoming = NULL;
    if (s->items || s->on_items || !subscription_is_plain(s))
        return;
    struct cache_state state;
    s->items = cache_read(s->client, s->kind, s->ns, s->group, s->name, &state);
    if (!s->items)
        return;
    s->is_from_cache = true;
    s->cache_age_ms = state.age_ms;
    client_log(s->client, CAIRN_LOG_WARN, "cache: no member answers: %s %s is read from its file", s->kind,
               s->name);
    s->on_change(s);
}

void subscription_send_applied(struct subscription *s, const char *item, uint64_t seq, const char *problem)
{
    struct buf out = {0};
    struct json_writer w = {.out = &out};
    if (!s->sid || !seq)
        return;
    jw_open(&w, '{');
    jw_key(&w, "type");
    jw_text(&w, "applied");
    jw_key(&w, "sid");
    jw_uint(&w, s->sid);
    jw_key(&w, "name");
    jw_text(&w, item);
    jw_key(&w, "seq");
    jw_uint(&w, seq);
    jw_key(&w, "ok");
    jw_bool(&w, !problem);
    if (problem) {
        jw_key(&w, "error");
        jw_string(&w, slice_of(problem, strnlen(problem, 1000)));
    }
    jw_close(&w, '}');
    stream_send(s->client, buf_slice(&out));
    buf_done(&out);
}

static char *subscription_copy(const char *text)
{
    return mem_string(text ? text : "");
}

void subscription_start(struct subscription *s, struct cairn_client *c, const char *kind, const char *ns,
                        const char *group, const char *name)
{
    s->client = c;
    s->kind = kind;
    s->ns = subscription_copy(ns);
    s->group = subscription_copy(group);
    s->name = subscription_copy(name);
    s->user.on_ready = subscription_on_ready;
    s->user.on_lost = on_lost;
    stream_join(c, &s->user);
}

void subscription_done(struct subscription *s)
{
    send_unsubscribe(s);
    timer_stop(s->client, &s->again);
    stream_leave(s->client, &s->user);
    json_decref(s->items);
    json_decref(s->incoming);
    mem_free(s->ns);
    mem_free(s->group);
    mem_free(s->name);
}
