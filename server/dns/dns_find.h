/* SPDX-License-Identifier: Apache-2.0
 * Name resolution: what a question's name stands for in the registry. Pure.
 *
 *     <zone>                                    the zone itself
 *     ns.<zone>                                 this server
 *     [<tag>.]<service>[.<group>][.<ns>].svc.<zone>        a service
 *     _<service>._<protocol>[.<group>][.<ns>].svc.<zone>   the same, for SRV
 *     _<port name>._<protocol>.<service>….svc.<zone>       one named port of it, for SRV
 *     <address>.<service>.<group>.<ns>.inst.<zone>         an instance (10-0-0-5; IPv6: 32 hex digits)
 *     5.0.0.10.in-addr.arpa, ….ip6.arpa         an instance's address
 *
 * A name can have several readings, because names of services may contain dots. The readings are tried in
 * this order, and the first one whose service exists counts:
 *
 *   1. without a tag, group and namespace given
 *   2. without a tag, namespace given (group "default")
 *   3. without a tag, neither given (both "default")
 *   4. to 6. the same with a tag
 *
 * A name with tag, service, group and namespace has one reading, unless a service's name contains dots.
 * Names are case-insensitive. */
#ifndef SERVER_DNS_FIND_H
#define SERVER_DNS_FIND_H

#include "server/dns/dns_index.h"

enum dns_place {
    DNS_NOT_READY,   /* the first index is still being built */
    DNS_FOREIGN,     /* not in the zone, and not the address of an instance */
    DNS_NOWHERE,     /* in the zone, but nothing has this name or a name below it */
    DNS_BETWEEN,     /* only names below it exist: an empty answer, not NXDOMAIN */
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
    struct slice tag;       /* with the letters of an instance's tag; empty = none */
    struct slice port_name; /* lower case; empty = any */
    struct slice protocol;  /* lower case */
    struct dns_address address;
    const struct catalog_service *services[DNS_SERVICES_AT_ADDRESS_MAX];
    size_t service_count;
    size_t zone_at;             /* offset of the zone in the name, if it is in it */
    uint8_t text[DNS_NAME_MAX]; /* the name in lower case with dots; slices of this struct point into it */
};

/* zone: in lower case. audience: of the client (NULL = sees everything); what it does not see does not exist.
 * ret borrows from the catalog. */
void dns_find(const struct dns_name *name, const struct dns_name *zone, const struct catalog *c,
              struct dns_index *x, struct audience *audience, struct dns_target *ret);
/* True: the instance's host is this address. */
bool dns_instance_is_at(const struct catalog_instance *i, const struct dns_address *address);
/* Case-insensitive comparison; `small` is in lower case already. */
bool dns_text_matches(struct slice any, struct slice small);

#endif
