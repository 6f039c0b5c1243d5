/* SPDX-License-Identifier: Apache-2.0
 * Tests of DNS queries and their answers. ldns reads every answer and prints it, so that our own reader does
 * not judge it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <ldns/ldns.h>

#include "tests/unit/dns_world.h"

struct asking {
    uint16_t udp_size; /* 0 = no EDNS */
    bool is_tcp;
    uint64_t random;
    bool is_remote; /* over UDP: the address may be forged */
};

static size_t make_query(uint8_t *out, const char *name, unsigned type, uint16_t udp_size)
{
    struct dns_name n = {0};
    size_t size = 12;
    if (strcmp(name, ".") != 0)
        assert_int_equal(dns_name_read_text(slice_text(name), &n), 0);
    else
        n.size = 1;
    memcpy(out, "\x12\x34\x01\x00\0\1\0\0\0\0\0\0", size);
    memcpy(out + size, n.wire, n.size);
    size += n.size;
    memcpy(out + size, (uint8_t[]){(uint8_t)(type >> 8), (uint8_t)type, 0, 1}, 4);
    size += 4;
    if (udp_size) {
        uint8_t opt[] = {0, 0, 41, (uint8_t)(udp_size >> 8), (uint8_t)udp_size, 0, 0, 0, 0, 0, 0};
        memcpy(out + size, opt, sizeof opt);
        size += sizeof opt;
        out[11] = 1;
    }
    return size;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* " | owner TTL IN TYPE data" of each record, sorted: the order is random. */
static void add_section(struct buf *out, const char *title, ldns_rr_list *list)
{
    char *lines[256];
    size_t count = ldns_rr_list_rr_count(list);
    assert_in_range(count, 0, 255);
    for (size_t i = 0; i < count; i++) {
        lines[i] = ldns_rr2str(ldns_rr_list_rr(list, i));
        assert_non_null(lines[i]);
        for (char *c = lines[i]; *c; c++)
            *c = *c == '\t' ? ' ' : *c == '\n' ? 0 : *c;
    }
    qsort(lines, count, sizeof *lines, compare_texts);
    if (count)
        buf_add_text(out, title);
    for (size_t i = 0; i < count; i++) {
        buf_addf(out, " | %s", lines[i]);
        free(lines[i]);
    }
}

static char *in_words(const uint8_t *answer, size_t size)
{
    struct buf out = {0};
    ldns_pkt *p = NULL;
    if (size == 0)
        return mem_string("nothing");
    assert_int_equal(ldns_wire2pkt(&p, answer, size), LDNS_STATUS_OK);
    assert_int_equal(ldns_pkt_id(p), 0x1234);
    assert_true(ldns_pkt_qr(p));
    assert_false(ldns_pkt_ra(p));
    ldns_lookup_table *rcode = ldns_lookup_by_id(ldns_rcodes, (int)ldns_pkt_get_rcode(p));
    buf_add_text(&out, ldns_pkt_edns_extended_rcode(p) ? "BADVERS" : rcode->name);
    buf_add_text(&out, ldns_pkt_aa(p) ? " aa" : "");
    buf_add_text(&out, ldns_pkt_tc(p) ? " tc" : "");
    buf_add_text(&out, ldns_pkt_rd(p) ? "" : " not-rd");
    add_section(&out, "", ldns_pkt_answer(p));
    add_section(&out, " # N", ldns_pkt_authority(p));
    add_section(&out, " # X", ldns_pkt_additional(p));
    ldns_pkt_free(p);
    char *text = mem_string(buf_text(&out));
    buf_done(&out);
    return text;
}

static size_t ask(struct dns_world *w, const char *name, unsigned type, struct asking how, uint8_t *out,
                  struct dns_result *ret)
{
    uint8_t query[600];
    size_t size = make_query(query, name, type, how.udp_size);
    struct dns_request request = {.query = slice_of(query, size),
                                  .is_tcp = how.is_tcp,
                                  .random = how.random,
                                  .client = how.is_remote ? dns_world_remote : dns_world_local};
    return dns_world_answer(w, request, out, ret);
}

static uint8_t answer[DNS_ANSWER_MAX];

static void expect(struct dns_world *w, const char *name, unsigned type, struct asking how,
                   const char *wanted)
{
    struct dns_result result;
    size_t size = ask(w, name, type, how, answer, &result);
    char *got = in_words(answer, size);
    if (strcmp(got, wanted) != 0)
        print_error("%s %u:\n  wanted %s\n  got    %s\n", name, type, wanted, got);
    assert_string_equal(got, wanted);
    mem_free(got);
}

#define SOA         " # N | cairn. 5 IN SOA ns.cairn. hostmaster.cairn. 27 3600 600 86400 5"
#define NODATA      "NOERROR aa" SOA
#define NOBODY      "NXDOMAIN aa" SOA
#define HINFO(name) "NOERROR aa | " name " 5 IN HINFO \"RFC8482\" \"\""

static const struct {
    const char *name;
    unsigned type;
    const char *wanted;
} rows[] = {
    /* A service, in all its forms. */
    {"orders.svc.cairn.", DNS_A,
     "NOERROR aa | orders.svc.cairn. 5 IN A 10.0.0.1 | orders.svc.cairn. 5 IN A 10.0.0.2"},
    {"orders.svc.cairn.", DNS_AAAA, "NOERROR aa | orders.svc.cairn. 5 IN AAAA 2001:db8::4"},
    {"orders.default.svc.cairn.", DNS_AAAA, "NOERROR aa | orders.default.svc.cairn. 5 IN AAAA 2001:db8::4"},
    {"orders.default.default.svc.cairn.", DNS_AAAA,
     "NOERROR aa | orders.default.default.svc.cairn. 5 IN AAAA 2001:db8::4"},
    {"orders.prod.svc.cairn.", DNS_A, "NOERROR aa | orders.prod.svc.cairn. 5 IN A 10.2.0.1"},
    {"orders.shop.prod.svc.cairn.", DNS_A, "NOERROR aa | orders.shop.prod.svc.cairn. 5 IN A 10.1.0.1"},
    {"OrDeRs.SVC.caIRN.", DNS_AAAA, "NOERROR aa | OrDeRs.SVC.caIRN. 5 IN AAAA 2001:db8::4"},
    {"orders.svc.cairn.", 15, NODATA},
    {"orders.svc.cairn.", 65, NODATA},
    {"orders.svc.cairn.", DNS_ANY, HINFO("orders.svc.cairn.")},
    {"same.svc.cairn.", DNS_A, "NOERROR aa | same.svc.cairn. 5 IN A 10.6.0.1"},
    {"down.svc.cairn.", DNS_A, NODATA},
    {"settled.svc.cairn.", DNS_A, NODATA},
    {"settled.svc.cairn.", DNS_TXT, "NOERROR aa | settled.svc.cairn. 5 IN TXT \"owner=shop\""},
    {"guarded.svc.cairn.", DNS_A,
     "NOERROR aa | guarded.svc.cairn. 5 IN A 10.9.0.1 | guarded.svc.cairn. 5 IN A 10.9.0.2"},
    {"nobody.svc.cairn.", DNS_A, NOBODY},
    {"orders.nobody.svc.cairn.", DNS_A, NOBODY},
    {"x.orders.default.default.svc.cairn.", DNS_A, NOBODY},
    /* Tags, for every query without a tag. */
    {"red.orders.svc.cairn.", DNS_A, NODATA},
    {"v2.orders.svc.cairn.", DNS_A, "NOERROR aa | v2.orders.svc.cairn. 5 IN A 10.0.0.1"},
    {"blue.orders.svc.cairn.", DNS_A,
     "NOERROR aa | blue.orders.svc.cairn. 5 IN A 10.0.0.1 | blue.orders.svc.cairn. 5 IN A 10.0.0.2"},
    {"V2.orders.default.svc.cairn.", DNS_A, "NOERROR aa | V2.orders.default.svc.cairn. 5 IN A 10.0.0.1"},
    {"v2.orders.default.default.svc.cairn.", DNS_A,
     "NOERROR aa | v2.orders.default.default.svc.cairn. 5 IN A 10.0.0.1"},
    {"blue.prod.svc.cairn.", DNS_A, "NOERROR aa | blue.prod.svc.cairn. 5 IN A 10.3.0.1"},
    {"green.orders.svc.cairn.", DNS_A, NOBODY},
    /* Names that are not in small letters, or hold dots. */
    {"com.foo.bar.svc.cairn.", DNS_A, "NOERROR aa | com.foo.bar.svc.cairn. 5 IN A 10.4.0.1"},
    {"com.foo.bar.default.svc.cairn.", DNS_A, "NOERROR aa | com.foo.bar.default.svc.cairn. 5 IN A 10.4.0.1"},
    {"com.foo.bar.default.default.svc.cairn.", DNS_A,
     "NOERROR aa | com.foo.bar.default.default.svc.cairn. 5 IN A 10.4.0.1"},
    {"foo.bar.svc.cairn.", DNS_A, NODATA},
    {"bar.default.svc.cairn.", DNS_A, NODATA},
    {"upper.default.test.svc.cairn.", DNS_A, "NOERROR aa | upper.default.test.svc.cairn. 5 IN A 10.4.0.2"},
    {"test.svc.cairn.", DNS_A, NODATA},
    {"a..b.svc.cairn.", 0, NULL},
    {"a\\.\\.b.svc.cairn.", DNS_A, "NOERROR aa | a\\.\\.b.svc.cairn. 5 IN A 10.11.0.1"},
    {"a\\.\\.b.svc.cairn.", DNS_SRV, NODATA},
    /* Ports. */
    {"same.svc.cairn.", DNS_SRV,
     "NOERROR aa | same.svc.cairn. 5 IN SRV 0 100 1 10-6-0-1.same.default.default.inst.cairn."
     " | same.svc.cairn. 5 IN SRV 0 100 2 10-6-0-1.same.default.default.inst.cairn."
     " # X | 10-6-0-1.same.default.default.inst.cairn. 5 IN A 10.6.0.1"},
    {"blue.orders.svc.cairn.", DNS_SRV,
     "NOERROR aa | blue.orders.svc.cairn. 5 IN SRV 0 10 8080 10-0-0-1.orders.default.default.inst.cairn."
     " | blue.orders.svc.cairn. 5 IN SRV 0 100 9090 10-0-0-2.orders.default.default.inst.cairn."
     " # X | 10-0-0-1.orders.default.default.inst.cairn. 5 IN A 10.0.0.1"
     " | 10-0-0-2.orders.default.default.inst.cairn. 5 IN A 10.0.0.2"},
    {"_orders._http.svc.cairn.", DNS_SRV,
     "NOERROR aa | _orders._http.svc.cairn. 5 IN SRV 0 10 8080 10-0-0-1.orders.default.default.inst.cairn."
     " # X | 10-0-0-1.orders.default.default.inst.cairn. 5 IN A 10.0.0.1"},
    {"_orders._tcp.shop.prod.svc.cairn.", DNS_SRV,
     "NOERROR aa | _orders._tcp.shop.prod.svc.cairn. 5 IN SRV 0 100 1 10-1-0-1.orders.shop.prod.inst.cairn."
     " # X | 10-1-0-1.orders.shop.prod.inst.cairn. 5 IN A 10.1.0.1"},
    {"_grpc._tcp.orders.svc.cairn.", DNS_SRV,
     "NOERROR aa | _grpc._tcp.orders.svc.cairn. 5 IN SRV 0 100 9090 "
     "10-0-0-2.orders.default.default.inst.cairn."
     " # X | 10-0-0-2.orders.default.default.inst.cairn. 5 IN A 10.0.0.2"},
    {"_HTTP._tcp.blue.orders.svc.cairn.", DNS_SRV,
     "NOERROR aa | _HTTP._tcp.blue.orders.svc.cairn. 5 IN SRV 0 10 8080 "
     "10-0-0-1.orders.default.default.inst.cairn."
     " | _HTTP._tcp.blue.orders.svc.cairn. 5 IN SRV 0 100 8081 10-0-0-2.orders.default.default.inst.cairn."
     " # X | 10-0-0-1.orders.default.default.inst.cairn. 5 IN A 10.0.0.1"
     " | 10-0-0-2.orders.default.default.inst.cairn. 5 IN A 10.0.0.2"},
    {"_orders._tcp.svc.cairn.", DNS_A, NODATA},
    {"_orders._udp.svc.cairn.", DNS_SRV, NODATA},
    {"_udp._tcp.svc.cairn.", DNS_SRV, NODATA},
    {"_udp._udp.svc.cairn.", DNS_SRV,
     "NOERROR aa | _udp._udp.svc.cairn. 5 IN SRV 0 100 53 10-10-0-1.udp.default.default.inst.cairn."
     " # X | 10-10-0-1.udp.default.default.inst.cairn. 5 IN A 10.10.0.1"},
    {"_orders._tcp.svc.cairn.", DNS_ANY, HINFO("_orders._tcp.svc.cairn.")},
    {"_nobody._tcp.svc.cairn.", DNS_SRV, NOBODY},
    {"_tcp.orders.svc.cairn.", DNS_SRV, NODATA},
    {"_tcp.svc.cairn.", DNS_SRV, NODATA},
    {"_tcp.prod.svc.cairn.", DNS_SRV, NODATA},
    {"_tcp.nobody.svc.cairn.", DNS_SRV, NOBODY},
    {"portless.svc.cairn.", DNS_SRV, NODATA},
    /* Hosts with names. */
    {"named.svc.cairn.", DNS_A, "NOERROR aa | named.svc.cairn. 5 IN CNAME web-1.example.com."},
    {"named.svc.cairn.", DNS_SRV, "NOERROR aa | named.svc.cairn. 5 IN CNAME web-1.example.com."},
    {"_named._tcp.svc.cairn.", DNS_SRV,
     "NOERROR aa | _named._tcp.svc.cairn. 5 IN SRV 0 7 80 web-1.example.com."},
    {"mixed.svc.cairn.", DNS_A, "NOERROR aa | mixed.svc.cairn. 5 IN A 10.5.0.1"},
    {"mixed.svc.cairn.", DNS_SRV,
     "NOERROR aa | mixed.svc.cairn. 5 IN SRV 0 100 80 10-5-0-1.mixed.default.default.inst.cairn."
     " | mixed.svc.cairn. 5 IN SRV 0 100 80 web-1.example.com."
     " # X | 10-5-0-1.mixed.default.default.inst.cairn. 5 IN A 10.5.0.1"},
    {"odd.svc.cairn.", DNS_A, NODATA},
    {"odd.svc.cairn.", DNS_SRV, NODATA},
    /* Data that instances set. */
    {"v2.orders.svc.cairn.", DNS_TXT,
     "NOERROR aa | v2.orders.svc.cairn. 5 IN TXT \"id=o1\" \"host=10.0.0.1\" \"port=8080\" \"protocol=http\""
     " \"version=2.1\" \"tag=V2\" \"tag=blue\" \"k=v\""},
    {"10-5-0-1.mixed.default.default.inst.cairn.", DNS_TXT,
     "NOERROR aa | 10-5-0-1.mixed.default.default.inst.cairn. 5 IN TXT \"id=m2\" \"host=10.5.0.1\" "
     "\"port=80\""},
    {"held.svc.cairn.", DNS_TXT,
     "NOERROR aa | held.svc.cairn. 5 IN TXT \"id=h1\" \"host=10.12.0.1\" \"port=1\" \"guarded=true\""},
    /* Instances. */
    {"10-0-0-3.orders.default.default.inst.cairn.", DNS_A,
     "NOERROR aa | 10-0-0-3.orders.default.default.inst.cairn. 5 IN A 10.0.0.3"},
    {"20010db8000000000000000000000004.orders.default.default.inst.cairn.", DNS_AAAA,
     "NOERROR aa | 20010db8000000000000000000000004.orders.default.default.inst.cairn. 5 IN AAAA "
     "2001:db8::4"},
    {"10-0-0-3.orders.default.default.inst.cairn.", DNS_AAAA, NODATA},
    {"10-0-0-99.orders.default.default.inst.cairn.", DNS_A, NOBODY},
    {"10-0-0-03.orders.default.default.inst.cairn.", DNS_A, NOBODY},
    {"10-4-0-1.com.foo.bar.default.default.inst.cairn.", DNS_A,
     "NOERROR aa | 10-4-0-1.com.foo.bar.default.default.inst.cairn. 5 IN A 10.4.0.1"},
    {"com.foo.bar.svc.cairn.", DNS_SRV,
     "NOERROR aa | com.foo.bar.svc.cairn. 5 IN SRV 0 100 4 10-4-0-1.com.Foo.Bar.default.default.inst.cairn."
     " # X | 10-4-0-1.com.Foo.Bar.default.default.inst.cairn. 5 IN A 10.4.0.1"},
    {"orders.default.default.inst.cairn.", DNS_A, NODATA},
    {"default.default.inst.cairn.", DNS_A, NODATA},
    {"inst.cairn.", DNS_A, NODATA},
    /* Addresses. */
    {"1.0.0.10.in-addr.arpa.", DNS_PTR,
     "NOERROR aa | 1.0.0.10.in-addr.arpa. 5 IN PTR 10-0-0-1.orders.default.default.inst.cairn."},
    {"1.0.6.10.IN-ADDR.arpa.", DNS_PTR,
     "NOERROR aa | 1.0.6.10.IN-ADDR.arpa. 5 IN PTR 10-6-0-1.same.default.default.inst.cairn."},
    {"1.0.66.10.in-addr.arpa.", DNS_PTR, "REFUSED"},
    {"1.0.0.10.in-addr.arpa.", DNS_A, "NOERROR aa"},
    {"4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", DNS_PTR,
     "NOERROR aa | 4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 5 IN PTR"
     " 20010db8000000000000000000000004.orders.default.default.inst.cairn."},
    {"0.10.in-addr.arpa.", DNS_PTR, "REFUSED"},
    {"1.0.11.10.in-addr.arpa.", DNS_PTR, "NOERROR aa"}, /* a service whose name DNS cannot hold */
    /* The zone. */
    {"cairn.", DNS_SOA, "NOERROR aa | cairn. 5 IN SOA ns.cairn. hostmaster.cairn. 27 3600 600 86400 5"},
    {"CAIRN.", DNS_NS, "NOERROR aa | CAIRN. 5 IN NS ns.CAIRN. # X | ns.CAIRN. 5 IN A 127.0.0.1"},
    {"cairn.", DNS_A, NODATA},
    {"cairn.", DNS_ANY, HINFO("cairn.")},
    {"ns.cairn.", DNS_A, "NOERROR aa | ns.cairn. 5 IN A 127.0.0.1"},
    {"ns.cairn.", DNS_AAAA, NODATA},
    {"svc.cairn.", DNS_A, NODATA},
    {"svc.cairn.", DNS_ANY, NODATA},
    {"default.svc.cairn.", DNS_NS, NODATA},
    {"shop.prod.svc.cairn.", DNS_NS, NODATA},
    {"prod.svc.cairn.", DNS_NS, NODATA},
    {"elsewhere.cairn.", DNS_A, NOBODY},
    {"x.ns.cairn.", DNS_A, NOBODY},
    {"cairn.", DNS_AXFR, "REFUSED"},
    {"cairn.", 250, "NOTIMPL"},
    {"cairn.", DNS_OPT, "FORMERR"},
    {"cairn.", 0, "FORMERR"},
    /* Names outside of our zone. */
    {"example.com.", DNS_A, "REFUSED"},
    {"xcairn.", DNS_A, "REFUSED"},
    {"com.", DNS_NS, "REFUSED"},
    {".", DNS_NS, "REFUSED"},
    {"arpa.", DNS_PTR, "REFUSED"},
};

static void questions_and_answers(void **state)
{
    (void)state;
    struct dns_world *w = dns_world_new();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].wanted)
            expect(w, rows[i].name, rows[i].type, (struct asking){.random = i}, rows[i].wanted);
    dns_world_free(w);
}

