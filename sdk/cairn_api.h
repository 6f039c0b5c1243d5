/* SPDX-License-Identifier: Apache-2.0
 * libcairn: every route of the native HTTP API as a function. cairn.h includes this header; do not include
 * it alone. docs/api.md describes each route: what it does, its parameters, its errors; /openapi.json of a
 * member has the schemas of bodies and answers.
 *
 *     struct cairn_api_request q = {.name = "carts", .id = "c1", .body = cairn_text("{\"weight\":0}")};
 *     if (cairn_override_put(client, &q, NULL, NULL, &error) != CAIRN_OK)
 *         ...
 */
#ifndef CAIRN_API_H
#define CAIRN_API_H

#include "cairn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* N(function, method, path, parameters). In the path {service} and {name} are `name` of the request; {id},
 * {lease}, {rule} and {release} are `id`. The parameters are those of docs/api.md. */
#define CAIRN_READS      " consistency wait_revision timeout"
#define CAIRN_AUTHOR     " on_behalf_of"
#define CAIRN_CONDITIONS " if_seq if_revision"
#define CAIRN_API_CALLS(N)                                                                                   \
    N(service_list, "GET", "/api/v1/services", "namespace group prefix limit continue" CAIRN_READS)          \
    N(service_get, "GET", "/api/v1/services/{service}",                                                      \
      "namespace group healthy guarded zone region cluster version protocol tag label" CAIRN_READS)          \
    N(service_set, "PUT", "/api/v1/services/{service}", "namespace group" CAIRN_AUTHOR)                      \
    N(service_unset, "DELETE", "/api/v1/services/{service}", "namespace group" CAIRN_AUTHOR)                 \
    N(service_subscribers, "GET", "/api/v1/services/{service}/subscribers", "namespace group")               \
    N(service_events, "GET", "/api/v1/services/{service}/events", "namespace group" CAIRN_READS)             \
    N(instance_get, "GET", "/api/v1/services/{service}/instances/{id}", "namespace group" CAIRN_READS)       \
    N(instance_put, "PUT", "/api/v1/services/{service}/instances/{id}", "namespace group session")           \
    N(instance_put_list, "PUT", "/api/v1/instances", "namespace group session")                              \
    N(instance_delete, "DELETE", "/api/v1/services/{service}/instances/{id}", "namespace group")             \
    N(check_report, "PUT", "/api/v1/services/{service}/instances/{id}/check", "namespace group")             \
    N(override_put, "PUT", "/api/v1/services/{service}/instances/{id}/override",                             \
      "namespace group" CAIRN_AUTHOR)                                                                        \
    N(override_delete, "DELETE", "/api/v1/services/{service}/instances/{id}/override",                       \
      "namespace group" CAIRN_AUTHOR)                                                                        \
    N(instance_drain, "POST", "/api/v1/services/{service}/instances/{id}/drain",                             \
      "namespace group" CAIRN_AUTHOR)                                                                        \
    N(session_open, "POST", "/api/v1/sessions", "")                                                          \
    N(session_heartbeat, "PUT", "/api/v1/sessions/{lease}/heartbeat", "")                                    \
    N(session_end, "DELETE", "/api/v1/sessions/{lease}", "")                                                 \
    N(config_list, "GET", "/api/v1/configs", "namespace group prefix limit continue deleted" CAIRN_READS)    \
    N(config_read, "GET", "/api/v1/configs/{name}",                                                          \
      "namespace group seq meta key render labels client_id" CAIRN_READS)                                    \
    N(config_put, "PUT", "/api/v1/configs/{name}",                                                           \
      "namespace group type title note validate emergency" CAIRN_CONDITIONS CAIRN_AUTHOR)                    \
    N(config_delete, "DELETE", "/api/v1/configs/{name}",                                                     \
      "namespace group note emergency" CAIRN_CONDITIONS CAIRN_AUTHOR)                                        \
    N(config_history, "GET", "/api/v1/configs/{name}/history", "namespace group limit continue")             \
    N(config_diff, "GET", "/api/v1/configs/{name}/diff", "namespace group meta from to")                     \
    N(config_rollback, "POST", "/api/v1/configs/{name}/rollback",                                            \
      "namespace group emergency" CAIRN_CONDITIONS CAIRN_AUTHOR)                                             \
    N(draft_get, "GET", "/api/v1/configs/{name}/draft", "namespace group meta")                              \
    N(draft_put, "PUT", "/api/v1/configs/{name}/draft",                                                      \
      "namespace group type title note deletion" CAIRN_CONDITIONS CAIRN_AUTHOR)                              \
    N(draft_delete, "DELETE", "/api/v1/configs/{name}/draft", "namespace group" CAIRN_AUTHOR)                \
    N(draft_publish, "POST", "/api/v1/configs/{name}/publish",                                               \
      "namespace group emergency" CAIRN_CONDITIONS CAIRN_AUTHOR)                                             \
    N(gray_get, "GET", "/api/v1/configs/{name}/gray/{rule}", "namespace group" CAIRN_READS)                  \
    N(gray_put, "PUT", "/api/v1/configs/{name}/gray/{rule}",                                                 \
      "namespace group emergency" CAIRN_CONDITIONS CAIRN_AUTHOR)                                             \
    N(gray_delete, "DELETE", "/api/v1/configs/{name}/gray/{rule}",                                           \
      "namespace group" CAIRN_CONDITIONS CAIRN_AUTHOR)                                                       \
    N(gray_promote, "POST", "/api/v1/configs/{name}/gray/{rule}/promote",                                    \
      "namespace group emergency" CAIRN_CONDITIONS CAIRN_AUTHOR)                                             \
    N(draft_submit, "POST", "/api/v1/configs/{name}/draft/submit", "namespace group" CAIRN_AUTHOR)           \
    N(draft_approve, "POST", "/api/v1/configs/{name}/draft/approve", "namespace group" CAIRN_AUTHOR)         \
    N(draft_reject, "POST", "/api/v1/configs/{name}/draft/reject", "namespace group" CAIRN_AUTHOR)           \
    N(draft_review, "GET", "/api/v1/configs/{name}/draft/review", "namespace group")                         \
    N(review_list, "GET", "/api/v1/reviews", "namespace group limit continue")                               \
    N(schedule_get, "GET", "/api/v1/configs/{name}/schedule", "namespace group")                             \
    N(schedule_delete, "DELETE", "/api/v1/configs/{name}/schedule", "namespace group" CAIRN_AUTHOR)          \
    N(schedule_list, "GET", "/api/v1/schedules", "namespace group limit continue")                           \
    N(rollout_get, "GET", "/api/v1/configs/{name}/rollout", "namespace group")                               \
    N(rollout_put, "PUT", "/api/v1/configs/{name}/rollout",                                                  \
      "namespace group emergency" CAIRN_CONDITIONS CAIRN_AUTHOR)                                             \
    N(rollout_pause, "POST", "/api/v1/configs/{name}/rollout/pause", "namespace group" CAIRN_AUTHOR)         \
    N(rollout_resume, "POST", "/api/v1/configs/{name}/rollout/resume", "namespace group" CAIRN_AUTHOR)       \
    N(rollout_promote, "POST", "/api/v1/configs/{name}/rollout/promote",                                     \
      "namespace group emergency" CAIRN_AUTHOR)                                                              \
    N(rollout_abort, "POST", "/api/v1/configs/{name}/rollout/abort", "namespace group" CAIRN_AUTHOR)         \
    N(rollout_list, "GET", "/api/v1/rollouts", "namespace group limit continue")                             \
    N(schema_list, "GET", "/api/v1/schemas", "namespace group limit continue")                               \
    N(schema_get, "GET", "/api/v1/schemas/{name}", "namespace group")                                        \
    N(schema_put, "PUT", "/api/v1/schemas/{name}", "namespace group" CAIRN_AUTHOR)                           \
    N(schema_delete, "DELETE", "/api/v1/schemas/{name}", "namespace group" CAIRN_AUTHOR)                     \
    N(policy_get, "GET", "/api/v1/policy", "namespace")                                                      \
    N(policy_put, "PUT", "/api/v1/policy", "namespace" CAIRN_AUTHOR)                                         \
    N(policy_delete, "DELETE", "/api/v1/policy", "namespace" CAIRN_AUTHOR)                                   \
    N(config_listeners, "GET", "/api/v1/configs/{name}/listeners", "namespace group")                        \
    N(config_delivery, "GET", "/api/v1/configs/{name}/releases/{release}/delivery", "namespace group")       \
    N(config_poll, "POST", "/api/v1/polls", "namespace group timeout consistency labels client_id")          \
    N(bundle_publish, "POST", "/api/v1/bundles", "namespace group validate emergency" CAIRN_AUTHOR)          \
    N(configs_compare, "GET", "/api/v1/compare", "namespace group to_namespace prefix limit continue")       \
    N(configs_promote, "POST", "/api/v1/promote", "dry_run emergency" CAIRN_AUTHOR)                          \
    N(configs_export, "GET", "/api/v1/export", "namespace group consistency prefix decrypt")                 \
    N(configs_seal, "POST", "/api/v1/seal", "namespace group prefix limit continue" CAIRN_AUTHOR)            \
    N(configs_import, "POST", "/api/v1/import", "namespace group policy dry_run emergency" CAIRN_AUTHOR)     \
    N(namespace_list, "GET", "/api/v1/namespaces", "prefix limit continue" CAIRN_READS)                      \
    N(namespace_get, "GET", "/api/v1/namespaces/{ns}", CAIRN_READS)                                          \
    N(namespace_put, "PUT", "/api/v1/namespaces/{ns}", "if_revision" CAIRN_AUTHOR)                           \
    N(namespace_delete, "DELETE", "/api/v1/namespaces/{ns}", "cascade dry_run if_revision" CAIRN_AUTHOR)     \
    N(namespace_deletion, "GET", "/api/v1/namespaces/{ns}/deletion", CAIRN_READS)                            \
    N(audit_list, "GET", "/api/v1/audit", "from to kind user namespace name limit continue")                 \
    N(prometheus_targets, "GET", "/sd/prometheus", "namespace consistency guarded tag service")              \
    N(openapi, "GET", "/openapi.json", "")                                                                   \
    N(asyncapi, "GET", "/asyncapi.json", "")                                                                 \
    N(errors_page, "GET", "/docs/errors.md", "")

