/* SPDX-License-Identifier: Apache-2.0
 * Subscriptions: a view of named items, kept current by the stream.
 *
 * - A snapshot replaces the view when its last part has arrived, not before.
 * - A delta is applied if it names the revision of the frame before it; otherwise the client subscribes
 *   again from the start.
 * - After a reconnect the subscription resumes after the view's revision. */
#include <stdio.h>

#include "sdk/stream.h"

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
    if (s->only_serving || s->no_guarded) {
        jw_key(&w, "filter");
        jw_open(&w, '{');
        if (s->only_serving) {
            jw_key(&w, "healthy");
            jw_bool(&w, true);
        }
        if (s->no_guarded) {
            jw_key(&w, "guarded");
            jw_bool(&w, false);
        }
        jw_close(&w, '}');
    }
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
    s->revision = 0;
    subscription_send(s);
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
    s->on_change(s);
}

void subscription_frame(struct subscription *s, const char *type, const json_t *frame)
{
    s->is_answered = true;
    if (strcmp(type, "snapshot") == 0)
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
void subscription_refused(struct subscription *s, const struct cairn_error *error)
{
    if (s->is_answered && error->code != CAIRN_DENIED && error->code != CAIRN_UNAUTHENTICATED)
        return;
    stream_drop_subscription(s->client, s->sid);
    s->sid = 0;
    if (error->code == CAIRN_FUTURE || error->code == CAIRN_UNAVAILABLE)
        subscription_restart(s);
    else
        s->on_refused(s, error);
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
    if (s->items)
        return;
    int64_t revision;
    s->items = cache_read(s->client, s->kind, s->ns, s->group, s->name, &revision);
    if (!s->items)
        return;
    s->is_from_cache = true;
    s->on_change(s);
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
    stream_leave(s->client, &s->user);
    json_decref(s->items);
    json_decref(s->incoming);
    mem_free(s->ns);
    mem_free(s->group);
    mem_free(s->name);
}
