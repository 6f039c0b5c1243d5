/* SPDX-License-Identifier: Apache-2.0
 * Marks in a session's list of instances; see session_mark.h. */
#include "registry/session_mark.h"

#include <string.h>

#include "base/mem.h"
#include "consensus/kv.h"

static bool is_of(const struct session_mark *m, const struct auth_who *author)
{
    return m->is_role == author->is_role && slice_equal(slice_of(m->author, m->author_size), author->user);
}

struct session_mark *session_mark_find(const struct catalog_session *s, const struct auth_who *author,
                                       uint64_t epoch)
{
    struct session_mark *m = s->marks;
    while (m && !(m->epoch == epoch && is_of(m, author)))
        m = m->older;
    return m;
}

/* Frees the author's mark of an older epoch, or else the oldest of too many. */
static void make_room(struct catalog_session *s, const struct auth_who *author)
{
    size_t count = 1;
    struct session_mark **at = &s->marks;
    while (*at && count < SESSION_MARKS_MAX && !is_of(*at, author)) {
        at = &(*at)->older;
        count++;
    }
    struct session_mark *m = *at;
    if (!m)
        return;
    *at = m->older;
    mem_free(m);
}

struct session_mark *session_mark_make(struct catalog_session *s, const struct auth_who *author,
                                       uint64_t epoch)
{
    struct session_mark *m = session_mark_find(s, author, epoch);
    if (m)
        return m;
    make_room(s, author);
    m = mem_new(sizeof *m + author->user.size);
    m->next = s->instances.next;
    m->epoch = epoch;
    m->is_role = author->is_role;
    m->author_size = author->user.size;
    if (author->user.size)
        memcpy(m->author, author->user.data, author->user.size);
    m->older = s->marks;
    s->marks = m;
    return m;
}

void session_marks_free(struct catalog_session *s)
{
    while (s->marks) {
        struct session_mark *m = s->marks;
        s->marks = m->older;
        mem_free(m);
    }
}

void session_add_last(struct catalog_session *s, struct link *by_session)
{
    list_add_last(&s->instances, by_session);
    for (struct session_mark *m = s->marks; m; m = m->older)
        if (m->next == &s->instances)
            m->next = by_session;
}

void session_remove(struct catalog_session *s, struct link *by_session)
{
    for (struct session_mark *m = s->marks; m; m = m->older)
        if (m->next == by_session)
            m->next = by_session->next;
    list_remove(by_session);
}
