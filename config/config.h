/* SPDX-License-Identifier: Apache-2.0
 * THE DOOR of config/: configurations as immutable releases, the head that says which is live, drafts, gray
 * releases, and who runs on what. Front ends (HTTP, streams) come in here and nowhere else.
 *
 * Keys are those of config/name.h, documents those of config/document.h. What is watched and kept in memory
 * is the heads alone; contents are read from the store when they are asked for. A publish is one transaction:
 * the head compared, the release put, the head put.
 *
 * All is on the loop thread. A request is a struct that the caller embeds; its done is called exactly once,
 * never from inside the call that started it, unless config_cancel came first. What a request was given is
 * copied where it is needed later. A result is valid only during done.
 *
 * Outcomes: as in consensus/kv.h: a write that ended with ERR_TIMEOUT (or a variant) or ERR_STOPPED may have
 * happened; every other error means that nothing was changed. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "base/map.h"
#include "base/merge_sort.h"
#include "config/document.h"
#include "config/format/format.h"
#include "config/gray.h"
#include "config/name.h"
#include "consensus/kv.h"

struct config;
struct task;

struct config_options {
    struct kv *kv;
    const char *member;                /* this member's name, for listeners */
    struct cache_budget *cache_budget; /* borrowed; NULL = none */
    uint64_t content_bytes_max;        /* of one configuration; 0 = 1 MiB */
    uint64_t request_bytes_max;        /* the kv's; 0 = 1.5 MiB */
    uint64_t txn_ops_max;              /* the kv's; 0 = 128: half as many configurations fit into a bundle */
    size_t namespaces_max;             /* that hold a configuration, deleted or not; 0 = no limit */
    size_t items_max, bytes_max;       /* of one namespace: live ones and their bytes; 0 = none */
    /* A release stays while it is among the newest so many of its item (0 = 50), or younger than this (0 = 90
     * days), or live, or named by a gray rule. What is left is collected by the leader. */
    size_t releases_kept;
    uint64_t releases_kept_s;
    /* However young: no more of one item than so many, or so many bytes, but for the newest releases_kept. 0
     * = no bound. */
    uint64_t releases_max, history_bytes_max;
    struct write_limits *limits; /* borrowed; NULL = none */
};

struct config *config_new(const struct config_options *options);
void config_free(struct config *c); /* before the kv is closed; what is pending ends with ERR_STOPPED */
void config_turn(struct config *c); /* in each turn of the loop, after kv_turn */
bool config_is_ready(const struct config *c);
int64_t config_revision(const struct config *c); /* of the view */
uint64_t config_cluster_id(const struct config *c);
uint64_t config_content_bytes_max(const struct config *c); /* of one configuration */

/* --- the view: heads ----------------------------------------------------------------------------------- */
struct config_id {
    struct slice ns, group, name;
};

struct config_item { /* there while it has a head; a deleted one has a head that says so */
    struct slice ns, group, name;
    const struct config_head *head;
    int64_t create_revision, revision; /* of the head's key */
};
const struct config_item *config_find(const struct config *c, const struct config_id *key);
/* The revision in which what one can see of a name that is not there last changed. */
int64_t config_absent_revision(const struct config *c);
/* By group and name, from the first behind `after` (a "group/name"); group empty = all groups; deleted ones
 * too. ns empty (and `after` too): those of all namespaces, by namespace first. */
void config_each(const struct config *c, struct slice ns, struct slice group, struct slice prefix,
                 struct slice after, bool (*fn)(void *arg, const struct config_item *item), void *arg);

/* The same for one namespace and for walks over several turns: looks at no more than `places` places. True:
 * there may be more, behind *ret_last, which fn need not have been given; false: that was the end, or fn has
 * said false. */
bool config_each_some(const struct config *c, struct slice ns, struct slice group, struct slice prefix,
                      struct slice after, size_t places,
                      bool (*fn)(void *arg, const struct config_item *item), void *arg,
                      const struct config_item **ret_last);
