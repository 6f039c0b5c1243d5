/* SPDX-License-Identifier: Apache-2.0
 * The public API of the config center: releases, heads, drafts, gray rules and listeners. Front ends (HTTP,
 * streams) call config/ through this header only.
 *
 * - A release is one immutable version of a configuration. The head names the live release.
 * - Keys are those of config/name.h, documents those of config/document.h.
 * - Only the heads are watched and kept in memory. A content is read from the store on demand.
 * - A publish is one transaction: compare the head, put the release, put the head.
 *
 * Everything runs on the loop thread. A request is a struct that the caller embeds. Its done is called
 * exactly once, never from inside the call that started it, unless config_cancel came first. The functions
 * copy the arguments that they need later. A result is valid only during done.
 *
 * Outcomes are those of consensus/kv.h: a write that ended with ERR_TIMEOUT (or a variant) or ERR_STOPPED may
 * have happened; every other error means that nothing was changed. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "base/map.h"
#include "base/merge_sort.h"
#include "config/document.h"
#include "config/format/format.h"
#include "config/gray.h"
#include "config/name.h"
#include "config/rollout_plan.h"
#include "config/workflow.h"
#include "consensus/kv.h"

struct config;
struct namespace_view;
struct seal_keys;
struct task;

struct config_options {
    struct kv *kv;
    const char *member;                /* this member's name, for listeners */
    struct cache_budget *cache_budget; /* borrowed; NULL = none */
    uint64_t content_bytes_max;        /* of one configuration; 0 = 1 MiB */
    uint64_t request_bytes_max;        /* the kv's; 0 = 1.5 MiB */
    uint64_t txn_ops_max;              /* the kv's; 0 = 128. A bundle holds half as many configurations */
    size_t namespaces_max;             /* that hold a configuration, deleted or not; 0 = no limit */
    size_t items_max, bytes_max;       /* live items of one namespace and their bytes; 0 = no limit */
    /* A release is kept while at least one of these holds:
     *   - it is among the newest releases_kept of its item (0 = 50)
     *   - it is younger than releases_kept_s seconds (0 = 90 days)
     *   - it is live, or a gray rule names it
     * The leader deletes the others. */
    size_t releases_kept;
    uint64_t releases_kept_s;
    /* Bounds of one item's history that hold at any age: number of releases and their bytes. The newest
     * releases_kept stay in any case. 0 = no bound. */
    uint64_t releases_max, history_bytes_max;
    const struct seal_keys *keys;            /* borrowed; must outlive the kv's io. NULL = none */
    struct write_limits *limits;             /* borrowed; NULL = none */
    struct audit *audit;                     /* borrowed; NULL = none */
    const struct namespace_view *namespaces; /* borrowed; NULL = none: quotas, deletions */
};

struct config *config_new(const struct config_options *options);
void config_free(struct config *c); /* before the kv is closed; pending requests end with ERR_STOPPED */
void config_turn(struct config *c); /* in each turn of the loop, after kv_turn */
bool config_is_ready(const struct config *c);
int64_t config_revision(const struct config *c); /* of the view */
uint64_t config_cluster_id(const struct config *c);
uint64_t config_content_bytes_max(const struct config *c); /* of one configuration */

/* --- the view: heads ----------------------------------------------------------------------------------- */
struct config_id {
    struct slice ns, group, name;
};

struct config_item { /* exists while its head's key exists; the head of a deleted item says so */
    struct slice ns, group, name;
    const struct config_head *head;
    int64_t create_revision, revision; /* of the head's key */
};
const struct config_item *config_find(const struct config *c, const struct config_id *key);
/* The revision in which a name that does not exist may last have changed. */
int64_t config_absent_revision(const struct config *c);
/* Calls fn for each item, deleted ones included, in the order of group and name. It begins after `after`
 * ("group/name"). group empty: all groups. ns and `after` empty: all namespaces, in order. */
