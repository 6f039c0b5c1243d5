/* SPDX-License-Identifier: Apache-2.0
 * Marks: how far the permissions of an author were checked in a session's list of instances.
 *
 * A mark belongs to an auth epoch and to an author: a user, or a role. It points to the first instance that was not checked, and
 * stays right while instances come and go: they come at the end of the list, and an instance that leaves
 * moves the marks that point to it. A session keeps the marks of its SESSION_MARKS_MAX latest authors. Pure.
 */
#ifndef REGISTRY_SESSION_MARK_H
#define REGISTRY_SESSION_MARK_H

#include "registry/catalog.h"

struct auth_who;

enum { SESSION_MARKS_MAX = 8 };

struct session_mark {
    struct session_mark *older;
    struct link *next; /* by_session of the first unchecked instance; the list's head: all were checked */
    uint64_t epoch;
    bool is_role; /* a user may have a role's name */
    size_t author_size;
    uint8_t author[];
};

/* NULL: none of this epoch. */
struct session_mark *session_mark_find(const struct catalog_session *s, const struct auth_who *author,
                                       uint64_t epoch);
/* session_mark_find, or a new mark at the begin of the list. */
struct session_mark *session_mark_make(struct catalog_session *s, const struct auth_who *author,
                                       uint64_t epoch);
void session_marks_free(struct catalog_session *s);

/* Every change of the list goes through these. */
void session_add_last(struct catalog_session *s, struct link *by_session);
void session_remove(struct catalog_session *s, struct link *by_session);

#endif
