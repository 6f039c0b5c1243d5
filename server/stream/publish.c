/* SPDX-License-Identifier: Apache-2.0
 * The frames publish and applied: a client writes a configuration, or reports that it has applied one.
 *
 * publish is the HTTP API's PUT over a stream. If the connection ends, a publish goes on, unless it still
 * waits for the check of its content. */
#include "server/stream/private.h"

#include "base/text.h"

struct publish {
    struct config_request request;
    struct link link; /* in conn->publishes */
    struct stream_conn *conn;
    uint64_t rid;
    bool is_checked;
};

static void end_publish(struct publish *p)
{
    list_remove(&p->link);
    p->conn->request_count--;
    mem_free(p);
}

static void stream_publish_on_done(struct config_request *q, int err, const struct config_result *result)
{
    struct publish *p = container_of(q, struct publish, request);
    struct stream_conn *c = p->conn;
    struct buf text = {0};
    if (err)
        stream_write_not_published(&text, p->rid, err, result);
    else
        stream_write_published(&text, p->rid, result, p->is_checked);
    end_publish(p);
    stream_conn_send(c, err ? "error" : "result", buf_slice(&text), NULL, NULL, 0);
    buf_done(&text);
}

/* The format is the frame's, if it has one; else the config center chooses by the item or the name's
 * suffix. */
static bool take_format(const struct stream_frame *f, struct config_publish *p)
{
    const struct slice none = {0};
    p->has_format = f->format.size > 0;
    return !p->has_format || format_find(f->format, none, f->name, &p->format) == OK;
}

static bool take_content(const struct stream_frame *f, struct buf *decoded, struct config_publish *p)
{
    p->content = f->content;
    if (!f->is_base64)
        return true;
    if (base64_decode(f->content, decoded))
        return false;
    p->content = buf_slice(decoded);
    return true;
}

void stream_publish(struct stream_conn *c, const struct stream_frame *f)
{
    struct buf decoded = {0};
    struct config_publish publish = {
        .key = {stream_subscribe_ns(f), f->group.size ? f->group : slice_text("default"), f->name},
        .title = f->title,
        .note = f->note,
        .condition = {.if_absent = f->if_absent,
                      .has_seq = stream_frame_has(f, STREAM_HAS_IF_SEQ),
                      .if_seq = f->if_seq,
                      .has_revision = stream_frame_has(f, STREAM_HAS_IF_REVISION),
                      .if_revision = (int64_t)f->if_revision,
                      .if_md5 = f->if_md5},
        .only_validate = f->only_validate,
    };
    const char *problem = NULL;
    if (c->request_count >= STREAM_REQUESTS_MAX) {
        stream_conn_error(c, f, ERR_LIMIT, "too many requests are under way: wait for results");
        return;
    }
    char error[300];
    if (author_check(f->on_behalf_of, error, sizeof error))
        problem = error;
    else if (!take_format(f, &publish))
        problem = "publish: format must be one of text, json, yaml, properties, toml, xml, html, bin";
    else if (!take_content(f, &decoded, &publish))
        problem = "publish: content is not base64";
    if (problem) {
        stream_conn_error(c, f, ERR_INVALID, problem);
    } else {
        struct publish *p = mem_new(sizeof *p);
        p->request.done = stream_publish_on_done;
        p->request.who = stream_conn_who(c);
        p->request.author = stream_conn_author(c, f->on_behalf_of);
        p->conn = c;
        p->rid = f->rid;
        p->is_checked = f->only_validate;
        list_add_last(&c->publishes, &p->link);
        c->request_count++;
        config_publish(c->server->options.config, &p->request, &publish);
    }
    buf_done(&decoded);
}

void stream_publish_detach(struct stream_conn *c)
{
    while (!list_is_empty(&c->publishes)) {
        struct publish *p = container_of(c->publishes.next, struct publish, link);
        config_cancel(c->server->options.config, &p->request);
        end_publish(p);
    }
}

void stream_applied(struct stream_conn *c, const struct stream_frame *f)
{
    struct stream_sub *sub = stream_conn_find(c, f->sid);
    if (!sub)
        stream_conn_error(c, f, ERR_NOT_FOUND, "applied: there is no such subscription");
    else if (!sub->kind->applied || sub->kind->applied(sub, f))
        stream_conn_error(c, f, ERR_INVALID, "applied: the subscription has no such item or seq");
}