void config_each(const struct config *c, struct slice ns, struct slice group, struct slice prefix,
                 struct slice after, bool (*fn)(void *arg, const struct config_item *item), void *arg);

/* The same for one namespace, in pieces for walks over several turns: visits at most `places` items. True:
 * there may be more, after *ret_last, which fn need not have received. False: the end was reached, or fn
 * returned false. */
bool config_each_some(const struct config *c, struct slice ns, struct slice group, struct slice prefix,
                      struct slice after, size_t places,
                      bool (*fn)(void *arg, const struct config_item *item), void *arg,
                      const struct config_item **ret_last);
/* The revision in which the visible content of a namespace last changed, or a later one. */
int64_t config_namespace_revision(const struct config *c, struct slice ns);

struct config_usage { /* of live items */
    size_t items, bytes;
};
/* The options: limits of namespaces without quotas of their own. */
const struct config_options *config_defaults(const struct config *c);
bool config_has_namespace(const struct config *c, struct slice ns); /* it holds an item, deleted or not */
struct config_usage config_namespace_usage(const struct config *c, struct slice ns);
/* The first namespace after this one that holds an item, deleted or not; empty = none. */
struct slice config_next_namespace(const struct config *c, struct slice after);

/* --- requests ------------------------------------------------------------------------------------------ */
struct config_written { /* of one item of a bundle */
    struct config_id key;
    bool is_unchanged;
    const struct config_head *head; /* the current one */
};

struct config_result {
    int64_t revision;
    uint64_t seq; /* the release that was made or read; unchanged: the live one; history: the last reported */
    bool is_unchanged;                    /* the content is live already: nothing was written */
    bool has_more;                        /* history: there are older ones */
    const struct config_release *release; /* read: with its whole content */
    const struct config_draft *draft;     /* read_draft */
    const struct config_head
        *head;                 /* the current one, NULL = none; ERR_PRECONDITION: the one that failed it */
    const char *error;         /* with an error: one sentence, or NULL */
    struct format_error where; /* ERR_MALFORMED: line and column */
    struct config_id key;      /* bundle, with an error: the item that caused it; name empty = none */
    const struct config_written *written; /* bundle: in the given order, publishes first */
    size_t written_count, items;          /* items: number of changed items */
    /* config_read_workflow: the document, its revision, and that of the draft beside it (0 = none). */
    struct slice document;
    int64_t document_revision, draft_revision;
};

struct config_request {
    void (*done)(struct config_request *q, int err, const struct config_result *result);
    /* The client, for what it writes; copied when the request begins. Clients of different addresses take
     * turns at slow work (config/task.h). Empty: the process itself. */
    struct author author;
    /* The client that writes, copied when the request begins; NULL: the process itself. Every member checks
     * again that it may write the head (or the draft) when the write is applied: ERR_USER_EMPTY,
     * ERR_USER_NOT_FOUND, ERR_AUTH_OLD_REVISION, ERR_PERMISSION_DENIED. */
    const struct auth_who *who;
    /* The reason for a publish without the review that a policy requires, copied when the request begins. The
     * author needs WRITE on the item's CONFIG_EMERGENCY key. Empty: the policy holds. */
    struct slice emergency;
    /* An idempotency key (consensus/idempotency.h); NULL = none. Borrowed while the request is under way. The
     * transaction of the write has a record of it, also one that changes nothing else. ERR_CONFLICT if there
     * is a record already: it has the answer. */
    const struct config_once *once;
    void *impl; /* private to config/ */
};

struct config_once {
    struct slice key;    /* of the store */
    struct slice digest; /* of the request */
    /* Writes the answer that the record keeps, without its revision. */
    void (*answer)(struct config_request *q, const struct config_result *result, struct buf *out);
};