static void fill(struct dns_world *w, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char key[64], value[80];
        snprintf(key, sizeof key, "default/default/many/i%u", i);
        snprintf(value, sizeof value, "{\"host\":\"10.20.%u.%u\",\"port\":80}", i / 256, i % 256);
        dns_world_put(w, NAME_INSTANCE, key, value);
    }
}

/* A truncated answer says so, and its records are whole; over TCP all of them arrive. */
static void truncation(void **state)
{
    (void)state;
    static const struct {
        unsigned type;
        uint16_t udp_size;
        bool is_tcp;
        size_t size_max, records_min, records_max, glue_max;
        bool is_truncated, is_remote;
    } cases[] = {
        {DNS_A, 0, false, 512, 25, 31, 0, true, false},
        {DNS_A, 100, false, 512, 25, 31, 0, true, false},
        {DNS_A, 1232, false, 1232, 60, 60, 0, false, false},
        {DNS_A, 0, true, 65535, 60, 60, 0, false, false},
        {DNS_SRV, 0, false, 512, 6, 8, 2, true, false},
        {DNS_SRV, 1232, false, 1232, 17, 21, 4, true, false},
        {DNS_SRV, 4096, false, 1232, 17, 21, 4, true, false}, /* whatever EDNS says */
        {DNS_SRV, 65535, false, 1232, 17, 21, 4, true, false},
        {DNS_SRV, 0, true, 65535, 60, 60, 60, false, false},
        {DNS_TXT, 1232, false, 1232, 10, 30, 0, true, false},
        {DNS_TXT, 1232, true, 65535, 60, 60, 0, false, false},
        /* The address may be forged. */
        {DNS_A, 0, false, 512, 25, 31, 0, true, true},
        {DNS_A, 1232, false, 512, 25, 31, 0, true, true},
        {DNS_SRV, 65535, false, 512, 6, 8, 2, true, true},
        {DNS_TXT, 4096, false, 512, 4, 12, 0, true, true},
        {DNS_SRV, 4096, true, 65535, 60, 60, 60, false, true},
    };
    struct dns_world *w = dns_world_new();
    fill(w, 60);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dns_result result;
        struct asking how = {cases[i].udp_size, cases[i].is_tcp, i, cases[i].is_remote};
        size_t size = ask(w, "many.svc.cairn.", cases[i].type, how, answer, &result);
        print_message("%u, %u bytes, %s%s\n", cases[i].type, cases[i].udp_size,
                      cases[i].is_tcp ? "TCP" : "UDP", cases[i].is_remote ? ", remote" : "");
        assert_in_range(size, 100, cases[i].size_max);
        ldns_pkt *p = NULL;
        assert_int_equal(ldns_wire2pkt(&p, answer, size), LDNS_STATUS_OK);
        assert_in_range(ldns_pkt_ancount(p), cases[i].records_min, cases[i].records_max);
        assert_in_range(ldns_rr_list_rr_count(ldns_pkt_additional(p)), 0, cases[i].glue_max);
        assert_int_equal(ldns_pkt_tc(p), cases[i].is_truncated);
        assert_int_equal(result.is_truncated, cases[i].is_truncated);
        assert_int_equal(ldns_pkt_edns(p), cases[i].udp_size != 0);
        if (cases[i].udp_size)
            assert_int_equal(ldns_pkt_edns_udp_size(p), 1232);
        ldns_pkt_free(p);
    }
    dns_world_free(w);
}

