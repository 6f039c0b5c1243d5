/* SPDX-License-Identifier: Apache-2.0
 * Rights of connections and subscriptions that are open already. Rights belong to an epoch (kv_auth_epoch):
 * when it moves on, each connection is judged again before the next frame goes out, and idle ones in slices
 * of the turns.
 *
 * Invariant: nothing is sent, and no frame of the client is taken, under rights of an older epoch. The check
 * in the way of a frame is one comparison (stream_conn_is_judged).
 *
 *   the user is gone, its password has changed      error invalid_auth_token, the connection ends (1008)
 *   it was opened before auth was enabled           it is anonymous: its subscriptions end with
 *                                                   invalid_auth_token, the connection stays
 *   a subscription's right is gone                  error forbidden with its sid; the others go on
 *   the session's right is gone                     error forbidden; the connection goes on without it
 *
 * An event stream without any subscription left ends; its client comes again and is told by a status. */
#include "server/stream/private.h"

enum { SLICE_NS = 1000 * 1000 /* of judging in one turn */ };

const struct auth_who *stream_conn_author(const struct stream_conn *c)
{
    return c->server->options.identity ? &c->user : NULL;
}

/* The key of what it reads stays with a subscription: a whole range, or with is_right_prefix all that begins
 * so.
 */
void stream_sub_keep_right(struct stream_sub *sub, struct slice key, bool is_prefix)
{
    sub->right = mem_copy(key.data, key.size);
    sub->right_size = (uint32_t)key.size;
    sub->is_right_prefix = is_prefix;
}

int stream_conn_check_read(struct stream_conn *c, struct slice key, bool is_prefix, char *error,
                           size_t error_size)
{
    struct buf end = {0};
    if (is_prefix)
        stream_kv_prefix_end(key, &end);
    if (!key.size)
        key = slice_of("", 1); /* the smallest one */
    int err = guard_check_keys(c->server->options.identity, &c->user, key, buf_slice(&end), false, error,
                               error_size);
    buf_done(&end);
    return err;
}

static void judge_sub(struct stream_conn *c, struct stream_sub *sub)
{
    char error[500] = "";
    struct stream_frame about = {.has = 1u << STREAM_HAS_SID, .sid = sub->sid};
    int err = stream_conn_check_read(c, slice_of(sub->right, sub->right_size), sub->is_right_prefix, error,
                                     sizeof error);
    if (!err)
        return;
    stream_sub_end(sub);
    stream_conn_error(c, &about, guard_public_error(err), error);
}

/* The session of a connection that may keep it no longer lives out its time. */
static void judge_session(struct stream_conn *c)
{
    const struct stream_options *o = &c->server->options;
    char error[500] = "";
    c->proof = (struct registry_proof){0}; /* of rights that were */
    (void)stream_session_proof(c);
    int err = c->session ? guard_check_session(o->identity, &c->user, o->registry, c->session, &c->proof,
                                               error, sizeof error)
                         : OK;
    if (!err)
        return;
    c->session = 0;
    stream_conn_error(c, NULL, guard_public_error(err), error);
}

/* False: the connection is over. */
static bool stream_judge_run(struct stream_conn *c)
{
    struct stream_server *s = c->server;
    struct identity *i = s->options.identity;
    char error[300] = "";
    c->judged = guard_epoch(i);
    list_remove(&c->link);
    list_add_last(&s->conns, &c->link);
    bool is_known = c->user.revision != 0;
    if (!guard_is_on(i) || (c->phase != STREAM_CONN_OPEN && !is_known))
        return true;
    int err = is_known ? guard_check_user(i, &c->user, error, sizeof error) : OK;
    if (err) {
        stream_conn_fail(c, guard_public_error(err), error);
        return false;
    }
    LIST_FOR_EACH_SAFE (l, &c->subs)
        judge_sub(c, container_of(l, struct stream_sub, link));
    judge_session(c);
    if (c->q && c->is_events && c->phase == STREAM_CONN_OPEN && !c->sub_count)
        stream_conn_close(c, 0);
    return c->q != NULL;
}

bool stream_conn_is_judged(struct stream_conn *c)
{
    return c->judged == guard_epoch(c->server->options.identity) || stream_judge_run(c);
}

bool stream_judge_turn(struct stream_server *s)
{
    uint64_t epoch = guard_epoch(s->options.identity);
    uint64_t slice_ns = s->options.judge_ns ? s->options.judge_ns : SLICE_NS;
    s->slice_end_ns = s->io->ops->mono_ns(s->io) + slice_ns;
    for (bool is_over = false; !list_is_empty(&s->conns); is_over = stream_is_slice_over(s)) {
        struct stream_conn *c = container_of(s->conns.next, struct stream_conn, link);
        if (c->judged == epoch)
            return false;
        if (is_over)
            return true;
        (void)stream_judge_run(c);
    }
    return false;
}