/* Conditions of a write (compare-and-swap). A zeroed one has none. A failed one is ERR_PRECONDITION. */
struct config_condition {
    bool if_absent; /* If-None-Match: * (a deleted one is absent) */
    bool has_seq;
    uint64_t if_seq;
    struct slice if_md5; /* 32 hex digits */
    /* Neither the item nor its gray rules have changed after this revision. Once false, this condition stays
     * false; the others may become true again. */
    bool has_revision;
    int64_t if_revision;
};

struct config_publish {
    struct config_id key;
    struct slice content;
    bool has_format; /* else that of the head, or by the name's ending */
    enum format format;
    struct slice title, note;
    struct config_condition condition;
    bool is_import;
    bool must_seal;     /* also if no policy says so */
    bool only_validate; /* everything is checked, nothing written */
    bool is_deletion;   /* of a draft: publishing it deletes the configuration; there is no content */
};
/* ERR_MALFORMED: the content is not well formed in its format. ERR_REQUEST_TOO_LARGE, ERR_QUOTA. ERR_INVALID:
 * a name. ERR_CONFLICT: concurrent writes won every attempt, or the stored head cannot be read. */
void config_publish(struct config *c, struct config_request *q, const struct config_publish *p);
/* Reads the live release (seq 0) or release seq, which may be a tombstone. ERR_NOT_FOUND; the head is set if
 * the item is deleted. Linearizable when is_local is false. ERR_KEY_MISSING, ERR_CORRUPT: it is sealed and
 * does not open here; result.release is set, with its envelope in place of the content. */
void config_read(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                 bool is_local);
/* Local read of the same release from the cache of recent releases. NULL: it is not cached or not current;
 * call config_read. Valid until the next call of this API. */
const struct config_release *config_read_recent(struct config *c, const struct config_id *key, uint64_t seq);
/* Makes a new release with the content and format of release seq. ERR_NOT_FOUND: there is no such release, or
 * it was collected. */
void config_rollback(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                     struct slice note, const struct config_condition *condition);
/* Makes a tombstone release. The item's gray rules end with it. ERR_NOT_FOUND: it is deleted already. */
void config_delete(struct config *c, struct config_request *q, const struct config_id *key, struct slice note,
                   const struct config_condition *condition);
/* All or nothing, in one revision. ERR_INVALID: one key twice. */
struct config_remove {
    struct config_id key;
    struct config_condition condition;
};
void config_bundle(struct config *c, struct config_request *q, const struct config_publish *publish,
                   size_t publish_count, const struct config_remove *remove, size_t remove_count);

/* --- two namespaces (config_compare.c, config_promote.c) ------------------------------------------------- */
/* One configuration under the same group and name in two namespaces. */
enum config_compared_state {
    CONFIG_ONLY_FROM, /* it is not live in the other one */
    CONFIG_ONLY_TO,
    CONFIG_SAME,    /* content and format */
    CONFIG_DIFFERS, /* content or format */
    CONFIG_UNKNOWN, /* a content is sealed and does not open here */
};
struct config_compared_side {
    bool is_live; /* false: the rest is not set */
    uint64_t seq;
    enum format format;
    struct digest digest; /* keyed if it is sealed */
    struct slice sealed;  /* id of the key; empty = it is clear */
    uint64_t size;
    int64_t time_ms;
};
struct config_compared {
    struct slice group, name;
    enum config_compared_state state;
    struct config_compared_side from, to;
    const char *error; /* UNKNOWN: one sentence; else NULL */
};
/* Compares the live configurations of two namespaces, by group and name. Sealed contents are opened, because
 * their digests are keyed by their names. It takes several turns, so the answer is not the state of one
 * revision: the seqs say what was compared. */
struct config_compare {
    struct config_request request; /* first */
    /* Called before done, in order, from config_turn. */
    void (*compared)(struct config_compare *q, const struct config_compared *item);
    struct slice from, to;             /* namespaces, which differ */
    struct slice group, prefix, after; /* group empty: all groups; after: "group/name" */
    size_t limit; /* configurations; result.has_more: there may be more after the last one */
};
void config_compare(struct config *c, struct config_compare *q);