/* When more instances exist than fit into an answer, every one has its turn, at every place. */
static void order_is_random(void **state)
{
    (void)state;
    enum { COUNT = 100, ROUNDS = 600 };
    struct dns_world *w = dns_world_new();
    fill(w, COUNT);
    unsigned seen[COUNT] = {0}, first[COUNT] = {0};
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct dns_result result;
        ldns_pkt *p = NULL;
        size_t size =
            ask(w, "many.svc.cairn.", DNS_A, (struct asking){1232, false, round, false}, answer, &result);
        assert_int_equal(ldns_wire2pkt(&p, answer, size), LDNS_STATUS_OK);
        assert_int_equal(ldns_pkt_ancount(p), DNS_RECORDS_MAX);
        for (size_t i = 0; i < ldns_pkt_ancount(p); i++) {
            ldns_rdf *address = ldns_rr_rdf(ldns_rr_list_rr(ldns_pkt_answer(p), i), 0);
            uint8_t last = ldns_rdf_data(address)[3];
            assert_in_range(last, 0, COUNT - 1);
            seen[last]++;
            first[last] += i == 0;
        }
        ldns_pkt_free(p);
    }
    for (size_t i = 0; i < COUNT; i++) {
        assert_in_range(seen[i], ROUNDS * DNS_RECORDS_MAX / COUNT / 2, ROUNDS * DNS_RECORDS_MAX / COUNT * 2);
        assert_in_range(first[i], 0, 30); /* 6 on average */
    }
    uint8_t again[DNS_UDP_SIZE];
    struct dns_result result;
    struct asking how = {1232, false, 7, false};
    size_t size = ask(w, "many.svc.cairn.", DNS_A, how, answer, &result);
    assert_int_equal(ask(w, "many.svc.cairn.", DNS_A, how, again, &result), size);
    assert_memory_equal(answer, again, size); /* the same randomness, the same answer */
    dns_world_free(w);
}

