/* SPDX-License-Identifier: Apache-2.0
 * Authorization of open connections and subscriptions, checked again when users or roles change.
 *
 * Permissions belong to an epoch (kv_auth_epoch). When the epoch moves, each connection is checked again
 * before its next frame is sent or handled; idle connections are checked in slices of the turns.
 *
 * Invariant: no frame is sent and no frame of the client is handled under permissions of an older epoch.
 * The check of a session with very many instances takes several turns; requests of the client that need the
 * session wait for it (session.c).
 * In the common case the check before a frame is one comparison (stream_conn_recheck).
 *
 *   what has changed                                result
 *   ----------------------------------------------  --------------------------------------------------------
 *   the user was deleted or its password changed    error invalid_auth_token, the connection ends (1008)
 *   auth was enabled after the connection opened    it is anonymous: its subscriptions end with
 *                                                   invalid_auth_token, the connection stays open
 *   a subscription's permission was revoked         error forbidden with its sid; the others go on
 *   permissions of a selection's items changed      another audience: resync `rights` (level.c)
 *   the session's permission was revoked            error forbidden; the connection goes on without it
 *
 * An event stream without any subscription left ends; when its client reconnects, it gets an HTTP status. */
#include "server/stream/private.h"

enum { SLICE_NS = 1000 * 1000 /* for these checks in one turn */ };

struct author stream_conn_author(const struct stream_conn *c, struct slice on_behalf_of)
{
    struct slice name = slice_text(AUTHOR_ANONYMOUS);
    if (c->user.user.size)
        name = c->user.user;
    else if (c->q && *http_common_name(c->q))
        name = slice_text(http_common_name(c->q));
    return (struct author){name, on_behalf_of, gray_address(c->subscriber.peer)};
}

const struct auth_who *stream_conn_who(const struct stream_conn *c)
{
    return c->server->options.identity ? &c->user : NULL;
}

/* A subscription keeps the key that it reads, or with is_right_prefix the prefix of all keys that it
 * reads. */
void stream_sub_set_right(struct stream_sub *sub, struct slice key, bool is_prefix)
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
        key = slice_of("", 1); /* the smallest key */
    int err = guard_check_keys(c->server->options.identity, &c->user, key, buf_slice(&end), false, error,
                               error_size);
    buf_done(&end);
    return err;
}

static void recheck_sub(struct stream_conn *c, struct stream_sub *sub)
{
    char error[500] = "";
    struct stream_frame about = {.has = STREAM_FIELD(STREAM_HAS_SID), .sid = sub->sid};
    int err = sub->is_selection ? guard_check_user(c->server->options.identity, &c->user, error, sizeof error)
                                : stream_conn_check_read(c, slice_of(sub->right, sub->right_size),
                                                         sub->is_right_prefix, error, sizeof error);
    if (!err)
        return;
    stream_sub_end(sub);
    stream_conn_error(c, &about, guard_public_error(err), error);
}

/* False: the connection was ended. */
static bool recheck_conn(struct stream_conn *c)
{
    struct stream_server *s = c->server;
    struct identity *i = s->options.identity;
    char error[300] = "";
    c->rights_epoch = guard_epoch(i);
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
        recheck_sub(c, container_of(l, struct stream_sub, link));
    stream_session_recheck(c);
    if (c->q && c->is_events && c->phase == STREAM_CONN_OPEN && !c->sub_count)
        stream_conn_close(c, 0);
    return c->q != NULL;
}

bool stream_conn_recheck(struct stream_conn *c)
{
    return c->rights_epoch == guard_epoch(c->server->options.identity) || recheck_conn(c);
}

bool stream_recheck_turn(struct stream_server *s)
{
    uint64_t epoch = guard_epoch(s->options.identity);
    uint64_t slice_ns = s->options.recheck_ns ? s->options.recheck_ns : SLICE_NS;
    s->slice_end_ns = s->io->ops->mono_ns(s->io) + slice_ns;
    for (bool is_over = false; !list_is_empty(&s->conns); is_over = stream_is_slice_over(s)) {
        struct stream_conn *c = container_of(s->conns.next, struct stream_conn, link);
        if (c->rights_epoch == epoch)
            return false;
        if (is_over)
            return true;
        (void)recheck_conn(c);
    }
    return false;
}
