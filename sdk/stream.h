/* SPDX-License-Identifier: Apache-2.0
 * The stream of the native API as its users in this folder see it: one WebSocket for all that a client
 * registers and subscribes to; opened when the first user joins, and again whenever it is lost. The client's
 * thread. */
#ifndef SDK_STREAM_H
#define SDK_STREAM_H

#include "base/json.h"
#include "sdk/private.h"

struct subscription;

/* Who needs the stream. The callbacks may leave, and free themselves. */
struct stream_user {
    struct link link;
    void (*on_ready)(struct stream_user *u);        /* welcome came: ask for what you need */
    void (*on_lost)(struct stream_user *u);         /* what was asked is void */
    void (*on_session_gone)(struct stream_user *u); /* NULL: has nothing on the session */
};
void stream_join(struct cairn_client *c, struct stream_user *u);
void stream_leave(struct cairn_client *c, struct stream_user *u);
bool stream_is_ready(const struct cairn_client *c);

void stream_send(struct cairn_client *c, struct slice frame); /* dropped if it is not ready */
/* A question that is answered by `result` or `error`: the frame has no closing brace yet. `done` is called
 * once, with CAIRN_UNAVAILABLE if the connection ends before; not if stream_forget took it away. Only when
 * ready. */
void stream_ask(struct cairn_client *c, struct slice frame,
                void (*done)(void *arg, const json_t *result, const struct cairn_error *error), void *arg);
void stream_forget(struct cairn_client *c, const void *arg);

uint32_t stream_add_subscription(struct cairn_client *c, struct subscription *s); /* its sid */
void stream_drop_subscription(struct cairn_client *c, uint32_t sid);

void stream_free(struct cairn_client *c); /* all users are gone */

/* ---- a view of named items (subscription.c) --------------------------------------------------------------
 */

/* Whole when the first snapshot has come, and from then on for ever, whatever happens to connections; only
 * how old it is changes. */
struct subscription {
    struct stream_user user;
    struct cairn_client *client;
    const char *kind;        /* "service", "config" */
    char *ns, *group, *name; /* owned; "" = the server's default */
    bool only_serving, no_guarded;
    uint32_t sid;                              /* on this connection; 0 = not asked for */
    int64_t revision;                          /* up to which the items are right; 0 = they are not whole */
    int64_t last_frame;                        /* revision of its last frame on this connection */
    json_t *items;                             /* by id; NULL = none yet */
    json_t *incoming;                          /* of a snapshot that has not come whole */
    bool is_from_cache, is_answered;           /* a frame of it has come on this connection */
    void (*on_change)(struct subscription *s); /* may end it, and free it */
    /* The server refuses it: it has ended. */
    void (*on_refused)(struct subscription *s, const struct cairn_error *error);
};
void subscription_start(struct subscription *s, struct cairn_client *c, const char *kind, const char *ns,
                        const char *group, const char *name);
void subscription_done(struct subscription *s); /* ends it, frees what is inside */
/* The stream's: frames and errors of its sid. */
void subscription_frame(struct subscription *s, const char *type, const json_t *frame);
void subscription_refused(struct subscription *s, const struct cairn_error *error);
void subscription_mark(struct subscription *s, int64_t revision);

/* ---- the last known good (cache.c)
 * ------------------------------------------------------------------------- */

/* Of a view, in a file of the client's cache folder; without one both do nothing. */
void cache_write(const struct subscription *s);
json_t *cache_read(const struct cairn_client *c, const char *kind, const char *ns, const char *group,
                   const char *name, int64_t *ret_revision); /* the items, or NULL */

int code_of_name(const char *code); /* "session_gone", as in base/err.def, to an enum cairn_err */

#endif
