/* SPDX-License-Identifier: Apache-2.0
 * Connection counts of each source, in two heaps. Entering, serving and leaving cost O(log n) of the number
 * of sources, evictions included. */
#include "base/net/sources.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "base/mem.h"

struct source {
    uint64_t id;
    struct heap_node by_opening, by_count;
    size_t opening_count, count;
    struct link opening, served; /* oldest first */
};

void sources_init(struct sources *s, size_t opening_max, size_t source_opening_max, size_t connections_max)
{
    *s = (struct sources){.opening_max = opening_max,
                          .source_opening_max = source_opening_max,
                          .connections_max = connections_max};
}

void sources_done(struct sources *s)
{
    map_done(&s->table);
    heap_done(&s->most_opening);
    heap_done(&s->most);
}

/* An IPv4-mapped IPv6 address counts as the IPv4 address. */
uint64_t sources_id(const struct sockaddr_storage *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (address->ss_family == AF_INET) {
        memcpy(&v4, address, sizeof v4);
        return hash64(&v4.sin_addr, sizeof v4.sin_addr) | 1;
    }
    if (address->ss_family != AF_INET6)
        return 1;
    memcpy(&v6, address, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return hash64(v6.sin6_addr.s6_addr + 12, 4) | 1;
    return hash64(&v6.sin6_addr, 8) | 1;
}

uint64_t source_conn_id(const struct source_conn *c)
{
    return c->source ? c->source->id : 0;
}

static void set_place(struct heap *h, struct heap_node *n, size_t count)
{
    if (count == 0)
        heap_remove(h, n);
    else if (heap_contains(n))
        heap_move(h, n, UINT64_MAX - count);
    else
        heap_add(h, n, UINT64_MAX - count);
}

static void count_conn(struct source_conn *c, int opening, int all)
{
    struct sources *s = c->sources;
    struct source *from = c->source;
    from->opening_count += (size_t)opening;
    from->count += (size_t)all;
    s->opening += (size_t)opening;
    s->count += (size_t)all;
    set_place(&s->most_opening, &from->by_opening, from->opening_count);
    set_place(&s->most, &from->by_count, from->count);
}

static void evict_first(struct sources *s, struct link *list)
{
    struct source_conn *c = container_of(list->next, struct source_conn, link);
    if (c->is_served)
        s->evicted_served++;
    else
        s->evicted_opening++;
    c->evict(c);
}

/* Evicts connections to make room for a new one of this source. The new one counts for its own source, so
 * that a source with as many as any other does not evict theirs. */
static void sources_make_room(struct sources *s, uint64_t id)
{
    struct source *own = map_get(&s->table, id);
    if (own && s->source_opening_max && own->opening_count >= s->source_opening_max) {
        evict_first(s, &own->opening);
    } else if (s->opening_max && s->opening >= s->opening_max) {
        struct source *most = container_of(heap_first(&s->most_opening), struct source, by_opening);
        bool is_own = own && own->opening_count && own->opening_count + 1 > most->opening_count;
        evict_first(s, is_own ? &own->opening : &most->opening);
    }
    if (s->connections_max && s->count >= s->connections_max) {
        struct source *most = container_of(heap_first(&s->most), struct source, by_count);
        own = map_get(&s->table, id);
        if (own && own->count + 1 > most->count)
            most = own;
        evict_first(s, most->opening_count ? &most->opening : &most->served);
    }
}

void sources_enter(struct sources *s, struct source_conn *c, const struct sockaddr_storage *address,
                   void (*evict)(struct source_conn *c))
{
    if (!s)
        return;
    uint64_t id = sources_id(address);
    sources_make_room(s, id);
    struct source *from = map_get(&s->table, id);
    if (!from) {
        from = mem_new(sizeof *from);
        from->id = id;
        list_init(&from->opening);
        list_init(&from->served);
        map_put(&s->table, id, from);
    }
    *c = (struct source_conn){.sources = s, .source = from, .evict = evict};
    list_add_last(&from->opening, &c->link);
    count_conn(c, 1, 1);
}

void sources_serve(struct source_conn *c)
{
    if (!c->sources || c->is_served)
        return;
    c->is_served = true;
    list_remove(&c->link);
    list_add_last(&c->source->served, &c->link);
    count_conn(c, -1, 0);
}

void sources_leave(struct source_conn *c)
{
    if (!c->sources)
        return;
    struct source *from = c->source;
    list_remove(&c->link);
    count_conn(c, c->is_served ? 0 : -1, -1);
    if (from->count == 0) {
        map_remove(&c->sources->table, from->id);
        mem_free(from);
    }
    *c = (struct source_conn){0};
}
