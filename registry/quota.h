/* SPDX-License-Identifier: Apache-2.0
 * How much one namespace may hold, and how many namespaces and sessions there may be. What is there is the
 * catalog's to count; here is what requests under way will add, so that a thousand of them at once do not
 * pass the limit together. Pure. */
#ifndef REGISTRY_QUOTA_H
#define REGISTRY_QUOTA_H

#include "registry/catalog.h"

struct quota_part;

struct quota {
    size_t namespaces_max, services_max, instances_max, sessions_max; /* 0 = no limit */
    struct strmap namespaces, services;                               /* struct quota_part, of claims */
    size_t new_namespaces, sessions;
};

/* Of one request; zeroed before. What is claimed already is not claimed twice. */
struct quota_claim {
    struct quota_part *ns, *service;
    bool instance, override, session;
};

/* ERR_QUOTA, with a sentence; each claims the namespace too, if nothing is in it yet. key as people write it;
 * the id is of no matter. */
struct quota_key {
    struct slice ns, group, service;
};
MUST_CHECK int quota_claim_service(struct quota *q, const struct catalog *c, const struct quota_key *key,
                                   struct quota_claim *claim, char *error, size_t error_size);
/* And the service, if it is not there yet. */
MUST_CHECK int quota_claim_instance(struct quota *q, const struct catalog *c, const struct quota_key *key,
                                    struct quota_claim *claim, char *error, size_t error_size);
MUST_CHECK int quota_claim_override(struct quota *q, const struct catalog *c, const struct quota_key *key,
                                    struct quota_claim *claim, char *error, size_t error_size);
MUST_CHECK int quota_claim_session(struct quota *q, const struct catalog *c, struct quota_claim *claim,
                                   char *error, size_t error_size);
void quota_release(struct quota *q, struct quota_claim *claim);
void quota_done(struct quota *q); /* all claims were released */

#endif
