/* SPDX-License-Identifier: Apache-2.0
 * DNS cookies (RFC 7873) with the interoperable server cookie of RFC 9018. Pure: the secret and the time are
 * arguments.
 *
 * A client sends 8 bytes of its choice, the client cookie. The server answers with a server cookie:
 *
 *     version 1 | 3 bytes, zero | seconds since 1970 (4 bytes) | hash (8 bytes)
 *     hash = SipHash-2-4(secret, client cookie | version | 3 bytes | seconds | client's address)
 *
 * A client that sends a valid server cookie back has received an answer at its address: the address is not
 * forged. The server keeps nothing for a client. A cookie is valid for an hour, and the secret that was in
 * use before the last change stays valid as long. */
#ifndef SERVER_DNS_COOKIE_H
#define SERVER_DNS_COOKIE_H

#include "base/hash.h"
#include "server/dns/dns_address.h"

enum {
    DNS_COOKIE_AGE_MAX_S = 3600,
    DNS_COOKIE_AHEAD_MAX_S = 300,    /* clocks of members behind one address differ */
    DNS_COOKIE_SECRET_AGE_S = 86400, /* then dns_cookie_is_due returns true */
};

struct dns_cookie_secrets {
    uint8_t current[SIPHASH_KEY_SIZE], previous[SIPHASH_KEY_SIZE];
    bool has_previous;
    uint32_t changed_s; /* when current was set */
};

/* The result of checking a query's COOKIE option. */
enum dns_cookie_state {
    DNS_COOKIE_NONE,        /* no option, or one of a size that RFC 7873 does not allow */
    DNS_COOKIE_CLIENT_ONLY, /* the client does not know its server cookie yet */
    DNS_COOKIE_BAD,         /* a server cookie that this server did not make for this client, or an old one */
    DNS_COOKIE_VALID,
};

/* now_s: seconds since 1970 as RFC 9018 counts them, modulo 2^32. */
void dns_cookie_set_secret(struct dns_cookie_secrets *s, const uint8_t secret[SIPHASH_KEY_SIZE],
                           uint32_t now_s);
bool dns_cookie_is_due(const struct dns_cookie_secrets *s, uint32_t now_s); /* for another secret */

enum dns_cookie_state dns_cookie_check(const struct dns_cookie_secrets *s, struct slice option,
                                       const struct dns_address *client, uint32_t now_s);
/* Makes the answer's COOKIE option: the client cookie and a new server cookie. */
void dns_cookie_make(const struct dns_cookie_secrets *s, const uint8_t client_cookie[DNS_COOKIE_CLIENT_SIZE],
                     const struct dns_address *client, uint32_t now_s, uint8_t ret_cookie[DNS_COOKIE_SIZE]);

#endif
