/* SPDX-License-Identifier: Apache-2.0
 * The scope of a subscription on many names: namespaces, groups and names by pattern (base/glob.h), and the
 * ids of the items in it. Pure.
 *
 *   frame                                       scope
 *   ------------------------------------------  ----------------------------------------------------------
 *   prefix, or neither prefix nor name          names with the prefix, in one namespace and one group, or in
 *                                               all groups (group ""): a list. Its reader needs READ on all.
 *   name, groups, a `*` in namespace or group,  a selection: its reader gets the items that it may read
 *   a filter of services, kind instances
 *
 * An id has as much of "namespace/group/name" as the scope leaves open: "name" for one namespace and one
 * group, "group/name" for one namespace, else all of it. Names have no '/'. */
#ifndef SERVER_STREAM_SCOPE_H
#define SERVER_STREAM_SCOPE_H

#include "base/glob.h"
#include "server/stream/frame.h"

struct stream_name {
    struct slice ns, group, name;
};

struct stream_scope { /* zeroed by the caller; stream_scope_done frees it */
    struct glob ns, name, groups[STREAM_GROUPS_MAX];
    size_t group_count; /* 0 = all groups */
    bool is_selection;  /* the rights are judged for each item */
    bool many_namespaces, many_groups;
    struct buf texts; /* of the frame below */
    struct stream_frame frame;
};

/* Reads a subscribe frame of a kind on many names. ERR_INVALID with a sentence in error (at least 200 bytes);
 * call stream_scope_done in any case. */
MUST_CHECK int stream_scope_read(struct stream_scope *s, const struct stream_frame *frame, char *error,
                                 size_t error_size);
void stream_scope_done(struct stream_scope *s);
/* True: the frame asks for a selection. */
bool stream_scope_is_selection(const struct stream_frame *frame);
bool stream_scope_fits(const struct stream_scope *s, struct slice ns, struct slice group, struct slice name);
/* The namespace or group if the scope has one alone, else empty: for walks and watches, which take empty as
 * all. */
struct slice stream_scope_ns(const struct stream_scope *s);
struct slice stream_scope_group(const struct stream_scope *s);
/* The id of a name in this scope; in id (scratch), or the name itself. */
struct slice stream_scope_id(const struct stream_scope *s, struct buf *id, struct slice ns,
                             struct slice group, struct slice name);
/* The name that an id stands for, in the id or the scope. False: no name of this scope has the id. */
bool stream_scope_split(const struct stream_scope *s, struct slice id, struct stream_name *ret_name);
/* A place of a walk over names: the last one that was visited, with an id in it. Empty = the beginning. */
struct stream_place {
    struct stream_name name;
    struct slice id; /* of an instance; empty = the name is done */
};
void stream_place_set(struct buf *place, const struct stream_place *p);
struct stream_place stream_place_get(const struct buf *place); /* in place */
/* Appends what makes two scopes equal. */
void stream_scope_key(const struct stream_frame *frame, struct buf *out);

#endif
