/* SPDX-License-Identifier: Apache-2.0
 * A registry on a store of one member, for tests of the registry and of the code above it. */
#ifndef TESTS_UNIT_REGISTRY_NODE_H
#define TESTS_UNIT_REGISTRY_NODE_H

#include "registry/registry.h"
#include "tests/unit/one_node.h"

struct registry_node {
    struct one_node node;
    struct registry *registry; /* NULL: closed; the node continues */
    void (*turn)(void *arg);   /* after registry_turn; may be NULL */
    void *arg;
};

/* Zero it before; defaults replace unset options. NULL = no limits. It is ready when this function returns.
 */
void registry_node_open(struct registry_node *n, const struct registry_options *options);
void registry_node_close(struct registry_node *n); /* removes the folder too */

/* A request and its result; texts of the result are copies. */
struct registry_reply {
    struct registry_request request;
    bool is_done;
    int err;
    struct registry_result result;
    char error[256];
};
void registry_reply_done(struct registry_request *q, int err, const struct registry_result *result);
void registry_node_wait(struct registry_node *n, struct registry_reply *a);
/* Waits until the view shows everything that was committed; returns its revision. */
int64_t registry_node_settle(struct registry_node *n);

/* Registers an instance from a client's text (it must be valid); session 0 = none given. */
void registry_node_register(struct registry_node *n, struct registry_reply *a, const char *service,
                            const char *id, const char *text, int64_t session);
/* The same, and waits; asserts success. */
struct registry_result registry_node_registered(struct registry_node *n, const char *service, const char *id,
                                                const char *text, int64_t session);
/* Opens a session of so many seconds. */
int64_t registry_node_session(struct registry_node *n, uint32_t ttl_s);
size_t registry_node_leases(struct registry_node *n); /* in the store */
void registry_node_revoke(struct registry_node *n, int64_t lease);

/* "service", "group/service" or "ns/group/service", and an id (NULL = none). */
struct registry_key registry_key_of(const char *service, const char *id);
/* A put of a document as text under the registry's key, as an etcd client does it; returns the revision. */
int64_t registry_node_put(struct registry_node *n, enum name_kind kind, const char *service, const char *id,
                          const char *text);
int64_t registry_node_remove(struct registry_node *n, enum name_kind kind, const char *service,
                             const char *id);
/* NULL when it is not there (in the present view). */
struct catalog_instance *registry_node_find(struct registry_node *n, const char *service, const char *id);

#endif
