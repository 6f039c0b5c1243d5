/* SPDX-License-Identifier: Apache-2.0
 * From the bytes of a query to those of its answer, out of the registry's catalog. Pure: time is not asked
 * for, randomness is given.
 *
 * Services: A and AAAA of the instances that a reader of the registry would get (serving; all of them under
 * protection), SRV with their ports and weights, TXT with what they say of themselves. In random order. A
 * service that has only host names is an alias (CNAME) of one of them, whatever is asked; its ports are asked
 * for by its underscore name. Records that do not fit: TC over UDP, the client comes back over TCP. ANY is
 * answered with as little as RFC 8482 allows. */
#ifndef SERVER_DNS_ANSWER_H
#define SERVER_DNS_ANSWER_H

#include "server/dns/dns_find.h"

enum {
    DNS_RECORDS_MAX = 64, /* of a service in one answer, whatever the transport; which ones is random */
    DNS_SERVER_ADDRESSES_MAX = 8,
    DNS_ZONE_MAX = 128, /* bytes: names in it need room */
};

struct dns_zone {
    struct dns_name name; /* small letters */
    uint32_t ttl_s;       /* of every record, and for how long "no" is believed */
    struct dns_address servers[DNS_SERVER_ADDRESSES_MAX]; /* of ns.<zone>: this one */
    size_t server_count;
};
/* ERR_MALFORMED: no name, the root, or longer than DNS_ZONE_MAX. */
MUST_CHECK int dns_zone_init(struct dns_zone *zone, struct slice name, uint32_t ttl_s);
void dns_zone_add_server(struct dns_zone *zone, const struct dns_address *address); /* those that fit */

struct dns_view {
    const struct dns_zone *zone;
    const struct catalog *catalog; /* NULL: not ready, SERVFAIL */
    struct dns_index *index;
};

struct dns_result {
    enum dns_rcode rcode;
    uint16_t type; /* asked for; 0 = the question could not be read */
    bool is_truncated;
};

/* out has DNS_ANSWER_MAX bytes over TCP, DNS_UDP_SIZE_MAX over UDP. Returns the size of the answer; 0: none
 * may be given. The arena is for scratch. */
size_t dns_answer(const struct dns_view *view, struct slice query, bool is_tcp, uint64_t random,
                  struct arena *arena, uint8_t *out, struct dns_result *ret_result);

#endif
