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
    /* "127.0.0.1:8600,[::1]:8600"; IP or localhost, a port each, 0 for any that is free */
    const char *listen;
    const char *zone;
    int64_t ttl_ns; /* whole seconds count */
    /* Where clients find this member when it listens on all addresses: of those, IPs become ns.<zone>. */
    const char *const *hosts;
    size_t host_count;
    /* What callers are shown as of now, NULL = all; NULL: everything always. */
    struct audience *(*audience)(void *arg);
    void *audience_arg;
    /* UDP answers per second to one source prefix that is not verified (dns_rate.h); 0 = no limit. */
    uint64_t rate_limit;
    /* TCP; 0 = 256. Of the source prefix that has the most, the one that has been idle for longest makes
     * room. */
    size_t connections_max;
    uint64_t idle_ms;             /* 0 = 10 s */
    struct output_budget *output; /* where answers that TCP clients do not read are counted; NULL: nowhere */
};

/* Nothing is opened: are listen and zone what they should be? ERR_INVALID with a sentence. */
MUST_CHECK int dns_server_check(const char *listen, const char *zone, char *error, size_t error_size);
/* ERR_INVALID, ERR_EXISTS (address in use) with a sentence in error. */
MUST_CHECK int dns_server_new(const struct dns_server_options *options, char *error, size_t error_size,
                              struct dns_server **ret);
int dns_server_port(const struct dns_server *s); /* of the first address */
/* done when all its handles are closed; then it is freed. */
void dns_server_stop(struct dns_server *s, void (*done)(void *arg), void *arg);

#endif