/* A configuration to copy from one namespace to another, with the proof of what was compared. */
struct config_copied {
    struct slice group, name;
    uint64_t seq;    /* the live release of the source */
    uint64_t to_seq; /* the live release of the target; 0 = it has none */
};
/* Publishes live releases of one namespace in another one, as config_bundle does: all or nothing, in one
 * revision. A title is kept; the note too, if the new one is empty. A sealed content stays sealed, under its new
 * names.
 *   ERR_PRECONDITION       a source or a target is not as it was compared
 *   ERR_REQUEST_TOO_LARGE  the contents are too large for one transaction
 * The author needs READ on the sources and WRITE on the targets. */
void config_promote(struct config *c, struct config_request *q, struct slice from, struct slice to,
                    const struct config_copied *list, size_t count, struct slice note, bool only_validate);

/* An import: many configurations at once, of which some may exist (config_import.c). Everything is checked
 * before anything is written. An import that fits into one transaction is written in one revision, a larger
 * one in several, in the order of namespace, group and name. The same import again writes nothing. */
enum config_import_policy {
    CONFIG_IMPORT_ABORT, /* writes nothing if other content is live under one of the names: ERR_CONFLICT */
    CONFIG_IMPORT_SKIP,  /* leaves such items as they are */
    CONFIG_IMPORT_OVERWRITE, /* makes a new release of such items */
};
enum config_import_action {
#define ACTION(name, text) CONFIG_##name,
#include "config/import.def"
#undef ACTION
    CONFIG_ACTIONS
};
const char *config_import_action_name(enum config_import_action a);

struct config_import_item {
    struct config_id key;
    struct slice path; /* its name in error sentences; empty: the key is used */
    struct slice content, title, note;
    bool has_format; /* else the format of the live release, or the one of the name's ending */
    enum format format;
    struct slice md5, sha256; /* expected digests of the content; empty: not checked */
    struct slice sealed; /* the content is sealed with this key, under these names; empty = it is clear */
    struct config_id sealed_as;
    bool is_decrypted; /* it was sealed, and the archive has it in clear: it is sealed when it is written */
    /* The outcome. */
    enum config_import_action action;
    int err; /* REFUSED: the reason, with error; ERR_MALFORMED: also line and column */
    char *error;
    size_t line, column;
    uint64_t seq; /* of the live release; 0 = none, or not known */
    struct digest digest;
    struct digest live_digest; /* the keyed one, if the live release is sealed; empty = not known */
};

struct config_import {
    void (*done)(struct config_import *i, int err);
    struct config_import_item *items; /* the caller's, valid until done or cancel; config_import sorts them */
    size_t count;
    enum config_import_policy policy;
    const struct auth_who *who; /* as config_request.who, but it must live until done */
    struct author author;       /* as config_request.author; lives as long */
    struct slice emergency;     /* as config_request.emergency; lives as long */
    bool is_dry;                /* nothing is written; done gets OK whatever the outcome would be */
    /* The result, readable at any time. */
    int64_t revision;
    size_t transactions;            /* number of transactions made */
    size_t actions[CONFIG_ACTIONS]; /* items by action */
    char error[512];                /* with an error: one sentence */
    /* Private to config/. */
    struct config *config;
    struct config_request step;
    void (*go_on)(struct config_import *i); /* in the next turn */
    struct task *check;                     /* under way; NULL = none */
    struct arena arena;                     /* errors; also after done, until config_import_done */
    size_t at, most, batch;
    size_t first, created, bytes;    /* of the namespace under examination: its first item, what is added */
    struct merge_sort sort;          /* of positions in items, uint32_t each */
    struct config_import_item moved; /* the first of a cycle of items that change places */
    size_t cycle, hole;
    struct heads_claim *claims; /* the additions to each namespace, while they are examined */
    size_t claim_count, claim_capacity;
};
/* Calls done as other requests do. An error of several items is that of the first of them.
 *   an item's own error     its action is REFUSED, and nothing was written
 *   ERR_TIMEOUT and alike   items that are still LEFT may have been written */
