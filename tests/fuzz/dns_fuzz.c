/* SPDX-License-Identifier: Apache-2.0
 * server/dns: any bytes, over UDP and TCP, to a small registry. Every answer is one that ldns reads, says
 * that it is an answer to this message, repeats its question byte for byte, and keeps to its limit. */
#include <assert.h>
#include <stdlib.h>

#include <ldns/ldns.h>

#include "tests/unit/dns_world.h"

static void check_answer(struct dns_world *w, const uint8_t *data, size_t size, bool is_tcp)
{
    static uint8_t answer[DNS_ANSWER_MAX];
    struct dns_result result;
    ldns_pkt *p = NULL;
    arena_reset(&w->arena);
    size_t n = dns_answer(&w->view, slice_of(data, size), is_tcp, size, &w->arena, answer, &result);
    if (n == 0) {
        assert(size < DNS_HEADER_SIZE || data[2] & 0x80);
        return;
    }
    assert(n >= DNS_HEADER_SIZE && n <= (is_tcp ? DNS_ANSWER_MAX : DNS_UDP_SIZE_MAX));
    assert(answer[0] == data[0] && answer[1] == data[1] && answer[2] & 0x80);
    assert(ldns_wire2pkt(&p, answer, n) == LDNS_STATUS_OK);
    assert(ldns_pkt_qdcount(p) <= 1);
    if (ldns_pkt_qdcount(p) == 1) {
        size_t question = ldns_rdf_size(ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_question(p), 0))) + 4;
        assert(memcmp(answer + DNS_HEADER_SIZE, data + DNS_HEADER_SIZE, question) == 0);
        /* What the client can take. */
        assert(is_tcp || ldns_pkt_edns(p) || n <= DNS_UDP_SIZE_MIN);
    }
    assert(result.rcode == DNS_NOERROR || ldns_pkt_ancount(p) == 0);
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
    }
    check_answer(w, data, size, false);
    check_answer(w, data, size, true);
    return 0;
}
