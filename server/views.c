/* SPDX-License-Identifier: Apache-2.0
 * Options of the registry and of the config center; see views.h. */
#include "server/views.h"

#include <assert.h>

/* A document is for a namespace of either. */
struct namespaces *views_open_namespaces(const struct options *o, struct kv *kv, struct write_limits *limits,
                                         struct audit *audit)
{
    bool is_limited = o->registry_namespaces && o->config_namespaces;
    uint64_t max =
        o->registry_namespaces > o->config_namespaces ? o->registry_namespaces : o->config_namespaces;
    const struct namespaces_options options = {
        .kv = kv, .audit = audit, .limits = limits, .documents_max = is_limited ? max : 0};
    return namespaces_new(&options);
}

struct registry *views_open_registry(const struct options *o, struct kv *kv, struct write_limits *limits,
                                     struct audit *audit, struct prober *prober,
                                     struct namespaces *namespaces)
{
    struct registry_options options = {
        .kv = kv,
        .member = o->name,
        .txn_ops_max = o->max_txn_ops,
        .namespaces_max = o->registry_namespaces,
        .services_max = o->registry_services,
        .instances_max = o->registry_instances,
        .sessions_max = o->registry_sessions,
        .checks_max = o->registry_checks,
        .namespace_checks_max = o->registry_namespace_checks,
        .check_concurrency = o->registry_check_concurrency,
        .session_keys = o->session_keys,
        .has_events = o->registry_events,
        .limits = limits,
        .audit = audit,
        .prober = prober_interface(prober),
        .namespaces = namespaces_view(namespaces),
    };
    char error[300];
    int err =
        projections_parse(slice_text(o->registry_projections), error, sizeof error, &options.projections);
    assert(!err); /* options_check.c has parsed it */
    (void)err;
    return registry_new(&options);
}

struct config *views_open_config(const struct options *o, struct kv *kv, struct write_limits *limits,
                                 struct audit *audit, struct cache_budget *budget,
                                 struct namespaces *namespaces)
{
    const struct config_options options = {
        .kv = kv,
        .member = o->name,
        .cache_budget = budget,
        .content_bytes_max = o->config_bytes,
        .request_bytes_max = o->max_request_bytes,
        .txn_ops_max = o->max_txn_ops,
        .namespaces_max = o->config_namespaces,
        .items_max = o->config_items,
        .bytes_max = o->config_total_bytes,
        .releases_kept = o->config_releases_kept,
        .releases_kept_s = (uint64_t)o->config_retention_ns / 1000000000,
        .releases_max = o->config_releases_max,
        .history_bytes_max = o->config_history_bytes,
        .keys = o->encryption_keys,
        .limits = limits,
        .audit = audit,
        .namespaces = namespaces_view(namespaces),
    };
    return config_new(&options);
}
