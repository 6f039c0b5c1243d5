/* SPDX-License-Identifier: Apache-2.0
 * The instances of large services that are in traffic, kept from one question to the next: choosing 10,000
 * anew for each question would let a client that sends small packets take all of the loop's time. What is
 * kept is of the catalog as it is: nothing outlives a change of it. */
#ifndef SERVER_DNS_CHOICE_H
#define SERVER_DNS_CHOICE_H

#include "registry/registry.h"

enum { DNS_CHOICES = 4 };

struct dns_choices {
    struct dns_choice {
        uint64_t edition; /* of the catalog; 0 = empty */
        const struct catalog_service *service;
        struct buf tag;
        bool has_audience;
        uint8_t digest[AUDIENCE_DIGEST_SIZE];
        struct arena arena;
        struct select_result result;
        uint64_t used;
    } list[DNS_CHOICES];
    uint64_t uses;
};

/* The instances with that tag (empty: all) that are in traffic and that the audience sees. The order of the
 * list is the caller's to change. Good until the catalog changes or `a` is reset. x may be NULL. */
struct select_result dns_choose(struct dns_choices *x, const struct catalog *c,
                                const struct catalog_service *s, struct slice tag,
                                const struct audience *audience, struct arena *a);
void dns_choices_done(struct dns_choices *x);

#endif
