/* SPDX-License-Identifier: Apache-2.0
 * Members on loopback for the tests of the TCP transport, in one loop, and raw sockets beside them. */
#ifndef TESTS_UNIT_PEER_NET_H
#define TESTS_UNIT_PEER_NET_H

#include <uv.h>

#include "base/mem.h"
#include "consensus/peer/peer_tcp.h"
#include "consensus/peer/peer_wire.h"

#include "tests/unit/unit.h"

#define CLUSTER UINT64_C(0xc1)

struct node {
    struct peers *peers;
    uint64_t id;
    int port;
    char url[64];
    const char *url_list[1];
    /* the received messages */
    size_t messages[PEER_STREAM_COUNT], bytes;
    uint64_t last_from;
    uint64_t last_number[PEER_STREAM_COUNT]; /* of numbered messages; must grow */
    size_t lost_numbers;
    bool is_ordered;
    unsigned reachable, unreachable, removed, questions, unconfirmed;
    uint64_t last_unconfirmed;
    enum peer_proof last_proof; /* of a member RPC */
    uint64_t removed_by;
    struct buf last;
    bool is_echoing;                /* answers member RPCs with their text */
    struct peer_served_query *held; /* if not */
    void (*hook)(struct node *);    /* in on_message */
    bool is_closed;
};

/* Of members that are opened next; NULL (and after net_close): no token, they prove their identity by
 * dial-backs. */
extern const char *net_token;
extern bool net_requires_proof;
/* The budget in which members that are opened next count their output; NULL after net_close. */
extern struct output_budget *net_output;

extern uv_loop_t net_loop;
extern struct io *net_io;

int net_setup(void **state);
int net_teardown(void **state);

/* The heartbeat of members that are opened next; net_close sets it back to 10 ms. At 10 ms a stream without a
 * byte is dead after 250 ms. A raw socket that is a stream sends no pings: a test that holds one sets
 * NET_UNHURRIED_MS first. */
enum { NET_HEARTBEAT_MS = 10, NET_UNHURRIED_MS = 10000 };
extern uint64_t net_heartbeat_ms;

/* tls may be NULL; scheme "http" or "https". Port 0 = a free one. */
void net_open(struct node *n, uint64_t id, int port, const char *host, const struct peer_tls_options *tls);
void net_close(struct node *n); /* and waits for it */
void net_knows(struct node *n, const struct node *other);
bool net_send(struct node *n, uint64_t to, enum peer_stream stream, uint64_t number, size_t size);
void net_flush(struct node *n);

void net_run(unsigned ms);
#define WAIT_UNTIL(condition)                                                                                \
    do {                                                                                                     \
        uint64_t net_end_ = uv_hrtime() + UINT64_C(60000000000);                                             \
        while (!(condition) && uv_hrtime() < net_end_)                                                       \
            net_run(1);                                                                                      \
        assert_true(condition);                                                                              \
    } while (0)

/* An expected event has this long, as in WAIT_UNTIL. */
enum { RAW_LIMIT_MS = 60000 };

/* Blocking client and server sockets, used between turns of the loop. */
int raw_connect(int port);
int raw_listen(int *ret_port);
int raw_accept(int fd); /* running the loop meanwhile */
void raw_send(int fd, struct slice bytes);
/* Reads until the other side closes or the time is over. */
void raw_read(int fd, unsigned ms, struct buf *ret_bytes, bool *ret_closed);
/* Reads until some bytes have arrived, the other side has closed or RAW_LIMIT_MS are over. */
void raw_await(int fd, struct buf *ret_bytes, bool *ret_closed);
int free_port(void); /* of a block that no other test program has at the moment */
/* Frames of the dialer's opening by hand: HELLO, then PROOF by the token (NULL: none). The bytes of `after`
 * are sent together with PROOF. False: refused or closed without a challenge. */
bool raw_open(int fd, const struct wire_hello *hello, const char *token, struct slice after);
extern uint8_t raw_last_mac[PROOF_MAC_SIZE]; /* of raw_open */
/* The next frame, in answer until the next call: false when the other side has closed. */
bool raw_frame(int fd, enum wire_stage stage, struct wire_frame *ret_frame);
/* Challenge and WELCOME, as a dialed member without a token sends them. */
void raw_welcome(struct buf *out, const struct wire_reply *reply);

#endif
