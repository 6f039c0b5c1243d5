/* SPDX-License-Identifier: Apache-2.0
 * DNS answers: from the bytes of a query to the bytes of its answer, out of the registry's catalog. Pure:
 * time, randomness, the cookie secret and the rate limit are arguments.
 *
 *   A, AAAA   addresses of the instances that GET with healthy=true returns, in random order
 *   SRV       their ports and weights
 *   TXT       their fields and metadata
 *   CNAME     a service whose instances have only host names is an alias of one of them, for every type; its
 *             ports are found by the underscore name
 *   ANY       one HINFO record (RFC 8482)
 *
 * Records that do not fit set TC over UDP; the client then repeats the query over TCP. */
#ifndef SERVER_DNS_ANSWER_H
#define SERVER_DNS_ANSWER_H

#include "server/dns/dns_cookie.h"
#include "server/dns/dns_find.h"
#include "server/dns/dns_rate.h"

enum {
    DNS_RECORDS_MAX = 64, /* of a service in one answer, whatever the transport; which ones is random */
    DNS_SERVER_ADDRESSES_MAX = 8,
    DNS_ZONE_MAX = 128, /* bytes: names in it need room */
};

struct dns_zone {
    struct dns_name name; /* lower case */
    uint32_t ttl_s;       /* seconds; of every record, and of a negative answer (SOA) */
    struct dns_address servers[DNS_SERVER_ADDRESSES_MAX]; /* of ns.<zone>: this server */
    size_t server_count;
};
/* ERR_MALFORMED: it is not a name, the root, or longer than DNS_ZONE_MAX. */
MUST_CHECK int dns_zone_init(struct dns_zone *zone, struct slice name, uint32_t ttl_s);
void dns_zone_add_server(
    struct dns_zone *zone,
    const struct dns_address *address); /* beyond DNS_SERVER_ADDRESSES_MAX it does nothing */

struct dns_view {
    const struct dns_zone *zone;
    const struct catalog *catalog; /* NULL: not ready, SERVFAIL */
    struct dns_index *index;
    struct dns_choices *choices; /* NULL: instances are selected again for each question */
    /* The audience of clients without credentials; NULL = they see everything. An audience without any
     * permission for the registry gets REFUSED. */
    struct audience *audience;
    const struct dns_cookie_secrets *secrets;
    struct dns_rate *rate; /* NULL: no limit */
};

struct dns_request {
    struct slice query;
    bool is_tcp;
    struct dns_address client;
    uint32_t now_s;   /* since 1970, for cookies */
    uint64_t mono_ns; /* for the rate limit */
    uint64_t random;
};

struct dns_result {
    enum dns_rcode rcode;
    uint16_t type; /* of the question; 0 = the question could not be read */
    bool is_truncated;
    enum dns_cookie_state cookie;
    enum dns_rate_verdict verdict; /* other than DNS_RATE_PASS: the rate limit decided */
};

/* Answers one query. out has DNS_ANSWER_MAX bytes over TCP, DNS_UDP_SIZE over UDP. Returns the size of the
 * answer; 0: no answer is sent. The arena is for scratch memory.
 *
 * Over UDP the source may be forged, and the answer then goes to a victim. A source is verified when it is a
 * loopback address or the query has a valid cookie. Every other one gets answers of DNS_UDP_SIZE_MIN bytes at
 * most, and as many a second as view->rate allows. */
size_t dns_answer(const struct dns_view *view, const struct dns_request *request, struct arena *arena,
                  uint8_t *out, struct dns_result *ret_result);

#endif
