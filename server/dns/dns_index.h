/* SPDX-License-Identifier: Apache-2.0
 * Index for the lookups that the catalog has no key for. Pure but for the clock that the caller gives.
 *
 *   - services with an instance at an address (PTR);
 *   - services whose names are not in lower case, or contain dots.
 *
 * It is built from the whole catalog when a question needs it and the catalog has changed, but so seldom
 * that it costs at most 2 % of the time. So an answer may be outdated by 51 times the time of
 * building: a millisecond for a few instances, a second for 100,000. Each result is looked up in the catalog again: what was deleted is
 * not returned.
 *
 * It is built in slices: one with the question that begins it, the others by dns_index_turn. Meanwhile
 * lookups use the previous generation. The first generation, and the first one of another audience, has no
 * previous one: until it is built nothing is found, and dns_index_is_ready returns false. */
#ifndef SERVER_DNS_INDEX_H
#define SERVER_DNS_INDEX_H

#include "registry/registry.h"
#include "server/dns/dns_address.h"

struct dns_index;

/* mono_ns: a monotonic clock in ns; it is read only when the catalog has changed. */
struct dns_index *dns_index_new(uint64_t (*mono_ns)(void));
void dns_index_free(struct dns_index *x);
/* Sets the audience of the clients (NULL = sees everything); takes a reference. The index has nothing that
 * this audience does not see. */
void dns_index_set_audience(struct dns_index *x, struct audience *audience);

/* False: a service that is not found may exist. */
bool dns_index_is_ready(struct dns_index *x, const struct catalog *c);
bool dns_index_is_building(const struct dns_index *x);
/* Builds for about a millisecond; true: there is more to do. */
bool dns_index_turn(struct dns_index *x, const struct catalog *c);

/* The service of a name in lower case with dots, "orders.default.default". NULL: no such name. */
const struct catalog_service *dns_index_service(struct dns_index *x, const struct catalog *c,
                                                struct slice name);
/* True: names of that form end with it ("b.default.default" if service "a.b" exists; "default" if a
 * service is in that namespace). */
bool dns_index_is_above(struct dns_index *x, const struct catalog *c, struct slice name);
/* The services with an instance at that address, at most max. */
size_t dns_index_at_address(struct dns_index *x, const struct catalog *c, const struct dns_address *address,
                            const struct catalog_service **ret_list, size_t max);

#endif
