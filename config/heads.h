/* SPDX-License-Identifier: Apache-2.0
 * The view of the config center: every item's head, ordered, with counts and bytes of each namespace. It is
 * updated revision by revision: between heads_end and the next heads_begin it is that of one revision. It has
 * no contents. Pure, except for memory. */
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
    /* Additions of pending requests (heads_claim). */
    size_t claimed, claimed_bytes;
    size_t references; /* items, claims */
    int64_t revision;  /* of the last change in it; items that were removed from it do not count */
};

/* Exists as long as the head's key does, and while its removal is notified. */
struct heads_item {
    struct config_item item; /* first; head NULL: the document cannot be read, or it is gone */
    struct heads_namespace *in;
    int64_t key_revision; /* mod revision of the key; 0 = there is none */
    /* config/janitor.c */
    struct heap_node collect;
    struct {
        uint64_t term; /* the janitor's leadership in which it was counted; if older, all is outdated */
        uint64_t first, last; /* the oldest existing release; the newest counted one; 0 = none yet */
        uint64_t bytes;       /* of those that were counted */
        bool is_bound_logged;
    } history;
    /* Private to heads.c. */
    struct config_head head;
    struct arena arena; /* title and gray rules */
    uint64_t generation;
    struct link dirty;
};

/* changed is called for each changed item, after the whole batch is in the view. */
struct heads *heads_new(void (*changed)(void *arg, struct heads_item *i), void *arg);
void heads_free(struct heads *h);

/* Begins the changes of one revision, or the whole state (is_whole; may be begun again before its end). */
void heads_begin(struct heads *h, int64_t revision, bool is_whole);
void heads_put(struct heads *h, const struct config_name *name, struct slice value, int64_t create_revision,
               int64_t revision);
void heads_remove(struct heads *h, const struct config_name *name, int64_t revision);
void heads_end(struct heads *h);

int64_t heads_revision(const struct heads *h);
/* The latest revision in which a key that does not exist may have been removed. */
int64_t heads_absent_revision(const struct heads *h);
/* NULL: there is no such key. */
struct heads_item *heads_find(const struct heads *h, const struct config_id *key);
void heads_each(const struct heads *h, struct slice ns, struct slice group, struct slice prefix,
                struct slice after, bool (*fn)(void *arg, const struct config_item *item), void *arg);

/* The same for one namespace, in pieces for walks over several turns: visits at most `places` items. True:
 * there may be more, after *ret_last, which fn need not have received. */
bool heads_each_some(const struct heads *h, struct slice ns, struct slice group, struct slice prefix,
                     struct slice after, size_t places, bool (*fn)(void *arg, const struct config_item *item),
                     void *arg, const struct config_item **ret_last);
/* The last change in the namespace, or the absent revision if that is later. */
int64_t heads_namespace_revision(const struct heads *h, struct slice ns);

#define HEADS_SEALED_MAX 32 /* keys that are counted one by one */
struct heads_sealed {
    struct slice key; /* owned */
    size_t count;
};
struct heads_sums { /* of all namespaces */
    size_t live, bytes, deleted, unreadable;
    struct heads_sealed sealed[HEADS_SEALED_MAX]; /* live ones by the id of their key */
    size_t sealed_count;
};
const struct heads_sums *heads_sums(const struct heads *h);

/* Upper limits; 0 = no limit. */
struct heads_limits {
    size_t namespaces;                         /* with an item, deleted or not */
    size_t items, bytes;                       /* of one namespace, live ones */
    const char *items_setting, *bytes_setting; /* for sentences; NULL: the options */
};
/* The additions of a request to a namespace; zero it before use. */
struct heads_claim {
    struct heads_namespace *ns;
    size_t items, bytes;
};
/* Reserves room. ERR_QUOTA with a sentence when the limits would be passed. */
MUST_CHECK int heads_claim(struct heads *h, struct slice ns, size_t items, size_t bytes,
                           const struct heads_limits *limits, struct heads_claim *claim, char *error,
                           size_t error_size);
const struct heads_namespace *heads_namespace(const struct heads *h, struct slice ns); /* NULL = none */
/* The first namespace after this name that holds an item, deleted or not; empty = none. */
struct slice heads_next_namespace(const struct heads *h, struct slice after);
/* True: the namespace holds an item, deleted or not, or a claim will add one. */
bool heads_has_namespace(const struct heads *h, struct slice ns);
void heads_release(struct heads *h, struct heads_claim *claim);

#endif