/* A target may be at an offset that a pointer cannot reach. */
static void far_targets(void **state)
{
    (void)state;
    struct dns_world *w = dns_world_new();
    char label[60];
    memset(label, 'x', sizeof label - 1);
    label[sizeof label - 1] = 0;
    for (unsigned i = 0; i < DNS_RECORDS_MAX; i++) {
        char key[300], value[80];
        snprintf(key, sizeof key, "%s/%s/%s.%.20s/i%u", label, label, label, label, i);
        snprintf(value, sizeof value, "{\"host\":\"2001:db8::%x\",\"port\":80}", i);
        dns_world_put(w, NAME_INSTANCE, key, value);
    }
    char name[300];
    snprintf(name, sizeof name, "%s.%.20s.%s.%s.svc.cairn.", label, label, label, label);
    struct dns_result result;
    size_t size = ask(w, name, DNS_SRV, (struct asking){0, true, 1, false}, answer, &result);
    assert_true(size > 16384);
    ldns_pkt *p = NULL;
    assert_int_equal(ldns_wire2pkt(&p, answer, size), LDNS_STATUS_OK);
    assert_int_equal(ldns_pkt_ancount(p), DNS_RECORDS_MAX);
    assert_in_range(ldns_pkt_arcount(p), 50, DNS_RECORDS_MAX - 1);
    ldns_pkt_free(p);
    dns_world_free(w);
}