void config_import(struct config *c, struct config_import *i);
void config_import_cancel(struct config_import *i); /* the transaction under way continues; nothing follows */
void config_import_done(struct config_import *i);   /* frees what the result points to */

/* Stores a draft. It may be unfinished: its format is checked only when it is published. Its base is the live
 * release; the condition refers to the live release too. */
void config_put_draft(struct config *c, struct config_request *q, const struct config_publish *p);
void config_read_draft(struct config *c, struct config_request *q, const struct config_id *key);
void config_delete_draft(struct config *c, struct config_request *q, const struct config_id *key);
/* Makes a release of the draft and deletes the draft in the same transaction. */
void config_publish_draft(struct config *c, struct config_request *q, const struct config_id *key,
                          struct slice title, struct slice note, const struct config_condition *condition);

/* --- reviews (config_review.c, config_policy.c) --------------------------------------------------------- */
/* Where the policy of the namespace covers a name, every write that changes its head ends with
 * ERR_REVIEW_REQUIRED, except a publish of an approved draft, an emergency (config_request.emergency), the end
 * of a gray rule, and the steps of a rollout that began with an approved draft. */
/* Puts or, patterns empty (count 0), deletes the policy of a namespace. The author needs WRITE on its key. */
void config_put_policy(struct config *c, struct config_request *q, struct slice ns,
                       const struct workflow_policy *policy);
void config_delete_policy(struct config *c, struct config_request *q, struct slice ns);
/* Submits the draft as it is. A later change of the draft voids this, and an approval. */
void config_submit_draft(struct config *c, struct config_request *q, const struct config_id *key,
                         struct slice note);
/* Approves or rejects the draft of this revision. ERR_CONFLICT: it is not the submitted one (any more).
 * ERR_PERMISSION_DENIED: an approval by its author, or by nobody in particular. The author needs WRITE on the
 * CONFIG_REVIEW key. */
void config_review_draft(struct config *c, struct config_request *q, const struct config_id *key,
                         bool approves, int64_t draft_revision, struct slice note);
/* Reads a document of the workflow. ERR_NOT_FOUND. */
void config_read_workflow(struct config *c, struct config_request *q, enum config_key kind,
                          const struct config_id *key);
/* The documents of a kind in a namespace, ordered by group and name, after `after` ("group/name"). */
struct config_workflow_list {
    struct config_request request; /* first */
    void (*document)(struct config_workflow_list *l, const struct config_id *key, struct slice text,
                     int64_t revision);
    enum config_key kind;
    struct slice ns, group, after; /* group empty: all groups */
    size_t limit;                  /* result.has_more: there are more after the last one */
};
void config_list_workflow(struct config *c, struct config_workflow_list *l);

/* --- schemas (config_schema.c, config/schemas.h) --------------------------------------------------------- */
/* Puts a JSON Schema for the configuration of this name, or for all whose names begin so if it ends with `*`. From its
 * revision on, contents that are published must fit it; what is live stays. ERR_MALFORMED: it is no schema;
 * result.where has the place. The author needs WRITE on its key. config_read_workflow and config_list_workflow read
 * schemas, too (CONFIG_SCHEMA). */
void config_put_schema(struct config *c, struct config_request *q, const struct config_id *id,
                       struct slice text);
void config_delete_schema(struct config *c, struct config_request *q, const struct config_id *id);
/* The schema of a configuration in the view, until the return to the loop; empty = none. */
struct slice config_schema_of(const struct config *c, const struct config_id *key);

/* --- scheduled publishes (config_schedule.c) ------------------------------------------------------------ */
/* The leader publishes the draft at this time. It must be approved by now where a review is needed. At its time
 * it is kept as failed, with the reason, if the live release or the draft is another one by then.
 * ERR_CONFLICT: a publish is scheduled already. */
