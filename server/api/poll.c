/* SPDX-License-Identifier: Apache-2.0
 * One long poll for many configurations: the client sends the names that it follows, each with the seq or the md5
 * that it has, and gets those that differ; see poll.h.
 *
 * All polls of a member share one watch and one table of names. A name has the list of its entries, one for each
 * poll that names it, so a change costs as much as there are polls of its name, and nothing for the others.
 *
 *   1. barrier   the view is brought up to date (consistency=local skips that)
 *   2. compare   in slices: each name is linked to the table, and compared with what the client has
 *   3. wait      if nothing differs: every entry keeps the seq that its client has
 *   4. change    on_changed moves the entries of the name to `unchecked`: a splice, whatever their number
 *   5. check     api_polled_turn, in slices: an entry whose seq is another now goes to `differing` of its poll
 *   6. answer    a poll is answered when all changed names were checked: a change of many names is one answer
 *
 * An entry is in exactly one list: entries or unchecked of its name, or differing of its poll. A name that changes
 * while its poll is compared is checked as the others are. The body and what was read of it are freed before the
 * wait, which holds 40 bytes for each name. */
#include "server/api/poll.h"

#include <stdio.h>

#include "base/text.h"
#include "server/api/config_call.h"
#include "server/api/private.h"
#include "server/api/read.h"
#include "server/api/slice.h"

enum { COMPARED_PER_CLOCK = 16, RECHECKED_PER_CLOCK = 16 };

struct polled_name {
    struct config_id id; /* in the block of the name */
    size_t references;   /* of entries, also of those that differ */
    struct link entries, unchecked;
    struct link changed; /* in api_polled.changed while unchecked is not empty */
};

struct polled_entry {
    struct link link;
    struct polled_name *name;
    struct poll *poll;
    uint64_t seq; /* that the client has; 0 = none */
};

struct known { /* as the client sent it; in poll.arena */
    struct config_id id;
    uint64_t seq;
    struct slice md5; /* empty = not given */
};

struct poll {
    struct api_call *call;
    struct config_request barrier;
    struct config_subscriber subscriber; /* the client; its labels and id choose gray releases */
    bool is_gray, is_at_barrier, is_waiting;
    struct arena arena; /* until the wait */
    struct known *known;
    size_t count, compared;
    struct polled_entry *entries; /* count; the first `compared` are linked */
    struct link differing;        /* entries */
    struct link answer;           /* in api_polled.answers */
    struct link link;             /* in api_polled.polls; those whose rights were checked first come first */
    uint64_t rights_epoch;
    size_t rechecked; /* entries that were checked in this epoch */
};

struct api_polled {
    struct api *api;
    struct config_watch watch;
    struct strmap names;
    size_t entry_count, waiting;
    struct link polls, changed, answers;
    struct buf key;
};

/* --- names -------------------------------------------------------------------------------------------- */

static struct slice name_key(struct buf *key, const struct config_id *id)
{
    buf_clear(key);
    buf_add_slice(key, id->ns);
    buf_add_byte(key, '/');
    buf_add_slice(key, id->group);
    buf_add_byte(key, '/');
    buf_add_slice(key, id->name);
    return buf_slice(key);
}

static void on_changed(struct config_watch *w, const struct config_item *item, const struct config_id *id)
{
    struct api_polled *p = container_of(w, struct api_polled, watch);
    struct polled_name *n = strmap_get(&p->names, name_key(&p->key, id));
    (void)item;
    if (!n)
        return;
    list_move_all(&n->unchecked, &n->entries);
    if (!list_is_empty(&n->unchecked) && !link_is_in_list(&n->changed))
        list_add_last(&p->changed, &n->changed);
}

static struct api_polled *polled_of(struct api *a)
{
    struct api_polled *p = a->polled;
    if (p)
        return p;
    p = a->polled = mem_new(sizeof *p);
    p->api = a;
    list_init(&p->polls);
    list_init(&p->changed);
    list_init(&p->answers);
    p->watch.changed = on_changed;
    config_watch(a->options.config, &p->watch, &(struct config_id){0}, true);
    return p;
}

