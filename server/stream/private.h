/* SPDX-License-Identifier: Apache-2.0
 * Private to server/stream: the server, its connections and their subscriptions as the files here share them.
 *
 *   stream.c   the server: turns, time, fan-out  conn.c     one connection: frames in, frames out, credit
 *   opening.c  hello until welcome               session.c  register, deregister, the session's life
 *   level.c    subscriptions on topics           kv.c       subscriptions on keys
 *   service.c  sources of topics: registry       config.c   sources of topics: configurations
 *   publish.c  publish, applied                  events.c   Server-Sent Events
 *   ask.c      what subscribe frames ask for          judge.c    rights of what is open */
#ifndef SERVER_STREAM_PRIVATE_H
#define SERVER_STREAM_PRIVATE_H

#include "base/heap.h"
#include "base/list.h"
#include "server/auth/guard.h"
#include "server/http/request.h"
#include "server/stream/frame.h"
#include "server/stream/release.h"
#include "server/stream/stream.h"
#include "server/stream/topic.h"

enum {
    STREAM_HELLO_MS = 10 * 1000,
    STREAM_MARK_MS = 10 * 1000,
    STREAM_SILENT_MS = 30 * 1000,
    STREAM_RESUME_WAIT_MS = 2 * 1000, /* a member that is behind the token may catch up */
    STREAM_GOAWAY_MS = 5 * 1000,      /* clients come back spread over so long */
    STREAM_WINDOW = 1 << 20,
    STREAM_WINDOW_MIN = 16 << 10,
    STREAM_WINDOW_MAX = 16 << 20,
    STREAM_SUBSCRIPTIONS_MAX = 1024, /* of one connection */
    STREAM_REQUESTS_MAX = 64,        /* under way on one connection */
    STREAM_EARLY_MAX = 64 * 1024,    /* bytes of frames that come between hello and welcome */
    STREAM_POLICY = 1008,            /* WebSocket close: not what the protocol is */
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
    struct link waiting; /* openings that wait until the registry can be read */
    struct link dead;    /* without a request; freed in the next turn */
    struct heap due;     /* of stream_conn.due */
    size_t conn_count, subscription_count;
    int64_t began; /* revision of the registry's first view; 0 = there was none yet */
    bool is_ready;
    uint64_t rights;   /* guard_revision of the last turn */
    int64_t rights_at; /* the registry's revision when that changed last: what was sent up to it may have been
                          shown under other rights; -1 = it never did */
    uint64_t slice_end_ns; /* of this turn's fan-out */
    uint64_t swept_ms;
    struct registry_request advance; /* moves the view's revision on, for marks */
    struct config_request advance_config;
    bool is_advancing, is_advancing_config;
    struct stream_releases *releases;
    struct link unsettled; /* views of configurations with something to tell */
    struct buf scratch;    /* a frame's head */
};

enum stream_phase { STREAM_CONN_NEW, STREAM_CONN_OPENING, STREAM_CONN_OPEN };

struct stream_conn {
    struct link link; /* in server->conns or server->dead */
    struct link ready;
    struct stream_server *server;
    struct http_request *q; /* NULL: it is over */
    struct heap_node due;   /* hello is late; the next mark */
    struct link subs, dirty;
    struct link requests, publishes;
    struct stream_opening *opening; /* between hello and welcome */
    struct stream_credit *credit;
    struct stream_beat *beat;     /* what is asked about the session */
    struct watch_stream *watches; /* of kv subscriptions; NULL = none yet */
    uint64_t window, sent_bytes, acked_bytes;
    int64_t sent_revision, last_watch_id;
    int64_t session;                        /* 0 = none */
    char session_key[SESSION_KEY_SIZE + 1]; /* what the client showed, or was given; "" = none */
    bool owes_key;                          /* the client was not told it yet */
    struct registry_proof proof;            /* of this connection; its slices are the connection's */
    uint64_t beat_ms;
    uint32_t ttl_s;
    uint32_t sub_count, request_count;
    uint8_t phase;
    bool is_events;                 /* Server-Sent Events */
    bool is_foreign;                /* the token was of another cluster */
    bool has_news;                  /* the watch stream has something */
    bool wants_mark;                /* when the watch stream's progress is there */
    bool is_window_announced;       /* that it has to acknowledge */
    bool is_unacknowledged;         /* events: written, not yet all taken by the socket */
    bool is_unwritten;              /* somebody wants to know when the socket has taken all */
    struct registry_subscriber who; /* its texts lie in one block at who_memory */
    void *who_memory;
    void *user_memory;
    struct auth_who user; /* whose permissions count; nobody if auth was not enabled at hello */
    uint64_t judged;      /* the epoch of rights at which all that it has was allowed */
    struct buf shown;     /* until it is known who comes: the Authorization of the request */
};

