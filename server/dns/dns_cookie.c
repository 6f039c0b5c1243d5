/* SPDX-License-Identifier: Apache-2.0
 * Making and checking of DNS cookies; see dns_cookie.h. */
#include "server/dns/dns_cookie.h"

enum { VERSION = 1, VERSION_AT = 8, TIME_AT = 12, HASH_AT = 16, HASH_SIZE = 8 };

void dns_cookie_set_secret(struct dns_cookie_secrets *s, const uint8_t secret[SIPHASH_KEY_SIZE],
                           uint32_t now_s)
{
    memcpy(s->previous, s->current, sizeof s->previous);
    s->has_previous = s->changed_s != 0;
    memcpy(s->current, secret, sizeof s->current);
    s->changed_s = now_s ? now_s : 1;
}

bool dns_cookie_is_due(const struct dns_cookie_secrets *s, uint32_t now_s)
{
    return s->changed_s == 0 || now_s - s->changed_s >= DNS_COOKIE_SECRET_AGE_S;
}

/* The hash of the first 16 bytes of a cookie and the address. RFC 9018: its bytes are little-endian. */
static void hash_cookie(const uint8_t secret[SIPHASH_KEY_SIZE], const uint8_t *cookie,
                        const struct dns_address *client, uint8_t ret_hash[HASH_SIZE])
{
    uint8_t bytes[HASH_AT + sizeof client->bytes];
    memcpy(bytes, cookie, HASH_AT);
    memcpy(bytes + HASH_AT, client->bytes, client->size);
    uint64_t hash = siphash24(secret, bytes, (size_t)HASH_AT + client->size);
    for (size_t i = 0; i < HASH_SIZE; i++)
        ret_hash[i] = (uint8_t)(hash >> 8 * i);
}

/* Compares in constant time, so that timing does not reveal the right hash. */
static bool has_hash(const uint8_t secret[SIPHASH_KEY_SIZE], const uint8_t *cookie,
                     const struct dns_address *client)
{
    uint8_t hash[HASH_SIZE];
    unsigned difference = 0;
    hash_cookie(secret, cookie, client, hash);
    for (size_t i = 0; i < HASH_SIZE; i++)
        difference |= (unsigned)(hash[i] ^ cookie[HASH_AT + i]);
    return difference == 0;
}

/* Serial number arithmetic (RFC 1982): the difference counts, so the time may wrap at 2^32. */
static bool is_recent(const uint8_t *cookie, uint32_t now_s)
{
    const uint8_t *p = cookie + TIME_AT;
    uint32_t made_s = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    uint32_t age = now_s - made_s, ahead = made_s - now_s;
    return age <= DNS_COOKIE_AGE_MAX_S || ahead <= DNS_COOKIE_AHEAD_MAX_S;
}

enum dns_cookie_state dns_cookie_check(const struct dns_cookie_secrets *s, struct slice option,
                                       const struct dns_address *client, uint32_t now_s)
{
    if (option.size == DNS_COOKIE_CLIENT_SIZE)
        return DNS_COOKIE_CLIENT_ONLY;
    if (option.size < DNS_COOKIE_CLIENT_SIZE)
        return DNS_COOKIE_NONE;
    if (option.size != DNS_COOKIE_SIZE || option.data[VERSION_AT] != VERSION ||
        !is_recent(option.data, now_s))
        return DNS_COOKIE_BAD;
    bool is_valid = has_hash(s->current, option.data, client) ||
                    (s->has_previous && now_s - s->changed_s <= DNS_COOKIE_AGE_MAX_S &&
                     has_hash(s->previous, option.data, client));
    return is_valid ? DNS_COOKIE_VALID : DNS_COOKIE_BAD;
}

void dns_cookie_make(const struct dns_cookie_secrets *s, const uint8_t client_cookie[DNS_COOKIE_CLIENT_SIZE],
                     const struct dns_address *client, uint32_t now_s, uint8_t ret_cookie[DNS_COOKIE_SIZE])
{
    memmove(ret_cookie, client_cookie, DNS_COOKIE_CLIENT_SIZE);
    memcpy(ret_cookie + VERSION_AT,
           (uint8_t[]){VERSION, 0, 0, 0, (uint8_t)(now_s >> 24), (uint8_t)(now_s >> 16),
                       (uint8_t)(now_s >> 8), (uint8_t)now_s},
           HASH_AT - VERSION_AT);
    hash_cookie(s->current, ret_cookie, client, ret_cookie + HASH_AT);
}
