/* SPDX-License-Identifier: Apache-2.0
 * Quotas: limits of namespaces and of sessions. The catalog counts the existing objects; the quota adds the
 * claims of pending requests, so that a thousand concurrent requests do not exceed the limit together.
 * Pure. */
#ifndef REGISTRY_QUOTA_H
#define REGISTRY_QUOTA_H

#include "namespace/view.h"
#include "registry/catalog.h"

struct quota_part;
struct quota_source;

struct quota {
    size_t namespaces_max, services_max, instances_max, sessions_max; /* 0 = no limit */
    size_t checks_max, namespace_checks_max;                          /* 0 = no limit */
    /* Borrowed; NULL = none. A namespace's quotas replace services_max and instances_max, and nothing is
     * claimed in a namespace that is being deleted (ERR_CONFLICT). */
    const struct namespace_view *view;
    struct strmap namespaces, services; /* struct quota_part, of claims */
    size_t new_namespaces, sessions, checks;
    struct map sources; /* id -> struct quota_source: sessions by the client's address, claimed and open */
};

/* The claims of one request; zeroed before. A second claim of the same kind does nothing. */
struct quota_claim {
    struct quota_part *ns, *service;
    bool instance, override, session, check;
    struct quota_source *source; /* of the session; NULL = not counted by source */
};

/* Claims return OK, ERR_QUOTA or ERR_CONFLICT with a sentence in error. Each claims the namespace too, if it is empty.
 * Names are not encoded. */
struct quota_key {
    struct slice ns, group, service;
};
MUST_CHECK int quota_claim_service(struct quota *q, const struct catalog *c, const struct quota_key *key,
                                   struct quota_claim *claim, char *error, size_t error_size);
/* Also claims the service, if it does not exist. */
MUST_CHECK int quota_claim_instance(struct quota *q, const struct catalog *c, const struct quota_key *key,
                                    struct quota_claim *claim, char *error, size_t error_size);
MUST_CHECK int quota_claim_override(struct quota *q, const struct catalog *c, const struct quota_key *key,
                                    struct quota_claim *claim, char *error, size_t error_size);
/* One more instance with a check: of the namespace and of all. */
MUST_CHECK int quota_claim_check(struct quota *q, const struct catalog *c, const struct quota_key *key,
                                 struct quota_claim *claim, char *error, size_t error_size);
/* One more session. source: of the client's connection (base/net/sources.h); 0 = not counted by source. A
 * source may open a session while it holds fewer than are free for all, so one client alone gets half of
 * sessions_max. Only sessions that were opened through this member since it started are counted by source. */
MUST_CHECK int quota_claim_session(struct quota *q, const struct catalog *c, uint64_t source,
                                   struct quota_claim *claim, char *error, size_t error_size);
/* The claimed session s is open: its source holds it until quota_session_gone. s NULL, or gone already:
 * nothing is kept. */
void quota_keep_session(struct quota *q, struct catalog_session *s, struct quota_claim *claim);
void quota_session_gone(struct quota *q, struct catalog_session *s);
void quota_release(struct quota *q, struct quota_claim *claim);
void quota_done(struct quota *q); /* after all claims were released */

#endif
