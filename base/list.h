/* SPDX-License-Identifier: Apache-2.0
 * Intrusive doubly linked ring. The next and prev of an empty head point to itself; a link that is in no
 * list is zeroed. An object is in exactly one list for each of its states. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *next, *prev;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct link *head)
{
    head->next = head->prev = head;
}

static inline bool list_is_empty(const struct link *head)
{
    return head->next == head;
}

static inline bool link_is_in_list(const struct link *l)
{
    return l->next != NULL;
}

static inline void list_add_last(struct link *head, struct link *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

static inline void list_add_first(struct link *head, struct link *l)
{
    list_add_last(head->next, l);
}

/* No-op for a link that is in no list. */
static inline void list_remove(struct link *l)
{
    if (!l->next)
        return;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    l->next = l->prev = NULL;
}

/* Removes and returns the first link; NULL if the list is empty. */
static inline struct link *list_take_first(struct link *head)
{
    struct link *l = head->next;
    if (l == head)
        return NULL;
    list_remove(l);
    return l;
}

/* Moves all links of `from` to the end of `to`; `from` is empty after. */
static inline void list_move_all(struct link *to, struct link *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define LIST_FOR_EACH(l, head) for (struct link *l = (head)->next; l != (head); l = l->next)
/* The body may remove the current link. */
#define LIST_FOR_EACH_SAFE(l, head)                                                                          \
    for (struct link *l = (head)->next, *l##_next = l->next; l != (head); l = l##_next, l##_next = l->next)

#endif
