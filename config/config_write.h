/* SPDX-License-Identifier: Apache-2.0
 * What all writes share. A write has targets, one for each item, and goes like this:
 *
 *   decide    for each target, from the head that stands: is it refused, is there nothing to do, or which
 *             release and which head are put
 *   look      nothing is refused, and nothing taken for unchanged, because of a view that may be behind:
 * before that the heads are read in a linearizable way, and it is decided again send      one transaction
 * that compares every head with what was decided upon. If a compare is lost the answer says what stands there
 * now, and it is decided again, a few times over
 *
 * Invariant: a release's key is put only where there is none. */
#ifndef CONFIG_CONFIG_WRITE_H
#define CONFIG_CONFIG_WRITE_H

#include "config/config_private.h"

#define CONFIG_ATTEMPTS_MAX 8          /* lost compares, then ERR_CONFLICT */
#define CONFIG_HEAD_MAX     (1u << 16) /* bytes of a head's document, gray rules and all */

struct write;

struct target {
    struct config_id key;
    struct slice head_key, release_prefix, draft_key;
    struct config_condition condition;
    int (*decide)(struct write *w, struct target *t);
    /* What the client gives. */
    bool has_format, is_import;
    enum format format;
    struct slice content;
    struct slice title, note;
    uint64_t wanted;         /* the release that it is about */
    struct slice rule_name;  /* gray */
    struct gray_rules rules; /* the rule to put, as a list of one */
    bool has_content;
    /* What stands. */
    bool is_unreadable;             /* there is a key, but no head in it */
    const struct config_head *head; /* NULL = none */
    int64_t revision;               /* of the head's key; 0 = none */
    uint64_t last;                  /* the highest seq that has a release, as far as is known */
    enum { SOURCE_NONE, SOURCE_RELEASE, SOURCE_EXISTS, SOURCE_DRAFT } source; /* what else is read */
    uint64_t source_seq;
    bool has_source; /* it was looked at; it is there if source_revision is not 0 */
    int64_t source_revision;
    struct slice source_text;
    struct config_release release; /* SOURCE_RELEASE, parsed */
    struct config_draft draft;
    /* What was worked out once. */
    bool has_digest;
    struct digest digest;
    int checked; /* the format that the content is known to be well formed in; -1 = none */
    /* What was decided. */
    bool is_unchanged, deletes_draft;
    struct config_head *new_head; /* NULL = it stays */
    uint64_t seq;                 /* the release that is put; 0 = none */
    struct config_release *new_release;
    struct slice new_draft; /* empty = none is put */
};

struct write {
    struct config_op op; /* first */
    struct target *targets;
    size_t count;
    bool is_bundle, only_validate;
    bool is_fresh; /* what stands was read after the request came in */
    bool is_final; /* what is wrong is wrong whatever stands */
    unsigned attempts;
    struct heads_claim *claims; /* one for each target */
    size_t claim_count;
    struct txn txn;
    struct format_error where;
    struct target *culprit;
    char error[512];
};

/* decide's answers beside an error: */
enum { DECIDE_LOOK = 1 /* its source is needed first */ };

/* targets: count of them, zeroed; each is filled by write_target and its caller, then write_start. */
struct write *write_new(struct config *c, struct config_request *q, size_t count);
/* False: the write has ended with a sentence. */
bool write_target(struct write *w, size_t at, const struct config_id *key,
                  int (*decide)(struct write *w, struct target *t), const struct config_condition *condition);
/* Title and note, checked. */
bool write_words(struct write *w, size_t at, struct slice title, struct slice note);
/* A copy; of one that is too large only its size, by which it is refused. */
struct slice write_content(struct write *w, struct slice content);
void write_start(struct write *w);

/* For deciders. Refuses with a sentence: returns err. */
int write_refuse(struct write *w, struct target *t, int err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The condition, and that the head can be read. */
int write_check_condition(struct write *w, struct target *t);
/* The content's size and form; its digest is there then. */
int write_check_content(struct write *w, struct target *t, enum format format);
/* A release with the next seq and the head that makes it live: both for the decider to change. */
int write_release(struct write *w, struct target *t, enum config_operation operation);
/* A copy of the head to change; the gray rules are kept. */
struct config_head *write_head(struct write *w, struct target *t);
bool write_is_live(const struct target *t);

#endif
