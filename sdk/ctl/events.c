/* SPDX-License-Identifier: Apache-2.0
 * Follower of a subscription of /api/v1/stream by Server-Sent Events. Only the lines "data:" and "id:" are
 * needed. Each frame is one line. The next connection sends the last id and continues after it, at any
 * member.
 *
 * When a connection ends, the follower tries the next endpoint after a pause that doubles up to two
 * seconds. Silence of 45 s counts as an end (marks arrive every ten). An invalid request (status 400) ends
 * the follower. */
#include "sdk/ctl/ctl.h"

#include <stdio.h>
#include <unistd.h>

#include "sdk/http_client.h"

enum { SILENCE_MS = 45000, LINE_MAX_BYTES = 64 << 20 };

struct follower {
    const struct ctl_subscription *subscription;
    char *last_id; /* NULL = from the start */
    bool has_connected;
    bool must_retry; /* the member has not reached the revision from which the subscription goes on */
    int64_t pause_ms;
};

static enum ctl_exit on_line(struct ctl *c, struct follower *f, struct slice line)
{
    if (line.size && line.data[line.size - 1] == '\r')
        line.size--;
    if (line.size > 4 && memcmp(line.data, "id: ", 4) == 0) {
        mem_free(f->last_id);
        f->last_id = mem_new(line.size - 3);
        memcpy(f->last_id, line.data + 4, line.size - 4);
    }
    if (line.size < 6 || memcmp(line.data, "data: ", 6) != 0)
        return CTL_DONE;
    char error[200];
    json_t *frame = NULL;
    if (json_parse(slice_of(line.data + 6, line.size - 6), &frame, error, sizeof error) != OK)
        return ctl_fail(c, CTL_ERROR, "%s sent a frame that is not JSON: %s", c->endpoints[c->at].text,
                        error);
    enum ctl_exit how = CTL_DONE;
    if (strcmp(ctl_json_text(frame, "code"), "future_rev") == 0)
        f->must_retry = true;
    else if (strcmp(ctl_json_text(frame, "type"), "error") == 0)
        how = ctl_fail(c, CTL_ERROR, "%s (%s)", ctl_json_text(frame, "message"), c->endpoints[c->at].text);
    else
        how = f->subscription->on_frame(c, frame, f->subscription->arg);
    json_decref(frame);
    return how;
}

/* Reads until the connection ends (CTL_DONE) or the follower must end. */
static enum ctl_exit read_stream(struct ctl *c, struct follower *f, struct http_client *client)
{
    struct buf in = {0};
    enum ctl_exit how = CTL_DONE;
    bool is_end = false;
    f->must_retry = false;
    while (!how && !is_end && !f->must_retry) {
        int err = http_client_read(client, SILENCE_MS, -1, &in, &is_end);
        if (err == ERR_CANCELED)
            how = CTL_INTERRUPTED;
        if (err)
            break;
        size_t at = 0;
        for (const uint8_t *end; !how && at < in.size && (end = memchr(in.data + at, '\n', in.size - at));) {
            how = on_line(c, f, slice_of(in.data + at, (size_t)(end - in.data) - at));
            at = (size_t)(end - in.data) + 1;
            f->pause_ms = 100; /* the connection works */
        }
        buf_consume(&in, at);
        if (!how && in.size > LINE_MAX_BYTES)
            how = ctl_fail(c, CTL_ERROR, "%s sent a frame of more than 64 MiB", c->endpoints[c->at].text);
        if (!ctl_flush(c))
            how = CTL_IO;
    }
    buf_done(&in);
    return how;
}

static enum ctl_exit follow_once(struct ctl *c, struct follower *f, struct buf *target)
{
    struct ctl_call call = {.method = "GET"};
    buf_add_slice(&call.target, buf_slice(target));
    buf_add_text(&call.fields, "Accept: text/event-stream\r\n");
    if (f->last_id)
        buf_addf(&call.fields, "Last-Event-ID: %s\r\n", f->last_id);
    struct http_client *client = NULL;
    int err = ctl_open_stream(c, &call, &client);
    enum ctl_exit how = CTL_DONE;
    if (err == ERR_CANCELED)
        how = CTL_INTERRUPTED;
    else if (err && !f->has_connected)
        how = ctl_fail_reach(c, err);
    else if (!err && call.status != 200 && call.status != 503 && call.status != 429)
        how = ctl_fail_status(c, &call);
    else if (!err && call.status != 200)
        ctl_note(c, "%s cannot serve this now; trying again", call.endpoint);
    if (!err && !how && client) {
        f->has_connected = true;
        how = read_stream(c, f, client);
        if (!how && !c->line.is_etcdctl)
            ctl_note(c, "the connection to %s has ended; going on at another one", call.endpoint);
    }
    http_client_free(client);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_follow(struct ctl *c, const struct ctl_subscription *s)
{
    struct follower f = {.subscription = s, .pause_ms = 100};
    struct ctl_call call = {0};
    char host[100] = "somewhere", id[140];
    (void)gethostname(host, sizeof host - 1);
    snprintf(id, sizeof id, "cairnctl-%s-%ld", host, (long)getpid());
    ctl_path(&call, "/api/v1/stream");
    ctl_query(&call, "client_id", id); /* client_id must precede the subscription */
    ctl_query(&call, "labels", s->labels);
    ctl_query(&call, "kind", s->kind);
    if (s->add)
        s->add(c, &call, s->arg);
    enum ctl_exit how = CTL_DONE;
    while (!how) {
        how = follow_once(c, &f, &call.target);
        if (!how && ctl_pause(c, f.pause_ms))
            how = CTL_INTERRUPTED;
        f.pause_ms = f.pause_ms < 1000 ? 2 * f.pause_ms : 2000;
        c->at = (c->at + 1) % c->endpoint_count;
    }
    mem_free(f.last_id);
    ctl_call_done(&call);
    return how;
}

bool ctl_is_pattern(const char *text)
{
    for (const char *p = text; p && *p; p++) {
        if (*p == '*')
            return true;
        if (*p == '\\' && p[1])
            p++;
    }
    return false;
}

bool ctl_is_selection(const struct ctl *c, const char *name)
{
    return ctl_is_pattern(name) || ctl_is_pattern(ctl_flag_value(&c->line, "namespace")) ||
           ctl_is_pattern(ctl_flag_value(&c->line, "group"));
}
