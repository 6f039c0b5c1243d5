/* SPDX-License-Identifier: Apache-2.0
 * Cache of selected instances of large services, from one question to the next.
 *
 * Without it a client with small packets could take all of the loop's time: each question would select among
 * 10,000 instances. An entry belongs to one edition of the catalog and is void after any change. */
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

/* The instances with that tag (empty: all) that get traffic and that the audience sees. The caller may
 * reorder the list. Valid until the catalog changes or `a` is reset. x NULL: no cache. */
struct select_result dns_choose(struct dns_choices *x, const struct catalog *c,
                                const struct catalog_service *s, struct slice tag,
                                const struct audience *audience, struct arena *a);
void dns_choices_done(struct dns_choices *x);

#endif
