/* SPDX-License-Identifier: Apache-2.0
 * Private header of the TCP transport: its state, and the functions that its files call in each other.
 *
 *     peer_tcp.c        the table of operations: members, identity, send, flush; init and close
 *     peer_stream.c     outgoing streams: dial, handshake, pings, backoff
 *     peer_listen.c     incoming connections: accept, hello, checks, streams and queries
 *     peer_query.c      outgoing bootstrap queries
 *     peer_handshake.c  hello, challenge and proof, of both sides
 *     peer_confirm.c    dial-backs: requested by the accepting side, answered by the dialer
 *     peer_conn.c       one connection: name -> socket -> TLS -> frames; its owner has an ops table
 *     peer_report.c     metrics, and a limit for repeated log lines
 *
 * Invariant: no callback runs inside another call. A function that ends a connection only marks it; its owner
 * is notified from libuv's close callback. */
#ifndef CONSENSUS_PEER_PEER_IMPL_H
#define CONSENSUS_PEER_PEER_IMPL_H

#include <uv.h>

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/net/output.h"
#include "base/net/tls.h"
#include "base/text.h"
#include "consensus/peer/peer_tcp.h"
#include "consensus/peer/peer_wire.h"

enum {
    HEARTBEAT_MS = 100,
    PING_HEARTBEATS = 5,        /* between pings */
    SILENCE_PINGS = 5,          /* a stream without a received byte for so many pings is dead */
    PEER_SOCKET_PATH_MAX = 107, /* of a socket file: sockaddr_un */
    DIAL_MS = 2000,             /* name, connect, TLS and hello together */
    REPLY_MS = 6000,            /* after the challenge: the other side may dial back first */
    TLS_STEPS_PER_MS = 1,       /* steps of TLS handshakes of incoming connections; about half a millisecond
                              each */
    HELLO_MS = 5000,            /* of an incoming connection: TLS and hello, or query */
    CONFIRM_MS = 1500,          /* a dial-back to one address */
    CONFIRM_ALL_MS = 4000,
    CONFIRMS_MAX = 16,  /* dial-backs at the same time */
    QUERIES_MAX = 64,   /* bootstrap queries that wait for an answer */
    VOUCHED_MS = 10000, /* a member that others list must open a stream within this time */
    ANSWER_MS = 30000,  /* a query without an answer is dropped after this time */
    LINGER_MS = 1000,   /* for the other side to read our last frame */
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 2000,
    LOG_AGAIN_MS = 60000,
    RETRY_NOW_MS = 500,       /* a connect that takes longer is replaced when the other side dials us */
    UNAUTHENTICATED_MAX = 64, /* incoming connections without a proof */
    LEARNED_MAX = 64,         /* members that are not in our list */
    KNOWN_URLS_MAX = 16,
    ADDRESSES_MAX = 8,
    LISTENERS_MAX = 32,
    READ_SIZE = 256 << 10,
    KEPT_SIZE = 256 << 10, /* a larger empty buffer is freed */
    RTT_BUCKETS = 16,
};

/* Limits of the queue of a stream; an empty queue accepts any single message.
 * - LOG: raft may have 512 appends in flight to a follower; normal writes are far less. A stalled link drops
 *   what exceeds the limit, and raft repairs that by probing.
 * - BULK: the sender of a snapshot limits itself by `queued`. */
#define LOG_QUEUE_MAX  (32u << 20)
#define BULK_QUEUE_MAX (4u << 20)

#define RTT_FIRST  0.0001
#define RTT_FACTOR 2

struct tcp_peers;
struct conn;

/* --- a connection -------------------------------------------------------------------------------------- */
struct conn_ops {
    void (*on_open)(struct conn *c); /* outgoing: connected, TLS done */
    void (*on_frame)(struct conn *c, const struct wire_frame *frame);
    void (*on_timer)(struct conn *c);
    /* The last call. err and text of the connection hold the reason. */
    void (*on_closed)(struct conn *c);
};

