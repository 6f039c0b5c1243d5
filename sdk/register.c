/* SPDX-License-Identifier: Apache-2.0
 * Registration of one instance. The client registers it each time the stream is ready; registering the same
 * instance again writes nothing, so no state of the last connection is needed. Temporary failures are
 * retried every second. An invalid or forbidden instance is reported once, without a retry. */
#include <stdio.h>

#include "base/document.h"
#include "sdk/stream.h"

enum { AGAIN_MS = 1000 };

struct cairn_registration {
    struct object object;
    struct post post;
    struct cairn_client *client;
    struct stream_user user;
    struct buf register_frame, deregister_frame; /* without their closing brace */
    struct timer again;
    bool is_registered, is_refused, is_notifying, is_stopped;
    struct waiter *leaving; /* waits for the response to deregister */
    struct timer leave_timeout;
    void (*callback)(struct cairn_registration *r, enum cairn_registration_state state,
                     const struct cairn_error *error, void *arg);
    void *arg;
};

static void registration_free(struct cairn_registration *r)
{
    buf_done(&r->register_frame);
    buf_done(&r->deregister_frame);
    mem_free(r);
}

static void cairn_register_notify(struct cairn_registration *r, enum cairn_registration_state state,
                                  const struct cairn_error *error)
{
    if (!r->callback)
        return;
    r->is_notifying = true;
    r->callback(r, state, error, r->arg);
    r->is_notifying = false;
    if (r->is_stopped)
        registration_free(r);
}

/* --- registering ---------------------------------------------------------------------------------------- */
static void cairn_register_send(struct cairn_registration *r);

static bool is_final(int code)
{
    return code == CAIRN_INVALID || code == CAIRN_DENIED || code == CAIRN_UNIMPLEMENTED;
}

static void cairn_register_on_answer(void *arg, const json_t *result, const struct cairn_error *error)
{
    struct cairn_registration *r = arg;
    (void)result;
    if (!error->code && !r->is_registered) {
        r->is_registered = true;
        cairn_register_notify(r, CAIRN_REGISTERED, error);
    } else if (is_final(error->code)) {
        r->is_refused = true;
        stream_report(r->client, "registration", error);
        cairn_register_notify(r, CAIRN_REGISTRATION_REFUSED, error);
    } else if (error->code && stream_is_ready(r->client)) {
        stream_report(r->client, "registration, which is repeated", error);
        timer_start(r->client, &r->again, error->code == CAIRN_LOST ? 0 : AGAIN_MS);
    }
}

static void cairn_register_send(struct cairn_registration *r)
{
    timer_stop(r->client, &r->again);
    if (!r->is_refused)
        stream_send_request(r->client, buf_slice(&r->register_frame), cairn_register_on_answer, r);
}

static void cairn_register_on_again(struct timer *t)
{
    struct cairn_registration *r = container_of(t, struct cairn_registration, again);
    if (stream_is_ready(r->client))
        cairn_register_send(r);
}

static void cairn_register_on_ready(struct stream_user *u)
{
    cairn_register_send(container_of(u, struct cairn_registration, user));
}

static void on_broken(struct cairn_registration *r, const char *why)
{
    struct cairn_error e = {0};
    timer_stop(r->client, &r->again);
    if (!r->is_registered)
        return;
    r->is_registered = false;
    set_error(&e, CAIRN_LOST, "%s", why);
    cairn_register_notify(r, CAIRN_REGISTRATION_BROKEN, &e);
}

static void on_lost(struct stream_user *u)
{
    on_broken(container_of(u, struct cairn_registration, user), "the connection is lost");
}

static void on_session_gone(struct stream_user *u)
{
    struct cairn_registration *r = container_of(u, struct cairn_registration, user);
    cairn_register_send(r);
    on_broken(r, "the session is gone"); /* last, because r may be freed inside */
}

/* --- start ---------------------------------------------------------------------------------------------- */
static void cairn_register_add(struct json_writer *w, const char *key, const char *value)
{
    if (value && *value) {
        jw_key(w, key);
        jw_text(w, value);
    }
}

static void add_tags(struct json_writer *w, const char *tags)
{
    jw_key(w, "tags");
    jw_open(w, '[');
    for (const char *p = tags; *p;) {
        size_t n = strcspn(p, ",");
        jw_string(w, slice_of(p, n));
        p += n + (p[n] == ',');
    }
    jw_close(w, ']');
}

static int add_metadata(struct json_writer *w, const char *pairs, struct cairn_error *error)
{
    jw_key(w, "metadata");
    jw_open(w, '{');
    for (const char *p = pairs; *p;) {
        size_t n = strcspn(p, ","), k = strcspn(p, "=");
        if (k >= n)
            return set_error(error, CAIRN_INVALID, "metadata is \"key=value,key=value\"");
        document_key(w, slice_of(p, k));
        jw_string(w, slice_of(p + k + 1, n - k - 1));
        p += n + (p[n] == ',');
    }
    jw_close(w, '}');
    return CAIRN_OK;
}

static int write_instance(const struct cairn_register_request *q, struct json_writer *w,
                          struct cairn_error *error)
{
    jw_key(w, "instance");
    if (q->json) {
        char why[200];
        json_t *root = NULL;
        int err = json_parse(slice_text(q->json), &root, why, sizeof why);
        bool is_object = json_is_object(root);
        json_decref(root);
        if (err || !is_object)
            return set_error(error, CAIRN_INVALID, "json: %s", err ? why : "json must be an object");
        jw_raw(w, slice_text(q->json));
        return CAIRN_OK;
    }
    jw_open(w, '{');
    cairn_register_add(w, "host", q->host);
    if (q->port) {
        jw_key(w, "port");
        jw_int(w, q->port);
    }
    cairn_register_add(w, "protocol", q->protocol);
    cairn_register_add(w, "zone", q->zone);
    cairn_register_add(w, "region", q->region);
    cairn_register_add(w, "cluster", q->cluster);
    cairn_register_add(w, "version", q->version);
    if (q->weight) {
        jw_key(w, "weight");
        jw_int(w, q->weight);
    }
    if (q->ttl_seconds) {
        jw_key(w, "ttl");
        jw_int(w, q->ttl_seconds);
    }
    if (q->tags && *q->tags)
        add_tags(w, q->tags);
    int err = q->metadata && *q->metadata ? add_metadata(w, q->metadata, error) : CAIRN_OK;
    jw_close(w, '}');
    return err;
}

