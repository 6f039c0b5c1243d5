/* SPDX-License-Identifier: Apache-2.0
 * Sources of topics from the config center: `config`, one configuration, and `configs`, those of a namespace
 * whose names begin so. Heads are in memory; contents are in the store, and are read (release.h) before a
 * change is told:
 *
 *   head changes -> untold [its releases are wished for and read] -> told to the topic, oldest first
 *
 * The view's revision is the one before the first change that is untold, so that it only grows and never
 * promises what was not told. No state is shown that was not published, none after a later one, and the last
 * always. What changes again meanwhile is read again; the state between is skipped. A content that was
 * evicted before a frame could be made is read once more; if it is gone again, or if a frame would have too
 * much of them, it goes by reference: the item says its seq and size, and the client asks for it.
 *
 * While anything is untold no frame is made: all of it is of one revision, with the contents. But changes may
 * come faster than contents, for as long as somebody publishes. A view that has been so for some turns with
 * changes, and for some time, is OVERTAKEN until all is told again. Then frames are made all the same, of the
 * heads as they are: an item that has changed again may be newer than its frame's revision, and comes again
 * when that is told. What has changed since and is not here goes by reference in them; and a change that has
 * waited too long for its content is told so. Nobody waits for what is old when it has been read. (Except for
 * gray contents: there is nothing that they could be referred by.)
 *
 * Gray: a form (topic.h's variant) is the list of releases that somebody gets of the items with rules; it is
 * chosen anew for each frame. */
#include "server/stream/form.h"
#include "server/stream/private.h"

#include <stdlib.h>
#include <string.h>

enum {
    INLINE_BYTES_MAX = 8 << 20, /* of contents in one snapshot, or in one difference */
    TRIED_MAX = 65536,          /* remembered of those that were wished for */
    WAIT_MS = 100,              /* for contents, while changes go on */
    OVERTAKEN_TURNS = 8,        /* with changes */
};

struct config_view {
    struct config_watch watch;
    struct stream_server *server;
    struct stream_topic *topic;
    struct buf texts;
    struct config_id key; /* name is a prefix with is_prefix; then an empty group is all */
    bool is_prefix;
    struct buf id; /* scratch */

    struct link unsettled;  /* in the server's, from a change until nothing is untold */
    struct strmap untold;   /* id -> struct untold */
    int64_t untold_from;    /* the least of theirs */
    int64_t shown;          /* the latest revision that the view was said to have */
    int64_t seen;           /* unsettled: what changes from now on is later */
    int64_t calm;           /* unsettled: `shown` when that began */
    uint64_t busy_since_ms; /* likewise */
    uint64_t referred_ms;   /* when a change was last told without its content */
    unsigned busy_turns;    /* unsettled: turns with changes */
    bool has_news;          /* since the last turn */
    bool is_overtaken;

    struct link lacked;  /* wishes of frames that are void */
    size_t inlined;      /* bytes of contents in the frame that is being made */
    bool lacks;          /* something of it was wished for */
    struct strmap tried; /* what was, id and seq: it goes by reference if it is gone again at the next try */

    struct stream_forms forms; /* of those with gray rules */
    struct buf text;           /* scratch, as id */

    struct { /* of config: what the readers of one form have, as was asked last */
        bool is_known;
        uint32_t variant;
        uint64_t state[2];
    } last;
};

/* An item that has changed, once or more often. */
struct untold {
    int64_t from;      /* its first change was then or later, and all before it is told or untold itself */
    int64_t revision;  /* of its last */
    uint64_t since_ms; /* of its first */
    struct link fetches;
};

struct fetch {
    struct stream_fetch fetch;
    struct link link; /* in an untold item's, or in view->lacked */
    struct config_view *view;
};

static struct config *config_of(const struct config_view *v)
{
    return v->server->options.config;
}

/* --- names --------------------------------------------------------------------------------------- */

static bool has_all_groups(const struct config_view *v)
{
    return v->is_prefix && !v->key.group.size;
}

