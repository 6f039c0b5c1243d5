/* SPDX-License-Identifier: Apache-2.0
 * Private header of dns_server.c and dns_tcp.c. */
#ifndef SERVER_DNS_SERVER_PRIVATE_H
#define SERVER_DNS_SERVER_PRIVATE_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/list.h"
#include "server/dns/dns_answer.h"
#include "server/dns/dns_choice.h"
#include "server/dns/dns_server.h"

enum {
    DNS_ADDRESSES_MAX = 16, /* to listen on */
    DNS_RCODES = 24,        /* BADCOOKIE is the last */
};

enum dns_transport { DNS_UDP, DNS_TCP, DNS_TRANSPORTS };

struct dns_listen {
    struct sockaddr_storage address;
    socklen_t size;
};

struct dns_socket {
    uv_poll_t poll;
    struct dns_server *server;
    int fd;
    bool is_wildcard; /* an answer must leave from the address that the query came to */
};

struct dns_server {
    struct uv_loop_s *loop;
    struct registry *registry;
    struct dns_zone zone;
    struct dns_index *index;
    uv_idle_t indexing; /* active while the index is being built: a slice a turn */
    struct dns_choices choices;
    struct audience *(*audience)(void *arg); /* may be NULL */
    void *audience_arg;
    struct arena arena;
    uint64_t answered; /* counts the answers; the source of randomness uses it */
    struct dns_cookie_secrets secrets;
    struct dns_rate *rate; /* NULL: no limit */
    struct dns_socket udp[DNS_ADDRESSES_MAX], tcp[DNS_ADDRESSES_MAX];
    size_t udp_count, tcp_count;
    struct dns_batch *batch;
    size_t batch_size;                  /* queries that are read at once: fewer when answers take long */
    uint64_t slice_at_ms, slice_end_ns; /* of the current turn: dns_server_is_slice_over */
    struct link connections;            /* ordered: the one that has been idle for longest first */
    size_t connection_count, connections_max;
    uint64_t idle_ms;
    struct output_budget *output;
    uv_timer_t timer; /* when the longest idle connection ends, or a pause in accepting */
    bool is_paused;
    uint8_t answer[DNS_ANSWER_MAX]; /* over TCP, before it is queued */
    uint64_t queries[DNS_TRANSPORTS], rcodes[DNS_RCODES], truncated, dropped;
    size_t open_handles;
    bool is_stopping;
    void (*done)(void *arg);
    void *done_arg;
};

/* dns_server.c: writes the answer to a query into out and counts it; 0 = no answer. */
size_t dns_server_answer(struct dns_server *s, struct slice query, enum dns_transport transport,
                         const struct dns_address *client, uint8_t *out);
/* Reads a client's address; returns its port. */
uint16_t dns_server_read_client(const struct sockaddr_storage *from, struct dns_address *ret_address);
/* True: DNS has used its time of this turn, which all sockets share. Other queries wait for the next turn. */
bool dns_server_is_slice_over(struct dns_server *s);
/* Counts a closed handle; the last one frees a server that stops. */
void dns_server_handle_closed(struct dns_server *s);

/* dns_tcp.c */
void dns_tcp_watch(struct dns_server *s);
void dns_tcp_stop(struct dns_server *s);
size_t dns_tcp_pending(const struct dns_server *s); /* bytes that clients have not taken yet */

#endif
