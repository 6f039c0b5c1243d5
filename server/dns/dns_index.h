/* SPDX-License-Identifier: Apache-2.0
 * What the catalog cannot be asked: which services have an instance at an address (PTR), and which services
 * have names that are not in small letters or hold dots. Made from the whole catalog when somebody asks and
 * it has changed, but no more often than lets it cost two per cent of the time: an answer that needs it may
 * be late by 51 times the time that making it takes: a millisecond for a few instances, a second for 100,000. What is found is looked
 * up in the catalog again: nothing that is gone is shown. Pure but for the clock that its caller reads.
 *
 * It is made in slices, one with the question that begins it, the others by dns_index_turn; the one before is
 * asked meanwhile. The first one, and the first one for another audience, has none before it: until it is
 * there nothing is found, and dns_index_is_ready says so. */
#ifndef SERVER_DNS_INDEX_H
#define SERVER_DNS_INDEX_H

#include "registry/registry.h"
#include "server/dns/dns_address.h"

struct dns_index;

/* mono_ns: a clock, asked only when the catalog has changed. */
struct dns_index *dns_index_new(uint64_t (*mono_ns)(void));
void dns_index_free(struct dns_index *x);
/* Who asks from now on (NULL = sees all): of what this audience does not see nothing is in the index. */
void dns_index_set_audience(struct dns_index *x, struct audience *audience);

/* False: what is not found may be there. */
bool dns_index_is_ready(struct dns_index *x, const struct catalog *c);
bool dns_index_is_building(const struct dns_index *x);
/* A slice of a millisecond; true: there is more to do. */
bool dns_index_turn(struct dns_index *x, const struct catalog *c);

/* Small letters, dots between labels: "orders.default.default". NULL: no such name. */
const struct catalog_service *dns_index_service(struct dns_index *x, const struct catalog *c,
                                                struct slice name);
/* Is it the end of a name of that kind ("b.default.default" when there is "a.b"; "default" with a service)?
 */
bool dns_index_is_above(struct dns_index *x, const struct catalog *c, struct slice name);
/* The services with an instance at that address, at most max. */
size_t dns_index_at_address(struct dns_index *x, const struct catalog *c, const struct dns_address *address,
                            const struct catalog_service **ret_list, size_t max);

#endif
