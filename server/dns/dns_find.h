/* SPDX-License-Identifier: Apache-2.0
 * What a question's name stands for in the registry. Pure.
 *
 *     <zone>                                    the zone itself
 *     ns.<zone>                                 this server
 *     [<tag>.]<service>[.<group>][.<ns>].svc.<zone>        a service
 *     _<service>._<protocol>[.<group>][.<ns>].svc.<zone>   the same, for SRV
 *     _<port name>._<protocol>.<service>….svc.<zone>       one named port of it, for SRV
 *     <address>.<service>.<group>.<ns>.inst.<zone>         an instance (10-0-0-5; IPv6: 32 hex digits)
 *     5.0.0.10.in-addr.arpa, ….ip6.arpa         an instance's address
 *
 * Labels may be read in several ways, for names of services may hold dots. The order is fixed, and the first
 * reading whose service is there counts: without a tag before with one; within each, group and namespace
 * given, then the namespace alone (group "default"), then none (both "default"). All four parts given is one
 * reading only, as long as nobody's service has dots in its name. Letters are small and large as one likes.
 */
#ifndef SERVER_DNS_FIND_H
#define SERVER_DNS_FIND_H

#include "server/dns/dns_index.h"

enum dns_place {
    DNS_NOT_READY,   /* the index is being made for the first time */
    DNS_FOREIGN,     /* not in the zone, and no address that we know */
    DNS_NOWHERE,     /* in the zone, but nothing is there nor below it */
    DNS_BETWEEN,     /* something is below it: an empty answer, not "no such name" */
    DNS_AT_ZONE,     /* the zone itself */
    DNS_AT_SERVER,   /* ns.<zone> */
    DNS_AT_SERVICE,  /* service, tag */
    DNS_AT_PORT,     /* service, tag, port_name, protocol: an underscore name */
    DNS_AT_INSTANCE, /* service, address */
    DNS_AT_ADDRESS,  /* address, services */
};

enum { DNS_SERVICES_AT_ADDRESS_MAX = 16 };

struct dns_target {
    enum dns_place place;
    const struct catalog_service *service;
    struct slice tag;       /* as an instance has it; empty = none */
    struct slice port_name; /* small letters; empty = any */
    struct slice protocol;  /* small letters */
    struct dns_address address;
    const struct catalog_service *services[DNS_SERVICES_AT_ADDRESS_MAX];
    size_t service_count;
    size_t zone_at;             /* offset of the zone in the name, if it is in it */
    uint8_t text[DNS_NAME_MAX]; /* the name in small letters with dots: what slices point into */
};

/* zone: in small letters. audience: of who asks (NULL = sees all); what it does not see is not there. */
void dns_find(const struct dns_name *name, const struct dns_name *zone, const struct catalog *c,
              struct dns_index *x, struct audience *audience, struct dns_target *ret);
/* Has it this address as its host? */
bool dns_instance_is_at(const struct catalog_instance *i, const struct dns_address *address);
/* One of both is in small letters already. */
bool dns_text_matches(struct slice any, struct slice small);

#endif