/* One request for all routes. A field that the route does not have must be zero, else CAIRN_INVALID names
 * it. Texts are not percent-encoded. Zero leaves a parameter out. */
struct cairn_api_request {
    const char *ns, *group; /* NULL = "default" (exports and targets: all) */
    const char *
        name; /* a service, a configuration, a schema's pattern or a namespace; required where the path has it */
    const char *id;          /* an instance, a session, a gray rule, the seq of a release; as `name` */
    struct cairn_bytes body; /* JSON; the content of a configuration or draft; an archive */
    /* reading */
    bool is_local;          /* consistency=local */
    uint64_t wait_revision; /* a long poll: answers when this changed after the revision, else with 304 */
    uint32_t wait_ms;       /* how long a long poll waits; it is added to the call's timeout */
    const char *etag;       /* of an earlier result: an equal answer is 304. Routes with wait_revision only */
    const char *prefix, *next; /* `next`: of the result before, for the next page */
    uint32_t limit;
    bool only_serving, no_guarded; /* healthy=true, guarded=false */
    const char *zone, *region, *cluster, *version, *protocol;
    const char *tags;   /* "a,b": instances with all of them */
    const char *labels; /* "key=value,key=value": instances with all of these pairs in the metadata */
    bool with_deleted, with_meta;
    uint64_t seq, from, to;
    const char *service; /* of cairn_prometheus_targets */
    /* Filters of cairn_audit_list, as `name`; from and to are milliseconds since 1970. */
    const char *kind, *user;
    /* writing */
    const char *session, *session_key; /* session_key: for writes of an instance or session */
    const char *format, *title, *note;
    uint64_t if_seq, if_revision; /* conditions: CAIRN_CONFLICT if one does not hold */
    bool if_absent;               /* if_seq=0: only if nothing is live */
    const char *if_md5;           /* 32 hexadecimal digits: only if this content is live */
    bool only_validate;           /* check everything, write nothing */
    const char *on_behalf_of;     /* the person for whom the client writes; it stands beside the author */
    const char *policy;           /* of an import: "abort", "skip", "overwrite" */
    bool dry_run;
    const char *emergency; /* a publish without the review that a policy requires: the reason */
    const char *key;       /* of cairn_config_read: one value of the content, as JSON */
    bool
        with_render; /* of cairn_config_read: with the values of other configurations in place of ${other.yaml#a.b} */
    bool is_deletion;  /* of cairn_draft_put: the draft deletes the configuration */
    bool cascade;      /* of cairn_namespace_delete: with all that it holds, in the background */
    bool decrypt;      /* of cairn_configs_export: sealed contents in clear */
    const char *to_ns; /* of cairn_configs_compare: the namespace to compare `ns` with */
    /* Of a POST whose route takes it: the same request with the same key, sent again within 24 hours by the same
     * user, gets the first answer and changes nothing. 1 to 256 visible ASCII characters; a random text. */
    const char *idempotency_key;
};

