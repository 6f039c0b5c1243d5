/* SPDX-License-Identifier: Apache-2.0
 * The view of the namespaces: their documents, quotas and deletions, ordered by name, as of one revision. The
 * registry and the config center ask it for limits, and whether a namespace is being deleted. It also counts
 * the subscribers of each namespace on this member. Pure, except for memory.
 *
 * A namespace needs no document: without one it has the limits of the daemon's options. Every function that
 * takes a view for reading accepts NULL: there are no documents (in tests). */
#ifndef NAMESPACE_VIEW_H
#define NAMESPACE_VIEW_H

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "namespace/document.h"

enum namespace_key { KEY_DOCUMENT, KEY_QUOTAS, KEY_DELETION, NAMESPACE_KEYS };

/* Exists while one of its keys does. */
struct namespace_entry {
    struct slice name; /* owned */
    /* NULL: there is no such key, or its text cannot be read. */
    const struct namespace_document *document;
    const struct namespace_limits *limits;
    const struct namespace_deletion *deletion;
    int64_t revisions[NAMESPACE_KEYS]; /* mod revision of each key; 0 = there is none */
    int64_t revision;                  /* of the last change of any of them */
    /* Private to view.c. */
    struct arena arenas[NAMESPACE_KEYS];
    uint64_t generations[NAMESPACE_KEYS];
};

struct namespace_view;
/* changed is called at namespace_view_end, once for each key that changed or went; the entry of one that went
 * may have no key any more, and is freed afterwards. */
struct namespace_view *namespace_view_new(void (*changed)(void *arg, const struct namespace_entry *e),
                                          void *arg);
void namespace_view_free(struct namespace_view *v);

/* One revision, or the whole state (is_whole; it may begin again before its end). */
void namespace_view_begin(struct namespace_view *v, int64_t revision, bool is_whole);
void namespace_view_put(struct namespace_view *v, struct slice key, struct slice value, int64_t mod_revision);
void namespace_view_remove(struct namespace_view *v, struct slice key, int64_t revision);
void namespace_view_end(struct namespace_view *v);

int64_t namespace_view_revision(const struct namespace_view *v); /* of the last batch */
/* The revision of the last read of the whole state; what went before it is not known. */
int64_t namespace_view_whole_since(const struct namespace_view *v);
/* The latest revision in which an entry that does not exist may have gone. */
int64_t namespace_view_absent_revision(const struct namespace_view *v);
/* NULL: it has no key. */
const struct namespace_entry *namespace_view_find(const struct namespace_view *v, struct slice ns);
/* The first entry after this name; empty = the first of all. */
const struct namespace_entry *namespace_view_next(const struct namespace_view *v, struct slice after);
size_t namespace_view_count(const struct namespace_view *v);         /* with a document or quotas */
size_t namespace_view_running_count(const struct namespace_view *v); /* deletions that run */
size_t namespace_view_unreadable(const struct namespace_view *v);
/* An entry whose deletion runs, or the first whose deletion ended before this time; NULL = none. */
const struct namespace_entry *namespace_view_running(const struct namespace_view *v);
const struct namespace_entry *namespace_view_ended(const struct namespace_view *v, int64_t before_ms,
                                                   size_t kept_max);

/* The limit of a namespace: its quota, or else the default. 0 = no limit. ret_setting, if not NULL: what to
 * change, for sentences: "its quota", or the option. */
uint64_t namespace_view_limit(const struct namespace_view *v, struct slice ns, enum namespace_quota q,
                              uint64_t standard, const char **ret_setting);
/* ERR_CONFLICT with a sentence while the namespace is being deleted: nothing is added to it then. */
MUST_CHECK int namespace_view_admit(const struct namespace_view *v, struct slice ns, char *error,
                                    size_t error_size);

/* One more subscriber of the namespace on this member; *ret is for namespace_unsubscribe. ERR_QUOTA with a
 * sentence: it is one too many. v NULL: nothing is counted, and *ret is NULL. */
struct namespace_count;
MUST_CHECK int namespace_subscribe(struct namespace_view *v, struct slice ns, struct namespace_count **ret,
                                   char *error, size_t error_size);
void namespace_unsubscribe(struct namespace_view *v, struct namespace_count *c); /* NULL: nothing happens */
size_t namespace_view_subscribers(const struct namespace_view *v, struct slice ns);

#endif
