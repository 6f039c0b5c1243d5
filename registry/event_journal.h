/* SPDX-License-Identifier: Apache-2.0
 * The journal of events: which of them are stored, and which are still to be appended. Pure: events, the stored
 * keys and times go in; appends come out.
 *
 * Every member keeps it, so that a new leader goes on where the one before it ended:
 *
 *     event ──► pending ── EVENT_DELAY_MS ──► due ── journal_next ──► under way ──► stored
 *                  ▲                                                     │
 *                  └──────────── the append was not applied ─────────────┘
 *
 *   - An event is pending until a stored segment of its service covers its revision. Each append has all pending
 *     events of the service, in the order of their revisions, so nothing is stored twice and nothing is left out.
 *   - An append compares that the last stored key is as the journal knows it. Of two members that believe to
 *     lead, one fails.
 *   - A service has at most EVENTS_KEPT pending events; older ones would not be kept anyway.
 *   - Beyond EVENT_PENDING_BYTES, the oldest pending events of all are dropped and counted. */
#ifndef REGISTRY_EVENT_JOURNAL_H
#define REGISTRY_EVENT_JOURNAL_H

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "registry/event.h"

#define EVENT_DELAY_MS      500 /* events of this time travel together */
#define EVENT_RETRY_MS      2000
#define EVENT_PENDING_BYTES (32u << 20)
#define EVENT_SERVICES_MAX  200000   /* with stored events; those of services that do not exist go first */
#define EVENT_GONE_MS       86400000 /* the events of a service that does not exist are kept so long */

struct journal;
struct journal_service;

/* A client that waits for events of a service. */
struct journal_watch {
    void (*changed)(struct journal_watch *w); /* from journal_end; must not call the journal */
    struct link link;
    struct journal_service *service;
};

struct journal *journal_new(void);
void journal_free(struct journal *j);

/* An event of this member's view, in the order of the revisions. text: of event_write, copied. */
void journal_add(struct journal *j, struct slice prefix, int64_t revision, int64_t time_ms, struct slice text,
                 uint64_t now_ms);

/* --- the stored keys ------------------------------------------------------------------------------------ */

/* The whole state follows: keys that are not put until journal_end do not exist. */
void journal_begin_anew(struct journal *j);
/* Keys that begin with EVENTS_PREFIX. One that is no segment of the journal is left alone. */
void journal_put(struct journal *j, struct slice key, struct slice value, int64_t mod_revision);
void journal_remove(struct journal *j, struct slice key, int64_t revision);
void journal_end(struct journal *j); /* of a batch: calls the watches */

/* The revision of the last change of the stored events. */
int64_t journal_changed(const struct journal *j, struct slice prefix);
void journal_watch(struct journal *j, struct journal_watch *w, struct slice prefix);
void journal_unwatch(struct journal *j, struct journal_watch *w);

/* --- appends -------------------------------------------------------------------------------------------- */

struct journal_append {
    struct journal_service *service;
    struct slice prefix;    /* until journal_done */
    int64_t last, last_mod; /* the number and the mod revision of the last stored key; 0 = there is none */
    bool has_room;          /* the last segment takes further events; its text must be given */
};
/* The next service with events that are due; false: none now. It is under way until journal_done. */
bool journal_next(struct journal *j, uint64_t now_ms, struct journal_append *ret);

struct journal_put {
    int64_t number; /* of the key */
    struct slice text;
};
struct journal_puts {
    struct journal_put *list;
    size_t count, bytes;
    int64_t first_kept; /* stored keys with a smaller number are deleted, */
    bool has_old;       /* if there are any */
};
/* The writes of the append, in the arena. last_text: of the last key if has_room; one that does not parse is left
 * alone, and a new segment begins. */
void journal_write(const struct journal *j, const struct journal_append *append, struct slice last_text,
                   struct arena *a, struct journal_puts *ret);
/* All appends that are under way have ended, and what they wrote was put. Events that are still pending are due
 * after delay_ms. */
void journal_done(struct journal *j, uint64_t now_ms, uint64_t delay_ms);
/* Forgets the pending events of this service, if it is not under way. */
void journal_drop(struct journal *j, struct slice prefix);

uint64_t journal_wake_ms(const struct journal *j); /* UINT64_MAX: nothing is pending */

/* --- services that do not exist any more ----------------------------------------------------------------- */

/* The next service with stored events, of all in turn: whether the caller should delete them if the service does
 * not exist. False: there is none. */
bool journal_review(struct journal *j, int64_t wall_ms, struct slice *ret_prefix, bool *ret_is_old);

size_t journal_services(const struct journal *j); /* with stored or pending events, or watched */
size_t journal_pending(const struct journal *j);
uint64_t journal_dropped(const struct journal *j);

#endif
