/* SPDX-License-Identifier: Apache-2.0
 * Private header of server/stream: the server, its connections and their subscriptions.
 *
 *   stream.c     the server: turns, time, fan-out       conn.c       one connection: frames, window
 *   handshake.c  hello until welcome                    session.c    register, deregister, session heartbeats
 *   level.c      subscriptions on topics                kv.c         subscriptions on keys
 *   audit.c      items of the audit trail
 *   service.c    source of topics: one service          config.c     sources of topics: configurations
 *   services.c   source of topics: lists of services    instances.c  source of topics: instances of services
 *   scope.c      what a subscription on many names has
 *   publish.c    publish, applied                       events.c     Server-Sent Events
 *   subscribe.c  parameters of subscribe frames         recheck.c    permissions of open connections */
#ifndef SERVER_STREAM_PRIVATE_H
#define SERVER_STREAM_PRIVATE_H

#include "base/heap.h"
#include "base/list.h"
#include "server/auth/guard.h"
#include "server/http/request.h"
#include "server/stream/frame.h"
#include "server/stream/release.h"
#include "server/stream/scope.h"
#include "server/stream/stream.h"
#include "server/stream/topic.h"

enum {
    STREAM_HELLO_MS = 10 * 1000,
    STREAM_MARK_MS = 10 * 1000,
    STREAM_SILENT_MS = 30 * 1000,
    STREAM_RESUME_WAIT_MS = 2 * 1000, /* how long a member that is behind the resume token may catch up */
    STREAM_GOAWAY_MS = 5 * 1000,      /* clients reconnect spread over this time */
    STREAM_WINDOW = 1 << 20,
    STREAM_WINDOW_MIN = 16 << 10,
    STREAM_WINDOW_MAX = 16 << 20,
    STREAM_SUBSCRIPTIONS_MAX = 1024, /* of one connection */
    STREAM_REQUESTS_MAX = 64,        /* under way on one connection */
    STREAM_EARLY_MAX = 64 * 1024,    /* bytes of frames that come between hello and welcome */
    STREAM_POLICY = 1008,            /* WebSocket close code: policy violation */
    STREAM_TRY_LATER = 1013,
};

struct stream_server {
    struct stream_options options;
    struct io *io;
    struct io_timer timer;
    bool is_timer_on;
    struct stream_topics *topics;
    struct link conns;   /* all that have a request */
    struct link ready;   /* of them: those with something to send and room for it */
    struct link waiting; /* handshakes that wait until the registry's view is ready */
    struct link dead;    /* without a request; freed in the next turn */
    struct heap due;     /* of stream_conn.due, by milliseconds */
    size_t conn_count, subscription_count;
    int64_t began; /* revision of the registry's first view; 0 = there was none yet */
    bool is_ready;
    uint64_t rights;   /* guard_revision at the last turn */
    int64_t rights_at; /* the registry's revision when `rights` changed last: frames up to it may have been
                          sent under other permissions; -1 = it never changed */
    uint64_t slice_end_ns; /* of this turn's fan-out */
    uint64_t swept_ms;
    struct registry_request advance; /* advances the view's revision, for marks */
    struct config_request advance_config;
    bool is_advancing, is_advancing_config;
    struct stream_releases *releases;
    struct link busy_views; /* struct config_view: changes are not reported yet */
    struct buf scratch;     /* a frame's head */
};

enum stream_phase { STREAM_CONN_NEW, STREAM_CONN_HANDSHAKE, STREAM_CONN_OPEN };

