/* SPDX-License-Identifier: Apache-2.0
 * Changes of the view; see catalog.h. Services are in one sorted list (for pages and prefixes) and in a map
 * by name; instances are in their service's sorted list. Each change subtracts an instance's old values
 * from the counts and adds the new ones: no count needs a walk. catalog_look.c has the lookups,
 * catalog_batch.c the end of a batch. */
#include "registry/catalog.h"

#include <assert.h>
#include <stdlib.h>

#include "registry/catalog_state.h"
#include "registry/inherit.h"
#include "registry/session_mark.h"

/* --- names ------------------------------------------------------------------------------------------ */

static struct slice catalog_copy_slice(struct slice s)
{
    return slice_of(mem_copy(s.data, s.size), s.size);
}

/* No name has a byte 0x1f, so the joined names sort as the names one by one. */
static struct slice service_key(struct buf *key, struct slice ns, struct slice group, struct slice service)
{
    buf_clear(key);
    buf_add_slice(key, ns);
    buf_add_byte(key, 0x1f);
    buf_add_slice(key, group);
    buf_add_byte(key, 0x1f);
    buf_add_slice(key, service);
    return buf_slice(key);
}

int catalog_compare(const struct catalog_service *s, struct slice ns, struct slice group, struct slice name)
{
    int c = slice_compare(s->ns, ns);
    if (!c)
        c = slice_compare(s->group, group);
    return c ? c : slice_compare(s->name, name);
}