/* The revision in which what one can see of a namespace last changed, or a later one. */
int64_t config_namespace_revision(const struct config *c, struct slice ns);

/* --- requests ------------------------------------------------------------------------------------------ */
struct config_written { /* of one item of a bundle */
    struct config_id key;
    bool is_unchanged;
    const struct config_head *head; /* as it is now */
};

struct config_result {
    int64_t revision;
    uint64_t seq; /* the release that was made or read; unchanged: the live one; history: the last told */
    bool is_unchanged;                    /* the content is what is live already: nothing was written */
    bool has_more;                        /* history: there are older ones */
    const struct config_release *release; /* read; its content whole */
    const struct config_draft *draft;     /* read_draft */
    const struct config_head *head; /* as it is now, NULL = none; ERR_PRECONDITION: what stood against it */
    const char *error;              /* with an error: one sentence, or NULL */
    struct format_error where;      /* ERR_MALFORMED: line and column */
    struct config_id key;           /* bundle, with an error: whose it is; name empty = nobody's */
    const struct config_written *written; /* bundle: in the order given, what is published first */
    size_t written_count, items;          /* items: how many were changed */
};

struct config_request {
    void (*done)(struct config_request *q, int err, const struct config_result *result);
    /* Of the client: addresses take turns at what takes long (config/task.h). Copied when the request begins;
     * empty: the process itself. */
    struct slice address;
    /* The client that writes, copied when the request begins; NULL: the process itself. That it may write the
     * head (or the draft) is checked again when the write is applied, on every member: ERR_USER_EMPTY,
     * ERR_USER_NOT_FOUND, ERR_AUTH_OLD_REVISION, ERR_PERMISSION_DENIED. */
    const struct auth_who *who;
    void *impl; /* the door's own */
};

/* What must hold for a write (compare-and-swap); a zeroed one asks for nothing. Else ERR_PRECONDITION. */
struct config_condition {
    bool if_absent; /* If-None-Match: * (a deleted one is absent) */
    bool has_seq;
    uint64_t if_seq;
    struct slice if_md5; /* 32 hex digits */
    /* Nothing of it has changed after this revision, gray rules neither: the one condition that never comes
     * true again. */
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
    bool only_validate; /* everything is checked, nothing written */
};
/* ERR_MALFORMED: the content is not what its format asks for. ERR_REQUEST_TOO_LARGE, ERR_QUOTA, ERR_INVALID
 * (a name). ERR_CONFLICT: others were faster, time and again, or a head stands there that cannot be read. */
void config_publish(struct config *c, struct config_request *q, const struct config_publish *p);
/* The head's live release (seq 0), or that of seq, which may be a tombstone; ERR_NOT_FOUND, with the head if
 * it is deleted. Linearizable when is_local is false. */
void config_read(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                 bool is_local);
/* The same release at once, if it was read lately and still stands there so (locally); NULL: config_read has
 * to tell. Valid until the next call of this door. */
const struct config_release *config_read_recent(struct config *c, const struct config_id *key, uint64_t seq);
/* A new release with that of seq's content and format. ERR_NOT_FOUND: there is no such release (any more). */
void config_rollback(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                     struct slice note, const struct config_condition *condition);
/* A tombstone release; its gray rules end with it. ERR_NOT_FOUND when it is deleted already. */
void config_delete(struct config *c, struct config_request *q, const struct config_id *key, struct slice note,
                   const struct config_condition *condition);
/* All or nothing, in one revision; a key twice is ERR_INVALID. */
struct config_remove {
    struct config_id key;
    struct config_condition condition;
};
void config_bundle(struct config *c, struct config_request *q, const struct config_publish *publish,
                   size_t publish_count, const struct config_remove *remove, size_t remove_count);

/* Many at once, of which some may be there (config_import.c): everything is checked before anything is
 * written. What fits into one transaction is written in one revision; more than that in several, in the order
 * of namespace, group and name. The same again writes nothing. */