static void expect_bytes(struct dns_world *w, const uint8_t *query, size_t size, const char *wanted)
{
    struct dns_result result;
    struct dns_request request = {.query = slice_of(query, size), .client = dns_world_local};
    size_t n = dns_world_answer(w, request, answer, &result);
    char *got = in_words(answer, n);
    assert_string_equal(got, wanted);
    mem_free(got);
}

static void invalid_queries(void **state)
{
    (void)state;
    struct dns_world *w = dns_world_new();
    uint8_t q[DNS_QUERY_MAX + 100] = {0}, made[600];
    size_t size = make_query(made, "orders.svc.cairn.", DNS_AAAA, 1232);
    for (size_t n = 0; n < 12; n++)
        expect_bytes(w, made, n, "nothing");
    for (size_t n = 12; n < size; n++)
        expect_bytes(w, made, n, "FORMERR");
    static const struct {
        const char *what;
        size_t at;
        uint8_t value;
        const char *wanted;
    } changes[] = {
        {"an answer", 2, 0x81, "nothing"},
        {"NOTIFY", 2, 0x21, "NOTIMPL"},
        {"no recursion wanted", 2, 0x00, "NOERROR aa not-rd | orders.svc.cairn. 5 IN AAAA 2001:db8::4"},
        {"no question", 5, 0, "FORMERR"},
        {"two questions", 5, 2, "FORMERR"},
        {"the OPT as an answer", 7, 1, "FORMERR"},
        {"a pointer", 12, 0xc0, "FORMERR"},
        {"an extended label", 12, 0x41, "FORMERR"},
        {"class CH", 33, 3, "REFUSED"},
        {"EDNS 1", 40, 1, "BADVERS"},
        {"an OPT with an owner", 34, 1, "FORMERR"},
        {"options beyond the end", 44, 1, "FORMERR"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        memcpy(q, made, size);
        q[changes[i].at] = changes[i].value;
        print_message("%s\n", changes[i].what);
        expect_bytes(w, q, size, changes[i].wanted);
    }
    memcpy(q, made, size);
    expect_bytes(w, q, size + 1, "FORMERR"); /* bytes after the message */
    memcpy(q + size, made + 34, 11);
    q[11] = 2;
    expect_bytes(w, q, size + 11, "FORMERR"); /* two OPT records */
    memcpy(q, made, size);
    expect_bytes(w, q, sizeof q, "FORMERR"); /* too long */
    w->view.catalog = NULL;
    expect_bytes(w, made, size, "SERVFAIL");
    dns_world_free(w);
}

/* The index is late by a second at most, and shows no deleted instance. */
static void index_follows(void **state)
{
    (void)state;
    const char *ptr = "9.0.30.10.in-addr.arpa.";
    const char *there =
        "NOERROR aa | 9.0.30.10.in-addr.arpa. 5 IN PTR 10-30-0-9.new.default.default.inst.cairn.";
    struct dns_world *w = dns_world_new();
    struct asking how = {0};
    dns_world_step_ns = 20000000; /* the time of a build: the next one starts a second later */
    expect(w, ptr, DNS_PTR, how, "REFUSED");
    dns_world_put(w, NAME_INSTANCE, "default/default/New/1", "{\"host\":\"10.30.0.9\"}");
    expect(w, ptr, DNS_PTR, how, "REFUSED");
    dns_world_now_ns += 1100000000;
    expect(w, "new.svc.cairn.", DNS_A, how, "NOERROR aa | new.svc.cairn. 5 IN A 10.30.0.9");
    expect(w, ptr, DNS_PTR, how,
           "NOERROR aa | 9.0.30.10.in-addr.arpa. 5 IN PTR 10-30-0-9.New.default.default.inst.cairn.");
    dns_world_put(w, NAME_INSTANCE, "default/default/New/1", NULL);
    expect(w, ptr, DNS_PTR, how, "REFUSED");
    dns_world_put(w, NAME_INSTANCE, "default/default/new/1", "{\"host\":\"10.30.0.9\"}");
    dns_world_now_ns += 1100000000;
    expect(w, ptr, DNS_PTR, how, there);
    dns_world_put(w, NAME_INSTANCE, "default/default/new/1", "{\"host\":\"10.30.0.8\"}");
    expect(w, ptr, DNS_PTR, how, "REFUSED");
    /* A build that takes no time delays no query. */
    dns_world_now_ns += 1100000000;
    dns_world_step_ns = 0;
    expect(w, "8.0.30.10.in-addr.arpa.", DNS_PTR, how,
           "NOERROR aa | 8.0.30.10.in-addr.arpa. 5 IN PTR 10-30-0-8.new.default.default.inst.cairn.");
    dns_world_put(w, NAME_INSTANCE, "default/default/new/1", "{\"host\":\"10.30.0.9\"}");
    expect(w, ptr, DNS_PTR, how, there);
    dns_world_free(w);
}

/* --- sources that may be forged ------------------------------------------------------------------------- */
/* One more option in the OPT record that ends the query. */
static size_t add_option(uint8_t *query, size_t size, uint8_t code, const void *data, size_t data_size)
{
    enum { OPT_DATA = 11 };
    size_t from = size;
    while (memcmp(query + from - OPT_DATA, "\0\0\x29", 3) != 0)
        from--;
    memcpy(query + size, (uint8_t[]){0, code, 0, (uint8_t)data_size}, 4);
    memcpy(query + size + 4, data, data_size);
    size += 4 + data_size;
    query[from - 1] = (uint8_t)(size - from);
    return size;
}

struct exchange {
    size_t size; /* of the answer; 0 = none */
    struct dns_result result;
    ldns_pkt *packet;
    bool has_cookie;
    uint8_t cookie[DNS_COOKIE_SIZE];
};

/* The packet lives until the next exchange. */
static struct exchange exchange(struct dns_world *w, const uint8_t *query, size_t size, bool is_tcp,
                                struct dns_address client)
{
    static ldns_pkt *packet;
    struct exchange x = {0};
    struct dns_request request = {.query = slice_of(query, size),
                                  .is_tcp = is_tcp,
                                  .client = client,
                                  .now_s = 1000,
                                  .mono_ns = 1000000000};
    ldns_pkt_free(packet);
    packet = NULL;
    x.size = dns_world_answer(w, request, answer, &x.result);
    if (x.size == 0)
        return x;
    assert_int_equal(ldns_wire2pkt(&packet, answer, x.size), LDNS_STATUS_OK);
    x.packet = packet;
    ldns_rdf *options = ldns_pkt_edns_data(packet);
    if (options) { /* no other option than the cookie */
        assert_int_equal(ldns_rdf_size(options), 4 + DNS_COOKIE_SIZE);
        assert_memory_equal(ldns_rdf_data(options), "\0\12\0\30", 4);
        memcpy(x.cookie, ldns_rdf_data(options) + 4, sizeof x.cookie);
        x.has_cookie = true;
    }
    return x;
}

static bool is_target(ldns_rr_list *answers, const ldns_rdf *owner)
{
    for (size_t i = 0; i < ldns_rr_list_rr_count(answers); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(answers, i);
        ldns_rr_type type = ldns_rr_get_type(rr);
        if (type == LDNS_RR_TYPE_SRV || type == LDNS_RR_TYPE_NS)
            if (ldns_dname_compare(ldns_rr_rdf(rr, type == LDNS_RR_TYPE_SRV ? 3 : 0), owner) == 0)
                return true;
    }
    return false;
}

/* The largest answer in relation to its query: 40 bytes once brought 3,900. An answer holds the requested
 * records, no authority section, and only the addresses of the targets in addition. */
static void amplification(void **state)
{
    (void)state;
    static const unsigned more[] = {DNS_A, DNS_SRV, DNS_TXT, DNS_ANY, DNS_NS, DNS_PTR};
    static const uint16_t sizes[] = {0, 512, 1232, 4096, 65535};
    struct dns_world *w = dns_world_new();
    fill(w, 60);
    double worst = 0;
    size_t largest = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows + 6; i++)
        for (size_t k = 0; k < 2 * sizeof sizes / sizeof *sizes; k++) {
            bool is_many = i >= sizeof rows / sizeof *rows, is_remote = k % 2;
            const char *name = is_many ? "many.svc.cairn." : rows[i].name;
            unsigned type = is_many ? more[i - sizeof rows / sizeof *rows] : rows[i].type;
            uint8_t query[600];
            if (!is_many && !rows[i].wanted)
                continue;
            size_t size = make_query(query, name, type, sizes[k / 2]);
            struct exchange x =
                exchange(w, query, size, false, is_remote ? dns_world_remote : dns_world_local);
            double factor = (double)x.size / (double)size;
            worst = is_remote && factor > worst ? factor : worst;
            largest = x.size > largest ? x.size : largest;
            assert_in_range(x.size, 12, is_remote ? DNS_UDP_SIZE_MIN : DNS_UDP_SIZE);
            assert_true(ldns_pkt_ancount(x.packet) == 0 || ldns_pkt_nscount(x.packet) == 0);
            for (size_t n = 0; n < ldns_rr_list_rr_count(ldns_pkt_additional(x.packet)); n++)
                assert_true(is_target(ldns_pkt_answer(x.packet),
                                      ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_additional(x.packet), n))));
        }
    print_message("to an address that may be forged: %.1f times the query; largest of all: %zu bytes\n",
                  worst, largest);
    assert_true(worst <= 16);
    assert_in_range(largest, 1000, 1232);
    dns_world_free(w);
}

