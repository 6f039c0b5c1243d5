/* SPDX-License-Identifier: Apache-2.0
 * A small registry for DNS queries, for tests and the fuzz target. A table fills it once. */
#ifndef TESTS_UNIT_DNS_WORLD_H
#define TESTS_UNIT_DNS_WORLD_H

#include <stdio.h>

#include "base/mem.h"
#include "server/dns/dns_answer.h"
#include "server/dns/dns_choice.h"

struct dns_world {
    struct catalog *catalog;
    struct dns_index *index;
    struct dns_zone zone;
    struct dns_cookie_secrets secrets;
    struct dns_view view;
    struct dns_choices choices;
    struct arena arena;
    int64_t revision;
};

static uint64_t dns_world_now_ns;  /* the index's clock ... */
static uint64_t dns_world_step_ns; /* ... which advances by this with each reading */

static inline uint64_t dns_world_clock(void)
{
    return dns_world_now_ns += dns_world_step_ns;
}

/* key: "ns/group/service/id"; value NULL: delete. */
static inline void dns_world_put(struct dns_world *w, enum name_kind kind, const char *key, const char *value)
{
    struct slice parts[4] = {{0}};
    size_t count = kind == NAME_SERVICE ? 3 : 4;
    const char *at = key;
    for (size_t i = 0; i < count; i++) {
        size_t n = i + 1 < count ? strcspn(at, "/") : strlen(at);
        parts[i] = slice_of(at, n);
        at += n + (at[n] == '/');
    }
    struct name name = {kind, parts[0], parts[1], parts[2], parts[3], 0};
    catalog_begin(w->catalog, ++w->revision);
    if (value)
        catalog_put(w->catalog, &name, slice_text(value), w->revision, w->revision);
    else
        catalog_delete(w->catalog, &name);
    catalog_end(w->catalog);
}

static const struct {
    const char *key, *value;
} dns_world_instances[] = {
    {"default/default/orders/o1",
     "{\"host\":\"10.0.0.1\",\"port\":8080,\"weight\":10,\"protocol\":\"http\","
     "\"tags\":[\"blue\",\"V2\"],\"version\":\"2.1\",\"metadata\":{\"k\":\"v\"}}"},
    {"default/default/orders/o2",
     "{\"host\":\"10.0.0.2\",\"ports\":{\"grpc\":9090,\"http\":8081},\"tags\":[\"blue\"]}"},
    {"default/default/orders/o3",
     "{\"host\":\"10.0.0.3\",\"port\":8080,\"state\":\"draining\",\"tags\":[\"red\"]}"},
    {"default/default/orders/o4", "{\"host\":\"2001:db8::4\",\"port\":8080}"},
    {"default/default/orders/o5", "{\"host\":\"10.0.0.5\",\"port\":8080}"}, /* disabled below */
    {"prod/shop/orders/p1", "{\"host\":\"10.1.0.1\",\"port\":1}"},
    {"prod/default/orders/p2", "{\"host\":\"10.2.0.1\",\"port\":2}"},
    {"prod/default/blue/b1", "{\"host\":\"10.3.0.1\",\"port\":3}"}, /* not orders' tag in default */
    {"default/default/com.Foo.Bar/f1", "{\"host\":\"10.4.0.1\",\"port\":4}"},
    {"Test/Default/Upper/u1", "{\"host\":\"10.4.0.2\",\"port\":4}"},
    {"default/default/named/n1", "{\"host\":\"web-1.example.com\",\"port\":80,\"weight\":7}"},
    {"default/default/mixed/m1", "{\"host\":\"web-1.example.com\",\"port\":80}"},
    {"default/default/mixed/m2", "{\"host\":\"10.5.0.1\",\"port\":80}"},
    {"default/default/same/s1", "{\"host\":\"10.6.0.1\",\"port\":1}"},
    {"default/default/same/s2", "{\"host\":\"10.6.0.1\",\"port\":2}"},
    {"default/default/same/s3", "{\"host\":\"10.6.0.1\",\"port\":2}"},
    {"default/default/portless/x1", "{\"host\":\"10.7.0.1\"}"},
    {"default/default/down/d1", "{\"host\":\"10.8.0.1\",\"port\":1,\"state\":\"down\"}"},
    {"default/default/guarded/g1", "{\"host\":\"10.9.0.1\",\"port\":1,\"state\":\"lost\"}"},
    {"default/default/guarded/g2", "{\"host\":\"10.9.0.2\",\"port\":1}"},
    {"default/default/held/h1", "{\"host\":\"10.12.0.1\",\"port\":1,\"guarded\":true,\"session\":\"5\"}"},
    {"default/default/udp/t1", "{\"host\":\"10.10.0.1\",\"port\":53,\"protocol\":\"udp\"}"},
    {"default/default/odd/1", "{\"host\":\"not a..name\",\"port\":1}"},
    {"default/default/a..b/1", "{\"host\":\"10.11.0.1\",\"port\":1}"},
};

static inline struct dns_world *dns_world_new(void)
{
    struct dns_world *w = mem_new(sizeof *w);
    struct dns_address server = {{127, 0, 0, 1}, 4};
    w->catalog = catalog_new(&(struct catalog_events){0});
    w->index = dns_index_new(dns_world_clock);
    for (size_t i = 0; i < sizeof dns_world_instances / sizeof *dns_world_instances; i++)
        dns_world_put(w, NAME_INSTANCE, dns_world_instances[i].key, dns_world_instances[i].value);
    dns_world_put(w, NAME_OVERRIDE, "default/default/orders/o5", "{\"enabled\":false}");
    dns_world_put(w, NAME_SERVICE, "default/default/guarded", "{\"protect_threshold\":0.5}");
    dns_world_put(w, NAME_SERVICE, "default/default/settled", "{\"metadata\":{\"owner\":\"shop\"}}");
    if (dns_zone_init(&w->zone, slice_text("Cairn."), 5))
        return NULL;
    dns_zone_add_server(&w->zone, &server);
    dns_cookie_set_secret(&w->secrets, (const uint8_t *)"0123456789abcdef", 1);
    w->view = (struct dns_view){.zone = &w->zone,
                                .catalog = w->catalog,
                                .index = w->index,
                                .choices = &w->choices,
                                .secrets = &w->secrets};
    return w;
}

/* An address that may be forged (TEST-NET-1), or one that cannot be forged. */
static const struct dns_address dns_world_remote = {{192, 0, 2, 1}, 4}, dns_world_local = {{127, 0, 0, 1}, 4};

static inline size_t dns_world_answer(struct dns_world *w, struct dns_request request, uint8_t *out,
                                      struct dns_result *ret_result)
{
    arena_reset(&w->arena);
    return dns_answer(&w->view, &request, &w->arena, out, ret_result);
}

static inline void dns_world_free(struct dns_world *w)
{
    dns_choices_done(&w->choices);
    dns_index_free(w->index);
    catalog_free(w->catalog);
    arena_done(&w->arena);
    mem_free(w);
}

#endif