/* An entry of a list. Texts are "" and numbers 0 where the entry has no such field. */
struct cairn_item {
    const char *id, *name, *group, *format, *md5;
    uint64_t seq;
    int64_t revision;
    struct cairn_bytes content; /* with a NUL behind it */
    bool has_content;           /* false: the answer left the content out */
    const char *json;           /* the whole entry */
};
struct cairn_api_result {
    int status;                        /* of HTTP: 2xx; 304 = nothing changed */
    int64_t revision;                  /* of the state that the answer shows, or of the write */
    uint64_t seq;                      /* of the release */
    const char *md5;                   /* of the release */
    const char *etag;                  /* for a later request */
    bool is_unchanged;                 /* the write changed nothing */
    const char *session, *session_key; /* of a registration and of cairn_session_open */
    uint32_t ttl_seconds, heartbeat_ms;
    const char *next; /* "" = this was the last page */
    const struct cairn_item
        *items; /* services, instances, configurations, releases, subscribers, events, listeners */
    size_t item_count;
    const struct cairn_instances *instances; /* of cairn_service_get, else NULL */
    struct cairn_bytes body;                 /* the whole answer, with a NUL behind it */
};

/* Each route has two functions. Options, result and error may be NULL. The rules of cairn.h for calls count
 * here: reads are repeated, writes are sent once, the callback owns the result. Errors: CAIRN_INVALID,
 * CAIRN_CLOSED, CAIRN_CANCELED, those of the connection, and by the status of HTTP:
 *
 *     400 CAIRN_INVALID         401 CAIRN_UNAUTHENTICATED   403 CAIRN_DENIED     404 CAIRN_NOT_FOUND
 *     409, 412 CAIRN_CONFLICT   410 CAIRN_LOST              413, 429 CAIRN_LIMIT 501 CAIRN_UNIMPLEMENTED
 *     503, 504 CAIRN_UNAVAILABLE of a read, CAIRN_UNKNOWN of a write
 *
 * An answer that is not JSON where JSON is due is CAIRN_PROTOCOL. */
