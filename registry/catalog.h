/* SPDX-License-Identifier: Apache-2.0
 * The view of the registry: which services there are, their instances with the operator's word on them,
 * sessions, settings. Kept from the keys' changes, revision by revision; a batch is whole before anybody is
 * told of it. Pure: no clock, no I/O, no kv. The loop thread's only.
 *
 * Invariant: after catalog_end every answer is the state at catalog_revision, and every service's own
 * revision is that of the last change one could see in it. What does not parse is counted and as if it were
 * not there. */
#ifndef REGISTRY_CATALOG_H
#define REGISTRY_CATALOG_H

#include "base/list.h"
#include "base/map.h"
#include "registry/document.h"
#include "registry/name.h"

struct catalog;
struct catalog_service;
struct catalog_session;

struct catalog_instance {
    struct slice id;
    struct catalog_service *service;
    struct instance *doc;                     /* NULL: only an override is there */
    struct override *override;                /* NULL = none */
    int64_t create_revision, mod_revision;    /* of the instance's key */
    int64_t override_revision;                /* mod revision of the override's key */
    struct link by_session;                   /* in its session's instances, or in the orphans */
    struct catalog_session *hangs_on;         /* NULL: none, or it is not there */
    uint64_t generation, override_generation; /* when each was last read with everything */
    uint64_t walk;                            /* the janitor's last walk over its session that met it */
    bool is_gap; /* it went in the batch under way: still in the list, without documents */
};

/* What it is for its callers, the override applied. */
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
    size_t places;    /* catalog_services, there or held */
    size_t at_risk;   /* serve and hang on a session: what can be lost at once */
    int64_t revision; /* of the last visible change in it */
};

struct catalog_service {
    struct slice ns, group, name;
    struct catalog_namespace *in;
    struct catalog_instance **list; /* by id; those with an override alone too */
    size_t count, capacity;
    size_t instances; /* with a document */
    size_t projected; /* of them: from other layouts */
    size_t by_state[INSTANCE_STATES];
    bool has_settings;
    bool was_projected;       /* there has been one since the place was made */
    struct settings settings; /* its memory is the catalog's */
    int64_t settings_revision;
    int64_t revision;                  /* of the last visible change */
    size_t references;                 /* subscribers: the service is kept though it is empty */
    void *watched;                     /* the holders' own */
    struct link dirty;                 /* in the batch's list */
    int64_t before;                    /* its revision before the batch */
    size_t first_change, change_count; /* in the batch's list of changes */
    size_t gaps;                       /* in the list: instances that went in the batch */
    bool are_settings_changed;
    uint64_t settings_generation;
};

struct catalog_session {
    int64_t id;
    struct quota_source *source; /* opened through this member, from there; NULL = not known (quota.h) */
    bool exists;                 /* false: only named by instances, which have lost it */
    /* Its key holds another document than doc, which somebody wrote over it, or hangs on another lease: its
     * owner's next heartbeat repairs it. doc is what it was before. */
    bool is_damaged;
    /* doc began as what stood there when this view was read, not when the key was created: what was there
     * before is not known, and what is written next counts. */
    bool is_late;
    bool is_unknown; /* nothing that can be read was there yet: doc is made up */
    struct session doc;
    int64_t create_revision, mod_revision;
    struct link instances; /* of catalog_instance.by_session */
    size_t instance_count;
    struct link absent; /* in catalog_absent_sessions while it does not exist */
    struct link gone;   /* in the batch's list */
    struct link back;   /* likewise: it was absent, with instances */
    uint64_t generation;
};

/* One service's part of a batch: the ids that changed, in order; an id that is gone has no instance any more.
 */
struct catalog_change {
    struct catalog_service *service;
    int64_t revision, previous;
    const struct slice *ids;
    const struct slice *origins; /* the same number: the source key before the batch; empty = none */
    size_t id_count;
    bool are_settings_changed;
};

struct catalog_events {
    /* Once for each service of a batch; one with more than 1,024 changes: once for each 1,024 of them. */
    void (*changed)(void *arg, const struct catalog_change *change);
    /* It existed and does not any more; its instances, if it has any, still refer to it. */
    void (*session_gone)(void *arg, struct catalog_session *session);
    /* It was not there, is now (again), and has instances. */
    void (*session_back)(void *arg, struct catalog_session *session);
    void *arg;
};

struct catalog *catalog_new(const struct catalog_events *events);
void catalog_free(struct catalog *c);

/* --- changes: of one revision, or of the first state (many keys, one revision) ---------------------- */
void catalog_begin(struct catalog *c, int64_t revision);
void catalog_put(struct catalog *c, const struct name *name, struct slice value, int64_t create_revision,
                 int64_t mod_revision);
/* The same of a session's key, with the lease that it is attached to; catalog_put stands for its own. */
void catalog_put_session(struct catalog *c, const struct name *name, struct slice value, int64_t lease,
                         int64_t create_revision, int64_t mod_revision);
