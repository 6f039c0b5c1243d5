/* SPDX-License-Identifier: Apache-2.0
 * Public API of server/dns: the DNS server of the registry, over UDP and TCP, on the loop. */
#ifndef SERVER_DNS_SERVER_H
#define SERVER_DNS_SERVER_H

#include "registry/registry.h"

struct dns_server;
struct output_budget;

struct dns_server_options {
    struct uv_loop_s *loop;
    struct registry *registry;
    /* "127.0.0.1:8600,[::1]:8600": each an IP address or localhost with a port; port 0 = any free port */
    const char *listen;
    const char *zone;
    int64_t ttl_ns; /* rounded down to seconds */
    /* Hosts at which clients reach this member if it listens on all addresses; the IP addresses among them
     * become the records of ns.<zone>. */
    const char *const *hosts;
    size_t host_count;
    /* Returns the current audience of clients, NULL = it sees everything. May be NULL: clients see
     * everything. */
    struct audience *(*audience)(void *arg);
    void *audience_arg;
    /* UDP answers per second to one source prefix that is not verified (dns_rate.h); 0 = no limit. */
    uint64_t rate_limit;
    /* TCP connections; 0 = 256. Beyond that, the source prefix with the most connections loses the one
     * that has been idle for longest. */
    size_t connections_max;
    uint64_t idle_ms;             /* 0 = 10 s */
    struct output_budget *output; /* counts answers that TCP clients have not read; borrowed, NULL = none */
};

/* Checks listen and zone without opening anything. ERR_INVALID with a sentence in error. */
MUST_CHECK int dns_server_check(const char *listen, const char *zone, char *error, size_t error_size);
/* ERR_INVALID, ERR_EXISTS (address in use) with a sentence in error. */
MUST_CHECK int dns_server_new(const struct dns_server_options *options, char *error, size_t error_size,
                              struct dns_server **ret);
int dns_server_port(const struct dns_server *s); /* of the first address in `listen` */
/* Stops and frees the server. done is called when all its handles are closed. */
void dns_server_stop(struct dns_server *s, void (*done)(void *arg), void *arg);

#endif
