/* SPDX-License-Identifier: Apache-2.0
 * Table of the DNS index: arrays of entries and hash chains through them; see dns_table.h. A chain's link
 * is the number of an entry plus 1; 0 is the end. */
#include "server/dns/dns_table.h"

#include "base/buf_release.h"
#include "base/hash.h"

enum { BUCKETS_MIN = 64 };

#define ABOVE UINT32_MAX

struct dns_table_name {
    size_t at; /* offset in text */
    uint32_t hash, next, service;
    uint16_t size;
};

struct dns_table_address {
    struct dns_address address;
    uint32_t next, service;
};

static void *dns_table_grow(void *list, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity ? 2 * *capacity : 64;
    return mem_resize(list, *capacity * size);
}

static void dns_dns_table_release(void *list, size_t size)
{
    struct buf b = {.data = list, .capacity = size};
    buf_release(&b);
}

void dns_table_release(struct dns_table *t)
{
    buf_release(&t->text);
    dns_dns_table_release(t->services, t->service_capacity * sizeof *t->services);
    dns_dns_table_release(t->names, t->name_capacity * sizeof *t->names);
    dns_dns_table_release(t->addresses, t->address_capacity * sizeof *t->addresses);
    dns_dns_table_release(t->name_buckets,
                          t->name_buckets ? (t->name_mask + 1) * sizeof *t->name_buckets : 0);
    dns_dns_table_release(t->address_buckets,
                          t->address_buckets ? (t->address_mask + 1) * sizeof *t->address_buckets : 0);
    *t = (struct dns_table){0};
}

/* --- adding ------------------------------------------------------------------------------------------ */

static struct slice text_at(const struct dns_table *t, size_t at, size_t size)
{
    return slice_of(t->text.data + at, size);
}

struct slice dns_table_ns(const struct dns_table *t, uint32_t service)
{
    const struct dns_table_service *s = &t->services[service];
    return text_at(t, s->at, s->ns_size);
}

struct slice dns_table_group(const struct dns_table *t, uint32_t service)
{
    const struct dns_table_service *s = &t->services[service];
    return text_at(t, s->at + s->ns_size, s->group_size);
}

struct slice dns_table_service_name(const struct dns_table *t, uint32_t service)
{
    const struct dns_table_service *s = &t->services[service];
    return text_at(t, s->at + s->ns_size + s->group_size, s->name_size);
}

static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((s.data[i] >= 'A' && s.data[i] <= 'Z') || s.data[i] == '.')
            return false;
    return true;
}

static void add_folded(struct buf *out, struct slice s)
{
    uint8_t *to = buf_reserve(out, s.size);
    for (size_t i = 0; i < s.size; i++)
        to[i] = s.data[i] >= 'A' && s.data[i] <= 'Z' ? s.data[i] | 0x20 : s.data[i];
    out->size += s.size;
}

static void add_entry(struct dns_table *t, size_t at, size_t end, uint32_t service)
{
    t->names = dns_table_grow(t->names, t->name_count, &t->name_capacity, sizeof *t->names);
    t->names[t->name_count++] = (struct dns_table_name){.at = at,
                                                        .hash = (uint32_t)hash64(t->text.data + at, end - at),
                                                        .service = service,
                                                        .size = (uint16_t)(end - at)};
}

/* Adds the service's folded name, and the names above it. */
static void add_name(struct dns_table *t, const struct catalog_service *s, uint32_t number)
{
    size_t at = t->text.size, size = s->name.size + s->group.size + s->ns.size + 2;
    if (size > DNS_NAME_MAX || (is_plain(s->name) && is_plain(s->group) && is_plain(s->ns)))
        return;
    add_folded(&t->text, s->name);
    buf_add_byte(&t->text, '.');
    add_folded(&t->text, s->group);
    buf_add_byte(&t->text, '.');
    add_folded(&t->text, s->ns);
    add_entry(t, at, at + size, number);
    for (size_t i = 0; i + 1 < size; i++)
        if (t->text.data[at + i] == '.')
            add_entry(t, at + i + 1, at + size, ABOVE);
}

