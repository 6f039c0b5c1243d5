/* SPDX-License-Identifier: Apache-2.0
 * Index of addresses and folded names, built in slices; see dns_index.h.
 *
 * Building walks the catalog into a new table (dns_table.h), then links the table. Each slice of the walk
 * continues after the names where the one before stopped. Lookups use the old table until the new one is
 * linked. */
#include "server/dns/dns_index.h"

#include "server/dns/dns_table.h"

enum {
    WAIT_SHARE = 50,         /* after a build that took t: no other for 50 t */
    FIRST_SLICE_NS = 500000, /* within a question: the index of a few thousand instances is built at once */
    SLICE_NS = 1000000,
    AT_ONCE = 64, /* entries between two readings of the clock */
};

/* A walk over the catalog, which may change between two slices. */
struct walk {
    struct buf ns, group, name, id; /* of the last service and instance that were added */
    bool is_in_service;             /* it may have more instances */
    bool is_seen;                   /* the audience sees it */
    bool is_over;
    uint32_t service; /* in the table */
};

struct dns_index {
    uint64_t (*mono_ns)(void);
    struct audience *audience;
    bool is_built; /* the table is built for this audience */
    int64_t revision;
    struct dns_table table;
    uint64_t next_build_ns;

    bool is_building;
    int64_t building_revision;
    struct dns_table next;
    struct walk walk;
    uint64_t spent_ns;
};

struct dns_index *dns_index_new(uint64_t (*mono_ns)(void))
{
    struct dns_index *x = mem_new(sizeof *x);
    x->mono_ns = mono_ns;
    return x;
}

static void walk_done(struct walk *w)
{
    buf_done(&w->ns);
    buf_done(&w->group);
    buf_done(&w->name);
    buf_done(&w->id);
    *w = (struct walk){0};
}

static void stop_building(struct dns_index *x)
{
    dns_table_release(&x->next);
    walk_done(&x->walk);
    x->is_building = false;
}

void dns_index_free(struct dns_index *x)
{
    if (!x)
        return;
    stop_building(x);
    dns_table_release(&x->table);
    audience_unref(x->audience);
    mem_free(x);
}

void dns_index_set_audience(struct dns_index *x, struct audience *audience)
{
    if (audience_is_same(x->audience, audience))
        return;
    audience_unref(x->audience);
    x->audience = audience_ref(audience);
    x->is_built = false;
    stop_building(x);
}

/* --- building ---------------------------------------------------------------------------------------- */

static void dns_index_keep(struct buf *b, struct slice s)
{
    buf_clear(b);
    buf_add_slice(b, s);
}

static void enter_service(struct dns_index *x, const struct catalog_service *s)
{
    struct walk *w = &x->walk;
    dns_index_keep(&w->ns, s->ns);
    dns_index_keep(&w->group, s->group);
    dns_index_keep(&w->name, s->name);
    w->is_in_service = audience_sees_service(x->audience, s);
    if (w->is_in_service)
        w->service = dns_table_add_service(&x->next, s);
}

/* Adds the addresses of a service's instances from `at` on; false: there are more. */
static bool add_addresses(struct dns_index *x, const struct catalog_service *from, size_t at)
{
    size_t end = from->count - at > AT_ONCE ? at + AT_ONCE : from->count;
    for (; at < end; at++) {
        struct dns_address a;
        if (audience_sees(x->audience, from->list[at]) && !dns_address_read(from->list[at]->doc->host, &a))
            dns_table_add_address(&x->next, x->walk.service, &a);
    }
    if (at < from->count)
        dns_index_keep(&x->walk.id, from->list[at - 1]->id);
    return at == from->count;
}

