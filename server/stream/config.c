/* SPDX-License-Identifier: Apache-2.0
 * Configurations as topics: the sources `config` (one item) and `configs` (the items of a scope, scope.h). Frames
 * of `config` have "absent":true while the client has no release: there is none, or it is deleted for the client.
 *
 * The heads of configurations are in memory; their contents are in the store. The view fetches a content
 * (release.h) before it reports the change to its topic. One changed item goes this way:
 *
 *   1. on_changed: the head changes. The item becomes pending, and fetches of its contents start.
 *   2. on_fetch_ready: a content was read.
 *   3. config_view_flush, each turn: changes whose contents are here are reported, oldest first
 *      (stream_topic_changed). The item is no longer pending.
 *   4. config_item_write: the topic makes a frame for its readers; the contents go inline.
 *
 * A view is in one of three states:
 *
 *   IDLE     nothing is pending; the view is not in the server's list
 *   BUSY     it is in server->busy_views; some change is pending, no frame is made
 *   LAGGING  busy, and changes come faster than contents can be read; frames are made all the same
 *
 *   state    event                                  what the view does                            next
 *   -------  -------------------------------------  --------------------------------------------  -------
 *   IDLE     an item changes                        drops encoded frames, starts fetches          BUSY
 *   any      a pending item changes again           cancels the superseded fetches, starts new    same
 *            while its fetch is under way           ones; the item keeps its place (`from`)
 *   BUSY     a fetch ends                           next turn: reports what precedes the oldest   BUSY
 *                                                   change whose content is still not here
 *   BUSY     a reader needs a frame                 nothing is sent (STREAM_WAIT)                 BUSY
 *   any      a frame needs a content that is not    starts a fetch; the frame is void             same
 *            here (evicted, or never fetched)       (STREAM_WAIT) until the content is read
 *   BUSY     a turn ends with nothing pending       -                                             IDLE
 *   BUSY     LAGGING_TURNS turns had changes, and   wakes the readers that waited                 LAGGING
 *            it has been busy for WAIT_MS
 *   LAGGING  a reader needs a frame                 sends the heads as they are now; a changed    LAGGING
 *                                                   item without content goes by reference
 *   LAGGING  a change is pending for WAIT_MS        reports it without its content                LAGGING
 *   LAGGING  nothing is pending, and for WAIT_MS    -                                             IDLE
 *            every report had its content
 *
 * So when a change comes while a fetch is under way, the old content is not sent. The state between is
 * skipped. The item is reported with the newest content as soon as that is read.
 *
 * Invariants. The view's revision is the one before the first pending change: it only grows, and all changes
 * up to it were reported. A reader sees only published states, in order, and always the last one. In BUSY a
 * frame is of one revision, with all contents. In LAGGING an item may be newer than its frame's revision; it
 * comes again when that change is reported.
 *
 * By reference: the item has its seq and size but no content, and the client requests it over HTTP. This
 * happens when
 *   - the content has more than RELEASE_INLINE_MAX bytes,
 *   - the frame has INLINE_BYTES_MAX bytes of contents already,
 *   - the content was fetched for a frame and evicted again before the frame was made,
 *   - the view is LAGGING (above).
 * A gray release never goes by reference, because the head has nothing to refer to it by: its frame waits.
 *
 * Gray rules: a form (topic.h's variant) is the list of releases that a client gets of the items with rules.
 * The form is chosen anew for each frame. */
#include "server/stream/form.h"
#include "server/stream/private.h"

#include <stdlib.h>
#include <string.h>

enum {
    INLINE_BYTES_MAX = 8 << 20, /* of contents in one snapshot, or in one difference */
    ATTEMPTS_MAX = 65536,       /* fetches for frames that are remembered while a view is lagging */
    WAIT_MS = 100,              /* how long a change waits for its content while the view is lagging */
    LAGGING_TURNS = 8,          /* turns with changes, until a busy view is lagging */
};

struct config_view {
    struct config_watch watch;
    struct stream_server *server;
    struct stream_topic *topic;
    struct buf key_memory;
    struct config_id key;      /* of config; of configs what config_watch takes: empty = all, and a prefix */
    struct stream_scope scope; /* of configs */
    struct audience *audience; /* of configs: of all its readers */
    bool is_many;              /* configs */
    struct buf id;             /* scratch: an item's id */

