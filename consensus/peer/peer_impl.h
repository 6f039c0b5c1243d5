/* SPDX-License-Identifier: Apache-2.0
 * Private to the TCP transport: its state, and what its files call in each other.
 *
 *   peer_tcp.c     the table of operations: members, identity, send, flush; birth and end
 *   peer_stream.c    lanes out of us: dial, hello, pings, backoff
 *   peer_listen.c  lanes into us, and questions: accept, hello, who may come in
 *   peer_query.c     questions out of us
 *   peer_opening.c hello, challenge and proof, of both sides
 *   peer_confirm.c dial-backs: asked by the granting side, answered by the dialer
 *   peer_conn.c    one connection: name -> socket -> TLS -> frames; whoever owns it has an ops table
 *   peer_report.c  metrics, and how often a thing is logged
 *
 * Nobody's callback runs inside another's call: whatever ends a connection only marks it, and what its owner
 * is told comes from libuv's close callback. */
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
    PING_HEARTBEATS = 5,   /* between pings */
    SILENCE_PINGS = 5,     /* a lane without a byte for so long is dead */
    DIAL_MS = 2000,        /* name, connect, TLS and hello together */
    REPLY_MS = 6000,       /* after the challenge: the other side may dial back first */
    HANDSHAKES_PER_MS = 1, /* steps of TLS handshakes of those who dial us; about half a millisecond each */
    HELLO_MS = 5000,       /* for who dials us: TLS and hello, or question */
    CONFIRM_MS = 1500,     /* a dial-back to one address */
    CONFIRM_ALL_MS = 4000,
    CONFIRMS_MAX = 16,  /* dial-backs under way at once */
    QUESTIONS_MAX = 64, /* bootstrap queries that wait for an answer */
    VOUCHED_MS = 10000, /* a member that others list has so long to open a stream */
    ANSWER_MS = 30000,  /* a question not answered by then is dropped */
    LINGER_MS = 1000,   /* for the other side to read our last word */
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 2000,
    LOG_AGAIN_MS = 60000,
    RETRY_NOW_MS = 500,       /* a connect under way for longer is given up when the other side dials us */
    UNAUTHENTICATED_MAX = 64, /* unauthenticated connections */
    LEARNED_MAX = 64,         /* members known only from their own hello */
    KNOWN_URLS_MAX = 16,
    ADDRESSES_MAX = 8,
    LISTENERS_MAX = 32,
    READ_SIZE = 256 << 10,
    KEPT_SIZE = 256 << 10, /* an empty buffer larger than that is given back */
    RTT_BUCKETS = 16,
};

/* What waits in a lane at most; a single message is always taken by an empty one. LOG: raft may have 512
 * appends under way to a follower; of normal writes that is far less, and what a stalled link holds beyond it
 * is dropped, which raft repairs by probing. BULK: who sends snapshots paces himself by `queued`. */
#define LOG_QUEUE_MAX  (32u << 20)
#define BULK_QUEUE_MAX (4u << 20)

#define RTT_FIRST  0.0001
#define RTT_FACTOR 2

struct tcp_peers;
struct conn;

/* --- a connection -------------------------------------------------------------------------------------- */
struct conn_ops {
    void (*on_open)(struct conn *c); /* dialed: connected, TLS done */
    void (*on_frame)(struct conn *c, const struct wire_frame *frame);
    void (*on_timer)(struct conn *c);
    /* Last call. err and text of conn say why. */
    void (*on_closed)(struct conn *c);
};

enum conn_state {
    CONN_RESOLVING,
    CONN_CONNECTING,
    CONN_HANDSHAKE, /* TLS */
    CONN_OPEN,
    CONN_FINISHING, /* our last word is on its way; what comes is not read */
    CONN_CLOSING,
};

/* The handshake of a connection, seen from either side. */
struct opening {
    struct wire_hello hello; /* urls: in the buffer below */
    struct buf urls;
    uint8_t dialed_nonce[PROOF_NONCE_SIZE];
    bool is_challenged;     /* dialed_nonce is known */
    bool is_confirmed;      /* dialer: a dial-back was told yes, and none is again */
    bool is_waiting;        /* dialed: for the dial-back of another opening of that member's stream */
    enum peer_proof proof;  /* that the other side has shown */
    struct dial_back *back; /* dialed: under way */
};