struct stream_conn {
    struct link link; /* in server->conns or server->dead */
    struct link ready;
    struct stream_server *server;
    struct http_request *q; /* NULL: the connection has ended */
    struct heap_node due;   /* the deadline of hello, then the time of the next mark */
    struct link subs, dirty;
    struct link requests, publishes;
    struct stream_handshake *handshake; /* between hello and welcome */
    struct stream_unacked *unacked;
    struct stream_heartbeat *heartbeat; /* the request about the session that is under way; NULL = none */
    struct watch_stream *watches;       /* carries all kv subscriptions; NULL = none yet */
    struct stream_response *response;   /* of watches, partly sent; NULL = none */
    uint64_t window, sent_bytes, acked_bytes;
    int64_t sent_revision, last_watch_id;
    int64_t session;                        /* 0 = none */
    char session_key[SESSION_KEY_SIZE + 1]; /* from hello, or of the session that was opened; "" = none */
    bool must_send_key;                     /* the client does not have session_key yet */
    bool is_session_unchecked;              /* users or roles have changed: requests wait for the check */
    struct registry_proof proof;            /* of this connection; its slices are the connection's */
    uint64_t heartbeat_ms;
    uint32_t ttl_s;
    uint32_t sub_count, request_count;
    uint8_t phase;
    bool is_events;                        /* Server-Sent Events */
    bool is_foreign;                       /* the resume token is of another cluster */
    bool has_events;                       /* the watch stream of kv subscriptions has output */
    bool wants_mark;                       /* send a mark when the watch stream's progress response comes */
    bool is_window_announced;              /* the client was notified once that its window is full */
    bool is_unacknowledged;                /* event streams: the socket has not taken all that was written */
    bool is_unwritten;                     /* sub->kind->written is called when the socket has taken all */
    struct registry_subscriber subscriber; /* its texts are in subscriber_memory */
    void *subscriber_memory;
    void *user_memory;
    struct auth_who user;  /* whose permissions count; anonymous if auth was not enabled at hello */
    uint64_t rights_epoch; /* guard_epoch at which its subscriptions and session were checked last */
    struct buf credential; /* the Authorization header, until it is checked */
};

struct stream_kind;

struct stream_sub {
    struct link link;  /* in conn->subs */
    struct link dirty; /* in conn->dirty while there is something to send */
    struct stream_conn *conn;
    const struct stream_kind *kind;
    struct namespace_count *counted; /* as a subscriber of its namespace; NULL = it is not */
    int64_t revision;                /* of its last frame */
    uint8_t *right; /* the key (is_right_prefix: the prefix) that its client must be allowed to read */
    uint32_t right_size;
    uint32_t sid;
    bool is_right_prefix;
    bool is_selection; /* no right: its source judges each item */
};

/* A kind of subscription; the table is kind.def. */
struct stream_kind {
    const char *name;
    enum access need;
    size_t (*size)(void);               /* of its own struct, in bytes; the struct begins with a stream_sub */
    const struct stream_source *source; /* of kinds on topics; NULL = none */
    int (*open)(struct stream_sub *sub, const struct stream_frame *frame, char *error, size_t error_size);
    void (*close)(struct stream_sub *sub);
    /* Sends one frame, which may end the connection. False: there is nothing to send now. */
    bool (*send)(struct stream_sub *sub);
    /* The subscription has everything up to this revision; -1: its first state is not complete. */
    int64_t (*position)(struct stream_sub *sub);
    void (*acknowledge)(struct stream_sub *sub, int64_t revision);
    void (*written)(struct stream_sub *sub); /* the socket has taken all that was sent */
    /* ERR_INVALID: the subscription has no such item or seq. */
    int (*applied)(struct stream_sub *sub, const struct stream_frame *f);
};

/* stream.c */
uint64_t stream_now_ms(const struct stream_server *s);
uint64_t stream_random(const struct stream_server *s, uint64_t below);
void stream_due(struct stream_conn *c, uint64_t after_ms);
void stream_wake(struct stream_conn *c); /* it has something to send: the turn runs it */
bool stream_is_slice_over(const struct stream_server *s);
const struct stream_kind *stream_kind_find(struct slice name);

/* conn.c */
struct stream_conn *stream_conn_new(struct stream_server *s, struct http_request *q, bool is_events);
void stream_conn_free(struct stream_conn *c); /* after stream_conn_detach only */
void stream_conn_detach(
    struct stream_conn *c); /* its request has ended: ends its subscriptions and requests */
void stream_conn_close(struct stream_conn *c, uint16_t ws_status);
void stream_conn_fail(struct stream_conn *c, int err, const char *message); /* an error frame, then closed */
void stream_conn_receive(struct stream_conn *c, struct slice text);
bool stream_conn_has_room(struct stream_conn *c);
void stream_conn_run(struct stream_conn *c);     /* sends what it can */
void stream_conn_written(struct stream_conn *c); /* the socket has taken something */
void stream_conn_goaway(struct stream_conn *c);
void stream_conn_mark(struct stream_conn *c);
/* Sends one frame: the head, and the shared fields that others get too (or NULL). type: of the frame.
 * revision: after the frame the client has everything of `sub` (NULL: of all subscriptions) up to it; 0: no
 * more than before. The connection may be ended when it returns. */
void stream_conn_send(struct stream_conn *c, const char *type, struct slice head, struct http_shared *shared,
                      const struct stream_sub *sub, int64_t revision);