    /* Changes that are not reported yet. */
    struct link busy;          /* in server->busy_views: the state is BUSY or LAGGING */
    struct strmap pending;     /* id -> struct pending_change */
    int64_t pending_from;      /* the least `from` of them */
    int64_t reported_revision; /* the greatest that view_revision returned */
    int64_t turn_revision;     /* busy: the config center's at the last turn; later changes are greater */
    int64_t idle_revision;     /* busy: reported_revision when the view was last idle */
    uint64_t busy_since_ms;    /* busy: when that began */
    uint64_t by_reference_ms;  /* when a change was last reported without its content */
    unsigned busy_turns;       /* busy: turns with changes, at most LAGGING_TURNS */
    bool has_changed;          /* since the last turn */
    bool is_lagging;

    /* The frame that is being made. */
    struct link frame_fetches; /* contents that frames lacked; those frames are void */
    size_t inline_bytes;       /* of contents in this frame */
    bool is_incomplete;        /* a fetch was started for this frame */
    struct strmap attempts;    /* id and seq of what was fetched for frames: by reference the next time */

    struct stream_forms forms; /* of the items with gray rules */
    struct buf attempt_key;    /* scratch */

    struct { /* of config: the last answer of config_state */
        bool is_valid;
        uint32_t variant;
        uint64_t state[2];
    } cached_state;
};

/* An item with one or more changes that the topic does not know of. */
struct pending_change {
    int64_t from;        /* its first change has this revision or a greater one */
    int64_t revision;    /* of its last change */
    uint64_t since_ms;   /* when its first change came */
    struct link fetches; /* struct fetch, of the last change's contents */
};

struct fetch {
    struct stream_fetch fetch;
    struct link link; /* in pending_change.fetches or view->frame_fetches */
    struct config_view *view;
};

static struct config *config_of(const struct config_view *v)
{
    return v->server->options.config;
}

/* --- names ------------------------------------------------------------------------------------------- */

static struct slice id_of(const struct config_view *v, struct buf *id, const struct config_id *key)
{
    return v->is_many ? stream_scope_id(&v->scope, id, key->ns, key->group, key->name) : key->name;
}

/* It is of this view, and its readers may read it. The reader of a list may read all of it. */
static bool sees(const struct config_view *v, const struct config_id *key)
{
    if (!v->is_many)
        return true;
    return stream_scope_fits(&v->scope, key->ns, key->group, key->name) &&
           guard_sees_config(v->audience, key->ns, key->group, key->name);
}