struct conn {
    struct tcp_peers *p;
    const struct conn_ops *ops;
    void *owner; /* NULL: nobody is told any more */
    enum conn_state state;
    enum wire_stage stage;
    struct io_timer timer;
    uint64_t due_ms;                /* when the timer should fire */
    uint64_t received_ms;           /* when the last byte came */
    uint64_t received_n, written_n; /* bytes, for who counts */
    uint64_t seen_n;                /* received_n at the last sign of life we gave */

    struct tls *tls;
    struct output_account output;
    struct buf in;               /* plain, an incomplete frame */
    struct buf out;              /* plain frames; leave with peer_conn_flush */
    struct buf flying;           /* what libuv writes now */
    struct buf early;            /* of a TLS handshake that waits for its turn */
    struct link waiting;         /* of tcp_peers.handshakes; nothing is read from it meanwhile */
    struct link all, dirty;      /* of tcp_peers */
    struct link unauthenticated; /* of tcp_peers.guests */
    bool is_accepted, is_writing, is_tcp_closed, is_looking_up;
    uint64_t host_hash;      /* of who dialed us, without the port */
    bool is_from_member;     /* accepted from an address of a member that we know */
    struct opening *opening; /* NULL: no hello yet */

    char host[256];
    uint16_t port;
    unsigned address, address_count; /* which of the name's addresses is tried, of how many */

    int err; /* why it ended */
    char text[256];
    char remote[80];

    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uv_shutdown_t shutdown;
    uv_getaddrinfo_t lookup;
};

/* Dials the n-th address of the URL's name; ERR_INVALID: no such URL, or no TLS here. */
MUST_CHECK int peer_conn_dial(struct tcp_peers *p, const char *url, unsigned address,
                              const struct conn_ops *ops, void *owner, struct conn **ret_conn);
MUST_CHECK int peer_conn_accept(struct tcp_peers *p, uv_stream_t *server, bool is_tls,
                                const struct conn_ops *ops, struct conn **ret_conn);
void peer_conn_add(struct conn *c, enum wire_kind kind, struct slice head,
                   struct slice body); /* leaves by flush */
void peer_conn_flush(struct conn *c);
size_t peer_conn_queued(const struct conn *c);
void peer_conn_finish(
    struct conn *c); /* closes when all that was added is written and the other side has read */
void peer_conn_close(struct conn *c, int err, const char *text);
void peer_conn_handshakes_init(struct tcp_peers *p);
struct slice peer_conn_host(const struct conn *c); /* its remote address without port and brackets */
void peer_conn_timer(struct conn *c, uint64_t after_ms);
bool peer_conn_is_silent(struct conn *c); /* for the timer of a lane */

/* --- members ------------------------------------------------------------------------------------------- */
enum peer_stream_state {
    PEER_STREAM_IDLE,    /* no identity, or no URLs */
    PEER_STREAM_WAITING, /* for the next attempt */
    PEER_STREAM_DIALING,
    PEER_STREAM_UP, /* as long as its connection is open */
};

/* A lane out of us. */
struct stream {
    struct member *member;
    enum peer_stream kind;
    enum peer_stream_state state;
    struct conn *conn;
    struct io_timer timer;
    unsigned url, address; /* which are tried next */
    uint64_t backoff_ms, dialed_ms, up_ms;
    bool is_hurried;     /* dial at once when the present connection has ended */
    bool is_refused;     /* the last attempt was answered with a refusal */
    bool is_up_reported; /* the log says that it is up, or nothing yet */
};

