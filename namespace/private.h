/* SPDX-License-Identifier: Apache-2.0
 * Shared by namespace.c and write.c; private to them. */
#ifndef NAMESPACE_PRIVATE_H
#define NAMESPACE_PRIVATE_H

#include "consensus/pending_op.h"
#include "namespace/cascade.h"
#include "namespace/namespace.h"
#include "proto/txn.h"

#define NAMESPACES_ATTEMPTS_MAX 8 /* failed compares, then ERR_CONFLICT */

struct namespaces {
    struct pending_ops pending_ops;
    struct namespaces_options options;
    struct feed *feed;
    struct namespace_view *view;
    struct cascade *cascade;
    struct link watches;
};

/* First in a request's struct. */
struct namespaces_op {
    struct pending_op pending_ops; /* first */
    struct namespaces *namespaces;
    struct namespaces_request *request;
    struct namespaces_result result;
    struct slice ns;
    struct author author;
    char error[512];
};

void *namespaces_op_new(struct namespaces *n, struct namespaces_request *q, size_t size);
/* Calls fn when the view shows all that was committed before. An error ends the op. */
void namespaces_op_barrier(struct namespaces_op *op, void (*fn)(struct feed_waiter *w));
int64_t namespaces_wall_ms(const struct namespaces *n);

#endif