struct stream_kind;

struct stream_sub {
    struct link link;  /* in conn->subs */
    struct link dirty; /* in conn->dirty while there is something to send */
    struct stream_conn *conn;
    const struct stream_kind *kind;
    int64_t revision; /* of its last frame */
    uint8_t *right; /* the key, or with is_right_prefix the prefix, that its client must be allowed to read */
    uint32_t right_size;
    uint32_t sid;
    bool is_right_prefix;
};

/* What can be subscribed to. */
struct stream_kind {
    const char *name;
    enum access need;
    size_t (*size)(void);               /* of its own struct, which begins with a stream_sub */
    const struct stream_source *source; /* of those on topics */
    int (*open)(struct stream_sub *sub, const struct stream_frame *ask, char *error, size_t error_size);
    void (*close)(struct stream_sub *sub);
    /* Sends one frame; false: there is nothing to send now. */
    bool (*send)(struct stream_sub *sub);
    /* It has everything up to here; -1: not even a first state. */
    int64_t (*position)(struct stream_sub *sub);
    void (*acknowledge)(struct stream_sub *sub, int64_t revision);
    void (*written)(struct stream_sub *sub); /* the socket has taken all that was sent */
    /* ERR_INVALID: what is said makes no sense here. */
    int (*applied)(struct stream_sub *sub, const struct stream_frame *f);
};

/* stream.c */
uint64_t stream_now_ms(const struct stream_server *s);
uint64_t stream_random(const struct stream_server *s, uint64_t below);
void stream_due(struct stream_conn *c, uint64_t after_ms);
void stream_wake(struct stream_conn *c); /* has something to send */
bool stream_is_slice_over(const struct stream_server *s);
const struct stream_kind *stream_kind_find(struct slice name);

/* conn.c */
struct stream_conn *stream_conn_new(struct stream_server *s, struct http_request *q, bool is_events);
void stream_conn_free(struct stream_conn *c);   /* of a dead one */
void stream_conn_detach(struct stream_conn *c); /* its request is gone: ends all that it has */
void stream_conn_close(struct stream_conn *c, uint16_t ws_status);
void stream_conn_fail(struct stream_conn *c, int err, const char *message); /* an error frame, then closed */
void stream_conn_receive(struct stream_conn *c, struct slice text);
bool stream_conn_has_room(struct stream_conn *c);
void stream_conn_run(struct stream_conn *c);     /* sends what it can */
void stream_conn_written(struct stream_conn *c); /* the socket has taken something */
void stream_conn_goaway(struct stream_conn *c);
void stream_conn_mark(struct stream_conn *c);
/* One frame: the head, and the members that others get too (or NULL). type: of the frame. revision: what the
 * client has of `sub` (NULL: of all) when it has read it; 0: nothing more than before. */
void stream_conn_send(struct stream_conn *c, const char *type, struct slice head, struct http_shared *shared,
                      const struct stream_sub *sub, int64_t revision);
void stream_conn_error(struct stream_conn *c, const struct stream_frame *about, int err, const char *message);
void stream_conn_subscribe(struct stream_conn *c, const struct stream_frame *ask);
int64_t stream_conn_position(struct stream_conn *c); /* it has all up to here; -1 */
void stream_sub_dirty(struct stream_sub *sub);
struct stream_sub *stream_conn_find(struct stream_conn *c, uint32_t sid); /* or NULL */

/* opening.c */
void stream_opening_begin(struct stream_conn *c, const struct stream_frame *hello);
void stream_opening_go_on(struct stream_conn *c); /* the registry can be read now */
void stream_opening_wake(struct link *waiting);   /* one of server->waiting */
void stream_opening_free(struct stream_conn *c);
void stream_opening_wipe(struct stream_conn *c);                    /* forgets what was shown */
void stream_opening_keep(struct stream_conn *c, struct slice text); /* a frame before welcome */
void stream_conn_who(struct stream_conn *c, struct slice client_id, const struct document_map *labels);

/* May the client have this? False: an error frame about `f` has gone. */
bool stream_conn_may(struct stream_conn *c, const struct stream_frame *f, const struct guard_need *need);