enum config_import_policy {
    CONFIG_IMPORT_ABORT, /* nothing is written if another content is live under one of the names: ERR_CONFLICT
                          */
    CONFIG_IMPORT_SKIP,  /* those are left alone */
    CONFIG_IMPORT_OVERWRITE, /* those get a new release */
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
    struct slice path; /* what it is called in sentences; empty: by its key */
    struct slice content, title, note;
    bool has_format; /* else that of what is live, or by the name's ending */
    enum format format;
    struct slice md5, sha256; /* what the content's must be; empty: is not looked at */
    /* What became of it. */
    enum config_import_action action;
    int err; /* REFUSED: why, with error; ERR_MALFORMED: where */
    char *error;
    size_t line, column;
    uint64_t seq; /* of what is live; 0 = nothing, or not known */
    struct digest digest;
};

struct config_import {
    void (*done)(struct config_import *i, int err);
    struct config_import_item *items; /* the caller's until done or cancel; sorted by config_import */
    size_t count;
    enum config_import_policy policy;
    const struct auth_who *who; /* as config_request.who, but it must live until done */
    struct slice address;       /* as config_request.address; lives as long */
    bool is_dry;                /* nothing is written; done with OK whatever would happen */
    /* The result, at any time. */
    int64_t revision;
    size_t transactions;            /* that were made */
    size_t actions[CONFIG_ACTIONS]; /* items by action */
    char error[512];                /* with an error: one sentence */
    /* The door's own. */
    struct config *config;
    struct config_request step;
    void (*go_on)(struct config_import *i); /* in the next turn */
    struct task *check;                     /* under way; NULL = none */
    struct arena arena;                     /* errors; also after done, until config_import_done */
    size_t at, most, batch;
    size_t first, created, bytes;    /* of the namespace that is judged: its first item, what is added */
    struct merge_sort sort;          /* of places in items, uint32_t each */
    struct config_import_item moved; /* the first of a cycle of items that change places */
    size_t cycle, hole;
    struct heads_claim *claims; /* what each namespace will get, while they are judged */
    size_t claim_count, claim_capacity;
};
/* done, as that of other requests. An error of several items is that of the first of them: its action is
 * REFUSED, and nothing was written; ERR_TIMEOUT and its like: what was LEFT and not told apart may be there.
 */
void config_import(struct config *c, struct config_import *i);
void config_import_cancel(struct config_import *i); /* what is under way is written; nothing follows */
void config_import_done(struct config_import *i);   /* frees what the result points to */

/* A draft may be unfinished: its format is not checked before it is published. Its base is what is live; the
 * condition is the live one's too. */
void config_put_draft(struct config *c, struct config_request *q, const struct config_publish *p);
void config_read_draft(struct config *c, struct config_request *q, const struct config_id *key);
void config_delete_draft(struct config *c, struct config_request *q, const struct config_id *key);
/* The draft becomes a release; the draft goes in the same transaction. */
void config_publish_draft(struct config *c, struct config_request *q, const struct config_id *key,
                          struct slice title, struct slice note, const struct config_condition *condition);

/* A gray rule, with a content of its own (a release is made for it) or, content NULL, rule->seq of one that
 * is there; a tombstone's makes it deleted for those. ERR_NOT_FOUND also when the item is not live. */
void config_put_gray(struct config *c, struct config_request *q, const struct config_id *key,
                     const struct gray_rule *rule, const struct slice *content,
                     const struct config_condition *condition);
void config_delete_gray(struct config *c, struct config_request *q, const struct config_id *key,
                        struct slice rule, const struct config_condition *condition);
/* Its content becomes the live release for all (a new one), and the rule goes. */
void config_promote_gray(struct config *c, struct config_request *q, const struct config_id *key,
                         struct slice rule, struct slice note, const struct config_condition *condition);