struct member {
    struct tcp_peers *p;
    uint64_t id;
    /* Not in our member list: told by its proved hello, or listed by another member (until vouched_until_ms).
     * Known as long as it has a stream into us. */
    bool is_learned;
    uint64_t vouched_until_ms;
    char address[64];                        /* IP that our last stream to it was connected to */
    struct conn *proving[PEER_STREAM_COUNT]; /* openings whose dial-back is under way */
    char *urls[KNOWN_URLS_MAX];
    unsigned url_count;
    struct stream streams[PEER_STREAM_COUNT];
    struct { /* lanes into us */
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
    uint32_t level, required_level; /* ours; what the cluster is at (peer_ops.set_level) */
    uint64_t run, next_number;
    uint64_t ping_ms, silence_ms;
    struct map members; /* by id */
    struct map removed; /* ids; values are the map itself */
    unsigned learned_count;
    struct link conns, dirty, unauthenticated; /* oldest guest first */
    struct link handshakes;                    /* connections into us whose handshake waits, in order */
    struct io_timer handshake_timer;
    uint64_t handshake_ms; /* when so many steps were taken */
    unsigned handshake_count;
    unsigned unauthenticated_count, question_count;
    struct link asks, questions;
    struct link dial_backs; /* in order; the first CONFIRMS_MAX are under way */
    struct proof_tokens tokens;
    struct output_budget *output;
    bool requires_proof; /* --require-peer-proof */
    bool ca_proves;      /* --peer-trusted-ca-file: a TLS connection is one with a verified certificate */
    uint64_t refused[WIRE_REASON_COUNT], confirmed, not_confirmed;
    uint64_t next_ask;
    struct buf urls;                      /* ours, as a hello tells them */
    struct tls_context *tls_in, *tls_out; /* out: by peer_tls_out */
    char *tls_later[3];                   /* cipher suites, lowest and highest version; NULL = default */
    struct listener *listeners;
    unsigned open_handles; /* of libuv; p lives as long as one does */
    uv_idle_t last;        /* never started: its close callback comes in the loop */
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
void peer_member_set_urls(struct member *m, const char *const *urls, size_t count); /* dials if it may */
void peer_member_free(struct member *m);
void peer_release(struct tcp_peers *p); /* frees p when it is closing and nothing is open */

/* --- lanes --------------------------------------------------------------------------------------------- */
bool peer_stream_is_up(const struct stream *l);
void peer_stream_start(struct stream *l);     /* if there is reason to dial and it does not yet */
void peer_stream_retry_now(struct stream *l); /* the other side is there: no more waiting */
void peer_stream_restart(struct stream *l);   /* the way to it has changed, or who we are */
void peer_stream_done(struct stream *l);

/* --- listening, questions ------------------------------------------------------------------------------ */
MUST_CHECK int peer_listen_open(struct tcp_peers *p, const char *url, char *error, size_t error_size);
void peer_listen_close(struct tcp_peers *p);
void peer_listen_forget(struct member *m); /* closes the lanes into us from m */
void peer_served_query_answer(struct tcp_peers *p, struct peer_served_query *q, struct slice text);
void peer_served_query_confirm(struct tcp_peers *p, struct peer_served_query *q, const char *const *urls,
                               size_t count, void (*done)(void *arg, bool is_confirmed), void *arg);
void peer_served_queries_done(struct tcp_peers *p);
struct conn *peer_query_conn(struct tcp_peers *p, uint64_t number); /* of an ask that waits for its answer */
uint64_t peer_query_start(struct tcp_peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                          void (*done)(void *arg, int err, struct slice answer), void *arg);
void peer_query_cancel(struct tcp_peers *p, uint64_t number);
void peer_queries_done(struct tcp_peers *p);

/* --- openings ------------------------------------------------------------------------------------------ */
void peer_opening_dial(struct conn *c, struct wire_hello *hello);         /* fills in the rest, sends it */
void peer_opening_accept(struct conn *c, const struct wire_hello *hello); /* sends the challenge */
void peer_opening_free(struct opening *o);
struct proof_opening peer_opening_proof(const struct conn *c, struct slice text);
/* The dialer reads a challenge and knows what the dialed side has shown. ERR_MALFORMED; ERR_DENIED: a proof
 * is required and none was shown. */
MUST_CHECK int peer_opening_take_challenge(struct conn *c, struct slice payload);
void peer_opening_add_proof(struct conn *c);
/* What a dialer has shown with this MAC. */
enum peer_proof peer_opening_shown(struct conn *c, const uint8_t mac[PROOF_MAC_SIZE], struct slice text);
bool peer_opening_is_certified(const struct conn *c, bool for_all); /* for one, or all, of its URLs */

/* done comes once, later, unless it is cancelled. urls are copied; each of their addresses is tried. */
struct dial_back *peer_dial_back_start(struct conn *c, const char *const *urls, size_t count,
                                       void (*done)(void *arg, bool is_confirmed), void *arg);
/* One without an address to dial: done comes with false. */
struct dial_back *peer_dial_back_none(struct tcp_peers *p, void (*done)(void *arg, bool is_confirmed),
                                      void *arg);
void peer_dial_back_cancel(struct dial_back *d);
void peer_dial_backs_done(struct tcp_peers *p);
void peer_confirm_answer(struct conn *c, struct slice payload); /* and closes */

/* --- reporting ----------------------------------------------------------------------------------------- */
/* May a line about this reason and this peer be written again? At most once a minute. */
bool peer_report_may_log(struct tcp_peers *p, const char *reason, uint64_t peer);
void peer_report_metrics(void *arg, struct buf *out);

struct tls_context *peer_tls_out(struct tcp_peers *p);

#endif