void stream_conn_error(struct stream_conn *c, const struct stream_frame *about, int err, const char *message);
void stream_conn_subscribe(struct stream_conn *c, const struct stream_frame *frame);
int64_t stream_conn_position(
    struct stream_conn *c); /* all its subscriptions have everything up to it; -1 = not yet */
void stream_sub_mark_dirty(struct stream_sub *sub);
struct stream_sub *stream_conn_find(struct stream_conn *c, uint32_t sid); /* or NULL */

/* handshake.c */
void stream_handshake_begin(struct stream_conn *c, const struct stream_frame *hello);
void stream_handshake_continue(struct stream_conn *c); /* with the next stage */
void stream_handshake_wake(struct link *waiting);      /* one of server->waiting */
void stream_handshake_free(struct stream_conn *c);
void stream_handshake_wipe_credential(struct stream_conn *c); /* overwrites and frees the credential */
void stream_handshake_hold_frame(struct stream_conn *c, struct slice text); /* a frame before welcome */
void stream_conn_set_subscriber(struct stream_conn *c, struct slice client_id,
                                const struct document_map *labels);

/* Checks the client's permission. False: it has none, and an error frame about `f` was sent. */
bool stream_conn_authorize(struct stream_conn *c, const struct stream_frame *f,
                           const struct guard_need *need);

/* session.c */
/* The proof for this connection's requests to the registry, with its session key and user as they are now. */
const struct registry_proof *stream_session_proof(struct stream_conn *c);
/* The connection uses this session from now on. result has a session key if the session was opened just
 * now. */
void stream_session_adopt(struct stream_conn *c, const struct registry_result *result);
void stream_session_register(struct stream_conn *c, const struct stream_frame *f);
void stream_session_deregister(struct stream_conn *c, const struct stream_frame *f);
/* After a change of users or roles: checks the right to the session. */
void stream_session_recheck(struct stream_conn *c);
void stream_session_keep_alive(struct stream_conn *c); /* a frame came from the client */
void stream_session_detach(struct stream_conn *c);

/* publish.c */
void stream_publish(struct stream_conn *c, const struct stream_frame *f);
void stream_publish_detach(struct stream_conn *c);
void stream_applied(struct stream_conn *c, const struct stream_frame *f);

/* level.c, kv.c */
int stream_level_open(struct stream_sub *sub, const struct stream_frame *frame, char *error,
                      size_t error_size);
void stream_level_close(struct stream_sub *sub);
bool stream_level_send(struct stream_sub *sub);
int64_t stream_level_position(struct stream_sub *sub);
void stream_level_acknowledge(struct stream_sub *sub, int64_t revision);
void stream_level_written(struct stream_sub *sub);
int stream_level_applied(struct stream_sub *sub, const struct stream_frame *f);
size_t stream_level_size(void);
void stream_level_wake(struct stream_topic *t); /* marks all its readers: they may have something to send */
/* Appends the first key after all keys with this prefix; "\0" when there is none. */
void stream_kv_prefix_end(struct slice prefix, struct buf *end);
int stream_kv_open(struct stream_sub *sub, const struct stream_frame *frame, char *error, size_t error_size);
void stream_kv_close(struct stream_sub *sub);
size_t stream_kv_size(void);
bool stream_kv_send(struct stream_sub *sub);
int64_t stream_kv_position(struct stream_sub *sub);
void stream_kv_acknowledge(struct stream_sub *sub, int64_t revision);
bool stream_kv_pull(struct stream_conn *c); /* sends one response of the watch stream; false: it has none */
void stream_kv_detach(struct stream_conn *c);

/* audit.c */
struct stream_audit;
/* Checks that fields of kind audit are with it alone, and no others. ERR_INVALID with a sentence in error. */
int stream_audit_check(const struct stream_frame *frame, char *error, size_t error_size);
struct stream_audit *stream_audit_new(const struct stream_frame *frame);
void stream_audit_free(struct stream_audit *a); /* NULL is fine */
void stream_audit_range(const struct stream_audit *a, struct buf *key, struct buf *end);
/* Appends the items of a record; none if its changes do not fit the subscription's filter. */
void stream_audit_write(const struct stream_audit *a, const Mvccpb__KeyValue *pair, struct json_writer *w);
int stream_audit_open(struct stream_sub *sub, const struct stream_frame *frame, char *error,
                      size_t error_size); /* in kv.c */

/* recheck.c */
/* The author that documents of this connection's client name. Lives as long as the connection and the
 * text. */