static struct slice id_of(const struct config_view *v, struct buf *id, const struct config_id *key)
{
    if (!has_all_groups(v))
        return key->name;
    buf_clear(id);
    buf_add_slice(id, key->group);
    buf_add_byte(id, '/');
    buf_add_slice(id, key->name);
    return buf_slice(id);
}

/* False: an item of this id cannot be in view. */
static bool stream_config_key_of(const struct config_view *v, struct slice id, struct config_id *ret)
{
    *ret = (struct config_id){v->key.ns, v->key.group, id};
    if (has_all_groups(v)) {
        const uint8_t *slash = id.size ? memchr(id.data, '/', id.size) : NULL; /* names have none */
        if (!slash)
            return false;
        size_t n = (size_t)(slash - id.data);
        ret->group = slice_of(id.data, n);
        ret->name = slice_of(slash + 1, id.size - n - 1);
    }
    if (!v->is_prefix)
        return slice_equal(id, v->key.name);
    return ret->name.size >= v->key.name.size &&
           (!v->key.name.size || memcmp(ret->name.data, v->key.name.data, v->key.name.size) == 0);
}

static const struct config_item *stream_config_find(const struct config_view *v, struct slice id)
{
    struct config_id key;
    return stream_config_key_of(v, id, &key) ? config_find(config_of(v), &key) : NULL;
}

static struct stream_release_id release_of(const struct config_item *item, uint64_t seq)
{
    return (struct stream_release_id){{item->ns, item->group, item->name}, item->create_revision, seq};
}

/* --- who gets what ----------------------------------------------------------------------------------- */

static void note_gray(struct config_view *v, const struct config_item *item, struct slice id)
{
    stream_forms_note(&v->forms, id, item && item->head->gray.count);
}

struct choice {
    const struct config_view *view;
    const struct registry_subscriber *who;
    struct slice address;
};

static uint64_t stream_config_choose(void *arg, struct slice id)
{
    const struct choice *c = arg;
    const struct config_item *item = stream_config_find(c->view, id);
    return item ? config_choose(item, &c->who->labels, c->address, c->who->client_id) : 0;
}

static uint32_t config_variant(void *view, const struct registry_subscriber *who)
{
    struct config_view *v = view;
    struct choice choice = {v, who, gray_address(who->peer)};
    return stream_forms_number(&v->forms, stream_config_choose, &choice);
}

static bool config_is_personal(const void *view)
{
    return stream_forms_any(&((const struct config_view *)view)->forms);
}