static struct slice put_text(uint8_t **to, struct slice s)
{
    struct slice copy = slice_of(*to, s.size);
    memcpy(*to, s.data, s.size);
    *to += s.size;
    return copy;
}

/* The name in the table; NULL: the table is full. */
static struct polled_name *name_hold(struct api_polled *p, const struct config_id *id)
{
    struct slice key = name_key(&p->key, id);
    struct polled_name *n = strmap_get(&p->names, key);
    if (n || p->names.count >= API_POLLED_NAMES_MAX)
        return n;
    n = mem_alloc(sizeof *n + id->ns.size + id->group.size + id->name.size);
    uint8_t *at = (uint8_t *)(n + 1);
    *n = (struct polled_name){0};
    n->id.ns = put_text(&at, id->ns);
    n->id.group = put_text(&at, id->group);
    n->id.name = put_text(&at, id->name);
    list_init(&n->entries);
    list_init(&n->unchecked);
    strmap_put(&p->names, key, n);
    return n;
}

static void name_release(struct api_polled *p, struct polled_name *n)
{
    if (list_is_empty(&n->unchecked))
        list_remove(&n->changed);
    if (--n->references > 0)
        return;
    strmap_remove(&p->names, name_key(&p->key, &n->id));
    mem_free(n);
}

/* --- the state of a configuration for a client -------------------------------------------------------- */

/* The release for this client; 0 = none. */
static uint64_t seq_of(const struct poll *poll, const struct config_item *item)
{
    const struct config_subscriber *s = &poll->subscriber;
    if (!item)
        return 0;
    if (poll->is_gray)
        return config_choose(item, &s->labels, gray_address(poll->call->q->peer), s->client_id);
    return item->head->is_deleted ? 0 : item->head->seq;
}

static const struct config_item *item_of(const struct poll *poll, const struct polled_entry *e)
{
    return config_find(api_config(poll->call), &e->name->id);
}

static bool has_it(const struct known *k, const struct config_item *item, uint64_t seq)
{
    if (k->md5.size && seq)
        return slice_equal(k->md5, slice_text(item->head->digest.md5));
    return !k->md5.size && k->seq == seq;
}

/* --- the end of a poll -------------------------------------------------------------------------------- */

/* Frees everything; an answer follows, or none. The poll itself is in the call's arena. */
static void poll_leave(struct poll *poll)
{
    struct api_polled *p = polled_of(poll->call->api);
    if (poll->is_at_barrier)
        config_cancel(api_config(poll->call), &poll->barrier);
    p->waiting -= poll->is_waiting;
    poll->is_at_barrier = poll->is_waiting = false;
    api_slice_never(poll->call);
    for (size_t i = 0; i < poll->compared; i++) {
        list_remove(&poll->entries[i].link);
        name_release(p, poll->entries[i].name);
    }
    p->entry_count -= poll->count;
    mem_free(poll->entries);
    poll->entries = NULL;
    poll->count = poll->compared = 0;
    list_remove(&poll->answer);
    list_remove(&poll->link);
    arena_done(&poll->arena);
}

static void on_cancel(struct api_call *c)
{
    poll_leave(c->state);
}

static void add_state(const struct poll *poll, const struct polled_entry *e, struct json_writer *w)
{
    const struct config_item *item = item_of(poll, e);
    uint64_t seq = seq_of(poll, item);
    jw_open(w, '{');
    document_add_text(w, "name", e->name->id.name);
    document_add_text(w, "group", e->name->id.group);
    document_add_text(w, "namespace", e->name->id.ns);
    if (seq) {
        jw_key(w, "seq");
        jw_uint(w, seq);
        if (seq == item->head->seq && !item->head->is_deleted)
            document_add_text(w, "md5", slice_text(item->head->digest.md5));
    } else {
        jw_key(w, "absent");
        jw_bool(w, true);
    }
    jw_close(w, '}');
}

