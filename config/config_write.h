/* SPDX-License-Identifier: Apache-2.0
 * The common path of all writes. A write has one target for each item. Its steps:
 *
 *   1. decide  For each target, from the stored head: is it refused, is there nothing to do, or which release
 *              and head are put.
 *   2. check   The content worker (config/task.h) checks and encodes contents over CONFIG_INLINE_MAX, all of
 *              one write in one task. Then back to 1.
 *   3. read    The view may lag, so neither a refusal nor "unchanged" relies on it: before either, the write
 *              reads the heads linearizably. Then back to 1.
 *   4. send    One transaction compares every head with the one of the decision. If a compare fails, the
 *              response has the current heads. Then back to 1, at most CONFIG_ATTEMPTS_MAX times.
 *
 * Invariant: a release's key is put only where there is none.
 *
 * Writes of one configuration run one after the other, in the order in which they began (config_line.c),
 * however long a check takes. A write that its caller cancels before it was sent has no effect. After that it
 * goes on. */
#ifndef CONFIG_CONFIG_WRITE_H
#define CONFIG_CONFIG_WRITE_H

#include "config/config_private.h"
#include "config/content.h"
#include "config/task.h"
#include "config/workflow.h"
#include "consensus/audit.h"
#include "consensus/idempotency.h"

#define CONFIG_ATTEMPTS_MAX 8    /* failed compares, then ERR_CONFLICT */
#define CONFIG_INLINE_MAX   4096 /* bytes of a content that is checked on the loop: 0.2 ms at most */

struct write;

struct line;
struct ticket { /* a target's place in the queue of its configuration */
    struct write *write;
    struct line *line; /* NULL = it has none */
    struct link link;
};

/* Another document that a write reads, compares in its transaction, and perhaps changes. */
struct side {
    struct slice key;
    bool is_used;
    int64_t revision;    /* of the key; 0 = there is none */
    struct slice text;   /* in the arena */
    bool is_changed;     /* by the decision */
    struct slice change; /* the new text; empty = it is deleted */
};
enum write_side { SIDE_REVIEW, SIDE_SCHEDULE, SIDE_ROLLOUT, SIDES };

/* The policy of a namespace. It is compared in the transaction too, so a write never goes past a policy that
 * was put before it. The view's is only a guess, as everything of the view. */
struct write_policy {
    struct slice ns;
    struct side side;
    const struct workflow_policy *policy; /* NULL = none, or unreadable */
    bool checks_schemas;                  /* a content was checked: compare that no schema was put since */
    int64_t schemas_revision;             /* the newest one that the view has */
};

struct target {
    struct config_id key;
    struct slice head_key, release_prefix, draft_key;
    struct config_condition condition;
    int (*decide)(struct write *w, struct target *t);
    /* config_promote.c: the source is a release of this configuration of another namespace, and its head is
     * read and compared, too. */
    bool is_copy;
    struct config_id origin;
    struct slice origin_head_key;
    bool has_origin;                       /* its head was read */
    const struct config_head *origin_head; /* NULL = none, or it cannot be read */
    int64_t origin_revision;
    uint64_t expected; /* the live release of the target that was compared; 0 = none */
    /* From the client. */
    bool has_format, is_import, is_deletion, approves;
    bool must_seal; /* also without a policy that says so */
    enum format format;
    struct slice content;
    struct slice title, note;
    uint64_t wanted;         /* the release that the request names */
    struct slice rule_name;  /* gray */
    struct gray_rules rules; /* the rule to put, as a list of one */
    bool has_content;
    const struct workflow_rollout *rollout; /* to start */
    int action;                             /* upon a rollout */
    struct slice reason;
    /* The stored state. */
    bool is_unreadable;             /* the key exists, but its value is no readable head */
    const struct config_head *head; /* NULL = none */
    int64_t revision;               /* of the head's key; 0 = none */
    uint64_t last;                  /* the highest known seq that has a release */
    enum { SOURCE_NONE, SOURCE_RELEASE, SOURCE_EXISTS, SOURCE_DRAFT } source; /* what else is read */
    uint64_t source_seq;
    bool has_source; /* the source was read; it exists if source_revision is not 0 */
    int64_t source_revision;
    struct slice source_text;
    struct config_release release; /* SOURCE_RELEASE, parsed */
    struct config_draft draft;
    /* config_schema.c */
    bool is_published_content;       /* the content was published before: no schema is asked */
    struct slice schema, schema_key; /* the schema that the content must fit */
    int64_t schema_revision;         /* of its key; 0 = there is none */
    int source_err;                  /* the source is sealed and does not open */
    char source_error[256];          /* a sentence */
    struct content checked;          /* the result of the content's one check */
    bool is_unchecked;               /* the worker must check it before the next decision */
    struct side sides[SIDES];
    struct write_policy *policy; /* of its namespace */
    /* The decision. */
    bool is_unchanged, deletes_draft;
    bool is_reviewed;             /* the policy allows the change: it was approved, or only takes back */
    bool needs_draft;             /* the author must be able to write the draft, though it is not written */
    bool needs_head;              /* the author must be able to write the head, though it is not written */
    bool needs_review_key;        /* the author must be able to write the review */
    const char *act;              /* in the audit trail; NULL: what was made of release and draft */
    struct config_head *new_head; /* NULL = no change */
    uint64_t seq;                 /* the release that is put; 0 = none */
    struct config_release *new_release;
    struct slice new_draft; /* empty = none is put */
    struct buf text;        /* of the new release */
    struct ticket ticket;
};