/* Adds one service, or some of its instances. */
static void continue_walk(struct dns_index *x, const struct catalog *c)
{
    struct walk *w = &x->walk;
    struct slice ns = buf_slice(&w->ns), group = buf_slice(&w->group), name = buf_slice(&w->name);
    const struct catalog_service *s;
    size_t at = 0;
    if (w->is_in_service) {
        s = catalog_find(c, ns, group, name);
        at = s ? catalog_place_behind(s, buf_slice(&w->id)) : 0;
    } else {
        s = catalog_next(c, ns, group, name);
        w->is_over = !s;
        if (s)
            enter_service(x, s);
    }
    if (!s || !w->is_in_service || add_addresses(x, s, at))
        w->is_in_service = false;
}

static void end_building(struct dns_index *x)
{
    struct dns_table old = x->table;
    x->table = x->next;
    x->next = old;
    x->is_built = true;
    x->revision = x->building_revision;
    x->next_build_ns = x->mono_ns() + x->spent_ns * WAIT_SHARE;
    stop_building(x);
}

static void build_some(struct dns_index *x, const struct catalog *c, uint64_t slice_ns)
{
    uint64_t begin_ns = x->mono_ns(), now_ns = begin_ns;
    bool is_done = false;
    while (!is_done && now_ns - begin_ns < slice_ns) {
        for (int i = 0; i < AT_ONCE && !x->walk.is_over; i += x->walk.is_in_service ? AT_ONCE : 1)
            continue_walk(x, c);
        is_done = x->walk.is_over && dns_table_link(&x->next, AT_ONCE);
        now_ns = x->mono_ns();
    }
    x->spent_ns += now_ns - begin_ns;
    if (is_done)
        end_building(x);
}

static void bring_up_to_date(struct dns_index *x, const struct catalog *c)
{
    if (x->is_building || (x->is_built && x->revision == catalog_revision(c)))
        return;
    if (x->is_built && x->mono_ns() < x->next_build_ns)
        return;
    x->is_building = true;
    x->building_revision = catalog_revision(c);
    x->spent_ns = 0;
    build_some(x, c, FIRST_SLICE_NS);
}

bool dns_index_is_ready(struct dns_index *x, const struct catalog *c)
{
    bring_up_to_date(x, c);
    return x->is_built;
}

bool dns_index_is_building(const struct dns_index *x)
{
    return x->is_building;
}

bool dns_index_turn(struct dns_index *x, const struct catalog *c)
{
    if (x->is_building)
        build_some(x, c, SLICE_NS);
    return x->is_building;
}

/* --- lookups ----------------------------------------------------------------------------------------- */

static const struct catalog_service *in_catalog(const struct dns_index *x, const struct catalog *c,
                                                uint32_t service)
{
    const struct catalog_service *found =
        catalog_find(c, dns_table_ns(&x->table, service), dns_table_group(&x->table, service),
                     dns_table_service_name(&x->table, service));
    return found && audience_sees_service(x->audience, found) ? found : NULL;
}

const struct catalog_service *dns_index_service(struct dns_index *x, const struct catalog *c,
                                                struct slice name)
{
    int64_t service = dns_index_is_ready(x, c) ? dns_table_find(&x->table, name) : DNS_TABLE_NONE;
    return service >= 0 ? in_catalog(x, c, (uint32_t)service) : NULL;
}

bool dns_index_is_above(struct dns_index *x, const struct catalog *c, struct slice name)
{
    return dns_index_is_ready(x, c) && dns_table_find(&x->table, name) != DNS_TABLE_NONE;
}

size_t dns_index_at_address(struct dns_index *x, const struct catalog *c, const struct dns_address *address,
                            const struct catalog_service **ret_list, size_t max)
{
    size_t count = 0;
    int64_t service, last = DNS_TABLE_NONE;
    if (!dns_index_is_ready(x, c))
        return 0;
    for (uint32_t at = 0; count < max && (service = dns_table_next_at(&x->table, address, &at)) >= 0;) {
        /* The entries of one service are adjacent: several instances at one address count once. */
        if (service == last)
            continue;
        last = service;
        ret_list[count] = in_catalog(x, c, (uint32_t)service);
        count += ret_list[count] != NULL;
    }
    return count;
}