enum conn_state {
    CONN_RESOLVING,
    CONN_CONNECTING,
    CONN_TLS, /* handshake of TLS */
    CONN_OPEN,
    CONN_FINISHING, /* our last frame is being sent; received bytes are dropped */
    CONN_CLOSING,
};

/* The handshake of a connection, on either side. */
struct handshake {
    struct wire_hello hello; /* urls: in the buffer below */
    struct buf urls;
    uint8_t dialed_nonce[PROOF_NONCE_SIZE];
    bool is_challenged;     /* dialed_nonce is known */
    bool is_confirmed;      /* dialer: a dial-back was confirmed; no second one is */
    bool is_waiting;        /* dialed side: another handshake of that member's stream has its dial-back
                               first */
    enum peer_proof proof;  /* that the other side has shown */
    struct dial_back *back; /* dialed side: under way */
};

struct conn {
    struct tcp_peers *p;
    const struct conn_ops *ops;
    void *owner; /* NULL: nobody is notified any more */
    enum conn_state state;
    enum wire_stage stage;
    struct io_timer timer;
    uint64_t due_ms;                /* when the timer should fire */
    uint64_t received_ms;           /* when the last byte was received */
    uint64_t received_n, written_n; /* bytes, for metrics */
    uint64_t answered_n;            /* received_n at the last pong that we sent */

    struct tls *tls;
    struct output_account output;
    struct buf in;               /* plain text, an incomplete frame */
    struct buf out;              /* plain frames; peer_conn_flush sends them */
    struct buf writing;          /* the bytes that libuv is writing */
    struct buf unread;           /* received bytes of a TLS handshake that waits for its turn */
    struct link waiting;         /* of tcp_peers.tls_handshakes; nothing is read from it meanwhile */
    struct link all, dirty;      /* of tcp_peers */
    struct link unauthenticated; /* of tcp_peers.unauthenticated */
    bool is_accepted, is_writing, is_tcp_closed, is_resolving;
    uint64_t host_hash;          /* of the remote address, without the port */
    bool is_from_member;         /* accepted from an address of a member that we know */
    struct handshake *handshake; /* NULL: no hello yet */

    char host[256];
    uint16_t port;
    unsigned address, address_count; /* index of the name's address that is tried, and the number of
                                        addresses */

    int err; /* why it ended */
    char text[256];
    char remote[80];