static void cookies(void **state)
{
    (void)state;
    struct dns_world *w = dns_world_new();
    fill(w, 60);
    uint8_t q[600], bad[DNS_COOKIE_SIZE];
    size_t bare = make_query(q, "many.svc.cairn.", DNS_A, 4096);
    struct exchange x = exchange(w, q, bare, false, dns_world_remote);
    assert_false(x.has_cookie);
    assert_int_equal(x.result.cookie, DNS_COOKIE_NONE);
    /* A client cookie alone: an answer of the ordinary size, and the server cookie. */
    size_t size = add_option(q, bare, 10, "12345678", 8);
    x = exchange(w, q, size, false, dns_world_remote);
    assert_int_equal(x.result.cookie, DNS_COOKIE_CLIENT_ONLY);
    assert_true(x.has_cookie && memcmp(x.cookie, "12345678\1\0\0\0", 12) == 0);
    assert_true(x.size <= DNS_UDP_SIZE_MIN && ldns_pkt_tc(x.packet));
    uint8_t cookie[DNS_COOKIE_SIZE];
    memcpy(cookie, x.cookie, sizeof cookie);
    /* The cookie is sent back whole: the source is verified. */
    make_query(q, "many.svc.cairn.", DNS_A, 4096);
    size = add_option(q, bare, 10, cookie, sizeof cookie);
    x = exchange(w, q, size, false, dns_world_remote);
    assert_int_equal(x.result.cookie, DNS_COOKIE_VALID);
    assert_true(x.has_cookie && !ldns_pkt_tc(x.packet));
    assert_int_equal(ldns_pkt_ancount(x.packet), 60);
    assert_in_range(x.size, DNS_UDP_SIZE_MIN + 1, DNS_UDP_SIZE);
    /* From another address, or changed: as with a client cookie alone. */
    struct dns_address other = {{192, 0, 2, 2}, 4};
    x = exchange(w, q, size, false, other);
    assert_int_equal(x.result.cookie, DNS_COOKIE_BAD);
    assert_true(x.has_cookie && ldns_pkt_tc(x.packet) && x.size <= DNS_UDP_SIZE_MIN);
    assert_int_equal(x.result.rcode, DNS_NOERROR);
    memcpy(bad, cookie, sizeof bad);
    bad[23] ^= 1;
    make_query(q, "many.svc.cairn.", DNS_SRV, 65535);
    x = exchange(w, q, add_option(q, bare, 10, bad, sizeof bad), false, dns_world_remote);
    assert_int_equal(x.result.cookie, DNS_COOKIE_BAD);
    assert_true(x.has_cookie && x.size <= DNS_UDP_SIZE_MIN);
    /* Over TCP all of it comes, cookie included. */
    make_query(q, "many.svc.cairn.", DNS_SRV, 65535);
    x = exchange(w, q, add_option(q, bare, 10, bad, sizeof bad), true, dns_world_remote);
    assert_true(x.has_cookie && x.size > DNS_UDP_SIZE);
    dns_world_free(w);
}

