/* SPDX-License-Identifier: Apache-2.0
 * What all writes share. A write has targets, one for each item, and goes like this:
 *
 *   decide    for each target, from the head that stands: is it refused, is there nothing to do, or which
 *             release and which head are put
 *   check     contents of more than CONFIG_INLINE_MAX are checked and encoded by the content worker
 *             (config/task.h), all of a write in one task; then it is decided again
 *   look      nothing is refused, and nothing taken for unchanged, because of a view that may be behind:
 * before that the heads are read in a linearizable way, and it is decided again send      one transaction
 * that compares every head with what was decided upon. If a compare is lost the answer says what stands there
 * now, and it is decided again, a few times over
 *
 * Invariant: a release's key is put only where there is none.
 *
 * Writes of one configuration are made one after the other, in the order in which they began (config_line.c),
 * however long the check of one takes. A write whose caller cancels it before it was sent, while it waits for
 * its check or for its turn, has never happened; after that it goes on. */
#ifndef CONFIG_CONFIG_WRITE_H
#define CONFIG_CONFIG_WRITE_H

#include "config/config_private.h"
#include "config/content.h"
#include "config/task.h"

#define CONFIG_ATTEMPTS_MAX 8    /* lost compares, then ERR_CONFLICT */
#define CONFIG_INLINE_MAX   4096 /* bytes of a content that is checked at once: 0.2 ms at most */

struct write;

struct line;
struct ticket { /* a target's place among the writes of its configuration */
    struct write *write;
    struct line *line; /* NULL = it has none */
    struct link link;
};

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
    struct content checked; /* what was worked out of a content once */
    bool is_unchecked;      /* it has to be checked by the worker before it can be decided */
    /* What was decided. */
    bool is_unchanged, deletes_draft;
    struct config_head *new_head; /* NULL = it stays */
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
    bool is_fresh;    /* what stands was read after the request came in */
    bool is_final;    /* what is wrong is wrong whatever stands */
    bool is_admitted; /* by the limits of writing */
    unsigned attempts;
    struct heads_claim *claims; /* one for each target */
    size_t claim_count;
    struct txn txn;
    struct format_error where;
    struct target *culprit;
    char error[512];
    struct slice client;  /* whose turn at the worker it takes */
    struct check *check;  /* under way; NULL = none */
    bool is_blocked;      /* it waits for its turn in a line */
    size_t blocked_bytes; /* counted in the config's while it is there */
    struct link ready;    /* config.ready: its turn has come */
};

/* decide's answers beside an error: */
enum {
    DECIDE_LOOK = 1,  /* its source is needed first */
    DECIDE_CHECK = 2, /* a content must be checked first */
};

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
/* The content's size and form; its digest is there then. DECIDE_CHECK: the worker is asked first. */
int write_check_content(struct write *w, struct target *t, enum format format);
/* The same for a draft, of which only the size is looked at. */
int write_check_draft(struct write *w, struct target *t);
/* A release with the next seq and the head that makes it live: both for the decider to change. */
int write_release(struct write *w, struct target *t, enum config_operation operation);
/* A copy of the head to change; the gray rules are kept. */
struct config_head *write_head(struct write *w, struct target *t);
bool write_is_live(const struct target *t);

/* config_check.c. ERR_TOO_MANY_REQUESTS: nothing was begun. When it ends, write_step. */
MUST_CHECK int write_check_start(struct write *w);
void write_check_cancel(struct write *w);
void write_step(struct write *w);

/* config_line.c. Each target takes its place; true: it is the first in all of its lines. */
bool write_line_enter(struct write *w);
/* It has ended: what waited for it gets its turn (config_line_turn). */
void write_line_leave(struct write *w);
/* There is no telling what became of it: those that wait for it need not wait for each other either. */
void write_line_disperse(struct write *w);

#endif
