/* SPDX-License-Identifier: Apache-2.0
 * The stream of the native API, as the other files of the SDK use it: one WebSocket for all registrations
 * and subscriptions of a client. It is opened for the first user, and reopened whenever it is lost. The
 * client's thread only. */
#ifndef SDK_STREAM_H
#define SDK_STREAM_H

#include "base/json.h"
#include "sdk/private.h"

struct subscription;

/* A user of the stream: a registration or subscription. The callbacks may leave the stream and free the
 * user. */
struct stream_user {
    struct link link;
    void (*on_ready)(struct stream_user *u);        /* after `welcome`: send your requests now */
    void (*on_lost)(struct stream_user *u);         /* the connection is lost: all requests are void */
    void (*on_session_gone)(struct stream_user *u); /* NULL: it does not use the session */
};
void stream_join(struct cairn_client *c, struct stream_user *u);
void stream_leave(struct cairn_client *c, struct stream_user *u);
bool stream_is_ready(const struct cairn_client *c);
void stream_retry_now(struct cairn_client *c); /* ends the pause between two attempts */

/* Reports to the program that the server refused something on the stream, which goes on. */
void stream_report(struct cairn_client *c, const char *subject, const struct cairn_error *error);
void stream_send(struct cairn_client *c, struct slice frame); /* dropped if the stream is not ready */
/* Sends a request whose response is a `result` or `error` frame. The frame has no closing brace yet. `done`
 * is called once, with CAIRN_UNAVAILABLE if the connection ends before, but never after stream_forget. Only
 * while ready. */
void stream_send_request(struct cairn_client *c, struct slice frame,
                         void (*done)(void *arg, const json_t *result, const struct cairn_error *error),
                         void *arg);
void stream_forget(struct cairn_client *c, const void *arg);

uint32_t stream_add_subscription(struct cairn_client *c, struct subscription *s); /* returns its sid */
void stream_drop_subscription(struct cairn_client *c, uint32_t sid);

void stream_free(struct cairn_client *c); /* all users have left before */

/* ---- a view of named items (subscription.c) --------------------------------------------------------- */

/* A view of the items of one topic. It is complete after the first snapshot and stays so, whatever happens
 * to connections; then it only becomes older. */
enum { SUBSCRIPTION_SELECTORS = 5 }; /* cluster, version, protocol, tags, labels */
struct subscription {
    struct stream_user user;
    struct cairn_client *client;
    struct timer again;      /* until a refused subscription is sent again */
    const char *kind;        /* "service", "config" */
    char *ns, *group, *name; /* owned; "" = the server's default */
    bool only_serving, no_guarded;
    bool all_groups;                               /* the group "" is sent */
    const char *prefix;                            /* borrowed; of lists. NULL = none */
    const char *selectors[SUBSCRIPTION_SELECTORS]; /* borrowed; NULL or "" = none */
    uint32_t sid;                                  /* on this connection; 0 = not subscribed */
    int64_t revision;                          /* the items are correct up to here; 0 = they are incomplete */
    int64_t last_frame;                        /* revision of its last frame on this connection */
    json_t *items;                             /* by id; NULL = none yet */
    json_t *incoming;                          /* items of a snapshot whose last part has not arrived */
    int64_t cache_age_ms;                      /* of items from the cache */
    bool is_absent;                            /* its one name does not exist, as of `revision` */
    bool is_from_cache, is_answered;           /* is_answered: a frame of it has arrived on this connection */
    void (*on_change)(struct subscription *s); /* may end the subscription and free it */
    /* A feed keeps no view: its frames pass through. `items` of a snapshot or delta that follows what came
     * before; is_reset: they are the first of a snapshot. It may end the subscription and free it. NULL: a view. */
    void (*on_items)(struct subscription *s, const json_t *items, bool is_reset);
    void (*write_more)(const struct subscription *s,
                       struct json_writer *w); /* fields of subscribe; NULL = none */
    /* The server refused the subscription: it has ended. */
    void (*on_refused)(struct subscription *s, const struct cairn_error *error);
};
void subscription_start(struct subscription *s, struct cairn_client *c, const char *kind, const char *ns,
                        const char *group, const char *name);
void subscription_done(struct subscription *s); /* ends it and frees its fields */
/* Called by the stream for frames and errors of its sid. */
void subscription_frame(struct subscription *s, const char *type, const json_t *frame);
void subscription_refused(struct subscription *s, const struct cairn_error *error);
/* The frame `applied` for an item: problem NULL = the program runs with the release. */
void subscription_send_applied(struct subscription *s, const char *item, uint64_t seq, const char *problem);
void subscription_mark(struct subscription *s, int64_t revision);

/* ---- the last known state (cache.c) ----------------------------------------------------------------- */

/* True for a view of all of its topic's items, without selectors: only such a view is in a file. */
bool subscription_is_plain(const struct subscription *s);
/* Write and read a view's items in a file of the client's cache folder; without a folder both do nothing. */
void cache_write(const struct subscription *s);
struct cache_state {
    int64_t revision, age_ms; /* age_ms: since the file was written; -1 = not known */
};
json_t *cache_read(struct cairn_client *c, const char *kind, const char *ns, const char *group,
                   const char *name, struct cache_state *ret); /* the items, or NULL */

int code_of_name(const char *code); /* "session_gone", as in base/err.def, to an enum cairn_err */

#endif