void config_schedule_draft(struct config *c, struct config_request *q, const struct config_id *key,
                           int64_t at_ms, struct slice title, struct slice note,
                           const struct config_condition *condition);
void config_cancel_schedule(struct config *c, struct config_request *q, const struct config_id *key);
/* For the runner: publishes what is due, if the schedule still has this revision; else nothing happens. */
void config_run_schedule(struct config *c, struct config_request *q, const struct config_id *key,
                         int64_t revision);

/* --- rollouts (config_rollout.c) ------------------------------------------------------------------------ */
enum config_rollout_act {
    CONFIG_ROLLOUT_PAUSE,
    CONFIG_ROLLOUT_RESUME,
    CONFIG_ROLLOUT_PROMOTE,
    CONFIG_ROLLOUT_ABORT
};
/* Puts the gray rule with the first step's percentage; the leader does the rest (config/rollout_plan.h).
 * ERR_CONFLICT: a rollout is under way, or there is such a rule. */
void config_start_rollout(struct config *c, struct config_request *q, const struct config_id *key,
                          const struct workflow_rollout_request *rollout,
                          const struct config_condition *condition);
/* ERR_CONFLICT: the rollout's state does not allow it. */
void config_act_rollout(struct config *c, struct config_request *q, const struct config_id *key,
                        enum config_rollout_act act, struct slice note);
/* For the runner: does this if the rollout still has this revision; else nothing happens. */
void config_run_rollout(struct config *c, struct config_request *q, const struct config_id *key,
                        int64_t revision, enum rollout_action action, struct slice reason);

/* Puts a gray rule, either with its own content (a release is made for it) or, content NULL, with rule->seq
 * of an existing release. A rule that names a tombstone deletes the item for its clients. ERR_NOT_FOUND also
 * when the item is not live. */
void config_put_gray(struct config *c, struct config_request *q, const struct config_id *key,
                     const struct gray_rule *rule, const struct slice *content,
                     const struct config_condition *condition);
void config_delete_gray(struct config *c, struct config_request *q, const struct config_id *key,
                        struct slice rule, const struct config_condition *condition);
/* Publishes the rule's content to all clients as a new release and deletes the rule. */
void config_promote_gray(struct config *c, struct config_request *q, const struct config_id *key,
                         struct slice rule, struct slice note, const struct config_condition *condition);

/* --- sealed contents (config_reseal.c; which are sealed: config_policy.c) ------------------------------- */
/* Seals what is stored already: releases and drafts of the items that the namespace's policy seals, and those
 * that are sealed with another key than the first. It goes from item to item, after `after`, for about a
 * second; result.has_more: the caller continues after `last`. Each batch is one transaction and one record of
 * the audit trail. The author needs WRITE on the heads, and on the drafts. ERR_KEY_MISSING: this member has no
 * key; a content that does not open is counted and left as it is. */
struct config_reseal {
    struct config_request request;         /* first */
    struct slice ns, group, prefix, after; /* borrowed until done; group empty: all groups */
    size_t limit;                          /* items */
    /* The result. */
    size_t examined, sealed, failed; /* items; documents; documents */
    char error[512];                 /* the first failure */
    struct slice last;               /* "group/name" of the last item; valid during done */
};
void config_reseal(struct config *c, struct config_reseal *q);

/* The releases of one name, newest first, below `before` (0 = from the newest), without contents. */
struct config_history {
    struct config_request request; /* first */
    /* Called from config_turn, before done; the release's content is empty except for its size. */
    void (*release)(struct config_history *h, uint64_t seq, const struct config_release *release);
    struct config_id key;
    uint64_t before;
    size_t limit; /* 1 to 1,000 */
    bool is_full; /* set by release: the page ends with this one; has_more says if it was the last */
};
/* ERR_NOT_FOUND: nothing has this name. */
void config_history(struct config *c, struct config_history *h);

