/* SPDX-License-Identifier: Apache-2.0
 * The view of the registry in memory: services, their instances with the operator overrides, sessions,
 * settings.
 *
 * It follows the keys revision by revision; nobody is notified of a batch before all of it is in the view.
 * Pure: no clock, no I/O, no kv. Loop thread only.
 *
 * Invariant: after catalog_end every answer is the state at catalog_revision, and each service's revision
 * is that of its last visible change. A document that does not parse is counted and treated as absent. */
#ifndef REGISTRY_CATALOG_H
#define REGISTRY_CATALOG_H

#include "base/list.h"
#include "base/map.h"
#include "registry/document.h"
#include "registry/name.h"

struct catalog;
struct catalog_service;
struct catalog_session;
struct session_mark;

struct catalog_instance {
    struct slice id;
    struct catalog_service *service;
    struct instance *doc;                  /* NULL: there is only an override */
    struct override *override;             /* NULL = none */
    int64_t create_revision, mod_revision; /* of the instance's key */
    int64_t override_revision;             /* mod revision of the override's key */
    struct link by_session;                /* in its session's list of instances */
    struct catalog_session *hangs_on;      /* its session, existing or not; NULL: its document names none */
    uint64_t generation, override_generation; /* catalog.generation when each was last read */
    uint64_t walk;                            /* the janitor's last walk that visited it */
    bool is_gap; /* deleted in the current batch: still in the list, without documents */
};

/* The effective state of an instance: its document with the override applied. */
struct catalog_effect {
    enum instance_state state;
    uint16_t weight;
    bool is_enabled;
    bool serves; /* state up or warn, weight > 0, enabled */
};
struct catalog_effect catalog_effect(const struct catalog_instance *i);

struct catalog_namespace {
    struct slice name;
    size_t services, instances, overrides;
    size_t by_state[INSTANCE_STATES]; /* effective states */
    size_t guarded;
    size_t checks;    /* instances with a check */
    size_t places;    /* catalog_services, existing or held */
    size_t at_risk;   /* instances that serve and belong to a session: a storm can take all of them */
    int64_t revision; /* of the last visible change in it */
};

struct catalog_service {
    struct slice ns, group, name;
    struct catalog_namespace *in;
    struct catalog_instance **list; /* by id; also those with only an override */
    size_t count, capacity;
    size_t instances; /* with a document */
    size_t projected; /* of them: from other layouts */
    size_t by_state[INSTANCE_STATES];
    bool has_settings;
    bool was_projected;       /* a projected instance has been here */
    struct settings settings; /* its memory is the catalog's */
    int64_t settings_revision;
    int64_t revision;                  /* of the last visible change */
    size_t references;                 /* holders (catalog_hold): the service is kept even if it is empty */
    void *watched;                     /* private to the holders */
    struct link dirty;                 /* in the batch's list */
    int64_t before;                    /* its revision before the batch */
    size_t first_change, change_count; /* in the batch's list of changes */
    size_t gaps;                       /* instances in the list that the batch deleted */
    bool are_settings_changed, is_inheritance_changed;
    uint64_t settings_generation;
};

struct catalog_session {
    int64_t id;
    struct quota_source *source; /* set if this member opened it; NULL = not known (quota.h) */
    bool exists;                 /* false: instances name it, but its key does not exist */
    /* A client wrote another document over its key, or attached the key to another lease. doc is the one
     * before; the owner's next heartbeat restores it. */
    bool is_damaged;
    /* doc is the document at the time when this view was read, not the one with which the key was created,
     * which is not known. A document that is written later replaces doc. */
    bool is_late;
    bool is_unknown; /* no document that parses has been read: doc has defaults */
    struct session doc;
    int64_t create_revision, mod_revision;
    struct link instances; /* of catalog_instance.by_session; changed by session_mark.h alone */
    size_t instance_count;
    struct session_mark *marks; /* private to session_mark.c; the latest first */
    struct link absent;         /* in catalog_absent_sessions while it does not exist */
    struct link gone;           /* in the batch's list */
    struct link back;           /* likewise: it was absent, with instances */
    uint64_t generation;
};

/* One service's part of a batch: the ids that changed, in order. An id without an instance was deleted. */
struct catalog_change {
    struct catalog_service *service;
    int64_t revision, previous;
    const struct slice *ids;
    const struct slice *origins; /* id_count of them: the source key before the batch; empty = none */
    size_t id_count;
    bool are_settings_changed;
    bool
        is_inheritance_changed; /* what all of its instances inherit (inherit.h); in the first event of a batch */
};

/* One key of an instance, an override or a service's settings, before and after a change; NULL: it does not
 * exist, or does not parse. Valid during the call. */
struct catalog_replaced {
    const struct name *name;
    int64_t revision;
    const struct instance *old_instance, *instance;
    const struct override *old_override, *override;
    const struct settings *old_settings, *settings;
};

struct catalog_events {
    /* Once for each service of a batch and each 1,024 changes of it. */
    void (*changed)(void *arg, const struct catalog_change *change);
    /* The session has ended. Its instances, if it has any, still refer to it. */
    void (*session_gone)(void *arg, struct catalog_session *session);
    /* The session exists again, or begins, and instances name it already. */
    void (*session_back)(void *arg, struct catalog_session *session);
    void *arg;
    /* Each change of a document, from inside the put or the deletion: the catalog still shows the one before.
     * Not while the whole state is read. NULL = none. */
    void (*replaced)(void *arg, const struct catalog_replaced *change);
};