#define CAIRN_API_CALL(name, method, path, parameters)                                                       \
    int cairn_##name(struct cairn_client *c, const struct cairn_api_request *request,                        \
                     const struct cairn_call_options *options, struct cairn_api_result **ret,                \
                     struct cairn_error *error);                                                             \
    int cairn_##name##_async(                                                                                \
        struct cairn_client *c, const struct cairn_api_request *request,                                     \
        const struct cairn_call_options *options,                                                            \
        void (*callback)(struct cairn_api_result * result, const struct cairn_error *error, void *arg),      \
        void *arg);
CAIRN_API_CALLS(CAIRN_API_CALL)
#undef CAIRN_API_CALL

/* ---- which instance to call ---------------------------------------------------------------------------- */

/* Chooses one instance as docs/picks.md describes: the client's zone first, with spill-over when it fails;
 * weights; warm-up of new instances; the same instance for the same key. */
struct cairn_pick_request {
    size_t size;               /* sizeof(struct cairn_pick_request) */
    const char *zone, *region; /* of the caller; NULL = not known */
    const char *key;           /* NULL = by weight and chance */
    uint32_t warm_up_ms;       /* 0 = none; at most 3,600,000 */
    const char *const *skip;   /* ids that the caller has just tried in vain */
    size_t skip_count;
};
/* ret_index is that of now->list. `now` is a result of cairn_discover_now, or the argument of a callback, of
 * a discovery without only_serving: else a zone does not know which of its instances fail. It asks no
 * server and takes no lock; any thread, and any number at once. request NULL = the defaults.
 * CAIRN_NOT_FOUND: no instance may receive traffic. CAIRN_INVALID: the size or the warm-up is wrong. */
int cairn_pick(const struct cairn_instances *now, const struct cairn_pick_request *request, size_t *ret_index,
               struct cairn_error *error);

/* ---- lists that are kept current ---------------------------------------------------------------------- */

