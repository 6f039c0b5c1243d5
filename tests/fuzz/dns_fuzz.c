/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: server/dns over UDP and TCP with a small registry. ldns reads every answer. An answer names
 * this message's id, repeats its question byte for byte, and keeps to its size limit. Over UDP the source is
 * once a loopback address, once an address that may be forged, and once an address over its rate limit. A
 * cookie in an answer is the one that the server accepts from this client, and it is there only if the query
 * had a client cookie. */
#include <assert.h>
#include <stdlib.h>

#include <ldns/ldns.h>

#include "tests/unit/dns_world.h"

enum how { TCP, LOCAL, REMOTE, LIMITED, HOWS };

static const uint8_t *find_cookie(const ldns_pkt *p)
{
    const ldns_rdf *options = ldns_pkt_edns(p) ? ldns_pkt_edns_data(p) : NULL;
    if (!options || ldns_rdf_size(options) == 0)
        return NULL;
    assert(ldns_rdf_size(options) == 4 + DNS_COOKIE_SIZE);
    assert(memcmp(ldns_rdf_data(options), "\0\12\0\30", 4) == 0);
    return ldns_rdf_data(options) + 4;
}

static void check_size(enum how how, const struct dns_result *r, size_t query_size, size_t n)
{
    bool is_verified = how == LOCAL || r->cookie == DNS_COOKIE_VALID;
    assert(n >= DNS_HEADER_SIZE && n <= (how == TCP    ? (size_t)DNS_ANSWER_MAX
                                         : is_verified ? (size_t)DNS_UDP_SIZE
                                                       : (size_t)DNS_UDP_SIZE_MIN));
    if (how == LIMITED && !is_verified) /* a client cookie of 8 bytes returns as one of 24 */
        assert(r->verdict == DNS_RATE_SLIP && n <= query_size + 16);
    else
        assert(r->verdict == DNS_RATE_PASS);
}

static void check_answer(struct dns_world *w, const uint8_t *data, size_t size, enum how how)
{
    static uint8_t answer[DNS_ANSWER_MAX];
    struct dns_result result;
    ldns_pkt *p = NULL;
    enum { NOW_S = 1000 };
    struct dns_request request = {.query = slice_of(data, size),
                                  .is_tcp = how == TCP,
                                  .client = how == LOCAL ? dns_world_local : dns_world_remote,
                                  .now_s = NOW_S,
                                  .random = size};
    struct dns_rate *rate = w->view.rate;
    w->view.rate = how == LIMITED ? rate : NULL;
    size_t n = dns_world_answer(w, request, answer, &result);
    w->view.rate = rate;
    if (n == 0) {
        assert(size < DNS_HEADER_SIZE || data[2] & 0x80 || result.verdict == DNS_RATE_DROP);
        return;
    }
    check_size(how, &result, size, n);
    assert(answer[0] == data[0] && answer[1] == data[1] && answer[2] & 0x80);
    assert(ldns_wire2pkt(&p, answer, n) == LDNS_STATUS_OK);
    assert(ldns_pkt_qdcount(p) <= 1);
    if (ldns_pkt_qdcount(p) == 1) {
        size_t question = ldns_rdf_size(ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_question(p), 0))) + 4;
        assert(memcmp(answer + DNS_HEADER_SIZE, data + DNS_HEADER_SIZE, question) == 0);
        /* The largest answer that the client can take. */
        assert(how == TCP || ldns_pkt_edns(p) || n <= DNS_UDP_SIZE_MIN);
    }
    assert(result.rcode == DNS_NOERROR || ldns_pkt_ancount(p) == 0);
    const uint8_t *cookie = find_cookie(p);
    assert((cookie != NULL) == (result.cookie != DNS_COOKIE_NONE));
    if (cookie) {
        assert(memmem(data, size, cookie, DNS_COOKIE_CLIENT_SIZE));
        assert(dns_cookie_check(&w->secrets, slice_of(cookie, DNS_COOKIE_SIZE), &request.client, NOW_S) ==
               DNS_COOKIE_VALID);
    }
    ldns_pkt_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dns_world *w;
    if (!w) {
        w = dns_world_new();
        for (unsigned i = 0; i < 80; i++) {
            char key[64], value[80];
            snprintf(key, sizeof key, "default/default/many/i%u", i);
            snprintf(value, sizeof value, "{\"host\":\"10.20.0.%u\",\"port\":80}", i);
            dns_world_put(w, NAME_INSTANCE, key, value);
        }
        w->view.rate = dns_rate_new(1, (const uint8_t *)"0123456789abcdef");
        dns_rate_check(w->view.rate, &dns_world_remote, 0); /* the only one: time stands still */
    }
    for (enum how how = 0; how < HOWS; how++)
        check_answer(w, data, size, how);
    return 0;
}