/* Releases of one name, newest first, from below `before` (0 = from the newest); without contents. */
struct config_history {
    struct config_request request; /* first */
    /* From inside the loop's turns, before done; its content is empty but for its size. */
    void (*release)(struct config_history *h, uint64_t seq, const struct config_release *release);
    struct config_id key;
    uint64_t before;
    size_t limit; /* 1 to 1,000 */
    bool is_full; /* set by release: the page ends with this one, has_more says whether it was the last */
};
/* ERR_NOT_FOUND: there is nothing of this name. */
void config_history(struct config *c, struct config_history *h);

/* Done when the view shows everything that was committed before this call. */
void config_barrier(struct config *c, struct config_request *q);
void config_wait_revision(struct config *c, struct config_request *q, int64_t revision, uint64_t timeout_ms);
void config_cancel(struct config *c, struct config_request *q);
/* Work on contents in the turn of the client behind q, which waits beside the checks of its own writes
 * (config/task.h). What still waits when the config center is freed is released without done. */
MUST_CHECK int config_task_add(struct config *c, struct task *t, const struct config_request *q);
/* Frees something large by the content worker: giving 100 MiB back takes more than 10 ms. free_thing runs on
 * its thread; nobody else has the thing any more. */
void config_free_later(struct config *c, void (*free_thing)(void *thing), void *thing);

/* --- watching: level-triggered, told once a batch ------------------------------------------------------ */
struct config_subscriber { /* owned by the front end */
    struct slice client_id;
    const char *peer; /* address, perhaps with a port; gray rules' networks are asked about it */
    const char *transport;
    struct document_map labels;
};

struct config_watch {
    /* The item has changed (its head); item NULL: it is not there any more. After the state was read anew:
     * once for each that differs. From inside everything of this door may be called but config_turn and
     * config_free; key and item are valid until the return. Never called from inside config_watch. */
    void (*changed)(struct config_watch *w, const struct config_item *item, const struct config_id *key);
    const struct config_subscriber *subscriber; /* NULL: not shown */
    /* The door's own. */
    struct config *config;
    struct link link;
    struct slice ns, group, name; /* owned; name is a prefix with is_prefix */
    bool is_prefix;
    struct watched *watched;
    struct strmap states; /* "group/name" -> what its client was sent and says */
    int64_t since_ms, sent_revision;
};
/* Set changed and subscriber before; the rest is filled in. With is_prefix an empty group is all groups. */
void config_watch(struct config *c, struct config_watch *w, const struct config_id *key, bool is_prefix);
void config_unwatch(struct config_watch *w);
/* What the client was sent; what it says it runs on, or rejects. For operators (config_listeners). */
void config_sent(struct config_watch *w, const struct config_id *key, uint64_t seq);
/* It was sent, of every item, what it is to get as of this revision. For watches of many: nothing is kept of
 * each; of an item that has changed since it is not known what was sent. */
void config_sent_all(struct config_watch *w, int64_t revision);
void config_applied(struct config_watch *w, const struct config_id *key, uint64_t seq, bool is_ok,
                    struct slice error);
/* The release that a watcher with these labels gets of an item: its gray release or the live one; 0 = none
 * (deleted). A gray release may be a tombstone: then its content says so, not the head. ip: an address. */
uint64_t config_choose(const struct config_item *item, const struct document_map *labels, struct slice ip,
                       struct slice client_id);

/* Who listens to a name, on all members. */
struct config_listener {
    struct slice client_id, peer, member, transport;
    struct document_map labels;
    uint64_t chosen, sent, applied; /* seq: what it should run on, was sent, says it runs on; 0 = none */
    uint64_t rejected;              /* the seq that it said last it cannot take; 0 = none */
    struct slice error;             /* why */
    int64_t since_ms;
};
struct config_listeners {
    struct config_request request; /* first */
    void (*seen)(struct config_listeners *l, const struct config_listener *listener);
    size_t members_silent, left_out; /* left_out: listeners that an answer had no room for */
};
void config_listeners(struct config *c, struct config_listeners *l, const struct config_id *key);

#endif