size_t catalog_place(const struct catalog *c, struct slice ns, struct slice group, struct slice name)
{
    size_t low = 0, high = c->service_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (catalog_compare(c->services[middle], ns, group, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t catalog_instance_place(const struct catalog_service *s, struct slice id)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(s->list[middle]->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t catalog_place_behind(const struct catalog_service *s, struct slice id)
{
    size_t at = catalog_instance_place(s, id);
    return at + (at < s->count && slice_equal(s->list[at]->id, id));
}

struct catalog_instance *catalog_instance(const struct catalog_service *s, struct slice id)
{
    size_t at = catalog_instance_place(s, id);
    bool is_there = at < s->count && slice_equal(s->list[at]->id, id) && !s->list[at]->is_gap;
    return is_there ? s->list[at] : NULL;
}

struct catalog_service *catalog_find(const struct catalog *c, struct slice ns, struct slice group,
                                     struct slice service)
{
    struct buf key = {0};
    struct catalog_service *s = strmap_get(&c->by_name, service_key(&key, ns, group, service));
    buf_done(&key);
    return s;
}

/* --- init and free ------------------------------------------------------------------------------------- */

static struct catalog_namespace *namespace_of(struct catalog *c, struct slice ns)
{
    struct catalog_namespace *n = strmap_get(&c->namespaces, ns);
    if (!n) {
        n = mem_new(sizeof *n);
        n->name = catalog_copy_slice(ns);
        n->revision = c->absent_revision;
        strmap_put(&c->namespaces, ns, n);
    }
    return n;
}

static struct catalog_service *service_of(struct catalog *c, struct slice ns, struct slice group,
                                          struct slice service)
{
    struct catalog_service *s = catalog_find(c, ns, group, service);
    if (s)
        return s;
    s = mem_new(sizeof *s);
    s->ns = catalog_copy_slice(ns);
    s->group = catalog_copy_slice(group);
    s->name = catalog_copy_slice(service);
    s->in = namespace_of(c, ns);
    s->in->places++;
    c->all.places++;
    s->revision = c->absent_revision;
    if (c->service_count == c->service_capacity) {
        c->service_capacity = c->service_capacity ? c->service_capacity * 2 : 64;
        c->services = mem_resize(c->services, c->service_capacity * sizeof(struct catalog_service *));
    }
    size_t at = catalog_place(c, ns, group, service);
    memmove(c->services + at + 1, c->services + at,
            (c->service_count - at) * sizeof(struct catalog_service *));
    c->services[at] = s;
    c->service_count++;
    struct buf key = {0};
    strmap_put(&c->by_name, service_key(&key, ns, group, service), s);
    buf_done(&key);
    return s;
}

static void free_settings(struct catalog_service *s)
{
    mem_free(s->settings.metadata.list);
    mem_free(s->settings.author.name.data);
    mem_free(s->settings.author.on_behalf_of.data);
    mem_free(s->settings.author.address.data);
    s->settings = (struct settings){0};
    s->has_settings = false;
}

static void free_service(struct catalog_service *s)
{
    free_settings(s);
    mem_free(s->list);
    mem_free(s->ns.data);
    mem_free(s->group.data);
    mem_free(s->name.data);
    mem_free(s);
}

bool catalog_exists(const struct catalog_service *s)
{
    return s->instances || s->has_settings;
}

/* Frees a place that is empty and not held. A later lookup of it gets catalog_absent_revision, the greatest
 * revision of a freed place. */
void catalog_drop_if_unused(struct catalog *c, struct catalog_service *s)
{
    if (s->count || s->has_settings || s->references || link_is_in_list(&s->dirty))
        return;
    if (s->revision > c->absent_revision)
        c->absent_revision = s->revision;
    size_t at = catalog_place(c, s->ns, s->group, s->name);
    assert(at < c->service_count && c->services[at] == s);
    c->service_count--;
    memmove(c->services + at, c->services + at + 1,
            (c->service_count - at) * sizeof(struct catalog_service *));
    struct buf key = {0};
    strmap_remove(&c->by_name, service_key(&key, s->ns, s->group, s->name));
    buf_done(&key);
    c->all.places--;
    if (--s->in->places == 0) {
        if (s->in->revision > c->absent_revision)
            c->absent_revision = s->in->revision;
        strmap_remove(&c->namespaces, s->ns);
        mem_free(s->in->name.data);
        mem_free(s->in);
    }
    free_service(s);
}

static struct catalog_instance *instance_of(struct catalog_service *s, struct slice id)
{
    size_t at = catalog_instance_place(s, id);
    if (at < s->count && slice_equal(s->list[at]->id, id)) {
        s->gaps -= s->list[at]->is_gap;
        s->list[at]->is_gap = false;
        return s->list[at];
    }
    struct catalog_instance *i = mem_new(sizeof *i);
    i->id = catalog_copy_slice(id);
    i->service = s;
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 4;
        s->list = mem_resize(s->list, s->capacity * sizeof(struct catalog_instance *));
    }
    memmove(s->list + at + 1, s->list + at, (s->count - at) * sizeof(struct catalog_instance *));
    s->list[at] = i;
    s->count++;
    return i;
}

/* Drops one reference. The catalog and each snapshot have one; the last one frees the document. */
static void drop_doc(struct instance *doc)
{
    if (doc && doc->snapshots)
        doc->snapshots--;
    else
        mem_free(doc);
}

static void drop_override(struct override *o)
{
    if (o && o->snapshots)
        o->snapshots--;
    else
        mem_free(o);
}

void catalog_snapshot(const struct catalog_instance *i, struct arena *a, struct catalog_instance *ret)
{
    *ret = *i;
    ret->id = slice_of(arena_copy(a, i->id.data, i->id.size), i->id.size);
    ret->service = NULL;
    ret->hangs_on = NULL;
    ret->by_session = (struct link){0};
    if (i->doc)
        i->doc->snapshots++;
    if (i->override)
        i->override->snapshots++;
}

void catalog_snapshot_release(struct catalog_instance *taken)
{
    drop_doc(taken->doc);
    drop_override(taken->override);
}

void catalog_free_instance(struct catalog_instance *i)
{
    drop_doc(i->doc);
    drop_override(i->override);
    mem_free(i->id.data);
    mem_free(i);
}

/* Leaves a gap in the list. At the end of the batch the later entries move up, once for all gaps. */
static void drop_instance_if_empty(struct catalog_instance *i)
{
    if (i->doc || i->override)
        return;
    i->is_gap = true;
    i->service->gaps++;
}

/* --- counts and changes ----------------------------------------------------------------------------- */

struct catalog_effect catalog_effect(const struct catalog_instance *i)
{
    struct catalog_effect e = {i->doc->state, i->doc->weight, true, false};
    if (i->override) {
        const struct override *o = i->override;
        if (o->has_state)
            e.state = o->state;
        if (o->has_weight)
            e.weight = o->weight;
        if (o->has_enabled)
            e.is_enabled = o->is_enabled;
    }
    e.serves = instance_state_serves(e.state) && e.weight > 0 && e.is_enabled;
    return e;
}

static bool is_used(const struct catalog_namespace *n)
{
    return n->services || n->overrides;
}

/* Counts a service that begins or ceases to exist. */
static void count_service(struct catalog *c, struct catalog_service *s, bool did_exist)
{
    size_t one = (size_t)((int)catalog_exists(s) - (int)did_exist);
    bool was_used = is_used(s->in);
    s->in->services += one;
    c->all.services += one;
    c->used_namespaces += (size_t)((int)is_used(s->in) - (int)was_used);
}

/* Adds the instance to the counts of n (one = 1), or subtracts it (-1). */
static void count_in(struct catalog_namespace *n, const struct catalog_instance *i, size_t one)
{
    n->overrides += i->override ? one : 0;
    if (!i->doc)
        return;
    struct catalog_effect effect = catalog_effect(i);
    n->instances += one;
    n->by_state[effect.state] += one;
    n->guarded += i->doc->is_guarded ? one : 0;
    n->checks += i->doc->check ? one : 0;
    n->at_risk += effect.serves && i->doc->session ? one : 0;
}

static void catalog_count(struct catalog *c, struct catalog_instance *i, int sign)
{
    struct catalog_service *s = i->service;
    bool did_exist = catalog_exists(s);
    size_t one = (size_t)sign;
    bool was_used = is_used(s->in);
    count_in(s->in, i, one);
    count_in(&c->all, i, one);
    c->used_namespaces += (size_t)((int)is_used(s->in) - (int)was_used);
    if (!i->doc)
        return;
    s->instances += one;
    s->projected += i->doc->origin.size ? one : 0;
    s->was_projected = s->was_projected || s->projected;
    s->by_state[catalog_effect(i).state] += one;
    count_service(c, s, did_exist);
}

/* Adds the service to the batch. The end of the batch sets its revision and notifies its watches, also of
 * changes that a reader has seen before. */
static void touch_service(struct catalog *c, struct catalog_service *s)
{
    if (link_is_in_list(&s->dirty))
        return;
    list_add_last(&c->dirty, &s->dirty);
    s->first_change = c->changed_count;
    s->change_count = 0;
}

static struct slice catalog_keep(struct catalog *c, struct slice s)
{
    return slice_of(s.size ? arena_copy(&c->batch, s.data, s.size) : NULL, s.size);
}

/* Notes the instance in the batch; called before it changes. */
static void catalog_touch(struct catalog *c, const struct catalog_instance *i)
{
    struct catalog_service *s = i->service;
    size_t number = c->changed_count;
    touch_service(c, s);
    if (!s->change_count) {
        s->first_change = number; /* the service may already be in the batch because of its settings */
    } else {
        bool is_next = s->first_change + s->change_count == number;
        int order = is_next ? slice_compare(c->changed[number - 1].id, i->id) : 1;
        if (order == 0)
            return;
        c->is_scattered |= order > 0;
    }
    if (c->changed_count == c->changed_capacity) {
        c->changed_capacity = c->changed_capacity ? c->changed_capacity * 2 : 64;
        c->changed = mem_resize(c->changed, c->changed_capacity * sizeof *c->changed);
    }
    c->changed[c->changed_count++] = (struct catalog_changed){
        s, catalog_keep(c, i->id), i->doc ? catalog_keep(c, i->doc->origin) : (struct slice){0}, number};
    s->change_count++;
}

static struct catalog_session *session_of(struct catalog *c, int64_t id)
{
    struct catalog_session *s = map_get(&c->sessions, (uint64_t)id);
    if (s)
        return s;
    s = mem_new(sizeof *s);
    s->id = id;
    list_init(&s->instances);
    list_add_last(&c->absent, &s->absent);
    map_put(&c->sessions, (uint64_t)id, s);
    return s;
}

void catalog_drop_session_if_unused(struct catalog *c, struct catalog_session *s)
{
    if (s->exists || s->instance_count)
        return;
    list_remove(&s->absent);
    list_remove(&s->back);
    map_remove(&c->sessions, (uint64_t)s->id);
    session_marks_free(s);
    mem_free(s);
}

static void hang_on_session(struct catalog *c, struct catalog_instance *i)
{
    struct catalog_session *before = i->hangs_on, *now = NULL;
    if (i->doc && i->doc->session)
        now = session_of(c, i->doc->session);
    if (now == before)
        return;
    if (before) {
        session_remove(before, &i->by_session);
        before->instance_count--;
        catalog_drop_session_if_unused(c, before);
    }
    i->hangs_on = now;
    if (now) {
        session_add_last(now, &i->by_session);
        now->instance_count++;
    }
}

/* --- one key ---------------------------------------------------------------------------------------- */

static void report_replaced(const struct catalog *c, struct catalog_replaced change)
{
    change.revision = c->revision;
    if (c->events.replaced && !c->is_anew)
        c->events.replaced(c->events.arg, &change);
}

static void set_instance(struct catalog *c, const struct name *name, const struct instance *doc,
                         int64_t create_revision, int64_t mod_revision)
{
    struct catalog_service *s = doc ? service_of(c, name->ns, name->group, name->service)
                                    : catalog_find(c, name->ns, name->group, name->service);
    struct catalog_instance *i = !s ? NULL : doc ? instance_of(s, name->id) : catalog_instance(s, name->id);
    if (!i || (!doc && !i->doc))
        return;
    i->generation = c->generation;
    if (doc && i->doc && i->mod_revision == mod_revision)
        return; /* the state was read again, and this key has not changed */
    report_replaced(c, (struct catalog_replaced){.name = name, .old_instance = i->doc, .instance = doc});
    catalog_touch(c, i);
    catalog_count(c, i, -1);
    drop_doc(i->doc);
    i->doc = doc ? instance_copy(doc) : NULL;
    i->create_revision = create_revision;
    i->mod_revision = mod_revision;
    catalog_count(c, i, 1);
    hang_on_session(c, i);
    drop_instance_if_empty(i);
}

static void set_override(struct catalog *c, const struct name *name, const struct override *o,
                         int64_t mod_revision)
{
    struct catalog_service *s = o ? service_of(c, name->ns, name->group, name->service)
                                  : catalog_find(c, name->ns, name->group, name->service);
    struct catalog_instance *i = !s ? NULL : o ? instance_of(s, name->id) : catalog_instance(s, name->id);
    if (!i || (!o && !i->override))
        return;
    i->override_generation = c->generation;
    if (o && i->override && i->override_revision == mod_revision)
        return;
    report_replaced(c, (struct catalog_replaced){.name = name, .old_override = i->override, .override = o});
    catalog_touch(c, i);
    catalog_count(c, i, -1);
    drop_override(i->override);
    i->override = NULL;
    if (o)
        i->override = override_copy(o);
    i->override_revision = mod_revision;
    catalog_count(c, i, 1);
    drop_instance_if_empty(i);
}

/* Copies the list and its bytes into one block, so that one free is enough. */
static struct document_map copy_map(const struct document_map *m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < m->count; i++)
        bytes += m->list[i].key.size + m->list[i].value.size;
    struct document_map copy = {mem_alloc(m->count * sizeof *m->list + bytes + 1), m->count};
    uint8_t *at = (uint8_t *)(copy.list + m->count);
    for (size_t i = 0; i < m->count; i++) {
        const struct document_pair *p = &m->list[i];
        copy.list[i] = (struct document_pair){{at, p->key.size}, {at + p->key.size, p->value.size}};
        if (p->key.size)
            memcpy(at, p->key.data, p->key.size);
        at += p->key.size;
        if (p->value.size)
            memcpy(at, p->value.data, p->value.size);
        at += p->value.size;
    }
    return copy;
}

static void set_settings(struct catalog *c, const struct name *name, const struct settings *settings,
                         int64_t mod_revision)
{
    struct catalog_service *s = settings ? service_of(c, name->ns, name->group, name->service)
                                         : catalog_find(c, name->ns, name->group, name->service);
    if (!s || (!settings && !s->has_settings))
        return;
    s->settings_generation = c->generation;
    if (settings && s->has_settings && s->settings_revision == mod_revision)
        return;
    report_replaced(c, (struct catalog_replaced){.name = name,
                                                 .old_settings = s->has_settings ? &s->settings : NULL,
                                                 .settings = settings});
    const struct inheritance before = inheritance_of(s),
                             after = inheritance_of_settings(settings, mod_revision);
    bool did_exist = catalog_exists(s);
    s->is_inheritance_changed |= !inheritance_is_same(&before, &after);
    free_settings(s);
    if (settings) {
        s->settings = *settings;
        s->settings.metadata = copy_map(&settings->metadata);
        s->settings.author.name = catalog_copy_slice(settings->author.name);
        s->settings.author.on_behalf_of = catalog_copy_slice(settings->author.on_behalf_of);
        s->settings.author.address = catalog_copy_slice(settings->author.address);
        s->has_settings = true;
    }
    s->settings_revision = mod_revision;
    s->are_settings_changed = true;
    count_service(c, s, did_exist);
    touch_service(c, s);
}

void catalog_free_session_doc(struct catalog_session *s)
{
    mem_free(s->doc.client_id.data);
    mem_free(s->doc.owner.data);
    mem_free(s->doc.labels.list);
    s->doc = (struct session){0};
}

static void delete_session(struct catalog *c, int64_t id)
{
    struct catalog_session *s = catalog_session(c, id);
    if (s && !link_is_in_list(&s->gone))
        list_add_last(&c->gone, &s->gone);
}

static void keep_session_doc(struct catalog_session *s, const struct session *doc)
{
    catalog_free_session_doc(s);
    s->doc = *doc;
    s->doc.client_id = catalog_copy_slice(doc->client_id);
    s->doc.owner = catalog_copy_slice(doc->owner);
    s->doc.labels = copy_map(&doc->labels);
}

/* True: the registry itself may have written doc over old. The owner and the key are the same. */
static bool is_of_owner(const struct session *old, const struct session *doc)
{
    return slice_equal(old->owner, doc->owner) && old->has_key == doc->has_key &&
           memcmp(old->key_digest, doc->key_digest, sizeof old->key_digest) == 0 &&
           (old->is_implicit || !doc->is_implicit);
}

/* The key of an existing session was written again. doc NULL: the new document does not parse; the session
 * exists all the same. */
static void rewrite_session(struct catalog_session *s, const struct session *doc, int64_t lease)
{
    bool is_taken = doc && (s->is_late || is_of_owner(&s->doc, doc));
    if (is_taken) {
        keep_session_doc(s, doc);
        s->is_unknown = false;
    }
    s->is_damaged = !is_taken || lease != s->id;
}

static void begin_session(struct catalog_session *s, const struct session *doc, int64_t lease, bool is_late)
{
    const struct session unknown = {.ttl_s = INSTANCE_TTL_S};
    keep_session_doc(s, doc ? doc : &unknown);
    s->is_late = is_late;
    s->is_unknown = !doc;
    s->is_damaged = !doc || lease != s->id;
}

static void set_session(struct catalog *c, int64_t id, const struct session *doc, int64_t lease,
                        int64_t create_revision, int64_t mod_revision)
{
    bool is_late = mod_revision != create_revision;
    struct catalog_session *s = catalog_session(c, id);
    bool is_same = s && s->create_revision == create_revision;
    if (!doc && !is_same && !is_late) {
        delete_session(c, id); /* its first document does not parse: it was never a session */
        return;
    }
    s = session_of(c, id);
    s->generation = c->generation;
    list_remove(&s->gone);
    if (s->exists && s->mod_revision == mod_revision)
        return;
    if (!s->exists) {
        s->exists = true;
        c->session_count++;
        list_remove(&s->absent);
        if (s->instance_count)
            list_add_last(&c->back, &s->back);
    }
    if (is_same)
        rewrite_session(s, doc, lease);
    else
        begin_session(s, doc, lease, is_late);
    s->create_revision = create_revision;
    s->mod_revision = mod_revision;
}

/* --- batches ---------------------------------------------------------------------------------------- */

void catalog_begin(struct catalog *c, int64_t revision)
{
    assert(!c->is_open && !c->is_ending && revision >= c->revision);
    if (c->revision == 0)
        c->whole_since = revision; /* the first read of the state */
    c->is_open = true;
    c->edition++;
    c->revision = revision;
}

void catalog_begin_anew(struct catalog *c, int64_t revision)
{
    assert(!c->is_ending);
    c->is_open = false;
    catalog_begin(c, revision);
    c->whole_since = revision;
    c->is_anew = true;
    c->generation++;
    strmap_done(&c->unreadable);
    c->unreadable = (struct strmap){0};
}

static void note_unreadable(struct catalog *c, const struct name *name, bool is_unreadable)
{
    struct buf key = {0};
    name_add_key(&key, name);
    if (is_unreadable)
        strmap_put(&c->unreadable, buf_slice(&key), c);
    else if (c->unreadable.count)
        strmap_remove(&c->unreadable, buf_slice(&key));
    buf_done(&key);
}

void catalog_put(struct catalog *c, const struct name *name, struct slice value, int64_t create_revision,
                 int64_t mod_revision)
{
    struct arena *a = &c->scratch;
    char error[200];
    struct instance instance;
    struct override override;
    struct settings settings;
    int err = OK;
    assert(c->is_open);
    arena_reset(a);
    switch (name->kind) {
    case NAME_INSTANCE:
        err = instance_read(value, DOCUMENT_TOLERANT, a, &instance, error, sizeof error);
        set_instance(c, name, err ? NULL : &instance, create_revision, mod_revision);
        break;
    case NAME_OVERRIDE:
        err = override_read(value, DOCUMENT_TOLERANT, a, &override, error, sizeof error);
        set_override(c, name, err ? NULL : &override, mod_revision);
        break;
    case NAME_SERVICE:
        err = settings_read(value, DOCUMENT_TOLERANT, a, &settings, error, sizeof error);
        set_settings(c, name, err ? NULL : &settings, mod_revision);
        break;
    case NAME_SESSION:
        catalog_put_session(c, name, value, name->session, create_revision, mod_revision);
        return;
    case NAME_GUARD: /* the janitor reads it */
        break;
    case NAME_KINDS:
        assert(!"a name has a kind");
    }
    if (err || c->unreadable.count)
        note_unreadable(c, name, err != OK);
}

void catalog_put_session(struct catalog *c, const struct name *name, struct slice value, int64_t lease,
                         int64_t create_revision, int64_t mod_revision)
{
    struct session session;
    char error[200];
    assert(c->is_open && name->kind == NAME_SESSION);
    arena_reset(&c->scratch);
    int err = session_read(value, DOCUMENT_TOLERANT, &c->scratch, &session, error, sizeof error);
    set_session(c, name->session, err ? NULL : &session, lease, create_revision, mod_revision);
    if (err || c->unreadable.count)
        note_unreadable(c, name, err != OK);
}

void catalog_project(struct catalog *c, const struct name *name, const struct instance *doc,
                     int64_t create_revision, int64_t mod_revision)
{
    assert(c->is_open && name->kind == NAME_INSTANCE);
    set_instance(c, name, doc, create_revision, mod_revision);
}

void catalog_delete(struct catalog *c, const struct name *name)
{
    assert(c->is_open);
    switch (name->kind) {
    case NAME_INSTANCE:
        set_instance(c, name, NULL, 0, 0);
        break;
    case NAME_OVERRIDE:
        set_override(c, name, NULL, 0);
        break;
    case NAME_SERVICE:
        set_settings(c, name, NULL, 0);
        break;
    case NAME_SESSION:
        delete_session(c, name->session);
        break;
    case NAME_GUARD: /* the janitor reads it */
        break;
    case NAME_KINDS:
        assert(!"a name has a kind");
    }
    if (c->unreadable.count)
        note_unreadable(c, name, false);
}

/* Deletes the keys of the service that were not put while the whole state was read. */
static void sweep_service(struct catalog *c, struct catalog_service *s)
{
    struct name name = {NAME_INSTANCE, s->ns, s->group, s->name, {0}, 0};
    for (size_t i = s->count; i-- > 0;) {
        struct catalog_instance *one = s->list[i];
        bool has_old_doc = one->doc && one->generation != c->generation;
        bool has_old_override = one->override && one->override_generation != c->generation;
        struct buf id = {0};
        buf_add_slice(&id, one->id); /* the first of the two calls may free the instance */
        name.id = buf_slice(&id);
        if (has_old_doc)
            set_instance(c, &name, NULL, 0, 0);
        if (has_old_override)
            set_override(c, &name, NULL, 0);
        buf_done(&id);
    }
    if (s->has_settings && s->settings_generation != c->generation)
        set_settings(c, &name, NULL, 0);
}

void catalog_sweep(struct catalog *c)
{
    for (size_t i = 0; i < c->service_count; i++)
        sweep_service(c, c->services[i]);
    uint64_t id;
    void *value;
    for (size_t at = 0; map_next(&c->sessions, &at, &id, &value);) {
        struct catalog_session *s = value;
        if (s->exists && s->generation != c->generation && !link_is_in_list(&s->gone))
            list_add_last(&c->gone, &s->gone);
    }
}

struct catalog_service *catalog_hold(struct catalog *c, struct slice ns, struct slice group,
                                     struct slice service)
{
    struct catalog_service *s = service_of(c, ns, group, service);
    s->references++;
    return s;
}

void catalog_release(struct catalog *c, struct catalog_service *s)
{
    assert(s->references > 0);
    s->references--;
    catalog_drop_if_unused(c, s);
}

/* --- the whole -------------------------------------------------------------------------------------- */

struct catalog *catalog_new(const struct catalog_events *events)
{
    struct catalog *c = mem_new(sizeof *c);
    c->events = *events;
    list_init(&c->dirty);
    list_init(&c->settled);
    list_init(&c->gone);
    list_init(&c->back);
    list_init(&c->absent);
    return c;
}

void catalog_free(struct catalog *c)
{
    struct slice key;
    void *value;
    uint64_t id;
    for (size_t i = 0; i < c->service_count; i++) {
        for (size_t k = 0; k < c->services[i]->count; k++)
            catalog_free_instance(c->services[i]->list[k]);
        free_service(c->services[i]);
    }
    for (size_t at = 0; map_next(&c->sessions, &at, &id, &value);) {
        catalog_free_session_doc(value);
        session_marks_free(value);
        mem_free(value);
    }
    for (size_t at = 0; strmap_next(&c->namespaces, &at, &key, &value);) {
        mem_free(((struct catalog_namespace *)value)->name.data);
        mem_free(value);
    }
    map_done(&c->sessions);
    strmap_done(&c->namespaces);
    strmap_done(&c->by_name);
    strmap_done(&c->unreadable);
    mem_free(c->services);
    mem_free(c->changed);
    arena_done(&c->scratch);
    arena_done(&c->batch);
    mem_free(c);
}
