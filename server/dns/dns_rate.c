/* SPDX-License-Identifier: Apache-2.0
 * Response rate limiting; see dns_rate.h. A bucket is one number, the time at which it is full again: the
 * generic cell rate algorithm. An answer moves it by interval_ns, and it may be at most a second ahead. */
#include "server/dns/dns_rate.h"

#include <assert.h>

#include "base/mem.h"

enum { SECOND_NS = 1000000000, BYTE_BITS = 8 };

struct dns_rate {
    uint8_t key[SIPHASH_KEY_SIZE];
    uint64_t interval_ns;                               /* one answer */
    uint64_t full_at_ns[DNS_RATE_ROWS][DNS_RATE_CELLS]; /* in the past: it is full */
    bool has_dropped[DNS_RATE_CELLS]; /* the last answer over the limit: the next one slips */
};

/* One mapping that the kernel zeroes: pages that no source uses cost no memory. */
struct dns_rate *dns_rate_new(uint64_t per_s, const uint8_t key[SIPHASH_KEY_SIZE])
{
    struct dns_rate *r = mem_new(sizeof *r);
    assert(per_s >= 1 && per_s <= DNS_RATE_MAX);
    memcpy(r->key, key, sizeof r->key);
    r->interval_ns = SECOND_NS / per_s;
    return r;
}

void dns_rate_free(struct dns_rate *r)
{
    mem_free(r);
}

struct dns_address dns_rate_prefix(const struct dns_address *source)
{
    struct dns_address prefix = {.size = source->size};
    size_t bits = source->size == 4 ? DNS_RATE_PREFIX4 : DNS_RATE_PREFIX6;
    memcpy(prefix.bytes, source->bytes, bits / BYTE_BITS);
    return prefix;
}

enum dns_rate_verdict dns_rate_check(struct dns_rate *r, const struct dns_address *source, uint64_t now_ns)
{
    struct dns_address prefix = dns_rate_prefix(source);
    uint64_t hash = siphash24(r->key, prefix.bytes, prefix.size); /* the size is part of it */
    uint64_t *cells[DNS_RATE_ROWS], full_at = UINT64_MAX;
    for (size_t row = 0; row < DNS_RATE_ROWS; row++) {
        cells[row] = &r->full_at_ns[row][(hash >> 32 * row) % DNS_RATE_CELLS];
        full_at = *cells[row] < full_at ? *cells[row] : full_at;
    }
    if (full_at < now_ns)
        full_at = now_ns;
    full_at += r->interval_ns;
    if (full_at - now_ns > SECOND_NS) {
        bool *has_dropped = &r->has_dropped[hash % DNS_RATE_CELLS];
        *has_dropped = !*has_dropped;
        return *has_dropped ? DNS_RATE_DROP : DNS_RATE_SLIP;
    }
    /* The fuller cell bounds what this prefix has used; the other cell counts other prefixes too. */
    for (size_t row = 0; row < DNS_RATE_ROWS; row++)
        if (*cells[row] < full_at)
            *cells[row] = full_at;
    return DNS_RATE_PASS;
}