static struct json_writer cairn_register_begin(struct buf *out, const char *type,
                                               const struct cairn_register_request *q)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    cairn_register_add(&w, "type", type);
    cairn_register_add(&w, "namespace", q->ns);
    cairn_register_add(&w, "group", q->group);
    cairn_register_add(&w, "name", q->service);
    cairn_register_add(&w, "id", q->id);
    return w;
}

static void cairn_register_detach(struct cairn_registration *r)
{
    list_remove(&r->object.link);
    stream_leave(r->client, &r->user);
    stream_forget(r->client, r);
    timer_stop(r->client, &r->again);
    timer_stop(r->client, &r->leave_timeout);
    r->is_stopped = true;
}

/* Stops the registration when the client is closed, without waiting. */
static void cairn_register_stop_here(struct object *o)
{
    struct cairn_registration *r = container_of(o, struct cairn_registration, object);
    if (r->leaving) {
        struct cairn_error e = {0};
        set_error(&e, CAIRN_CLOSED, "%s", cairn_error_text(CAIRN_CLOSED));
        waiter_end(r->leaving, NULL, &e);
    }
    cairn_register_detach(r);
    if (!r->is_notifying)
        registration_free(r);
}

static void cairn_register_start_here(struct post *p)
{
    struct cairn_registration *r = container_of(p, struct cairn_registration, post);
    object_add(r->client, &r->object);
    stream_join(r->client, &r->user);
}

int cairn_register_start(struct cairn_client *c, const struct cairn_register_request *request,
                         void (*callback)(struct cairn_registration *r, enum cairn_registration_state state,
                                          const struct cairn_error *error, void *arg),
                         void *arg, struct cairn_registration **ret_registration, struct cairn_error *error)
{
    if (!request->service || !*request->service || !request->id || !*request->id)
        return set_error(error, CAIRN_INVALID, "a registration needs service and id");
    struct cairn_registration *r = mem_new(sizeof *r);
    struct json_writer w = cairn_register_begin(&r->register_frame, "register", request);
    int err = write_instance(request, &w, error);
    (void)cairn_register_begin(&r->deregister_frame, "deregister", request);
    r->client = c;
    r->callback = callback;
    r->arg = arg;
    r->object.stop = cairn_register_stop_here;
    r->again.run = cairn_register_on_again;
    r->post.run = cairn_register_start_here;
    r->user.on_ready = cairn_register_on_ready;
    r->user.on_lost = on_lost;
    r->user.on_session_gone = on_session_gone;
    *ret_registration = r; /* set before the callback can run */
    if (!err) {
        err = client_start(c, &r->post);
        if (err)
            set_error(error, err, "%s", cairn_error_text(err));
    }
    if (err) {
        *ret_registration = NULL;
        registration_free(r);
    }
    return err;
}

/* --- stop ----------------------------------------------------------------------------------------------- */
static void finish_stop(struct cairn_registration *r, const struct cairn_error *error)
{
    struct waiter *w = r->leaving;
    cairn_register_detach(r);
    if (!r->is_notifying)
        registration_free(r);
    if (w)
        waiter_end(w, NULL, error);
}

static void on_left(void *arg, const json_t *result, const struct cairn_error *error)
{
    (void)result;
    struct cairn_error none = {0};
    finish_stop(arg, error->code == CAIRN_NOT_FOUND ? &none : error);
}

static void on_leave_timeout(struct timer *t)
{
    struct cairn_error e = {0};
    set_error(&e, CAIRN_TIMEOUT, "no answer in time");
    finish_stop(container_of(t, struct cairn_registration, leave_timeout), &e);
}

static void cairn_register_leave(struct cairn_registration *r)
{
    struct cairn_error e = {0};
    r->callback = NULL; /* no more callbacks */
    stream_leave(r->client, &r->user);
    stream_forget(r->client, r);
    timer_stop(r->client, &r->again);
    if (stream_is_ready(r->client)) {
        r->leave_timeout.run = on_leave_timeout;
        timer_start(r->client, &r->leave_timeout, r->client->command_timeout_ms);
        stream_send_request(r->client, buf_slice(&r->deregister_frame), on_left, r);
        return;
    }
    set_error(&e, CAIRN_UNAVAILABLE, "there is no connection: the instance goes when its TTL is over");
    finish_stop(r, &e);
}

struct deregister_call {
    struct post post;
    struct waiter waiter;
    struct cairn_registration *registration;
};

static void deregister_on_thread(struct post *p)
{
    struct deregister_call *l = container_of(p, struct deregister_call, post);
    l->registration->leaving = &l->waiter;
    cairn_register_leave(l->registration);
}

static void leave_unwaited(void *arg)
{
    cairn_register_leave(arg);
}

int cairn_register_stop(struct cairn_registration *r)
{
    struct deregister_call l = {.post.run = deregister_on_thread, .registration = r};
    if (!r)
        return CAIRN_OK;
    if (!client_is_own_thread(r->client))
        return waiter_run(&l.waiter, r->client, &l.post, NULL, NULL);
    return client_run(r->client, leave_unwaited, r);
}