/* RFC 6891, RFC 7873: the parts of an option. */
static void options(void **state)
{
    (void)state;
    struct dns_world *w = dns_world_new();
    uint8_t q[600], data[64] = "12345678abcdefgh";
    for (size_t n = 0; n < 60; n++) {
        size_t size = make_query(q, "cairn.", DNS_SOA, 1232);
        struct exchange x = exchange(w, q, add_option(q, size, 10, data, n), false, dns_world_remote);
        bool is_allowed = n == 8 || (n >= 16 && n <= 40);
        assert_int_equal(x.result.rcode, is_allowed ? DNS_NOERROR : DNS_FORMERR);
        assert_int_equal(x.has_cookie, is_allowed);
        assert_true(ldns_pkt_edns(x.packet));
    }
    /* Unknown options before and after, and a second cookie, are ignored. */
    size_t size = make_query(q, "cairn.", DNS_SOA, 1232);
    size = add_option(q, size, 3, "", 0);
    size = add_option(q, size, 10, "12345678", 8);
    size = add_option(q, size, 10, "x", 1);
    size = add_option(q, size, 15, data, 50);
    struct exchange x = exchange(w, q, size, false, dns_world_remote);
    assert_int_equal(x.result.rcode, DNS_NOERROR);
    assert_true(x.has_cookie && memcmp(x.cookie, "12345678", 8) == 0);
    /* One byte less in the record: the last option does not fit any more. */
    q[24 + 9 + 1 - 1]--;
    x = exchange(w, q, size - 1, false, dns_world_remote);
    assert_int_equal(x.result.rcode, DNS_FORMERR);
    /* Options of another version are not read. */
    size = make_query(q, "cairn.", DNS_SOA, 1232);
    size = add_option(q, size, 10, "x", 1);
    q[23 + 6] = 1;
    x = exchange(w, q, size, false, dns_world_remote);
    assert_int_equal(x.result.rcode, DNS_BADVERS);
    /* No question: the query is only for the cookie. */
    static const uint8_t no_question[] = "\x12\x34\1\0\0\0\0\0\0\0\0\1\0\0\51\4\320\0\0\0\0\0\0";
    memcpy(q, no_question, sizeof no_question - 1);
    x = exchange(w, q, sizeof no_question - 1, false, dns_world_remote);
    assert_int_equal(x.result.rcode, DNS_FORMERR);
    size = add_option(q, sizeof no_question - 1, 10, "12345678", 8);
    w->view.catalog = NULL; /* nothing of the registry is needed */
    x = exchange(w, q, size, false, dns_world_remote);
    assert_int_equal(x.result.rcode, DNS_NOERROR);
    assert_true(x.has_cookie && ldns_pkt_qdcount(x.packet) == 0 && ldns_pkt_ancount(x.packet) == 0 &&
                ldns_pkt_nscount(x.packet) == 0 && !ldns_pkt_aa(x.packet));
    dns_world_free(w);
}

/* Over the limit: every second query is sent to TCP, or gets its cookie, in no more bytes than it brought. */
static void limited(void **state)
{
    (void)state;
    enum { LIMIT = 4 };
    struct dns_world *w = dns_world_new();
    struct exchange x;
    uint8_t q[600], known[600], garbage[600], loose[600];
    fill(w, 60);
    w->view.rate = dns_rate_new(LIMIT, (const uint8_t *)"0123456789abcdef");
    size_t size = make_query(q, "many.svc.cairn.", DNS_SRV, 1232);
    size_t loose_size = make_query(loose, "many.svc.cairn.", DNS_SRV, 0);
    size_t known_size = make_query(known, "many.svc.cairn.", DNS_SRV, 1232);
    size_t garbage_size = make_query(garbage, "many.svc.cairn.", DNS_SRV, 0) - 1;
    known_size = add_option(known, known_size, 10, "12345678", 8);
    x = exchange(w, known, known_size, false, dns_world_remote); /* 1 of 4; it learns its cookie */
    assert_int_equal(x.result.verdict, DNS_RATE_PASS);
    uint8_t cookie[DNS_COOKIE_SIZE];
    memcpy(cookie, x.cookie, sizeof cookie);
    /* NXDOMAIN and errors count like answers. */
    uint8_t nobody[600];
    size_t nobody_size = make_query(nobody, "nobody.svc.cairn.", DNS_A, 0);
    assert_true(exchange(w, nobody, nobody_size, false, dns_world_remote).size > 0);
    assert_true(exchange(w, garbage, garbage_size, false, dns_world_remote).size > 0);
    nobody_size = make_query(nobody, "example.com.", DNS_A, 0);
    assert_true(exchange(w, nobody, nobody_size, false, dns_world_remote).size > 0);
    for (int i = 0; i < 10; i++) {
        bool is_slip = i % 2 == 1, has_edns = i % 4 == 1;
        x = exchange(w, has_edns ? q : loose, has_edns ? size : loose_size, false, dns_world_remote);
        assert_int_equal(x.result.verdict, is_slip ? DNS_RATE_SLIP : DNS_RATE_DROP);
        assert_int_equal(x.size, !is_slip ? 0 : has_edns ? size : loose_size);
        if (is_slip) {
            assert_true(ldns_pkt_tc(x.packet) && x.result.is_truncated && !ldns_pkt_aa(x.packet));
            assert_int_equal(ldns_pkt_ancount(x.packet) + ldns_pkt_nscount(x.packet), 0);
            assert_int_equal(ldns_pkt_get_rcode(x.packet), 0);
        }
    }
    /* With a client cookie it slips with BADCOOKIE. */
    assert_int_equal(exchange(w, known, known_size, false, dns_world_remote).size, 0);
    x = exchange(w, known, known_size, false, dns_world_remote);
    assert_int_equal(x.result.rcode, DNS_BADCOOKIE);
    assert_true(x.has_cookie && !ldns_pkt_tc(x.packet));
    assert_memory_equal(x.cookie, cookie, sizeof cookie);
    assert_in_range(x.size, known_size, known_size + 16);
    /* An unreadable query never slips. */
    for (int i = 0; i < 10; i++)
        assert_int_equal(exchange(w, garbage, garbage_size, false, dns_world_remote).size, 0);
    /* Verified sources are not limited, nor is another prefix. */
    known_size = make_query(known, "many.svc.cairn.", DNS_SRV, 1232);
    known_size = add_option(known, known_size, 10, cookie, sizeof cookie);
    struct dns_address other = {{192, 0, 3, 1}, 4}, local6 = {{[15] = 1}, 16};
    for (int i = 0; i < 3 * LIMIT; i++) {
        assert_true(exchange(w, known, known_size, false, dns_world_remote).size > DNS_UDP_SIZE_MIN);
        assert_true(exchange(w, q, size, true, dns_world_remote).size > DNS_UDP_SIZE);
        assert_true(exchange(w, q, size, false, dns_world_local).size > DNS_UDP_SIZE_MIN);
        assert_true(exchange(w, q, size, false, local6).size > DNS_UDP_SIZE_MIN);
    }
    assert_true(exchange(w, q, size, false, other).size > size);
    dns_rate_free(w->view.rate);
    dns_world_free(w);
}