/* Answers with the entries that differ, perhaps none. */
static void poll_answer(struct poll *poll)
{
    struct api_call *c = poll->call;
    char error[500] = "";
    int err = api_recheck_rights(c, error, sizeof error);
    int64_t revision = config_revision(api_config(c));
    struct json_writer *w = api_json(c, revision);
    jw_key(w, "configs");
    jw_open(w, '[');
    LIST_FOR_EACH (l, &poll->differing)
        add_state(poll, container_of(l, struct polled_entry, link), w);
    jw_close(w, ']');
    poll_leave(poll);
    if (err)
        api_refuse(c, err, error);
    else
        api_answer(c, revision);
}

/* The deadline and a drain end the wait. A change that was not checked yet is found by the next poll. */
static void poll_end(struct api_call *c)
{
    struct poll *poll = c->state;
    if (poll->is_waiting) {
        poll_answer(poll);
        return;
    }
    poll_leave(poll);
    api_fail(c, API_DEADLINE, NULL);
}

static void on_drain(struct api_call *c)
{
    if (((struct poll *)c->state)->is_waiting)
        poll_end(c);
}

/* --- rights ------------------------------------------------------------------------------------------- */

/* A refusal names the configuration: the whole poll is refused. */
static int check_right(const struct poll *poll, const struct audience *a, const struct config_id *id,
                       char *error, size_t error_size)
{
    const struct api_call *c = poll->call;
    const struct guard_need need = {.kind = GUARD_CONFIG, .ns = id->ns, .group = id->group, .name = id->name};
    if (guard_sees_config(a, id->ns, id->group, id->name))
        return OK;
    return guard_check(c->api->options.identity, &c->guard.who, &need, error, error_size);
}

/* A poll that is refused is gone with its call; one that is done goes to the tail. */
static void recheck_some(struct api_polled *p, struct poll *poll, uint64_t epoch)
{
    struct api_call *c = poll->call;
    const struct audience *a =
        guard_config_audience(c->api->options.identity, &c->guard.who, api_registry(c));
    char error[500] = "";
    int err = api_recheck_rights(c, error, sizeof error);
    if (poll->rights_epoch != epoch)
        poll->rechecked = 0;
    poll->rights_epoch = epoch;
    size_t end = poll->rechecked + RECHECKED_PER_CLOCK;
    for (; !err && poll->rechecked < poll->compared && poll->rechecked < end; poll->rechecked++)
        err = check_right(poll, a, &poll->entries[poll->rechecked].name->id, error, sizeof error);
    if (err) {
        poll_leave(poll);
        api_refuse(c, err, error);
    } else if (poll->rechecked >= poll->compared) {
        list_remove(&poll->link);
        list_add_last(&p->polls, &poll->link);
    }
}

static bool recheck_polls(struct api_polled *p, uint64_t end_ns)
{
    uint64_t epoch = guard_epoch(p->api->options.identity);
    while (!list_is_empty(&p->polls)) {
        struct poll *poll = container_of(p->polls.next, struct poll, link);
        if (poll->rights_epoch == epoch && poll->rechecked >= poll->compared)
            return false;
        if (api_now_ns(p->api) >= end_ns)
            return true;
        recheck_some(p, poll, epoch);
    }
    return false;
}

/* --- changes ------------------------------------------------------------------------------------------ */

static void check_entry(struct api_polled *p, struct polled_entry *e)
{
    struct poll *poll = e->poll;
    bool differs = seq_of(poll, item_of(poll, e)) != e->seq;
    list_remove(&e->link);
    list_add_last(differs ? &poll->differing : &e->name->entries, &e->link);
    if (differs && poll->is_waiting && !link_is_in_list(&poll->answer))
        list_add_last(&p->answers, &poll->answer);
}

/* False: there is no time left. */
static bool check_changed(struct api_polled *p, uint64_t end_ns)
{
    unsigned n = 0;
    while (!list_is_empty(&p->changed)) {
        struct polled_name *name = container_of(p->changed.next, struct polled_name, changed);
        while (!list_is_empty(&name->unchecked)) {
            check_entry(p, container_of(name->unchecked.next, struct polled_entry, link));
            if (++n % COMPARED_PER_CLOCK == 0 && api_now_ns(p->api) >= end_ns)
                return false;
        }
        list_remove(&name->changed);
    }
    return true;
}