/* False: no item of this view can have this id. */
static bool stream_config_key_of(const struct config_view *v, struct slice id, struct config_id *ret)
{
    struct stream_name n;
    if (!v->is_many) {
        *ret = v->key;
        return slice_equal(id, v->key.name);
    }
    if (!stream_scope_split(&v->scope, id, &n))
        return false;
    *ret = (struct config_id){n.ns, n.group, n.name};
    return guard_sees_config(v->audience, n.ns, n.group, n.name);
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

/* --- forms: which client gets which release ---------------------------------------------------------- */

static void update_gray(struct config_view *v, const struct config_item *item, struct slice id)
{
    stream_forms_note(&v->forms, id, item && item->head->gray.count);
}

struct choice {
    const struct config_view *view;
    const struct registry_subscriber *subscriber;
    struct slice address;
};

static uint64_t stream_config_choose(void *arg, struct slice id)
{
    const struct choice *c = arg;
    const struct config_item *item = stream_config_find(c->view, id);
    return item ? config_choose(item, &c->subscriber->labels, c->address, c->subscriber->client_id) : 0;
}

static uint32_t config_variant(void *view, const struct registry_subscriber *subscriber)
{
    struct config_view *v = view;
    struct choice choice = {v, subscriber, gray_address(subscriber->peer)};
    return stream_forms_number(&v->forms, stream_config_choose, &choice);
}

static bool config_is_personal(const void *view)
{
    return stream_forms_any(&((const struct config_view *)view)->forms);
}

static uint64_t choose_seq(const struct config_view *v, const struct config_item *item, struct slice id,
                           uint32_t variant)
{
    uint64_t seq;
    if (stream_forms_seq(&v->forms, variant, id, &seq))
        return seq;
    return item->head->is_deleted ? 0 : item->head->seq;
}

/* --- fetching contents ------------------------------------------------------------------------------- */

static void on_fetch_ready(struct stream_fetch *w)
{
    struct fetch *fetch = container_of(w, struct fetch, fetch);
    struct config_view *v = fetch->view;
    bool was_waiting = !list_is_empty(&v->frame_fetches);
    list_remove(&fetch->link);
    mem_free(fetch);
    v->cached_state.is_valid = false;
    if (was_waiting && list_is_empty(&v->frame_fetches))
        stream_topic_ready(v->topic);
}

static void start_fetch(struct config_view *v, struct link *list, const struct stream_release_id *id)
{
    struct fetch *fetch = mem_new(sizeof *fetch);
    fetch->fetch.ready = on_fetch_ready;
    fetch->view = v;
    list_add_last(list, &fetch->link);
    stream_release_fetch(v->server->releases, &fetch->fetch, id);
}

static void cancel_fetches(struct link *list)
{
    struct link *l;
    while ((l = list_take_first(list))) {
        struct fetch *fetch = container_of(l, struct fetch, link);
        stream_release_fetch_cancel(&fetch->fetch);
        mem_free(fetch);
    }
}

/* Fetches one release of a changed item, unless it is here. */
static void fetch_if_absent(struct config_view *v, struct pending_change *p, const struct config_item *item,
                            uint64_t seq)
{
    struct stream_release_id id = release_of(item, seq);
    stream_release_forget_missing(v->server->releases, &id);
    if (!stream_releases_get(v->server->releases, &id))
        start_fetch(v, &p->fetches, &id);
}

static void fetch_contents(struct config_view *v, struct pending_change *p, const struct config_item *item)
{
    const struct config_head *head = item->head;
    if (!head->is_deleted && head->size <= RELEASE_INLINE_MAX)
        fetch_if_absent(v, p, item, head->seq);
    for (size_t i = 0; i < head->gray.count; i++)
        fetch_if_absent(v, p, item, head->gray.list[i].seq);
}

/* --- changes ----------------------------------------------------------------------------------------- */

static void mark_busy(struct config_view *v)
{
    if (link_is_in_list(&v->busy))
        return;
    list_add_last(&v->server->busy_views, &v->busy);
    v->busy_since_ms = stream_now_ms(v->server);
    v->idle_revision = v->turn_revision = v->reported_revision;
}

/* The config center notifies once a batch, with the revision of an item's last change only. So the first one
 * is taken to be just after the last turn, or after the last revision that view_revision returned. */
static struct pending_change *add_pending(struct config_view *v, struct slice id, int64_t revision)
{
    struct pending_change *p = strmap_get(&v->pending, id);
    if (!p) {
        p = mem_new(sizeof *p);
        p->from = (v->turn_revision > v->reported_revision ? v->turn_revision : v->reported_revision) + 1;
        p->since_ms = stream_now_ms(v->server);
        list_init(&p->fetches);
        if (!v->pending.count)
            v->pending_from = p->from;
        strmap_put(&v->pending, id, p);
    }
    cancel_fetches(&p->fetches); /* the release that they read is superseded */
    p->revision = revision > p->from ? revision : p->from;
    return p;
}

static void on_changed(struct config_watch *w, const struct config_item *item, const struct config_id *key)
{
    struct config_view *v = container_of(w, struct config_view, watch);
    if (!sees(v, key))
        return;
    struct slice id = id_of(v, &v->id, key);
    update_gray(v, item, id);
    v->cached_state.is_valid = false;
    mark_busy(v);
    v->has_changed = true;
    struct pending_change *p =
        add_pending(v, id, item ? item->revision : config_absent_revision(config_of(v)));
    stream_topic_drop_encodings(v->topic);
    stream_releases_drop_superseded(v->server->releases, key, item);
    if (item && !list_is_empty(stream_topic_readers(v->topic)))
        fetch_contents(v, p, item);
}

static bool can_report(const struct config_view *v, const struct pending_change *p, uint64_t now_ms)
{
    return list_is_empty(&p->fetches) || (v->is_lagging && now_ms - p->since_ms >= WAIT_MS);
}

/* The least revision that cannot be reported yet; INT64_MAX: all can. */
static int64_t find_report_end(const struct config_view *v, uint64_t now_ms)
{
    int64_t end = INT64_MAX;
    struct slice id;
    void *value;
    for (size_t at = 0; strmap_next(&v->pending, &at, &id, &value);) {
        const struct pending_change *p = value;
        if (p->from < end && !can_report(v, p, now_ms))
            end = p->from;
    }
    return end;
}

struct change {
    struct slice id; /* the key in view->pending */
    struct pending_change *pending;
    int64_t revision;
};

static int compare_changes(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    if (x->revision != y->revision)
        return x->revision < y->revision ? -1 : 1;
    return slice_compare(x->id, y->id);
}

/* Reports one change. An item that changed again at or after `end` is reported as of end - 1 and stays
 * pending. */
static void config_view_report(struct config_view *v, const struct change *c, int64_t end, uint64_t now_ms)
{
    struct pending_change *p = c->pending;
    stream_topic_changed(v->topic, c->id, c->revision);
    if (!list_is_empty(&p->fetches))
        v->by_reference_ms = now_ms;
    if (p->revision >= end) {
        p->from = end;
        p->since_ms = now_ms;
        return;
    }
    cancel_fetches(&p->fetches);
    strmap_remove(&v->pending, c->id);
    mem_free(p);
}

/* Reports, in the order of revisions, all changes before the oldest one whose content is not here. */
static void config_view_flush(struct config_view *v, uint64_t now_ms)
{
    int64_t end = find_report_end(v, now_ms);
    if (!v->pending.count || end == v->pending_from)
        return;
    struct change *list = mem_new(v->pending.count * sizeof *list);
    size_t count = 0;
    struct slice id;
    void *value;
    for (size_t at = 0; strmap_next(&v->pending, &at, &id, &value);) {
        struct pending_change *p = value;
        if (p->from < end)
            list[count++] = (struct change){id, p, p->revision < end ? p->revision : end - 1};
    }
    qsort(list, count, sizeof *list, compare_changes);
    for (size_t i = 0; i < count; i++)
        config_view_report(v, &list[i], end, now_ms);
    mem_free(list);
    v->pending_from = end;
}

/* The state transitions that belong to a turn; the table is at the top of this file. */
static void config_view_turn(struct config_view *v, uint64_t now_ms)
{
    bool was_lagging = v->is_lagging;
    if (v->has_changed && v->busy_turns < LAGGING_TURNS)
        v->busy_turns++;
    v->has_changed = false;
    v->is_lagging = v->busy_turns == LAGGING_TURNS && now_ms - v->busy_since_ms >= WAIT_MS;
    config_view_flush(v, now_ms);
    v->turn_revision = config_revision(config_of(v));
    if (!v->pending.count && (!v->is_lagging || now_ms - v->by_reference_ms >= WAIT_MS)) {
        list_remove(&v->busy);
        v->busy_turns = 0;
        v->is_lagging = false;
    } else if (v->is_lagging && !was_lagging) {
        stream_topic_ready(v->topic); /* wake the readers that got STREAM_WAIT */
    }
}

void stream_config_turn(struct stream_server *s)
{
    uint64_t now_ms = stream_now_ms(s);
    LIST_FOR_EACH_SAFE (l, &s->busy_views)
        config_view_turn(container_of(l, struct config_view, busy), now_ms);
}

/* --- life -------------------------------------------------------------------------------------------- */

static bool collect_gray(void *arg, const struct config_item *item)
{
    struct config_view *v = arg;
    struct config_id key = {item->ns, item->group, item->name};
    if (sees(v, &key))
        update_gray(v, item, id_of(v, &v->id, &key));
    return true;
}

static void take_one(struct config_view *v, const struct stream_frame *frame)
{
    struct slice ns = stream_subscribe_ns(frame), group = stream_subscribe_group(frame);
    buf_reserve(&v->key_memory, ns.size + group.size + frame->name.size + 1);
    v->key.ns = stream_subscribe_copy(&v->key_memory, ns);
    v->key.group = stream_subscribe_copy(&v->key_memory, group);
    v->key.name = stream_subscribe_copy(&v->key_memory, frame->name);
}

static void take_many(struct config_view *v, const struct stream_frame *frame)
{
    char error[240];
    int err = stream_scope_read(&v->scope, frame, error, sizeof error);
    (void)err; /* configs_key_of has read it before */
    v->is_many = true;
    v->key.ns = stream_scope_ns(&v->scope);
    v->key.group = stream_scope_group(&v->scope);
    v->key.name = glob_prefix(&v->scope.name);
    v->audience = audience_ref(frame->audience);
}

static struct config_view *new_view(struct stream_server *s, struct stream_topic *topic,
                                    const struct stream_frame *frame, bool is_many)
{
    struct config_view *v = mem_new(sizeof *v);
    v->server = s;
    v->topic = topic;
    if (is_many)
        take_many(v, frame);
    else
        take_one(v, frame);
    list_init(&v->frame_fetches);
    v->reported_revision = config_revision(config_of(v));
    v->watch.changed = on_changed;
    config_watch(config_of(v), &v->watch, &v->key, is_many);
    if (is_many)
        config_each(config_of(v), v->key.ns, v->key.group, v->key.name, (struct slice){0}, collect_gray, v);
    else
        update_gray(v, config_find(config_of(v), &v->key), v->key.name);
    return v;
}

static void config_close(void *view)
{
    struct config_view *v = view;
    struct slice id;
    void *value;
    config_unwatch(&v->watch);
    cancel_fetches(&v->frame_fetches);
    for (size_t at = 0; strmap_next(&v->pending, &at, &id, &value);) {
        cancel_fetches(&((struct pending_change *)value)->fetches);
        mem_free(value);
    }
    stream_forms_done(&v->forms);
    stream_scope_done(&v->scope);
    audience_unref(v->audience);
    list_remove(&v->busy);
    strmap_done(&v->pending);
    strmap_done(&v->attempts);
    buf_done(&v->attempt_key);
    buf_done(&v->key_memory);
    buf_done(&v->id);
    mem_free(v);
}

static int64_t config_reached(void *owner)
{
    return config_revision(((struct stream_server *)owner)->options.config);
}

static int64_t view_revision(const void *view)
{
    struct config_view *v = (struct config_view *)(uintptr_t)view; /* updates reported_revision */
    int64_t now = config_revision(config_of(v));
    if (v->pending.count && v->pending_from - 1 < now)
        now = v->pending_from - 1;
    if (now > v->reported_revision)
        v->reported_revision = now;
    return v->reported_revision;
}

/* --- items ------------------------------------------------------------------------------------------- */

static bool config_begin(void *view, size_t bytes)
{
    struct config_view *v = view;
    v->inline_bytes = bytes;
    v->is_incomplete = false;
    return list_is_empty(&v->frame_fetches) && (!v->pending.count || v->is_lagging);
}

static bool config_end(void *view)
{
    struct config_view *v = view;
    /* While the view is lagging, frames of other forms still need the attempts. */
    if (!v->is_incomplete && (!v->is_lagging || v->attempts.count > ATTEMPTS_MAX))
        strmap_done(&v->attempts);
    return !v->is_incomplete;
}

/* Starts a fetch for the frame that is being made, which is void then. True: instead of that, the item goes
 * by reference, because its content was fetched for a frame before and is evicted again. */
static bool fetch_for_frame(struct config_view *v, const struct config_item *item, struct slice id,
                            uint64_t seq, bool can_refer)
{
    struct stream_release_id release = release_of(item, seq);
    struct buf *text = &v->attempt_key;
    buf_clear(text);
    buf_add_slice(text, id);
    buf_add(text, &seq, sizeof seq);
    if (can_refer && strmap_get(&v->attempts, buf_slice(text)))
        return true;
    strmap_put(&v->attempts, buf_slice(text), v);
    v->is_incomplete = true;
    start_fetch(v, &v->frame_fetches, &release);
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
    if (v->scope.many_groups) {
        jw_key(w, "group");
        jw_string(w, item->group);
    }
    if (v->scope.many_namespaces) {
        jw_key(w, "namespace");
        jw_string(w, item->ns);
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
    struct config_view *v = (struct config_view *)(uintptr_t)view; /* starts fetches, counts inline_bytes */
    const struct config_item *item = stream_config_find(v, id);
    uint64_t seq = item ? choose_seq(v, item, id, variant) : 0;
    if (!seq)
        return 0;
    const struct config_head *head = item->head;
    bool is_live = seq == head->seq && !head->is_deleted;
    bool is_large = is_live && head->size > RELEASE_INLINE_MAX, is_full = v->inline_bytes > INLINE_BYTES_MAX;
    bool is_newer = is_live && v->is_lagging && item->revision > v->idle_revision;
    struct stream_release_id rid = release_of(item, seq);
    const struct stream_release *release = is_large ? NULL : stream_releases_get(v->server->releases, &rid);
    if (release && (release->is_missing || release->is_deleted))
        return 0;
    if (!w)
        return item->revision;
    if (!release && !is_large && !is_newer && !(is_live && is_full) &&
        !fetch_for_frame(v, item, id, seq, is_live)) {
        v->inline_bytes += is_live ? head->size : RELEASE_INLINE_MAX;
        return item->revision;
    }
    if (release && is_full && is_live)
        release = NULL;
    if (release)
        v->inline_bytes += release->members.size;
    write_item(v, item, id, seq, release, w);
    return item->revision;
}

/* Within the life of an item (since create_revision) the seq names the content. A client that gave no seq
 * knows the item if the revision is the same. */
static bool config_is_known(const void *view, struct slice id, uint32_t variant,
                            const struct stream_known *known)
{
    const struct config_view *v = view;
    const struct config_item *item = stream_config_find(v, id);
    if (!item)
        return false;
    if (!known->seq)
        return !stream_forms_have(&v->forms, id) && known->revision == item->revision;
    return known->seq == choose_seq(v, item, id, variant) && known->revision >= item->create_revision;
}

/* The answer is cached: thousands of readers request it between two changes. */
static void config_state(const void *view, uint32_t variant, uint64_t ret_state[2])
{
    struct config_view *v = (struct config_view *)(uintptr_t)view; /* fills cached_state */
    if (!v->cached_state.is_valid || v->cached_state.variant != variant) {
        const struct config_item *item = config_find(config_of(v), &v->key);
        uint64_t seq = item ? choose_seq(v, item, v->key.name, variant) : 0;
        bool is_shown = seq && config_item_write(view, v->key.name, variant, NULL);
        v->cached_state.is_valid = true;
        v->cached_state.variant = variant;
        v->cached_state.state[0] = is_shown ? (uint64_t)item->create_revision : 0;
        v->cached_state.state[1] = is_shown ? seq : 0;
    }
    memcpy(ret_state, v->cached_state.state, sizeof v->cached_state.state);
}

/* --- subscribers: deliveries, one by one ------------------------------------------------------------- */

struct subscriber {
    struct config_watch watch;
    struct config_subscriber subscriber;
    const struct config_view *view;
    uint64_t seq;     /* of config: the release that the socket has not taken yet */
    int64_t revision; /* of configs: the same for all its items; 0 = nothing is on its way */
};

static void ignore_change(struct config_watch *w, const struct config_item *item, const struct config_id *key)
{
    (void)w, (void)item, (void)key; /* the view's own watch handles it */
}

static bool subscriber_fits(const struct config_watch *w, const struct config_id *key)
{
    const struct subscriber *l =
        (const struct subscriber *)((uintptr_t)w - offsetof(struct subscriber, watch));
    return sees(l->view, key);
}

static void *config_attach(void *view, const struct registry_subscriber *subscriber)
{
    const struct config_view *v = view;
    struct subscriber *l = mem_new(sizeof *l);
    l->view = v;
    l->subscriber = (struct config_subscriber){.client_id = subscriber->client_id,
                                               .peer = subscriber->peer,
                                               .transport = subscriber->transport,
                                               .labels = subscriber->labels};
    l->watch.changed = ignore_change;
    l->watch.fits = subscriber_fits;
    l->watch.subscriber = &l->subscriber;
    config_watch(config_of(v), &l->watch, &v->key, v->is_many);
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
    if (!l->view->is_many)
        config_state(view, variant, state);
    l->revision = revision;
    l->seq = state[1];
}

static void subscriber_on_written(void *subscriber)
{
    struct subscriber *l = subscriber;
    if (l->revision && l->view->is_many)
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

/* --- config ------------------------------------------------------------------------------------------ */

static int config_key_of(const struct stream_frame *frame, struct buf *ret_key, char *error,
                         size_t error_size)
{
    if (stream_frame_has(frame, STREAM_HAS_PREFIX) || stream_frame_has(frame, STREAM_HAS_FILTER))
        return stream_subscribe_error(error, error_size,
                                      "subscribe: config needs a name and takes neither prefix nor filter");
    int err = stream_subscribe_check(frame, error, error_size);
    if (err)
        return err;
    stream_subscribe_add_part(ret_key, stream_subscribe_ns(frame));
    stream_subscribe_add_part(ret_key, stream_subscribe_group(frame));
    stream_subscribe_add_part(ret_key, frame->name);
    return 0;
}

static void *config_open(void *owner, struct stream_topic *topic, const struct stream_frame *frame)
{
    return new_view(owner, topic, frame, false);
}

static int64_t config_last_change(const void *view)
{
    const struct config_view *v = view;
    const struct config_item *item = config_find(config_of(v), &v->key);
    return item ? item->revision : config_absent_revision(config_of(v));
}

static bool config_each_id(const void *view, struct buf *place, size_t places,
                           bool (*fn)(void *arg, struct slice id), void *arg)
{
    const struct config_view *v = view;
    (void)place, (void)places;
    if (config_find(config_of(v), &v->key))
        (void)fn(arg, v->key.name);
    return false;
}

static void config_note(const void *view, uint32_t variant, struct json_writer *w)
{
    uint64_t state[2];
    config_state(view, variant, state);
    if (state[1])
        return;
    jw_key(w, "absent");
    jw_bool(w, true);
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
    .note = config_note,
    .is_known = config_is_known,
    .attach = config_attach,
    .detach = config_detach,
    .sent = subscriber_on_sent,
    .written = subscriber_on_written,
    .applied = subscriber_on_applied,
};

/* --- configs ----------------------------------------------------------------------------------------- */

static int configs_key_of(const struct stream_frame *frame, struct buf *ret_key, char *error,
                          size_t error_size)
{
    struct stream_scope scope = {0};
    if (stream_frame_has(frame, STREAM_HAS_FILTER))
        return stream_subscribe_error(error, error_size, "subscribe: configs takes no filter");
    int err = stream_scope_read(&scope, frame, error, error_size);
    stream_scope_done(&scope);
    if (err)
        return err;
    stream_scope_key(frame, ret_key);
    buf_add_byte(ret_key, stream_scope_is_selection(frame) ? 's' : 'l');
    stream_subscribe_add_audience(ret_key, frame->audience);
    return 0;
}

static struct audience *configs_audience(void *owner, const struct auth_who *who,
                                         const struct stream_frame *frame)
{
    const struct stream_server *s = owner;
    return stream_scope_is_selection(frame)
               ? guard_config_audience(s->options.identity, who, s->options.registry)
               : NULL;
}

static void configs_describe(const void *view, struct stream_frame *ret_frame)
{
    const struct config_view *v = view;
    *ret_frame = v->scope.frame;
    ret_frame->audience = v->audience;
}

static bool configs_depend_on_rights(const void *view)
{
    return ((const struct config_view *)view)->scope.is_selection;
}

static void *configs_open(void *owner, struct stream_topic *topic, const struct stream_frame *frame)
{
    return new_view(owner, topic, frame, true);
}

struct latest {
    const struct config_view *view;
    int64_t revision;
};

static bool note_revision(void *arg, const struct config_item *item)
{
    struct latest *latest = arg;
    const struct config_id key = {item->ns, item->group, item->name};
    if (item->revision > latest->revision && sees(latest->view, &key))
        latest->revision = item->revision;
    return true;
}

static int64_t configs_last_change(const void *view)
{
    const struct config_view *v = view;
    struct latest latest = {v, config_absent_revision(config_of(v))};
    config_each(config_of(v), v->key.ns, v->key.group, v->key.name, (struct slice){0}, note_revision,
                &latest);
    return latest.revision;
}

struct walk {
    const struct config_view *view;
    struct buf id;
    bool (*fn)(void *arg, struct slice id);
    void *arg;
};

static bool walk_item(void *arg, const struct config_item *item)
{
    struct walk *walk = arg;
    struct config_id key = {item->ns, item->group, item->name};
    return !sees(walk->view, &key) || walk->fn(walk->arg, id_of(walk->view, &walk->id, &key));
}

static bool configs_each_id(const void *view, struct buf *place, size_t places,
                            bool (*fn)(void *arg, struct slice id), void *arg)
{
    const struct config_view *v = view;
    struct walk walk = {.view = v, .fn = fn, .arg = arg};
    bool has_more = stream_config_walk(config_of(v), &v->scope, place, places, walk_item, &walk);
    buf_done(&walk.id);
    return has_more;
}

const struct stream_source stream_configs_source = {
    .kind = "configs",
    .key = configs_key_of,
    .open = configs_open,
    .close = config_close,
    .audience = configs_audience,
    .describe = configs_describe,
    .depends_on_rights = configs_depend_on_rights,
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
