/* SPDX-License-Identifier: Apache-2.0
 * Response rate limiting: answers per second to one source prefix (/24 of IPv4, /56 of IPv6). Pure: the time
 * and the key are arguments.
 *
 * The sources are not verified: anybody can forge any number of them. So the table has a fixed size, nothing
 * is allocated for a source and nothing is evicted. A prefix has one cell in each of two rows, at places that
 * a keyed hash chooses. A cell is a bucket of one second's answers. A prefix is limited when both its cells
 * are empty: two prefixes that share one cell do not limit each other. A flood from forged sources can only
 * limit more prefixes, never fewer, and takes DNS_RATE_CELLS times the limit to limit all of them.
 *
 * All answers count alike, errors and NXDOMAIN included: a limit for each name would be one that an attacker
 * multiplies by asking for many names. */
#ifndef SERVER_DNS_RATE_H
#define SERVER_DNS_RATE_H

#include "base/hash.h"
#include "server/dns/dns_address.h"

enum {
    DNS_RATE_ROWS = 2,
    DNS_RATE_CELLS = 16384, /* in a row; a power of two */
    DNS_RATE_PREFIX4 = 24,  /* bits */
    DNS_RATE_PREFIX6 = 56,
    DNS_RATE_MAX = 1000000, /* answers per second */
};

struct dns_rate;

enum dns_rate_verdict {
    DNS_RATE_PASS,
    DNS_RATE_SLIP, /* answer with TC and no records: a real client repeats the query over TCP */
    DNS_RATE_DROP,
};

/* per_s: 1 to DNS_RATE_MAX. */
struct dns_rate *dns_rate_new(uint64_t per_s, const uint8_t key[SIPHASH_KEY_SIZE]);
void dns_rate_free(struct dns_rate *r);
/* Counts the answer if the verdict is DNS_RATE_PASS. now_ns must not decrease. */
enum dns_rate_verdict dns_rate_check(struct dns_rate *r, const struct dns_address *source, uint64_t now_ns);

/* The prefix of a source that is counted; the other bits are zero. */
struct dns_address dns_rate_prefix(const struct dns_address *source);

#endif