uint32_t dns_table_add_service(struct dns_table *t, const struct catalog_service *s)
{
    uint32_t number = (uint32_t)t->service_count;
    t->services = dns_table_grow(t->services, t->service_count, &t->service_capacity, sizeof *t->services);
    t->services[t->service_count++] = (struct dns_table_service){
        t->text.size, (uint16_t)s->ns.size, (uint16_t)s->group.size, (uint16_t)s->name.size};
    buf_add_slice(&t->text, s->ns);
    buf_add_slice(&t->text, s->group);
    buf_add_slice(&t->text, s->name);
    add_name(t, s, number);
    return number;
}

void dns_table_add_address(struct dns_table *t, uint32_t service, const struct dns_address *address)
{
    t->addresses = dns_table_grow(t->addresses, t->address_count, &t->address_capacity, sizeof *t->addresses);
    t->addresses[t->address_count++] = (struct dns_table_address){.address = *address, .service = service};
}

/* --- linking ----------------------------------------------------------------------------------------- */

static uint32_t *new_buckets(size_t count, size_t *ret_mask)
{
    size_t n = BUCKETS_MIN;
    while (n < count)
        n *= 2;
    *ret_mask = n - 1;
    return mem_new(n * sizeof(uint32_t));
}

/* Links from the last entry to the first, so that chains are in the catalog's order. */
static void link_address(struct dns_table *t)
{
    size_t i = t->address_count - ++t->addresses_linked;
    struct dns_table_address *a = &t->addresses[i];
    uint32_t *head = &t->address_buckets[hash64(a->address.bytes, a->address.size) & t->address_mask];
    a->next = *head;
    *head = (uint32_t)i + 1;
}

static struct dns_table_name *find_name(const struct dns_table *t, struct slice name, uint32_t hash)
{
    for (uint32_t at = t->name_buckets[hash & t->name_mask]; at; at = t->names[at - 1].next) {
        struct dns_table_name *n = &t->names[at - 1];
        if (n->hash == hash && slice_equal(text_at(t, n->at, n->size), name))
            return n;
    }
    return NULL;
}

/* Links each name once. Of several services with one folded name the first in byte order counts. */
static void link_name(struct dns_table *t)
{
    uint32_t number = (uint32_t)t->names_linked++;
    struct dns_table_name *n = &t->names[number];
    struct dns_table_name *there = find_name(t, text_at(t, n->at, n->size), n->hash);
    if (there) {
        if (there->service == ABOVE)
            there->service = n->service;
        return;
    }
    uint32_t *head = &t->name_buckets[n->hash & t->name_mask];
    n->next = *head;
    *head = number + 1;
}

bool dns_table_link(struct dns_table *t, size_t max)
{
    if (!t->name_buckets) {
        t->name_buckets = new_buckets(t->name_count, &t->name_mask);
        t->address_buckets = new_buckets(t->address_count, &t->address_mask);
    }
    for (; t->names_linked < t->name_count && max; max--)
        link_name(t);
    for (; t->addresses_linked < t->address_count && max; max--)
        link_address(t);
    return t->names_linked == t->name_count && t->addresses_linked == t->address_count;
}

/* --- lookups ----------------------------------------------------------------------------------------- */

int64_t dns_table_find(const struct dns_table *t, struct slice name)
{
    const struct dns_table_name *n = find_name(t, name, (uint32_t)hash64(name.data, name.size));
    if (!n)
        return DNS_TABLE_NONE;
    return n->service == ABOVE ? DNS_TABLE_ABOVE : (int64_t)n->service;
}

int64_t dns_table_next_at(const struct dns_table *t, const struct dns_address *address, uint32_t *at)
{
    uint32_t place = *at ? t->addresses[*at - 1].next
                         : t->address_buckets[hash64(address->bytes, address->size) & t->address_mask];
    for (; place; place = t->addresses[place - 1].next) {
        *at = place;
        if (dns_address_equal(&t->addresses[place - 1].address, address))
            return t->addresses[place - 1].service;
    }
    return DNS_TABLE_NONE;
}