/* All services, all configurations or all instances of a group's services, or those with a prefix or a pattern,
 * by the stream. In a pattern `*` stands for any characters and `\*` for a star. A list by pattern and a list of
 * instances have what the client may read, also when its rights change. */
struct cairn_list_watch;
enum cairn_list_kind { CAIRN_LIST_SERVICES, CAIRN_LIST_CONFIGS, CAIRN_LIST_INSTANCES };
struct cairn_list_request {
    enum cairn_list_kind kind;
    const char *ns;     /* NULL = "default"; with a `*` a pattern: the ids are "namespace/group/name" */
    const char *group;  /* NULL = "default"; with a `*` a pattern: the ids are "group/name" */
    bool all_groups;    /* instead of `group`; the ids are "group/name" */
    const char *prefix; /* NULL = all names; with a `*` a pattern of the whole name, as in "app-*" */
    /* Selectors as of struct cairn_discover_request, of instances; of services `labels` alone, which are pairs
     * in the metadata of their settings. NULL, false = none. */
    bool only_serving, no_guarded;
    const char *cluster, *version, *protocol, *tags, *labels;
};
/* The library makes it, and may add fields at its end. It lives until the callback returns. */
struct cairn_list {
    const struct cairn_item *items; /* by id. Configurations of more than 64 KiB have no content: read them */
    size_t count;
    int64_t revision;
    bool is_cached;       /* read from the cache folder: no member has been reached since the start */
    int64_t cache_age_ms; /* if is_cached: since its file was written, with the last change; -1 = not known */
    /* Of a list of instances, in the order of `items`, whose ids are the service's id, "/" and the id of the
     * instance, and whose names are the service's; NULL for the other kinds. */
    const struct cairn_instance *instances;
};
/* The callback gets each state, from the first one on. It may miss states, but never the last one. Configs
 * are those that are live for this client, as gray rules say. CAIRN_INVALID, CAIRN_CLOSED. */
int cairn_list_start(struct cairn_client *c, const struct cairn_list_request *request,
                     void (*callback)(struct cairn_list_watch *w, const struct cairn_list *now, void *arg),
                     void *arg, struct cairn_list_watch **ret_watch, struct cairn_error *error);
/* As cairn_config_applied, for an item of a list of configurations by its id. */
void cairn_list_applied(struct cairn_list_watch *w, const char *id, uint64_t seq, const char *problem);
void cairn_list_stop(struct cairn_list_watch *w); /* as cairn_watch_stop */

/* ---- the audit trail as it grows ---------------------------------------------------------------------- */

/* Changes and refused attempts as they are recorded, by the stream: docs/audit.md. The client's user needs READ
 * on all of /cairn/audit/. */
struct cairn_audit_watch;
struct cairn_audit_request { /* NULL, zero = all */
    const char *user, *kind, *ns, *name;
    int64_t from_ms; /* only records of this time and later, in milliseconds since 1970 */
    int64_t
        after_revision; /* those after this revision; 0 = the ones that are kept come first, newest first */
};
struct cairn_audit_change {
    const char *record; /* all changes of one transaction have the same */
    int64_t revision, time_ms;
    const char *user, *on_behalf_of, *address; /* "" where there is none, here and below */
    const char *kind, *operation, *ns, *group, *name, *id;
    const char *error; /* the code of an attempt that was refused; "" = the change was made */
    uint64_t seq;      /* of a release; 0 = none */
    const char *json;  /* the whole change, as GET /api/v1/audit has it */
};
/* The library makes it, and may add fields at its end. It lives until the callback returns. */
struct cairn_audit_changes {
    const struct cairn_audit_change *list;
    size_t count;
    int64_t
        revision; /* everything up to it was given: the next after_revision. 0 = more of them follow at once */
    bool is_reset; /* the changes that are kept begin anew: after the start without after_revision, or when
                         the history of the missing ones was compacted */
};
/* The callback gets each change once, over reconnects to any member too, except after is_reset.
 * CAIRN_INVALID, CAIRN_CLOSED. */
int cairn_audit_start(struct cairn_client *c, const struct cairn_audit_request *request,
                      void (*callback)(struct cairn_audit_watch *w, const struct cairn_audit_changes *changes,
                                       void *arg),
                      void *arg, struct cairn_audit_watch **ret_watch, struct cairn_error *error);
void cairn_audit_stop(struct cairn_audit_watch *w); /* as cairn_watch_stop */

#ifdef __cplusplus
}
#endif

#endif