/* A change, or a query with another tag, does not get the records that were chosen for an earlier query. */
static void large_services_change(void **state)
{
    (void)state;
    enum { INSTANCES = 100 };
    struct dns_world *w = dns_world_new();
    struct asking how = {.is_tcp = true};
    struct dns_result result;
    char key[80], value[80], text[40];
    for (int i = 0; i < INSTANCES; i++) {
        snprintf(key, sizeof key, "default/default/big/i%d", i);
        snprintf(value, sizeof value, "{\"host\":\"10.20.0.%d\",\"port\":1,\"tags\":[\"t%d\"]}", i, i % 2);
        dns_world_put(w, NAME_INSTANCE, key, value);
    }
    for (int i = 0; i < INSTANCES; i++) {
        for (int again = 0; again < 2; again++) {
            char *got = in_words(answer, ask(w, "big.svc.cairn", DNS_A, how, answer, &result));
            for (int k = 0; k < INSTANCES; k++) {
                snprintf(text, sizeof text, " IN A 10.20.0.%d", k);
                const char *at = strstr(got, text);
                while (at && at[strlen(text)] != ' ' &&
                       at[strlen(text)] != 0) /* 10.20.0.1 is not 10.20.0.10 */
                    at = strstr(at + 1, text);
                if (k < i)
                    assert_null(at);
                else if (INSTANCES - i <= 60)
                    assert_non_null(at);
            }
            mem_free(got);
            got = in_words(answer, ask(w, "t1.big.svc.cairn", DNS_A, how, answer, &result));
            assert_null(strstr(got, "10.20.0.0 "));
            mem_free(got);
        }
        snprintf(key, sizeof key, "default/default/big/i%d", i);
        dns_world_put(w, NAME_INSTANCE, key, NULL);
    }
    expect(w, "big.svc.cairn", DNS_A, how,
           "NXDOMAIN aa # N | cairn. 5 IN SOA ns.cairn. hostmaster.cairn. 227 3600 600 86400 5");
    dns_world_free(w);
}

/* The service's own record, then the instances' pairs, then what they inherit. */
static void inherited(void **state)
{
    (void)state;
    struct dns_world *w = dns_world_new();
    const struct asking how = {0};
    dns_world_put(w, NAME_SERVICE, "default/default/held",
                  "{\"metadata\":{\"k\":\"w\",\"team\":\"shop\"},\"inherit\":true}");
    dns_world_put(w, NAME_INSTANCE, "default/default/held/h1",
                  "{\"host\":\"10.12.0.1\",\"port\":1,\"metadata\":{\"k\":\"v\"}}");
    expect(w, "held.svc.cairn", DNS_TXT, how,
           "NOERROR aa | held.svc.cairn. 5 IN TXT \"id=h1\" \"host=10.12.0.1\" \"port=1\" \"k=v\" "
           "\"team=shop\" | held.svc.cairn. 5 IN TXT \"k=w\" \"team=shop\"");
    dns_world_free(w);
}

static void zones(void **state)
{
    (void)state;
    struct dns_world *w = dns_world_new();
    assert_int_equal(dns_zone_init(&w->zone, slice_text(""), 5), ERR_MALFORMED);
    assert_int_equal(dns_zone_init(&w->zone, slice_text("."), 5), ERR_MALFORMED);
    assert_int_equal(dns_zone_init(&w->zone, slice_text("a..b"), 5), ERR_MALFORMED);
    assert_int_equal(dns_zone_init(&w->zone, slice_text("Mesh.Example.COM"), 30), 0);
    struct asking how = {0};
    expect(w, "orders.prod.svc.mesh.example.com", DNS_A, how,
           "NOERROR aa | orders.prod.svc.mesh.example.com. 30 IN A 10.2.0.1");
    expect(w, "mesh.example.com", DNS_NS, how,
           "NOERROR aa | mesh.example.com. 30 IN NS ns.mesh.example.com.");
    expect(w, "example.com", DNS_NS, how, "REFUSED");
    expect(w, "orders.svc.meshxexample.com", DNS_NS, how, "REFUSED");
    expect(w, "orders.svc.mesh\\.example.com", DNS_NS, how, "REFUSED");
    dns_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_and_answers),
        cmocka_unit_test(truncation),
        cmocka_unit_test(order_is_random),
        cmocka_unit_test(far_targets),
        cmocka_unit_test(invalid_queries),
        cmocka_unit_test(index_follows),
        cmocka_unit_test(amplification),
        cmocka_unit_test(cookies),
        cmocka_unit_test(options),
        cmocka_unit_test(limited),
        cmocka_unit_test(large_services_change),
        cmocka_unit_test(inherited),
        cmocka_unit_test(zones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
