/* SPDX-License-Identifier: Apache-2.0
 * One generation of the DNS index (dns_index.h): services, their folded names, the addresses of their
 * instances.
 *
 *   1. Services and addresses are added in the order of the catalog.
 *   2. The table is linked, in slices.
 *   3. Lookups work; the table does not change any more.
 *
 * Nothing in it points into the catalog. All memory is in a few large arrays, which buf_release frees.
 * Pure. */
#ifndef SERVER_DNS_TABLE_H
#define SERVER_DNS_TABLE_H

#include "registry/registry.h"
#include "server/dns/dns_address.h"

struct dns_table_service {
    size_t at; /* offset in text: namespace, group, name */
    uint16_t ns_size, group_size, name_size;
};

struct dns_table_name;
struct dns_table_address;

struct dns_table {
    struct buf text;
    struct dns_table_service *services;
    struct dns_table_name *names;
    struct dns_table_address *addresses;
    size_t service_count, service_capacity;
    size_t name_count, name_capacity;
    size_t address_count, address_capacity;
    uint32_t *name_buckets, *address_buckets;
    size_t name_mask, address_mask;
    size_t names_linked, addresses_linked;
};

/* Returns the service's number. */
uint32_t dns_table_add_service(struct dns_table *t, const struct catalog_service *s);
/* `service` must be the one that was added last. */
void dns_table_add_address(struct dns_table *t, uint32_t service, const struct dns_address *address);
/* Links at most `max` entries; true: all are linked. */
bool dns_table_link(struct dns_table *t, size_t max);
void dns_table_release(struct dns_table *t);

struct slice dns_table_ns(const struct dns_table *t, uint32_t service);
struct slice dns_table_group(const struct dns_table *t, uint32_t service);
struct slice dns_table_service_name(const struct dns_table *t, uint32_t service);

/* The service of a folded name, as in dns_index.h. DNS_TABLE_ABOVE: no service, but longer names end with
 * it. */
enum { DNS_TABLE_NONE = -1, DNS_TABLE_ABOVE = -2 };
int64_t dns_table_find(const struct dns_table *t, struct slice name);
/* The services at an address, in order: *at is 0 at the beginning. DNS_TABLE_NONE: no more. */
int64_t dns_table_next_at(const struct dns_table *t, const struct dns_address *address, uint32_t *at);

#endif
