/* SPDX-License-Identifier: Apache-2.0
 * See dns_index.h. One arena holds the copied names, so that nothing points into the catalog. */
#include "server/dns/dns_index.h"

#include "base/hash.h"

enum {
    WAIT_MIN_NS = 1000000000,
    WAIT_SHARE = 50, /* after a build that took t: no other for 50 t */
};

struct indexed_service {
    struct slice ns, group, name;
};

struct indexed_address {
    struct dns_address address;
    uint32_t next; /* in the chain of its bucket: place + 1, 0 = the end */
    struct indexed_service *service;
};

struct dns_index {
    uint64_t (*mono_ns)(void);
    bool is_built;
    struct audience *audience;
    int64_t revision;
    uint64_t next_build_ns;
    struct arena arena;
    struct strmap names; /* folded -> struct indexed_service, or `above` */
    struct indexed_address *addresses;
    size_t address_count, address_capacity;
    uint32_t *buckets;
    size_t bucket_mask;
};

static struct indexed_service above; /* a name with others below it */

struct dns_index *dns_index_new(uint64_t (*mono_ns)(void))
{
    struct dns_index *x = mem_new(sizeof *x);
    x->mono_ns = mono_ns;
    return x;
}

static void clear(struct dns_index *x)
{
    strmap_done(&x->names);
    arena_reset(&x->arena);
    mem_free(x->buckets);
    x->buckets = NULL;
    x->address_count = 0;
}

void dns_index_free(struct dns_index *x)
{
    if (!x)
        return;
    clear(x);
    audience_unref(x->audience);
    arena_done(&x->arena);
    mem_free(x->addresses);
    mem_free(x);
}

void dns_index_set_audience(struct dns_index *x, struct audience *audience)
{
    if (audience_is_same(x->audience, audience))
        return;
    audience_unref(x->audience);
    x->audience = audience_ref(audience);
    x->is_built = false;
}

/* --- building ------------------------------------------------------------------------------------------ */
static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((s.data[i] >= 'A' && s.data[i] <= 'Z') || s.data[i] == '.')
            return false;
    return true;
}

static void fold(uint8_t *out, struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        out[i] = s.data[i] >= 'A' && s.data[i] <= 'Z' ? s.data[i] | 0x20 : s.data[i];
}

static struct slice copy(struct dns_index *x, struct slice s)
{
    return slice_of(arena_copy(&x->arena, s.data, s.size), s.size);
}

static bool is_before(const struct indexed_service *a, const struct indexed_service *b)
{
    int c = slice_compare(a->ns, b->ns);
    c = c ? c : slice_compare(a->group, b->group);
    return (c ? c : slice_compare(a->name, b->name)) < 0;
}

/* The service under its folded name, and what stands above it. Of several with one folded name the first in
 * the order of bytes counts. */
static void add_name(struct dns_index *x, struct indexed_service *s)
{
    uint8_t text[2 * NAME_SIZE_MAX + NAMESPACE_SIZE_MAX + 2];
    size_t size = s->name.size + s->group.size + s->ns.size + 2;
    if (size > DNS_NAME_MAX || (is_plain(s->name) && is_plain(s->group) && is_plain(s->ns)))
        return;
    fold(text, s->name);
    text[s->name.size] = '.';
    fold(text + s->name.size + 1, s->group);
    text[s->name.size + 1 + s->group.size] = '.';
    fold(text + s->name.size + s->group.size + 2, s->ns);
    struct indexed_service *there = strmap_get(&x->names, slice_of(text, size));
    if (!there || there == &above || is_before(s, there))
        strmap_put(&x->names, slice_of(text, size), s);
    for (size_t i = 0; i + 1 < size; i++)
        if (text[i] == '.' && !strmap_get(&x->names, slice_of(text + i + 1, size - i - 1)))
            strmap_put(&x->names, slice_of(text + i + 1, size - i - 1), &above);
}