/* session.c */
/* For the requests of this connection, with the key and user as they are now. */
const struct registry_proof *stream_session_proof(struct stream_conn *c);
/* The connection has this session from now on; it was opened if there is a key. */
void stream_session_take(struct stream_conn *c, const struct registry_result *result);
void stream_session_register(struct stream_conn *c, const struct stream_frame *f);
void stream_session_deregister(struct stream_conn *c, const struct stream_frame *f);
void stream_session_heard(struct stream_conn *c); /* a frame came: the session is alive */
void stream_session_detach(struct stream_conn *c);

/* publish.c */
void stream_publish(struct stream_conn *c, const struct stream_frame *f);
void stream_publish_detach(struct stream_conn *c);
void stream_applied(struct stream_conn *c, const struct stream_frame *f);

/* level.c, kv.c */
int stream_level_open(struct stream_sub *sub, const struct stream_frame *ask, char *error, size_t error_size);
void stream_level_close(struct stream_sub *sub);
bool stream_level_send(struct stream_sub *sub);
int64_t stream_level_position(struct stream_sub *sub);
void stream_level_acknowledge(struct stream_sub *sub, int64_t revision);
void stream_level_written(struct stream_sub *sub);
int stream_level_applied(struct stream_sub *sub, const struct stream_frame *f);
size_t stream_level_size(void);
void stream_level_news(struct stream_topic *t); /* its readers have something to send */
/* The first key behind all with this prefix: "\0" when there is none. */
void stream_kv_prefix_end(struct slice prefix, struct buf *end);
int stream_kv_open(struct stream_sub *sub, const struct stream_frame *ask, char *error, size_t error_size);
void stream_kv_close(struct stream_sub *sub);
size_t stream_kv_size(void);
bool stream_kv_send(struct stream_sub *sub);
int64_t stream_kv_position(struct stream_sub *sub);
void stream_kv_acknowledge(struct stream_sub *sub, int64_t revision);
bool stream_kv_pull(struct stream_conn *c); /* what the watch stream has: one response; false: nothing */
void stream_kv_detach(struct stream_conn *c);

/* judge.c */
/* The client behind a write, for registry_request.who and config_request.who; NULL where no users are known
 * (in tests). */
const struct auth_who *stream_conn_author(const struct stream_conn *c);
/* One comparison while nobody's rights have changed. False: the connection has lost its own, and is over. */
bool stream_conn_is_judged(struct stream_conn *c);
/* Judges some connections, the idle ones too; true: there are more. */
bool stream_judge_turn(struct stream_server *s);
void stream_sub_keep_right(struct stream_sub *sub, struct slice key, bool is_prefix);
int stream_conn_check_read(struct stream_conn *c, struct slice key, bool is_prefix, char *error,
                           size_t error_size);
void stream_sub_end(struct stream_sub *sub);

/* ask.c */
/* The key that the client must be allowed to read, or (true) the prefix of all such keys. */
bool stream_ask_right(const struct stream_frame *ask, struct buf *key);
struct slice stream_ask_ns(const struct stream_frame *ask);
struct slice stream_ask_group(const struct stream_frame *ask);
/* Namespace, group and name or (is_prefix, then the group may be empty) prefix are what they may be. */
int stream_ask_check(const struct stream_frame *ask, bool is_prefix, char *error, size_t error_size);
int stream_ask_refuse(char *error, size_t error_size, const char *text); /* ERR_INVALID */
void stream_ask_add_part(struct buf *key, struct slice part);
struct slice stream_ask_moved(struct buf *texts, struct slice s); /* there must be room: it may not move */

/* service.c, config.c */
extern const struct stream_source stream_service_source, stream_services_source;
extern const struct stream_source stream_config_source, stream_configs_source;
/* In each turn, after config_turn: views whose contents are there tell what has changed. */
void stream_config_turn(struct stream_server *s);

/* events.c */
/* URLs end up in logs and histories. */
#define STREAM_TOKEN_IN_QUERY                                                                                \
    "a token in the URL is not taken: send the header Authorization: Bearer <token>, or hello's token"
bool stream_query_has_token(const struct http_request *q);
void stream_events_begin(struct stream_server *s, struct http_request *q);
void stream_events_refuse(struct http_request *q, int err, const char *message);
void stream_events_opened(struct stream_conn *c); /* welcome is out: the query's subscriptions */

#endif