void catalog_delete(struct catalog *c, const struct name *name);
/* A read-only instance from another layout; doc is copied. NULL takes it away. */
void catalog_project(struct catalog *c, const struct name *name, const struct instance *doc,
                     int64_t create_revision, int64_t mod_revision);
void catalog_end(struct catalog *c);
/* The same in slices: until is_over says so, which is asked once in a while. True: the batch has ended;
 * false: to be called again, with nothing else that changes the catalog between. */
bool catalog_end_some(struct catalog *c, bool (*is_over)(const void *arg), const void *arg);
/* No batch is under way. A batch may take several turns. Between them the view holds its puts and some of its
 * deletions, and services have the revision from before it until all of its changes are in. */
bool catalog_is_settled(const struct catalog *c);
/* Before the first state is read anew (history was compacted under us): what is not put until catalog_end is
 * gone. It may take several turns, in which the catalog is of two revisions at once, and may begin anew
 * before it ends. */
void catalog_begin_anew(struct catalog *c, int64_t revision);

/* --- looking ----------------------------------------------------------------------------------------- */
int64_t catalog_revision(const struct catalog *c);
/* The revision of the last full reading. What went before it is not known: to a client that has seen an older
 * revision, anything may have changed, whatever the services' revisions say. */
int64_t catalog_whole_since(const struct catalog *c);
/* Another number after each batch of changes; 0 while one is under way. What was read at an edition is as it
 * was then for as long as this is the edition. */
uint64_t catalog_edition(const struct catalog *c);
size_t catalog_unreadable(const struct catalog *c); /* documents that do not parse, now */
/* NULL: there is no such service, and nobody waits for one; its revision is then catalog_absent_revision. */
struct catalog_service *catalog_find(const struct catalog *c, struct slice ns, struct slice group,
                                     struct slice service);
int64_t catalog_absent_revision(const struct catalog *c);
struct catalog_instance *catalog_instance(const struct catalog_service *s, struct slice id);
bool catalog_exists(const struct catalog_service *s); /* it has settings or instances */
/* The services of one group (or of all, with an empty group) whose names begin with prefix, in order, from
 * the first behind `after` (a service's "group/name", empty = from the beginning); fn returns false to stop.
 */
void catalog_each(const struct catalog *c, struct slice ns, struct slice group, struct slice prefix,
                  struct slice after, bool (*fn)(void *arg, struct catalog_service *s), void *arg);
/* The same for walks over several turns: looks at no more than `places` places. True: there may be more,
 * behind *ret_last, which fn need not have been given; false: that was the end, or fn has said false. */
bool catalog_each_some(const struct catalog *c, struct slice ns, struct slice group, struct slice prefix,
                       struct slice after, size_t places, bool (*fn)(void *arg, struct catalog_service *s),
                       void *arg, const struct catalog_service **ret_last);
/* The first service that exists behind this place in the order of namespace, group and name, which need not
 * be one of a service; NULL = none. For walks over several turns. */
struct catalog_service *catalog_next(const struct catalog *c, struct slice ns, struct slice group,
                                     struct slice name);
/* Where in its list the first instance behind this id is, or would be; the id need not exist. */
size_t catalog_place_behind(const struct catalog_service *s, struct slice id);
/* In no particular order; fn returns false to stop. */
void catalog_each_namespace(const struct catalog *c, bool (*fn)(void *arg, const struct catalog_namespace *n),
                            void *arg);
const struct catalog_namespace *catalog_namespace(const struct catalog *c,
                                                  struct slice ns); /* NULL = nothing is in it */
/* Those that hold a service or an override. */
size_t catalog_namespace_count(const struct catalog *c);
const struct catalog_namespace *catalog_all(const struct catalog *c);               /* the sums of all */
struct catalog_session *catalog_session(const struct catalog *c, int64_t id);       /* NULL = not there */
struct catalog_session *catalog_named_session(const struct catalog *c, int64_t id); /* absent ones too */
size_t catalog_session_count(const struct catalog *c);
/* Sessions that instances name and that are not there (catalog_session.absent). */
const struct link *catalog_absent_sessions(const struct catalog *c);

/* --- snapshots: documents that outlive their change --------------------------------------------------- */
/* Fills *ret with what i is now: its documents stay until the release, whatever becomes of i; its id lies in
 * the arena. It is in no list. */
void catalog_snapshot(const struct catalog_instance *i, struct arena *a, struct catalog_instance *ret);
void catalog_snapshot_release(struct catalog_instance *taken);

/* Keeps the service's place, there or not, so that its changes are told. */
struct catalog_service *catalog_hold(struct catalog *c, struct slice ns, struct slice group,
                                     struct slice service);
void catalog_release(struct catalog *c, struct catalog_service *s);

#endif
