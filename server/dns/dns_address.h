/* SPDX-License-Identifier: Apache-2.0
 * IP addresses in the three forms that DNS uses. Pure.
 *
 *   text                  10.0.0.5, ::1, [::1]
 *   label of a name       10-0-0-5; IPv6: 32 hex digits, because a label must not begin with '-'
 *   reverse name          5.0.0.10.in-addr.arpa, ….ip6.arpa */
#ifndef SERVER_DNS_ADDRESS_H
#define SERVER_DNS_ADDRESS_H

#include "server/dns/dns_wire.h"

struct dns_address {
    uint8_t bytes[16];
    uint8_t size; /* 4 or 16 */
};

enum { DNS_ADDRESS_LABEL_MAX = 32 };

/* Inline: it runs for every pair of records. */
static inline bool dns_address_equal(const struct dns_address *a, const struct dns_address *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, 4) == 0 &&
           (a->size == 4 || memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0);
}
/* 127.0.0.0/8 and ::1: no packet from outside has them as its source. */
bool dns_address_is_loopback(const struct dns_address *a);
/* ERR_MALFORMED: the text is not an address; callers take it as a host name. "[::1]" is an address. */
MUST_CHECK int dns_address_read(struct slice host, struct dns_address *ret);
MUST_CHECK int dns_address_read_label(struct slice label, struct dns_address *ret);
size_t dns_address_write_label(const struct dns_address *a, uint8_t ret_label[DNS_ADDRESS_LABEL_MAX]);
/* ERR_NOT_FOUND: not a whole address in one of the two trees. */
MUST_CHECK int dns_address_read_reverse(const struct dns_name *name, struct dns_address *ret);

#endif
