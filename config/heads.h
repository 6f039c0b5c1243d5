/* SPDX-License-Identifier: Apache-2.0
 * The view of the config center: every item's head, in order, kept revision by revision, with counts and
 * bytes of each namespace. Between heads_end and the next heads_begin it is that of one revision. Pure, but
 * for memory. Contents are not here. */
#ifndef CONFIG_HEADS_H
#define CONFIG_HEADS_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "config/config.h"

struct heads;

struct heads_namespace {
    struct slice name; /* owned */
    size_t live, bytes;
    /* What requests under way will add (heads_claim). */
    size_t claimed, claimed_bytes;
    size_t references; /* items, claims */
    int64_t revision;  /* in which something in it changed last; what went and took it along does not count */
};

/* There as long as the head's key is, and while its end is told. */
struct heads_item {
    struct config_item item; /* first; head NULL: the document cannot be read, or it is gone */
    struct heads_namespace *in;
    int64_t key_revision; /* mod revision of the key; 0 = there is none */
    /* config/janitor.c */
    struct heap_node collect;
    struct {
        uint64_t term;        /* of the janitor's lead in which it was counted; else all of this is old */
        uint64_t first, last; /* the oldest release that is there; counted up to this one; 0 = none yet */
        uint64_t bytes;       /* of those that were counted */
        bool is_bound_logged;
    } history;
    /* Its own. */
    struct config_head head;
    struct arena arena; /* title and gray rules */
    uint64_t generation;
    struct link dirty;
};

/* For each item that changed, when the whole batch is in the view. */
struct heads *heads_new(void (*changed)(void *arg, struct heads_item *i), void *arg);
void heads_free(struct heads *h);

/* One revision's changes, or everything there is (is_whole; may begin anew before its end). */
void heads_begin(struct heads *h, int64_t revision, bool is_whole);
void heads_put(struct heads *h, const struct config_name *name, struct slice value, int64_t create_revision,
               int64_t revision);
void heads_remove(struct heads *h, const struct config_name *name, int64_t revision);
void heads_end(struct heads *h);

int64_t heads_revision(const struct heads *h);
/* When something that is not there may have gone last. */
int64_t heads_absent_revision(const struct heads *h);
/* NULL: there is no such key. */
struct heads_item *heads_find(const struct heads *h, const struct config_id *key);
void heads_each(const struct heads *h, struct slice ns, struct slice group, struct slice prefix,
                struct slice after, bool (*fn)(void *arg, const struct config_item *item), void *arg);

/* The same for one namespace and for walks over several turns: looks at no more than `places` places. True:
 * there may be more, behind *ret_last, which fn need not have been given. */
bool heads_each_some(const struct heads *h, struct slice ns, struct slice group, struct slice prefix,
                     struct slice after, size_t places, bool (*fn)(void *arg, const struct config_item *item),
                     void *arg, const struct config_item **ret_last);
/* The last change in the namespace, or the absent revision if that is later. */
int64_t heads_namespace_revision(const struct heads *h, struct slice ns);

struct heads_sums { /* of all namespaces */
    size_t live, bytes, deleted, unreadable;
};
struct heads_sums heads_sums(const struct heads *h);

/* What there may be; 0 = no limit. */
struct heads_limits {
    size_t namespaces;   /* with an item, deleted or not */
    size_t items, bytes; /* of one namespace, live ones */
};
/* What a request will add to a namespace; zeroed before. */
struct heads_claim {
    struct heads_namespace *ns;
    size_t items, bytes;
};
/* ERR_QUOTA with a sentence when more would be there than the limits allow. */
MUST_CHECK int heads_claim(struct heads *h, struct slice ns, size_t items, size_t bytes,
                           const struct heads_limits *limits, struct heads_claim *claim, char *error,
                           size_t error_size);
/* Whether it holds an item, deleted or not, or will by a claim. */
bool heads_has_namespace(const struct heads *h, struct slice ns);
void heads_release(struct heads *h, struct heads_claim *claim);

#endif
