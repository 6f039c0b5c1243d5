/* SPDX-License-Identifier: Apache-2.0
 * Public API of the namespaces: their documents, quotas and deletions as keys under /cairn/namespaces/, a view
 * of them (view.h), and the leader's job that deletes a namespace with all that it holds.
 *
 * Loop thread only. A request is a struct that the caller embeds and keeps until done. done is called exactly
 * once, never from inside the call that started it, and not after namespaces_cancel. Arguments are copied. A
 * result is valid only during done.
 *
 * Outcomes are those of consensus/kv.h: a write that ended with ERR_TIMEOUT (or a variant) or ERR_STOPPED may
 * have been applied; every other error means that nothing was changed. */
#ifndef NAMESPACE_NAMESPACE_H
#define NAMESPACE_NAMESPACE_H

#include "consensus/audit.h"
#include "consensus/kv.h"
#include "consensus/write_limits.h"
#include "namespace/view.h"

struct namespaces;

struct namespaces_options {
    struct kv *kv;
    struct audit *audit;         /* borrowed; NULL = none */
    struct write_limits *limits; /* borrowed; NULL = none */
    size_t documents_max;        /* namespaces with a document or quotas; 0 = no limit */
    /* Of deletions that are done: how long they can be read, and how many; 0 = a day, 1,000. */
    uint64_t done_kept_ms;
    size_t done_max;
    size_t batch_keys; /* that a deletion removes in one transaction; 0 = 100 */
};

struct namespaces *namespaces_new(const struct namespaces_options *options);
void namespaces_free(struct namespaces *n); /* after its users, before the kv is closed; NULL is fine */
void namespaces_turn(struct namespaces *n); /* in each turn, after kv_turn and before the users of the view */
bool namespaces_is_ready(const struct namespaces *n);
struct namespace_view *namespaces_view(struct namespaces *n);
int64_t namespaces_revision(const struct namespaces *n); /* up to which the view shows everything */

struct namespaces_result {
    int64_t revision;
    bool is_unchanged; /* the same document and quotas: nothing was written */
    const char *error; /* with an error: one sentence, or NULL */
    /* The namespace in the view; NULL = it has no document, quotas or deletion. */
    const struct namespace_entry *entry;
    /* Of a deletion: keys of each area that it found. With ERR_CONFLICT: what is left, if is_left. */
    uint64_t counts[AREAS];
    bool is_left, is_running;
};

struct namespaces_request {
    void (*done)(struct namespaces_request *q, int err, const struct namespaces_result *result);
    struct author author; /* of what it writes; copied */
    /* The client, copied; NULL: the process itself. Every member checks when it applies the write that the
     * client may write each key that it changes; for a deletion with cascade also all keys of the
     * namespace. */
    const struct auth_who *who;
    void *impl; /* private */
};

/* Neither document nor quotas have changed after this revision: compare-and-swap. */
struct namespaces_condition {
    bool has_revision, if_absent;
    int64_t if_revision;
};

/* Sets the document, and the quotas if change->has_limits. ERR_INVALID: the name. ERR_PRECONDITION.
 * ERR_CONFLICT: the namespace is being deleted, or concurrent writes won every attempt. ERR_QUOTA: there are
 * documents_max. */
void namespaces_put(struct namespaces *n, struct namespaces_request *q, struct slice ns,
                    const struct namespace_change *change, const struct namespaces_condition *condition);

/* Deletes the document and the quotas of an empty namespace. ERR_NOT_FOUND: there is nothing.
 * ERR_CONFLICT with is_left: the namespace is not empty. With is_cascade, a namespace that is not empty gets a
 * deletion, which the leader carries out; is_running then, and if one runs already. is_dry: only counts. */
struct namespaces_removal {
    bool is_cascade, is_dry;
    struct namespaces_condition condition;
};
void namespaces_delete(struct namespaces *n, struct namespaces_request *q, struct slice ns,
                       const struct namespaces_removal *removal);

/* Ends when the view shows all that was committed before this call. */
void namespaces_barrier(struct namespaces *n, struct namespaces_request *q);
void namespaces_cancel(struct namespaces *n, struct namespaces_request *q);

/* Level-triggered: `changed` is called when a key of the namespace (ns empty: of any) has changed. It must not
 * begin or end watches. The caller keeps ns until namespaces_unwatch. */
struct namespaces_watch {
    void (*changed)(struct namespaces_watch *w);
    struct slice ns;
    struct link link; /* private */
};
void namespaces_watch(struct namespaces *n, struct namespaces_watch *w);
void namespaces_unwatch(struct namespaces_watch *w);

#endif