struct catalog *catalog_new(const struct catalog_events *events);
void catalog_free(struct catalog *c);

/* --- batches: one revision, or a whole state (many keys, one revision) ---------------------- */
void catalog_begin(struct catalog *c, int64_t revision);
void catalog_put(struct catalog *c, const struct name *name, struct slice value, int64_t create_revision,
                 int64_t mod_revision);
/* catalog_put of a session's key, with the lease that the key is attached to. (catalog_put assumes the
 * session's own.) */
void catalog_put_session(struct catalog *c, const struct name *name, struct slice value, int64_t lease,
                         int64_t create_revision, int64_t mod_revision);
void catalog_delete(struct catalog *c, const struct name *name);
/* A read-only instance from another layout; doc is copied; NULL removes it. */
void catalog_project(struct catalog *c, const struct name *name, const struct instance *doc,
                     int64_t create_revision, int64_t mod_revision);
void catalog_end(struct catalog *c);
/* catalog_end in slices: works until is_over returns true, which is checked now and then. True: the batch
 * has ended. False: call it again, and change nothing in between. */
bool catalog_end_some(struct catalog *c, bool (*is_over)(const void *arg), const void *arg);
/* No batch is under way. A batch may take several turns. Between them the view holds its puts and some of its
 * deletions, and services have the revision from before it until all of its changes are in. */
bool catalog_is_settled(const struct catalog *c);
/* Begins a batch with the whole state, after a compaction passed the feed: keys that are not put until
 * catalog_end are deleted. It may take several turns, in which the catalog mixes two revisions, and may
 * start again before it ends. */
void catalog_begin_anew(struct catalog *c, int64_t revision);

/* --- lookups ----------------------------------------------------------------------------------------- */
int64_t catalog_revision(const struct catalog *c);
/* The revision of the last read of the whole state. Deletions before it are not known: for a client with an
 * older revision, anything may have changed, also where the services' revisions are older. */
int64_t catalog_whole_since(const struct catalog *c);
/* A new number after each batch; 0 while a batch is under way. Results that were read at an edition stay
 * valid while it is the current one. */
uint64_t catalog_edition(const struct catalog *c);
size_t catalog_unreadable(const struct catalog *c); /* documents that do not parse, now */
/* NULL: no such service, and nobody holds its place. Its revision is then catalog_absent_revision. */
struct catalog_service *catalog_find(const struct catalog *c, struct slice ns, struct slice group,
                                     struct slice service);
int64_t catalog_absent_revision(const struct catalog *c);
struct catalog_instance *catalog_instance(const struct catalog_service *s, struct slice id);
bool catalog_exists(const struct catalog_service *s); /* it has settings or instances */
/* Calls fn for the services of a group (empty = of all groups) whose names have this prefix, in order. It
 * begins after `after` ("group/name" of a service; empty = at the beginning). fn returns false to stop. */
void catalog_each(const struct catalog *c, struct slice ns, struct slice group, struct slice prefix,
                  struct slice after, bool (*fn)(void *arg, struct catalog_service *s), void *arg);
/* catalog_each for walks over several turns: visits at most `places` places. True: there may be more after
 * *ret_last, for which fn may not have been called. False: that was the end, or fn returned false. */
bool catalog_each_some(const struct catalog *c, struct slice ns, struct slice group, struct slice prefix,
                       struct slice after, size_t places, bool (*fn)(void *arg, struct catalog_service *s),
                       void *arg, const struct catalog_service **ret_last);
/* The first existing service after this place in the order of namespace, group and name; NULL = none. No
 * service needs to exist at the place. For walks over several turns. */
struct catalog_service *catalog_next(const struct catalog *c, struct slice ns, struct slice group,
                                     struct slice name);
/* Index of the first instance after this id in the service's list; the id need not exist. */
size_t catalog_place_behind(const struct catalog_service *s, struct slice id);
/* In no particular order; fn returns false to stop. */
void catalog_each_namespace(const struct catalog *c, bool (*fn)(void *arg, const struct catalog_namespace *n),
                            void *arg);
const struct catalog_namespace *catalog_namespace(const struct catalog *c,
                                                  struct slice ns); /* NULL = it is empty */
/* The namespaces that have a service or an override. */
size_t catalog_namespace_count(const struct catalog *c);
const struct catalog_namespace *catalog_all(const struct catalog *c);         /* the sums of all */
struct catalog_session *catalog_session(const struct catalog *c, int64_t id); /* NULL = it does not exist */
/* Also a session that instances name and that does not exist. */
struct catalog_session *catalog_named_session(const struct catalog *c, int64_t id);
size_t catalog_session_count(const struct catalog *c);
/* Sessions that instances name and that do not exist (catalog_session.absent). */
const struct link *catalog_absent_sessions(const struct catalog *c);

/* --- snapshots: documents that outlive their change --------------------------------------------------- */
/* Fills *ret with a copy of i. Its documents stay until catalog_snapshot_release, also if i changes or
 * ends; its id is in the arena. It is in no list. */
void catalog_snapshot(const struct catalog_instance *i, struct arena *a, struct catalog_instance *ret);
void catalog_snapshot_release(struct catalog_instance *taken);

/* Keeps the service's place, whether it exists or not, so that its changes are reported. */
struct catalog_service *catalog_hold(struct catalog *c, struct slice ns, struct slice group,
                                     struct slice service);
void catalog_release(struct catalog *c, struct catalog_service *s);

#endif