/* A barrier: done is called when the view shows everything that was committed before this call. */
void config_barrier(struct config *c, struct config_request *q);
/* Done when the view has reached `revision`; ERR_TIMEOUT after timeout_ms. */
void config_wait_revision(struct config *c, struct config_request *q, int64_t revision, uint64_t timeout_ms);
void config_cancel(struct config *c, struct config_request *q);
/* Queues work on contents for the client of q, in turn with the checks of its own writes (config/task.h).
 * Tasks still queued when the config center is freed are released without done. ERR_TOO_MANY_REQUESTS. */
MUST_CHECK int config_task_add(struct config *c, struct task *t, const struct config_request *q);
/* Frees a large object on the content worker's thread: to free 100 MiB takes more than 10 ms. Takes the
 * thing; the caller must not use it any more. */
void config_free_later(struct config *c, void (*free_thing)(void *thing), void *thing);

/* --- watching: one notification a batch of changes, with the current state ------------------------------ */
struct config_subscriber { /* owned by the front end */
    struct slice client_id;
    const char *peer; /* address, perhaps with a port; matched against the networks of gray rules */
    const char *transport;
    struct document_map labels;
};

struct config_watch {
    /* The item's head has changed; item NULL: the item is gone. After the view was rebuilt from the whole
     * state: once for each item that differs. The callback may call everything of this API except config_turn
     * and config_free. key and item are valid until it returns. Never called from inside config_watch. */
    void (*changed)(struct config_watch *w, const struct config_item *item, const struct config_id *key);
    /* Of a watch of many: an item that fits namespace, group and prefix must fit this too. NULL = none. */
    bool (*fits)(const struct config_watch *w, const struct config_id *key);
    const struct config_subscriber *subscriber; /* NULL: not listed among the listeners */
    /* Private to config/. */
    struct config *config;
    struct link link;
    struct slice ns, group, name; /* owned; name is a prefix with is_prefix */
    bool is_prefix;
    struct watched *watched;
    struct strmap states; /* "ns/group/name" -> struct config_state: what was sent, applied, rejected */
    int64_t since_ms, sent_revision;
};
/* Set changed and subscriber before; the call fills in the rest. With is_prefix an empty group means all
 * groups, and an empty namespace all namespaces. */
void config_watch(struct config *c, struct config_watch *w, const struct config_id *key, bool is_prefix);
void config_unwatch(struct config_watch *w);
/* Record what the client was sent, and what it reports as applied or rejected; for config_listeners. */
void config_sent(struct config_watch *w, const struct config_id *key, uint64_t seq);
/* The client was sent the current release of every watched item as of this revision. For watches of many
 * items: it keeps no state for each item, so what was sent of an item that changed since is unknown. */
void config_sent_all(struct config_watch *w, int64_t revision);
void config_applied(struct config_watch *w, const struct config_id *key, uint64_t seq, bool is_ok,
                    struct slice error);
/* The release for a client with these labels: its gray release or the live one; 0 = none (deleted). A gray
 * release may be a tombstone: then its content says so, not the head. ip: an address as text. */
uint64_t config_choose(const struct config_item *item, const struct document_map *labels, struct slice ip,
                       struct slice client_id);

/* The listeners of a name, on all members. */
struct config_listener {
    struct slice client_id, peer, member, transport;
    struct document_map labels;
    uint64_t chosen, sent, applied; /* seq that it should run, was sent, reports as applied; 0 = none */
    uint64_t rejected;              /* the seq that it rejected last; 0 = none */
    struct slice error;             /* the reason of the rejection */
    int64_t since_ms;
};
struct config_listeners {
    struct config_request request; /* first */
    void (*on_listener)(struct config_listeners *l, const struct config_listener *listener);
    size_t members_silent, left_out; /* members without an answer; listeners that an answer had no room for */
};
void config_listeners(struct config *c, struct config_listeners *l, const struct config_id *key);

#endif