struct author stream_conn_author(const struct stream_conn *c, struct slice on_behalf_of);
/* The client of a write, for registry_request.who and config_request.who; NULL without an identity (in
 * tests). */
const struct auth_who *stream_conn_who(const struct stream_conn *c);
/* Checks the connection's permissions again if guard_epoch has moved; else it is one comparison. False: the
 * user has lost access, and the connection was ended. */
bool stream_conn_recheck(struct stream_conn *c);
/* Checks some connections again, idle ones too, within recheck_ns. True: there are more. */
bool stream_recheck_turn(struct stream_server *s);
void stream_sub_set_right(struct stream_sub *sub, struct slice key, bool is_prefix);
int stream_conn_check_read(struct stream_conn *c, struct slice key, bool is_prefix, char *error,
                           size_t error_size);
void stream_sub_end(struct stream_sub *sub);

/* subscribe.c */
/* Appends the key that the client must be allowed to read; true: it is the prefix of all such keys. */
bool stream_subscribe_right(const struct stream_frame *frame, struct buf *key);
struct slice stream_subscribe_ns(const struct stream_frame *frame);
struct slice stream_subscribe_group(const struct stream_frame *frame);
/* Checks namespace, group and name of a subscription on one name (scope.h: on many). ERR_INVALID with a sentence
 * in error. */
int stream_subscribe_check(const struct stream_frame *frame, char *error, size_t error_size);
int stream_subscribe_error(char *error, size_t error_size, const char *text); /* ERR_INVALID */
void stream_subscribe_add_part(struct buf *key, struct slice part);
struct slice stream_subscribe_copy(
    struct buf *texts,
    struct slice s); /* appends a copy; texts must have room, because earlier copies must not move */

/* Copies a filter and its texts into `texts`. True: it hides instances. */
bool stream_subscribe_copy_filter(struct select_query *ret, const struct select_query *q, struct buf *texts);
void stream_subscribe_add_audience(struct buf *key, const struct audience *a);

/* inherited.c */
/* After a change of what the instances of change->service inherit. True: the caller reports all of them as changed.
 * False: nothing has changed, or they are too many, and the topic's readers get a snapshot. */
bool stream_inherited_as_delta(struct stream_topic *topic, const struct catalog_change *change);
/* The client has this instance (NULL: there is none) as it is now, with what it inherits. */
bool stream_inherited_is_known(const struct catalog_instance *i, const struct stream_known *known);

/* services.c */
/* The first service after this name (empty = the beginning) that the scope may have, by the names that its
 * patterns begin with; stream_scope_fits decides. NULL: no more. */
struct catalog_service *stream_scope_next(const struct catalog *c, const struct stream_scope *s,
                                          const struct stream_name *after);
struct stream_name stream_scope_name(const struct catalog_service *s);
/* Calls fn for the services of a scope, in order. */
void stream_scope_each(const struct catalog *c, const struct stream_scope *s,
                       void (*fn)(void *arg, struct catalog_service *s), void *arg);
/* The last revision in which a service of the scope has changed, or a later one. */
int64_t stream_scope_changed(const struct catalog *c, const struct stream_scope *s);
int64_t stream_registry_reached(void *owner);

/* config_walk.c */
/* Calls fn for the configurations of a scope in order, also for some that do not fit it, from `place` on, until it
 * returns false, `places` were visited or a namespace ends; with SIZE_MAX for all. True: there may be more. */
bool stream_config_walk(const struct config *c, const struct stream_scope *scope, struct buf *place,
                        size_t places, bool (*fn)(void *arg, const struct config_item *item), void *arg);

/* service.c, services.c, instances.c, config.c */
extern const struct stream_source stream_service_source, stream_services_source, stream_instances_source;
extern const struct stream_source stream_config_source, stream_configs_source;
/* Call it in each turn, after config_turn: views report the changes whose contents were fetched. */
void stream_config_turn(struct stream_server *s);

/* events.c */
/* A token in a URL would end up in access logs and browser histories. */
#define STREAM_TOKEN_IN_QUERY                                                                                \
    "a token in the URL is rejected: send the header Authorization: Bearer <token>, or hello's token"
bool stream_query_has_token(const struct http_request *q);
void stream_events_begin(struct stream_server *s, struct http_request *q);
void stream_events_refuse(struct http_request *q, int err, const char *message);
void stream_events_opened(struct stream_conn *c); /* after welcome: subscribes to what the query names */

#endif