    bool is_unix; /* then the handle is the pipe */
    union {
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    uv_connect_t connect;
    uv_write_t write;
    uv_shutdown_t shutdown;
    uv_getaddrinfo_t lookup;
};

/* Dials the n-th address of the URL's name. ERR_INVALID: not a URL, or TLS is not available. */
void peer_tls_name(const struct url *url, char *ret_name);         /* room for url->host, or for localhost */
bool peer_is_certified_for(const struct conn *c, const char *url); /* the certificate names the host */
MUST_CHECK int peer_conn_dial(struct tcp_peers *p, const char *url, unsigned address,
                              const struct conn_ops *ops, void *owner, struct conn **ret_conn);
MUST_CHECK int peer_conn_accept(struct tcp_peers *p, uv_stream_t *server, bool is_tls,
                                const struct conn_ops *ops, struct conn **ret_conn);
void peer_conn_add(struct conn *c, enum wire_kind kind, struct slice head,
                   struct slice body); /* peer_conn_flush sends it */
void peer_conn_flush(struct conn *c);
size_t peer_conn_queued(const struct conn *c);
void peer_conn_finish(
    struct conn *c); /* closes when everything is written and the other side has closed, or after LINGER_MS */
void peer_conn_close(struct conn *c, int err, const char *text);
void peer_conn_tls_init(struct tcp_peers *p);
struct slice peer_conn_host(const struct conn *c); /* the remote address without port and brackets */
void peer_conn_timer(struct conn *c, uint64_t after_ms);
bool peer_conn_is_silent(struct conn *c); /* for the timer of a stream */

/* --- members ------------------------------------------------------------------------------------------- */
enum peer_stream_state {
    PEER_STREAM_IDLE,    /* no identity, or no URLs */
    PEER_STREAM_WAITING, /* for the next attempt */
    PEER_STREAM_DIALING,
    PEER_STREAM_UP, /* as long as its connection is open */
};

/* An outgoing stream. */
struct stream {
    struct member *member;
    enum peer_stream kind;
    enum peer_stream_state state;
    struct conn *conn;
    struct io_timer timer;
    unsigned url, address; /* indexes of the next attempt */
    uint64_t backoff_ms, dialed_ms, up_ms;
    bool redials_at_once; /* dial at once after the present connection has closed */
    bool is_refused;      /* the last attempt was refused */
    bool is_up_reported;  /* the last log line says that it is up, or there is none yet */
};

struct member {
    struct tcp_peers *p;
    uint64_t id;
    /* Not in our member list: known from its proved hello, or listed by another member (until
     * vouched_until_ms). It is kept as long as it has an incoming stream. */
    bool is_learned;
    uint64_t vouched_until_ms;
    char address[64];                             /* IP address that our last stream to it was connected to */
    struct conn *dialing_back[PEER_STREAM_COUNT]; /* handshakes whose dial-back is under way */
    char *urls[KNOWN_URLS_MAX];
    unsigned url_count;
    struct stream streams[PEER_STREAM_COUNT];
    struct { /* incoming streams */
        struct conn *conn;
        uint64_t run, number;
    } in[PEER_STREAM_COUNT];
    uint64_t round_trip_ns;
    struct histogram round_trips;
    uint64_t sent_bytes, received_bytes, sent_failures, received_failures, disconnects;
};

struct log_slot {
    uint64_t key, until_ms;
};

struct tcp_peers {
    struct peers peers;
    struct io *io;
    uv_loop_t *loop;
    const struct peer_events *events;
    void *arg;
    uint64_t cluster_id, self;      /* 0 = no identity yet */
    uint32_t level, required_level; /* own level; level of the cluster (peer_ops.set_level) */
    uint64_t run, next_number;
    uint64_t ping_ms, silence_ms;
    struct map members; /* by id */
    struct map removed; /* ids; the values are the map itself */
    unsigned learned_count;
    struct link conns, dirty, unauthenticated; /* oldest unauthenticated connection first */
    struct link tls_handshakes;                /* incoming connections whose TLS handshake waits, in order */
    struct io_timer tls_handshake_timer;
    uint64_t tls_handshake_ms; /* the millisecond in which tls_handshake_count steps were taken */
    unsigned tls_handshake_count;
    unsigned unauthenticated_count, served_query_count;
    struct link queries, served_queries;
    struct link dial_backs; /* in order; the first CONFIRMS_MAX are under way */
    struct proof_tokens tokens;
    struct output_budget *output;
    bool requires_proof; /* --require-peer-proof */
    bool ca_proves;      /* --peer-trusted-ca-file: every TLS connection has a verified certificate */
    uint64_t refused[WIRE_REASON_COUNT], confirmed, not_confirmed;
    uint64_t next_query_number;
    struct buf urls;                      /* our own, as a hello sends them */
    struct tls_context *tls_in, *tls_out; /* out: use peer_tls_out */
    char *tls_later[3];                   /* for tls_out: cipher suites, lowest and highest version; NULL =
                                             default */
    struct listener *listeners;
    unsigned open_handles; /* of libuv; p is freed when there is none */
    uv_idle_t last;        /* never started: its close callback runs in the loop */
    bool is_closing, skip_client_san;
    void (*closed)(void *arg);
    void *closed_arg;
    struct log_slot logged[64];
    uint8_t read[READ_SIZE];
};

uint64_t peer_now_ms(struct tcp_peers *p);
bool peer_level_is_low(const struct tcp_peers *p, uint32_t level); /* of a member, as it announces it */
struct member *peer_member_get(struct tcp_peers *p, uint64_t id);
struct member *peer_member_add(struct tcp_peers *p, uint64_t id);
void peer_member_set_urls(struct member *m, const char *const *urls, size_t count); /* dials if possible */
void peer_member_free(struct member *m);
void peer_release(struct tcp_peers *p); /* frees p when it is closing and no handle is open */

/* --- outgoing streams ---------------------------------------------------------------------------------- */
bool peer_stream_is_up(const struct stream *s);
void peer_stream_start(struct stream *s);     /* dials if there is a reason to and it does not yet */
void peer_stream_retry_now(struct stream *s); /* the other side is reachable: ends the wait */
void peer_stream_restart(struct stream *s);   /* its URLs or our identity have changed */
void peer_stream_done(struct stream *s);

/* --- incoming connections, queries --------------------------------------------------------------------- */
MUST_CHECK int peer_listen_open(struct tcp_peers *p, const char *url, char *error, size_t error_size);
void peer_listen_close(struct tcp_peers *p);
void peer_listen_close_streams(struct member *m); /* closes the incoming streams of m */
void peer_served_query_answer(struct tcp_peers *p, struct peer_served_query *q, struct slice text);
void peer_served_query_confirm(struct tcp_peers *p, struct peer_served_query *q, const char *const *urls,
                               size_t count, void (*done)(void *arg, bool is_confirmed), void *arg);
void peer_served_queries_done(struct tcp_peers *p);
struct conn *peer_query_conn(struct tcp_peers *p, uint64_t number); /* of a query that waits for its answer;
                                                                       NULL: none */
uint64_t peer_query_start(struct tcp_peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                          void (*done)(void *arg, int err, struct slice answer), void *arg);
void peer_query_cancel(struct tcp_peers *p, uint64_t number);
void peer_queries_done(struct tcp_peers *p);

/* --- handshake ----------------------------------------------------------------------------------------- */
void peer_handshake_dial(struct conn *c, struct wire_hello *hello); /* fills in the rest and sends it */
void peer_handshake_accept(struct conn *c, const struct wire_hello *hello); /* sends the challenge */
void peer_handshake_free(struct handshake *o);
struct proof_handshake peer_handshake_input(const struct conn *c, struct slice text);
/* The dialer reads the challenge, which shows the proof of the dialed side. ERR_MALFORMED.
 * ERR_PERMISSION_DENIED: a proof is required and none was shown. */
MUST_CHECK int peer_handshake_read_challenge(struct conn *c, struct slice payload);
void peer_handshake_add_proof(struct conn *c);
/* The proof that the dialer shows with this MAC or its certificate. */
enum peer_proof peer_handshake_check_proof(struct conn *c, const uint8_t mac[PROOF_MAC_SIZE],
                                           struct slice text);
bool peer_handshake_is_certified(const struct conn *c, bool for_all); /* for one, or for all, of its URLs */

/* Starts a dial-back. done is called once, later, unless it is canceled. urls are copied; each of their
 * addresses is tried. */
struct dial_back *peer_dial_back_start(struct conn *c, const char *const *urls, size_t count,
                                       void (*done)(void *arg, bool is_confirmed), void *arg);
/* A dial-back without an address: done is called with false. */
struct dial_back *peer_dial_back_none(struct tcp_peers *p, void (*done)(void *arg, bool is_confirmed),
                                      void *arg);
void peer_dial_back_cancel(struct dial_back *d);
void peer_dial_backs_done(struct tcp_peers *p);
void peer_confirm_answer(struct conn *c, struct slice payload); /* and closes the connection */

/* --- reporting ----------------------------------------------------------------------------------------- */
/* True: a line with this reason and peer may be logged now. At most one a minute. */
bool peer_report_may_log(struct tcp_peers *p, const char *reason, uint64_t peer);
void peer_report_metrics(void *arg, struct buf *out);

struct tls_context *peer_tls_out(struct tcp_peers *p);

#endif