static uint64_t chosen(const struct config_view *v, const struct config_item *item, struct slice id,
                       uint32_t variant)
{
    uint64_t seq;
    if (stream_forms_seq(&v->forms, variant, id, &seq))
        return seq;
    return item->head->is_deleted ? 0 : item->head->seq;
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

static void stream_config_on_ready(struct stream_fetch *w)
{
    struct fetch *fetch = container_of(w, struct fetch, fetch);
    struct config_view *v = fetch->view;
    bool was_lacking = !list_is_empty(&v->lacked);
    list_remove(&fetch->link);
    mem_free(fetch);
    v->last.is_known = false;
    if (was_lacking && list_is_empty(&v->lacked))
        stream_topic_ready(v->topic);
}

static void fetch_for(struct config_view *v, struct link *list, const struct stream_release_id *id)
{
    struct fetch *fetch = mem_new(sizeof *fetch);
    fetch->fetch.ready = stream_config_on_ready;
    fetch->view = v;
    list_add_last(list, &fetch->link);
    stream_release_fetch(v->server->releases, &fetch->fetch, id);
}

static void drop_fetches(struct link *list)
{
    struct link *l;
    while ((l = list_take_first(list))) {
        struct fetch *fetch = container_of(l, struct fetch, link);
        stream_release_fetch_cancel(&fetch->fetch);
        mem_free(fetch);
    }
}

/* One of an item that has changed. */
static void look_for(struct config_view *v, struct untold *u, const struct config_item *item, uint64_t seq)
{
    struct stream_release_id id = release_of(item, seq);
    stream_release_doubt(v->server->releases, &id);
    if (!stream_releases_get(v->server->releases, &id))
        fetch_for(v, &u->fetches, &id);
}

static void look_for_all(struct config_view *v, struct untold *u, const struct config_item *item)
{
    const struct config_head *head = item->head;
    if (!head->is_deleted && head->size <= RELEASE_INLINE_MAX)
        look_for(v, u, item, head->seq);
    for (size_t i = 0; i < head->gray.count; i++)
        look_for(v, u, item, head->gray.list[i].seq);
}

/* --- changes ---------------------------------------------------------------------------------------------
 */

static void get_busy(struct config_view *v)
{
    if (link_is_in_list(&v->unsettled))
        return;
    list_add_last(&v->server->unsettled, &v->unsettled);
    v->busy_since_ms = stream_now_ms(v->server);
    v->calm = v->seen = v->shown;
}

/* A change is told once a batch: of those of an item only the last has a revision here. So they count from
 * the end of the last turn, or from the last revision that the view was said to have. */
static struct untold *note_untold(struct config_view *v, struct slice id, int64_t revision)
{
    struct untold *u = strmap_get(&v->untold, id);
    if (!u) {
        u = mem_new(sizeof *u);
        u->from = (v->seen > v->shown ? v->seen : v->shown) + 1;
        u->since_ms = stream_now_ms(v->server);
        list_init(&u->fetches);
        if (!v->untold.count)
            v->untold_from = u->from;
        strmap_put(&v->untold, id, u);
    }
    drop_fetches(&u->fetches); /* for what is old */
    u->revision = revision > u->from ? revision : u->from;
    return u;
}

static void on_changed(struct config_watch *w, const struct config_item *item, const struct config_id *key)
{
    struct config_view *v = container_of(w, struct config_view, watch);
    struct slice id = id_of(v, &v->id, key);
    note_gray(v, item, id);
    v->last.is_known = false;
    get_busy(v);
    v->has_news = true;
    struct untold *u = note_untold(v, id, item ? item->revision : config_absent_revision(config_of(v)));
    stream_topic_outdated(v->topic);
    stream_releases_settle(v->server->releases, key, item);
    if (item && !list_is_empty(stream_topic_readers(v->topic)))
        look_for_all(v, u, item);
}

static bool may_be_told(const struct config_view *v, const struct untold *u, uint64_t now_ms)
{
    return list_is_empty(&u->fetches) || (v->is_overtaken && now_ms - u->since_ms >= WAIT_MS);
}

/* The first revision that cannot be told. */
static int64_t end_of_settled(const struct config_view *v, uint64_t now_ms)
{
    int64_t end = INT64_MAX;
    struct slice id;
    void *value;
    for (size_t at = 0; strmap_next(&v->untold, &at, &id, &value);) {
        const struct untold *u = value;
        if (u->from < end && !may_be_told(v, u, now_ms))
            end = u->from;
    }
    return end;
}

struct change {
    struct slice id; /* as in untold */
    struct untold *untold;
    int64_t revision;
};

static int compare_changes(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    if (x->revision != y->revision)
        return x->revision < y->revision ? -1 : 1;
    return slice_compare(x->id, y->id);
}

/* What has changed behind the end as well stays untold with that. */
static void stream_config_tell(struct config_view *v, const struct change *c, int64_t end, uint64_t now_ms)
{
    struct untold *u = c->untold;
    stream_topic_changed(v->topic, c->id, c->revision);
    if (!list_is_empty(&u->fetches))
        v->referred_ms = now_ms;
    if (u->revision >= end) {
        u->from = end;
        u->since_ms = now_ms;
        return;
    }
    drop_fetches(&u->fetches);
    strmap_remove(&v->untold, c->id);
    mem_free(u);
}

/* Tells what lies before the first change whose content is still to come. */
static void stream_config_settle(struct config_view *v, uint64_t now_ms)
{
    int64_t end = end_of_settled(v, now_ms);
    if (!v->untold.count || end == v->untold_from)
        return;
    struct change *list = mem_new(v->untold.count * sizeof *list);
    size_t count = 0;
    struct slice id;
    void *value;
    for (size_t at = 0; strmap_next(&v->untold, &at, &id, &value);) {
        struct untold *u = value;
        if (u->from < end)
            list[count++] = (struct change){id, u, u->revision < end ? u->revision : end - 1};
    }
    qsort(list, count, sizeof *list, compare_changes);
    for (size_t i = 0; i < count; i++)
        stream_config_tell(v, &list[i], end, now_ms);
    mem_free(list);
    v->untold_from = end;
}

/* It is calm when all is told, and with its contents for a while. */
static void turn(struct config_view *v, uint64_t now_ms)
{
    bool was_overtaken = v->is_overtaken;
    if (v->has_news && v->busy_turns < OVERTAKEN_TURNS)
        v->busy_turns++;
    v->has_news = false;
    v->is_overtaken = v->busy_turns == OVERTAKEN_TURNS && now_ms - v->busy_since_ms >= WAIT_MS;
    stream_config_settle(v, now_ms);
    v->seen = config_revision(config_of(v));
    if (!v->untold.count && (!v->is_overtaken || now_ms - v->referred_ms >= WAIT_MS)) {
        list_remove(&v->unsettled);
        v->busy_turns = 0;
        v->is_overtaken = false;
    } else if (v->is_overtaken && !was_overtaken) {
        stream_topic_ready(v->topic); /* who has waited for it waits no longer */
    }
}

void stream_config_turn(struct stream_server *s)
{
    uint64_t now_ms = stream_now_ms(s);
    LIST_FOR_EACH_SAFE (l, &s->unsettled)
        turn(container_of(l, struct config_view, unsettled), now_ms);
}

/* --- life ------------------------------------------------------------------------------------------------
 */

static bool collect_gray(void *arg, const struct config_item *item)
{
    struct config_view *v = arg;
    struct config_id key = {item->ns, item->group, item->name};
    note_gray(v, item, id_of(v, &v->id, &key));
    return true;
}

static struct config_view *new_view(struct stream_server *s, struct stream_topic *topic, struct slice ns,
                                    struct slice group, struct slice name, bool is_prefix)
{
    struct config_view *v = mem_new(sizeof *v);
    v->server = s;
    v->topic = topic;
    v->is_prefix = is_prefix;
    buf_reserve(&v->texts, ns.size + group.size + name.size + 1);
    v->key.ns = stream_ask_moved(&v->texts, ns);
    v->key.group = stream_ask_moved(&v->texts, group);
    v->key.name = stream_ask_moved(&v->texts, name);
    list_init(&v->lacked);
    v->shown = config_revision(config_of(v));
    v->watch.changed = on_changed;
    config_watch(config_of(v), &v->watch, &v->key, is_prefix);
    if (is_prefix)
        config_each(config_of(v), v->key.ns, v->key.group, v->key.name, (struct slice){0}, collect_gray, v);
    else
        note_gray(v, config_find(config_of(v), &v->key), v->key.name);
    return v;
}

static void config_close(void *view)
{
    struct config_view *v = view;
    struct slice id;
    void *value;
    config_unwatch(&v->watch);
    drop_fetches(&v->lacked);
    for (size_t at = 0; strmap_next(&v->untold, &at, &id, &value);) {
        drop_fetches(&((struct untold *)value)->fetches);
        mem_free(value);
    }
    stream_forms_done(&v->forms);
    list_remove(&v->unsettled);
    strmap_done(&v->untold);
    strmap_done(&v->tried);
    buf_done(&v->text);
    buf_done(&v->texts);
    buf_done(&v->id);
    mem_free(v);
}

static int64_t config_reached(void *owner)
{
    return config_revision(((struct stream_server *)owner)->options.config);
}

static int64_t view_revision(const void *view)
{
    struct config_view *v = (struct config_view *)(uintptr_t)view; /* it remembers what it said */
    int64_t now = config_revision(config_of(v));
    if (v->untold.count && v->untold_from - 1 < now)
        now = v->untold_from - 1;
    if (now > v->shown)
        v->shown = now;
    return v->shown;
}

/* --- items -----------------------------------------------------------------------------------------------
 */

static bool config_begin(void *view)
{
    struct config_view *v = view;
    v->inlined = 0;
    v->lacks = false;
    return list_is_empty(&v->lacked) && (!v->untold.count || v->is_overtaken);
}

static bool config_end(void *view)
{
    struct config_view *v = view;
    if (!v->lacks && (!v->is_overtaken || v->tried.count > TRIED_MAX)) /* else others are at it */
        strmap_done(&v->tried);
    return !v->lacks;
}

/* Of the frame that is being made. True: it was wished for already, and is gone again. */
static bool lack(struct config_view *v, const struct config_item *item, struct slice id, uint64_t seq,
                 bool may_refer)
{
    struct stream_release_id release = release_of(item, seq);
    struct buf *text = &v->text;
    buf_clear(text);
    buf_add_slice(text, id);
    buf_add(text, &seq, sizeof seq);
    if (may_refer && strmap_get(&v->tried, buf_slice(text)))
        return true;
    strmap_put(&v->tried, buf_slice(text), v);
    v->lacks = true;
    fetch_for(v, &v->lacked, &release);
    return false;
}

static void write_item(const struct config_view *v, const struct config_item *item, struct slice id,
                       uint64_t seq, const struct stream_release *release, struct json_writer *w)
{
    const struct config_head *head = item->head;
    jw_open(w, '{');
    jw_key(w, "id");
    jw_string(w, id);
    jw_key(w, "name");
    jw_string(w, item->name);
    if (has_all_groups(v)) {
        jw_key(w, "group");
        jw_string(w, item->group);
    }
    jw_key(w, "seq");
    jw_uint(w, seq);
    jw_key(w, "revision");
    jw_int(w, item->revision);
    if (release)
        jw_raw(w, release->members);
    else
        stream_release_write(head->digest.md5, head->format, head->size, head->title, w);
    jw_close(w, '}');
}

static int64_t config_item_write(const void *view, struct slice id, uint32_t variant, struct json_writer *w)
{
    struct config_view *v = (struct config_view *)(uintptr_t)view; /* it remembers what it lacks */
    const struct config_item *item = stream_config_find(v, id);
    uint64_t seq = item ? chosen(v, item, id, variant) : 0;
    if (!seq)
        return 0;
    const struct config_head *head = item->head;
    bool is_live = seq == head->seq && !head->is_deleted;
    bool is_large = is_live && head->size > RELEASE_INLINE_MAX, is_full = v->inlined > INLINE_BYTES_MAX;
    bool is_late = is_live && v->is_overtaken && item->revision > v->calm;
    struct stream_release_id rid = release_of(item, seq);
    const struct stream_release *release = is_large ? NULL : stream_releases_get(v->server->releases, &rid);
    if (release && (release->is_missing || release->is_deleted))
        return 0;
    if (!w)
        return item->revision;
    if (!release && !is_large && !is_late && !(is_live && is_full) && !lack(v, item, id, seq, is_live)) {
        v->inlined += is_live ? head->size : RELEASE_INLINE_MAX;
        return item->revision;
    }
    if (release && is_full && is_live)
        release = NULL;
    if (release)
        v->inlined += release->members.size;
    write_item(v, item, id, seq, release, w);
    return item->revision;
}

/* The seq says it all within the life of an item; without one, the revision must be the same. */
static bool config_is_known(const void *view, struct slice id, uint32_t variant,
                            const struct stream_known *known)
{
    const struct config_view *v = view;
    const struct config_item *item = stream_config_find(v, id);
    if (!item)
        return false;
    if (!known->seq)
        return !stream_forms_have(&v->forms, id) && known->revision == item->revision;
    return known->seq == chosen(v, item, id, variant) && known->revision >= item->create_revision;
}

/* Thousands ask between two changes. */
static void config_state(const void *view, uint32_t variant, uint64_t ret_state[2])
{
    struct config_view *v = (struct config_view *)(uintptr_t)view; /* it remembers the answer */
    if (!v->last.is_known || v->last.variant != variant) {
        const struct config_item *item = config_find(config_of(v), &v->key);
        uint64_t seq = item ? chosen(v, item, v->key.name, variant) : 0;
        bool is_shown = seq && config_item_write(view, v->key.name, variant, NULL);
        v->last.is_known = true;
        v->last.variant = variant;
        v->last.state[0] = is_shown ? (uint64_t)item->create_revision : 0;
        v->last.state[1] = is_shown ? seq : 0;
    }
    memcpy(ret_state, v->last.state, sizeof v->last.state);
}

/* --- who looks, one by one --------------------------------------------------------------------------------
 */

struct subscriber {
    struct config_watch watch;
    struct config_subscriber subscriber;
    const struct config_view *view;
    uint64_t seq;     /* of config: what is on its way */
    int64_t revision; /* of configs: likewise; 0 = nothing is */
};

static void look_changed(struct config_watch *w, const struct config_item *item, const struct config_id *key)
{
    (void)w, (void)item, (void)key; /* the view has heard it */
}

static void *config_attach(void *view, const struct registry_subscriber *who)
{
    const struct config_view *v = view;
    struct subscriber *l = mem_new(sizeof *l);
    l->view = v;
    l->subscriber = (struct config_subscriber){
        .client_id = who->client_id, .peer = who->peer, .transport = who->transport, .labels = who->labels};
    l->watch.changed = look_changed;
    l->watch.subscriber = &l->subscriber;
    config_watch(config_of(v), &l->watch, &v->key, v->is_prefix);
    return l;
}

static void config_detach(void *subscriber)
{
    struct subscriber *l = subscriber;
    config_unwatch(&l->watch);
    mem_free(l);
}

static void subscriber_on_sent(void *subscriber, const void *view, uint32_t variant, int64_t revision)
{
    struct subscriber *l = subscriber;
    uint64_t state[2] = {0, 0};
    if (!l->view->is_prefix)
        config_state(view, variant, state);
    l->revision = revision;
    l->seq = state[1];
}

static void subscriber_on_written(void *subscriber)
{
    struct subscriber *l = subscriber;
    if (l->revision && l->view->is_prefix)
        config_sent_all(&l->watch, l->revision);
    else if (l->revision && l->seq)
        config_sent(&l->watch, &l->view->key, l->seq);
    l->revision = 0;
}

static int subscriber_on_applied(void *subscriber, struct slice id, uint64_t seq, bool is_ok,
                                 struct slice error)
{
    struct subscriber *l = subscriber;
    struct config_id key;
    if (!stream_config_key_of(l->view, id, &key) || !seq || seq > CONFIG_SEQ_MAX)
        return ERR_INVALID;
    config_applied(&l->watch, &key, seq, is_ok, error);
    return OK;
}

/* --- config ----------------------------------------------------------------------------------------------
 */

static int config_key_of(const struct stream_frame *ask, struct buf *ret_key, char *error, size_t error_size)
{
    if (stream_frame_has(ask, STREAM_HAS_PREFIX) || stream_frame_has(ask, STREAM_HAS_FILTER))
        return stream_ask_refuse(error, error_size,
                                 "subscribe: config has a name, and neither prefix nor filter");
    int err = stream_ask_check(ask, false, error, error_size);
    if (err)
        return err;
    stream_ask_add_part(ret_key, stream_ask_ns(ask));
    stream_ask_add_part(ret_key, stream_ask_group(ask));
    stream_ask_add_part(ret_key, ask->name);
    return 0;
}

static void *config_open(void *owner, struct stream_topic *topic, const struct stream_frame *ask)
{
    return new_view(owner, topic, stream_ask_ns(ask), stream_ask_group(ask), ask->name, false);
}

static int64_t config_last_change(const void *view)
{
    const struct config_view *v = view;
    const struct config_item *item = config_find(config_of(v), &v->key);
    return item ? item->revision : config_absent_revision(config_of(v));
}

static void config_each_id(const void *view, void (*fn)(void *arg, struct slice id), void *arg)
{
    const struct config_view *v = view;
    if (config_find(config_of(v), &v->key))
        fn(arg, v->key.name);
}

const struct stream_source stream_config_source = {
    .kind = "config",
    .key = config_key_of,
    .open = config_open,
    .close = config_close,
    .reached = config_reached,
    .revision = view_revision,
    .changed = config_last_change,
    .knows_past = true,
    .variant = config_variant,
    .is_personal = config_is_personal,
    .state = config_state,
    .begin = config_begin,
    .end = config_end,
    .each = config_each_id,
    .item = config_item_write,
    .is_known = config_is_known,
    .attach = config_attach,
    .detach = config_detach,
    .sent = subscriber_on_sent,
    .written = subscriber_on_written,
    .applied = subscriber_on_applied,
};

/* --- configs ---------------------------------------------------------------------------------------------
 */

static int configs_key_of(const struct stream_frame *ask, struct buf *ret_key, char *error, size_t error_size)
{
    if (stream_frame_has(ask, STREAM_HAS_NAME) || stream_frame_has(ask, STREAM_HAS_FILTER))
        return stream_ask_refuse(error, error_size,
                                 "subscribe: configs has a prefix, and neither name nor filter");
    int err = stream_ask_check(ask, true, error, error_size);
    if (err)
        return err;
    stream_ask_add_part(ret_key, stream_ask_ns(ask));
    stream_ask_add_part(ret_key, stream_ask_group(ask));
    stream_ask_add_part(ret_key, ask->prefix);
    return 0;
}

static void *configs_open(void *owner, struct stream_topic *topic, const struct stream_frame *ask)
{
    return new_view(owner, topic, stream_ask_ns(ask), stream_ask_group(ask), ask->prefix, true);
}

static bool note_revision(void *arg, const struct config_item *item)
{
    int64_t *latest = arg;
    if (item->revision > *latest)
        *latest = item->revision;
    return true;
}

static int64_t configs_last_change(const void *view)
{
    const struct config_view *v = view;
    int64_t latest = config_absent_revision(config_of(v));
    config_each(config_of(v), v->key.ns, v->key.group, v->key.name, (struct slice){0}, note_revision,
                &latest);
    return latest;
}

struct walk {
    const struct config_view *view;
    struct buf id;
    void (*fn)(void *arg, struct slice id);
    void *arg;
};

static bool walk_one(void *arg, const struct config_item *item)
{
    struct walk *walk = arg;
    struct config_id key = {item->ns, item->group, item->name};
    walk->fn(walk->arg, id_of(walk->view, &walk->id, &key));
    return true;
}

static void configs_each_id(const void *view, void (*fn)(void *arg, struct slice id), void *arg)
{
    const struct config_view *v = view;
    struct walk walk = {.view = v, .fn = fn, .arg = arg};
    config_each(config_of(v), v->key.ns, v->key.group, v->key.name, (struct slice){0}, walk_one, &walk);
    buf_done(&walk.id);
}

const struct stream_source stream_configs_source = {
    .kind = "configs",
    .key = configs_key_of,
    .open = configs_open,
    .close = config_close,
    .reached = config_reached,
    .revision = view_revision,
    .changed = configs_last_change,
    .knows_past = true,
    .variant = config_variant,
    .is_personal = config_is_personal,
    .begin = config_begin,
    .end = config_end,
    .each = configs_each_id,
    .item = config_item_write,
    .is_known = config_is_known,
    .attach = config_attach,
    .detach = config_detach,
    .sent = subscriber_on_sent,
    .written = subscriber_on_written,
    .applied = subscriber_on_applied,
};
