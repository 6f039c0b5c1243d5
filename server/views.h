/* SPDX-License-Identifier: Apache-2.0
 * The views of a process, registry and config center, made from its options. */
#ifndef SERVER_VIEWS_H
#define SERVER_VIEWS_H

#include "config/config.h"
#include "namespace/namespace.h"
#include "registry/registry.h"
#include "server/options.h"
#include "server/probe/probe.h"

/* limits, audit, prober and namespaces are borrowed; limits and audit may be NULL. */
struct namespaces *views_open_namespaces(const struct options *options, struct kv *kv,
                                         struct write_limits *limits, struct audit *audit);
struct registry *views_open_registry(const struct options *options, struct kv *kv,
                                     struct write_limits *limits, struct audit *audit, struct prober *prober,
                                     struct namespaces *namespaces);
struct config *views_open_config(const struct options *options, struct kv *kv, struct write_limits *limits,
                                 struct audit *audit, struct cache_budget *budget,
                                 struct namespaces *namespaces);

#endif