bool api_polled_turn(struct api *a)
{
    struct api_polled *p = a->polled;
    if (!p || (list_is_empty(&p->polls) && list_is_empty(&p->changed)))
        return false;
    uint64_t end_ns = api_now_ns(a) + API_SLICE_NS;
    bool has_more = recheck_polls(p, end_ns) || !check_changed(p, end_ns);
    while (!has_more && !list_is_empty(&p->answers)) {
        poll_answer(container_of(p->answers.next, struct poll, answer));
        has_more = !list_is_empty(&p->answers) && api_now_ns(a) >= end_ns;
    }
    return has_more;
}

size_t api_polled_waiting(const struct api *a)
{
    return a->polled ? a->polled->waiting : 0;
}

void api_polled_free(struct api_polled *p)
{
    if (!p)
        return;
    config_unwatch(&p->watch);
    strmap_done(&p->names);
    buf_done(&p->key);
    mem_free(p);
}

/* --- comparing ---------------------------------------------------------------------------------------- */

static void poll_wait(struct poll *poll)
{
    struct api_call *c = poll->call;
    uint64_t timeout_ms = api_duration_ms(api_param(c, PARAM_TIMEOUT));
    uint64_t deadline_ms = c->api->options.mono_ms() + timeout_ms;
    poll->is_waiting = true;
    polled_of(c->api)->waiting++;
    arena_done(&poll->arena);
    poll->known = NULL;
    if (timeout_ms == 0 || !list_is_empty(&poll->differing)) {
        poll_answer(poll);
        return;
    }
    if (!c->q->deadline_ms || deadline_ms < c->q->deadline_ms)
        c->q->deadline_ms = deadline_ms;
}

/* False: the call was answered with an error. */
static bool compare_one(struct poll *poll, const struct audience *a)
{
    struct api_call *c = poll->call;
    struct api_polled *p = polled_of(c->api);
    const struct known *k = &poll->known[poll->compared];
    char error[500] = "";
    int err = check_right(poll, a, &k->id, error, sizeof error);
    struct polled_name *name = err ? NULL : name_hold(p, &k->id);
    if (!name) {
        poll_leave(poll);
        if (err)
            api_fail_err(c, guard_public_error(err), error);
        else
            api_fail(c, API_QUOTA_EXCEEDED, "this member has no room for more names of polls");
        return false;
    }
    struct polled_entry *e = &poll->entries[poll->compared++];
    *e = (struct polled_entry){.name = name, .poll = poll};
    name->references++;
    const struct config_item *item = config_find(api_config(c), &k->id);
    e->seq = seq_of(poll, item);
    list_add_last(has_it(k, item, e->seq) ? &name->entries : &poll->differing, &e->link);
    return true;
}

static void compare_step(struct api_call *c)
{
    struct poll *poll = c->state;
    const struct audience *a =
        guard_config_audience(c->api->options.identity, &c->guard.who, api_registry(c));
    while (poll->compared < poll->count) {
        if (!compare_one(poll, a))
            return;
        if (poll->compared % COMPARED_PER_CLOCK == 0 && poll->compared < poll->count &&
            api_slice_is_over(c)) {
            api_slice_later(c, compare_step);
            return;
        }
    }
    poll_wait(poll);
}

static void on_barrier(struct config_request *q, int err, const struct config_result *result)
{
    struct poll *poll = container_of(q, struct poll, barrier);
    (void)result;
    poll->is_at_barrier = false;
    if (!err) {
        api_slice_later(poll->call, compare_step);
        return;
    }
    poll_leave(poll);
    api_fail_err(poll->call, err, NULL);
}

/* --- the body ----------------------------------------------------------------------------------------- */