struct write {
    struct config_op op; /* first */
    struct target *targets;
    size_t count;
    bool is_bundle, only_validate;
    bool is_fresh;        /* the stored state was read after the request came in */
    bool is_source_error; /* its error is about the source, not about the target */
    bool is_final;        /* its error does not depend on the stored state */
    bool is_admitted;     /* by the write limits */
    unsigned attempts;
    struct heads_claim *claims; /* one for each target */
    size_t claim_count;
    struct txn txn;
    struct format_error where;
    struct target *failed_target;
    char error[512];
    struct write_policy *policies; /* of its namespaces */
    size_t policy_count;
    struct slice client;    /* for the turns at the worker */
    struct author author;   /* of the releases */
    struct slice emergency; /* the reason for a publish without a review; empty = none */
    unsigned schema_compares;
    struct slice record;     /* of the audit trail, in the transaction under way */
    struct config_once once; /* the request's, copied; key empty = none */
    struct check *check;     /* under way; NULL = none */
    bool is_blocked;         /* it waits in a queue */
    size_t blocked_bytes;    /* counted in config.blocked_bytes while it exists */
    struct link ready;       /* in config.ready: it has reached the front of its queues */
};

/* Results of decide beside OK and errors. */
enum {
    DECIDE_FETCH = 1, /* its source must be read first */
    DECIDE_CHECK = 2, /* a content must be checked first */
};

/* targets: count of them, zeroed. Fill each by write_target and by hand, then call write_start. */
struct write *write_new(struct config *c, struct config_request *q, size_t count);
/* False: the write has ended with a sentence. */
bool write_target(struct write *w, size_t at, const struct config_id *key,
                  int (*decide)(struct write *w, struct target *t), const struct config_condition *condition);
/* Sets title and note, checked. False: the write has ended. */
bool write_annotate(struct write *w, size_t at, struct slice title, struct slice note);
/* Copies a content. Of one that is too large it keeps only the size, by which it is refused later. */
struct slice write_content(struct write *w, struct slice content);
void write_start(struct write *w);

/* For deciders. Refuses with a sentence; returns err. */
int write_refuse(struct write *w, struct target *t, int err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Checks the condition, and that the head is readable. */
int write_check_condition(struct write *w, struct target *t);
/* Checks the content's size and form; afterwards its digest is known. DECIDE_CHECK: the worker goes first. */
int write_check_content(struct write *w, struct target *t, enum format format);
/* The same for a draft, of which only the size is checked. */
int write_check_draft(struct write *w, struct target *t);
/* Makes a release with the next seq and the head that makes it live; the decider may change both. */
int write_release(struct write *w, struct target *t, enum config_operation operation);
/* A copy of the head to change; the gray rules are kept. */
struct config_head *write_head(struct write *w, struct target *t);
bool write_is_live(const struct target *t);
/* Reads this document of the target's item with every read, and compares it in the transaction. */
void write_use_side(struct write *w, struct target *t, enum write_side side);
/* Puts this text, or deletes the document if it is empty. The text is copied and the buffer freed. */
void write_change_side(struct write *w, struct target *t, enum write_side side, struct buf *text);
/* config_publish.c. Publishes the target's content in its format, unless it is live already. */
int write_publish_content(struct write *w, struct target *t, enum config_operation operation);
/* True: two targets have one key; the write has ended. */
bool write_refuse_duplicate(struct write *w);
/* True: a policy says that changes of this configuration need a review. */
bool write_needs_review(const struct write *w, const struct target *t);
/* True: the content that was checked is live, in this format, and stored as it would be now. */
bool write_equals_live(const struct target *t);
/* The configuration that the source is read from: the target itself, or the one that it is copied from. */
static inline const struct config_id *write_source(const struct target *t)
{
    return t->is_copy ? &t->origin : &t->key;
}
/* config_seal.c. Whether and how the target's content is sealed when it is stored: a policy says so, or it
 * comes from a sealed release or draft. ERR_KEY_MISSING with a sentence. */
int write_choose_seal(struct write *w, struct target *t, struct content_seal *ret);
/* Opens the source that was read. */
void write_open_source(struct write *w, struct target *t);
/* config_review.c. OK: the draft that was read (SOURCE_DRAFT, SIDE_REVIEW) was approved as it is, or needs no
 * review; ret_review gets the review if it was. ERR_REVIEW_REQUIRED with a sentence. */
int write_check_review(struct write *w, struct target *t, struct workflow_review *ret_review);
/* config_draft.c. Decides the publish of the draft that was read. */
int write_publish_draft(struct write *w, struct target *t);

/* config_gray.c. Makes a release for a rule's clients. The live release does not change. */
int write_gray_release(struct write *w, struct target *t, bool is_deletion);
/* Copies the rule into the arena, as t->rules of the first target. False: the write has ended. */
bool write_copy_rule(struct write *w, const struct gray_rule *rule);

/* config_schema.c. Finds the schema of the target in the view: t->schema. */
int write_find_schema(struct write *w, struct target *t);
/* Compares that the schemas that were found still decide; returns the number of compares. */
unsigned write_compare_schemas(struct write *w);
/* After a read: calls write_step, if it checks contents once the view shows the schemas of this revision. */
void write_resume(struct write *w, int64_t revision);

/* config_check.c. Calls write_step at the end. ERR_TOO_MANY_REQUESTS: nothing was started. */
MUST_CHECK int write_check_start(struct write *w);
void write_check_cancel(struct write *w);
void write_step(struct write *w);

/* config_line.c. Puts each target into its queue. True: it is the first in all of them. */
bool write_line_enter(struct write *w);
/* The write has ended: the next one in each of its queues may go on (config_line_turn). */
void write_line_leave(struct write *w);
/* The outcome of the write is unknown: all writes that wait for it go on at once, without order. */
void write_line_release_all(struct write *w);

#endif