static void add_addresses(struct dns_index *x, const struct catalog_service *from, struct indexed_service *s)
{
    for (size_t i = 0; i < from->count; i++) {
        struct dns_address a;
        if (!audience_sees(x->audience, from->list[i]) || dns_address_read(from->list[i]->doc->host, &a))
            continue;
        if (x->address_count == x->address_capacity) {
            x->address_capacity = x->address_capacity ? 2 * x->address_capacity : 64;
            x->addresses = mem_resize(x->addresses, x->address_capacity * sizeof *x->addresses);
        }
        x->addresses[x->address_count++] = (struct indexed_address){.address = a, .service = s};
    }
}

static bool add_service(void *arg, struct catalog_service *from)
{
    struct dns_index *x = arg;
    if (!audience_sees_service(x->audience, from))
        return true;
    struct indexed_service *s = arena_alloc(&x->arena, sizeof *s);
    *s = (struct indexed_service){copy(x, from->ns), copy(x, from->group), copy(x, from->name)};
    add_name(x, s);
    add_addresses(x, from, s);
    return true;
}

struct building {
    struct dns_index *index;
    const struct catalog *catalog;
};

static bool add_namespace(void *arg, const struct catalog_namespace *n)
{
    const struct building *b = arg;
    struct slice all = {0};
    catalog_each(b->catalog, n->name, all, all, all, add_service, b->index);
    return true;
}

static size_t bucket_of(const struct dns_index *x, const struct dns_address *a)
{
    return hash64(a->bytes, a->size) & x->bucket_mask;
}

static void fill_buckets(struct dns_index *x)
{
    size_t n = 64;
    while (n < x->address_count)
        n *= 2;
    x->bucket_mask = n - 1;
    x->buckets = mem_new(n * sizeof *x->buckets);
    for (size_t i = x->address_count; i-- > 0;) { /* backwards: chains are in the catalog's order */
        uint32_t *head = &x->buckets[bucket_of(x, &x->addresses[i].address)];
        x->addresses[i].next = *head;
        *head = (uint32_t)i + 1;
    }
}

static void bring_up_to_date(struct dns_index *x, const struct catalog *c)
{
    struct building b = {x, c};
    if (x->is_built && x->revision == catalog_revision(c))
        return;
    uint64_t begin = x->mono_ns();
    if (x->is_built && begin < x->next_build_ns)
        return;
    clear(x);
    catalog_each_namespace(c, add_namespace, &b);
    fill_buckets(x);
    uint64_t end = x->mono_ns(), wait = (end - begin) * WAIT_SHARE;
    x->next_build_ns = end + (wait > WAIT_MIN_NS ? wait : WAIT_MIN_NS);
    x->is_built = true;
    x->revision = catalog_revision(c);
}

/* --- asking -------------------------------------------------------------------------------------------- */
static const struct catalog_service *in_catalog(const struct dns_index *x, const struct catalog *c,
                                                const struct indexed_service *s)
{
    const struct catalog_service *found = catalog_find(c, s->ns, s->group, s->name);
    return found && audience_sees_service(x->audience, found) ? found : NULL;
}

const struct catalog_service *dns_index_service(struct dns_index *x, const struct catalog *c,
                                                struct slice name)
{
    bring_up_to_date(x, c);
    const struct indexed_service *s = strmap_get(&x->names, name);
    return s && s != &above ? in_catalog(x, c, s) : NULL;
}

bool dns_index_is_above(struct dns_index *x, const struct catalog *c, struct slice name)
{
    bring_up_to_date(x, c);
    return strmap_get(&x->names, name) != NULL;
}

size_t dns_index_at_address(struct dns_index *x, const struct catalog *c, const struct dns_address *address,
                            const struct catalog_service **ret_list, size_t max)
{
    bring_up_to_date(x, c);
    size_t count = 0;
    const struct indexed_service *last = NULL;
    for (uint32_t at = x->buckets[bucket_of(x, address)]; at && count < max;) {
        const struct indexed_address *a = &x->addresses[at - 1];
        at = a->next;
        /* A service's addresses are neighbours: several instances on one address show as one. */
        if (a->service == last || !dns_address_equal(&a->address, address))
            continue;
        last = a->service;
        ret_list[count] = in_catalog(x, c, a->service);
        count += ret_list[count] != NULL;
    }
    return count;
}