static int read_known(struct poll *poll, json_t *value, struct known *ret, char *error)
{
    const struct api_call *c = poll->call;
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, &poll->arena, error, 200);
    int64_t seq = 0;
    bool is_absent = false;
    *ret = (struct known){.id = {c->ns, c->group, {0}}};
    document_begin_value(&r, value);
    document_text(&r, "namespace", &ret->id.ns);
    document_text(&r, "group", &ret->id.group);
    document_text(&r, "name", &ret->id.name);
    document_number(&r, "seq", 1, CONFIG_SEQ_MAX, &seq);
    document_bool(&r, "absent", &is_absent);
    if (document_text(&r, "md5", &ret->md5) && !digest_is_md5(ret->md5))
        document_refuse(&r, "md5", "is not an md5: 32 hexadecimal digits in lower case");
    if (is_absent && (seq || ret->md5.size))
        document_refuse(&r, "absent", "is true beside a seq or an md5");
    if (poll->is_gray) { /* a head has the md5 of the live release alone */
        if (ret->md5.size && !seq)
            document_refuse(&r, "seq", "is missing: with labels or client_id the md5 is not compared");
        ret->md5 = (struct slice){0};
    }
    ret->seq = (uint64_t)seq;
    int err = document_end(&r);
    if (!err)
        err = name_check(ret->id.ns, NAMESPACE_SIZE_MAX, "namespace", error, 200);
    if (!err)
        err = name_check(ret->id.group, NAME_SIZE_MAX, "group", error, 200);
    return err ? err : name_check(ret->id.name, NAME_SIZE_MAX, "name", error, 200);
}

static int read_body(struct poll *poll, json_t *root, char *error)
{
    json_t *list = json_object_get(root, "configs");
    int err = OK;
    if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > API_POLL_NAMES_MAX) {
        snprintf(error, 200, "configs is not a list of 1 to %d configurations", API_POLL_NAMES_MAX);
        return ERR_INVALID;
    }
    size_t count = json_array_size(list);
    poll->known = arena_new(&poll->arena, count * sizeof *poll->known);
    for (size_t i = 0; !err && i < count; i++)
        err = read_known(poll, json_array_get(list, i), &poll->known[i], error);
    struct api_polled *p = polled_of(poll->call->api);
    if (err)
        return err;
    if (p->entry_count + count > API_POLLED_MAX) {
        snprintf(error, 200, "this member has no room for more names of polls");
        return ERR_LIMIT;
    }
    poll->count = count;
    poll->entries = mem_new(count * sizeof *poll->entries);
    p->entry_count += count;
    return OK;
}

static void poll_start(struct poll *poll)
{
    struct api_call *c = poll->call;
    c->cancel = on_cancel;
    c->expired = poll_end;
    c->drain = on_drain;
    poll->rights_epoch = guard_epoch(c->api->options.identity);
    poll->rechecked = SIZE_MAX; /* each name is checked when it is compared */
    list_add_last(&polled_of(c->api)->polls, &poll->link);
    if (api_is_local(c)) {
        api_slice_later(c, compare_step);
        return;
    }
    poll->is_at_barrier = true;
    poll->barrier.done = on_barrier;
    config_barrier(api_config(c), &poll->barrier);
}

/* The body is read in one of the slices that long calls share: 10,000 polls may come at once. */
static void start_step(struct api_call *c)
{
    struct poll *poll = c->state;
    char error[200] = "";
    json_t *root;
    if (!api_body(c, SCHEMA_CONFIG_POLL, &root))
        return;
    int err = read_body(poll, root, error);
    json_decref(root);
    if (err) {
        arena_done(&poll->arena);
        api_fail_err(c, err, error);
        return;
    }
    buf_done(&c->q->body);
    poll_start(poll);
}

static void on_cancel_early(struct api_call *c)
{
    api_slice_never(c);
}

void api_config_poll(struct api_call *c)
{
    struct poll *poll = arena_new(&c->q->arena, sizeof *poll);
    poll->call = c;
    list_init(&poll->differing);
    poll->subscriber.client_id = api_param(c, PARAM_CLIENT_ID);
    api_config_labels(c, &poll->subscriber.labels);
    poll->is_gray = api_has_param(c, PARAM_LABELS) || api_has_param(c, PARAM_CLIENT_ID);
    c->state = poll;
    c->cancel = on_cancel_early;
    api_slice_later(c, start_step);
}
