/* SPDX-License-Identifier: Apache-2.0
 * The journal of events; see event_journal.h. */
#include "registry/event_journal.h"

#include "base/mutant.h"
#include "base/name.h"

enum { SEGMENTS_MAX = 64 /* that a service is believed to have */ };

struct pending_event {
    struct link of_service, of_all;
    int64_t revision, time_ms;
    struct journal_service *service;
    size_t size;
    char text[];
};

struct stored_segment {
    int64_t number, mod_revision, last, time_ms;
    uint32_t count, bytes;
    bool is_readable;
};

enum phase { PHASE_IDLE, PHASE_PENDING, PHASE_UNDER_WAY };

struct journal_service {
    struct slice prefix; /* behind the struct */
    struct link turn;    /* in journal.pending or journal.under_way, by phase */
    struct link all, changed, watches;
    struct link events; /* pending, by revision */
    size_t event_count;
    enum phase phase;
    uint64_t due_ms;
    struct stored_segment *segments; /* by number */
    size_t segment_count, segment_capacity;
    uint64_t generation; /* of segments */
    int64_t changed_revision;
};

struct journal {
    struct strmap by_prefix;
    struct link all; /* services; those that were reviewed last come last */
    struct link pending, under_way, changed;
    struct link events; /* pending ones of all services; the oldest first */
    size_t event_count, event_bytes;
    uint64_t dropped, generation;
    int64_t absent_revision; /* of the last change of a service that was forgotten */
};

static struct journal_service *find(const struct journal *j, struct slice prefix)
{
    return strmap_get(&j->by_prefix, prefix);
}

static struct journal_service *service_of(struct journal *j, struct slice prefix)
{
    struct journal_service *s = find(j, prefix);
    if (s)
        return s;
    s = mem_alloc(sizeof *s + prefix.size);
    *s = (struct journal_service){.generation = j->generation, .changed_revision = j->absent_revision};
    memcpy(s + 1, prefix.data, prefix.size);
    s->prefix = slice_of(s + 1, prefix.size);
    list_init(&s->watches);
    list_init(&s->events);
    strmap_put(&j->by_prefix, s->prefix, s);
    list_add_last(&j->all, &s->all);
    return s;
}

static size_t stored_count(const struct journal *j, const struct journal_service *s)
{
    return s->generation == j->generation ? s->segment_count : 0;
}

static void drop_if_unused(struct journal *j, struct journal_service *s)
{
    if (stored_count(j, s) || s->event_count || s->phase == PHASE_UNDER_WAY || !list_is_empty(&s->watches) ||
        link_is_in_list(&s->changed))
        return;
    if (s->changed_revision > j->absent_revision)
        j->absent_revision = s->changed_revision;
    list_remove(&s->turn);
    list_remove(&s->all);
    strmap_remove(&j->by_prefix, s->prefix);
    mem_free(s->segments);
    mem_free(s);
}

/* --- pending events ------------------------------------------------------------------------------------- */

static void free_event(struct journal *j, struct pending_event *e)
{
    list_remove(&e->of_service);
    list_remove(&e->of_all);
    e->service->event_count--;
    j->event_count--;
    j->event_bytes -= sizeof *e + e->size;
    mem_free(e);
}

static struct pending_event *first_of(const struct link *events)
{
    return list_is_empty(events) ? NULL : container_of(events->next, struct pending_event, of_service);
}

static void set_idle_if_empty(struct journal_service *s)
{
    if (s->event_count || s->phase != PHASE_PENDING)
        return;
    list_remove(&s->turn);
    s->phase = PHASE_IDLE;
}

static void set_pending(struct journal *j, struct journal_service *s, uint64_t due_ms)
{
    list_remove(&s->turn);
    list_add_last(&j->pending, &s->turn);
    s->phase = PHASE_PENDING;
    s->due_ms = due_ms;
}

static int64_t last_stored(const struct journal *j, const struct journal_service *s)
{
    int64_t last = 0;
    for (size_t i = 0; i < stored_count(j, s); i++)
        if (s->segments[i].last > last)
            last = s->segments[i].last;
    return last;
}

static void drop_oldest(struct journal *j)
{
    struct pending_event *e = container_of(j->events.next, struct pending_event, of_all);
    struct journal_service *s = e->service;
    free_event(j, e);
    j->dropped++;
    set_idle_if_empty(s);
    drop_if_unused(j, s);
}

void journal_add(struct journal *j, struct slice prefix, int64_t revision, int64_t time_ms, struct slice text,
                 uint64_t now_ms)
{
    struct journal_service *s = service_of(j, prefix);
    if (revision <= last_stored(j, s)) { /* a client of the etcd API wrote the key */
        drop_if_unused(j, s);
        return;
    }
    struct pending_event *e = mem_alloc(sizeof *e + text.size);
    *e = (struct pending_event){.revision = revision, .time_ms = time_ms, .service = s, .size = text.size};
    memcpy(e->text, text.data, text.size);
    list_add_last(&s->events, &e->of_service);
    list_add_last(&j->events, &e->of_all);
    s->event_count++;
    j->event_count++;
    j->event_bytes += sizeof *e + e->size;
    if (s->event_count > EVENTS_KEPT)
        free_event(j, first_of(&s->events));
    if (s->phase == PHASE_IDLE)
        set_pending(j, s, now_ms + EVENT_DELAY_MS);
    while (j->event_bytes > EVENT_PENDING_BYTES)
        drop_oldest(j);
}

void journal_drop(struct journal *j, struct slice prefix)
{
    struct journal_service *s = find(j, prefix);
    if (!s || s->phase == PHASE_UNDER_WAY)
        return;
    while (s->event_count)
        free_event(j, first_of(&s->events));
    set_idle_if_empty(s);
    drop_if_unused(j, s);
}

/* --- stored keys ---------------------------------------------------------------------------------------- */

void journal_begin_anew(struct journal *j)
{
    j->generation++; /* no service has stored keys now */
}

/* The service's prefix and the key's number; false: it is no segment's key. */
static bool parse_key(struct slice key, struct slice *ret_prefix, int64_t *ret_number)
{
    size_t prefix_size = strlen(EVENTS_PREFIX), slashes = 0;
    uint64_t number;
    if (key.size < prefix_size + 17)
        return false;
    for (size_t i = prefix_size; i < key.size - 16; i++)
        slashes += key.data[i] == '/';
    if (slashes != 3 || key.data[key.size - 17] != '/' ||
        name_parse_hex16(slice_of(key.data + key.size - 16, 16), &number) || number > INT64_MAX)
        return false;
    *ret_prefix = slice_of(key.data, key.size - 16);
    *ret_number = (int64_t)number;
    return true;
}

static struct stored_segment *segment_of(struct journal_service *s, int64_t number)
{
    size_t at = s->segment_count;
    while (at && s->segments[at - 1].number >= number)
        at--;
    if (at < s->segment_count && s->segments[at].number == number)
        return &s->segments[at];
    if (s->segment_count == SEGMENTS_MAX)
        return NULL;
    if (s->segment_count == s->segment_capacity) {
        s->segment_capacity = s->segment_capacity ? s->segment_capacity * 2 : 1;
        s->segments = mem_resize(s->segments, s->segment_capacity * sizeof *s->segments);
    }
    memmove(&s->segments[at + 1], &s->segments[at], (s->segment_count - at) * sizeof *s->segments);
    s->segment_count++;
    s->segments[at] = (struct stored_segment){.number = number};
    return &s->segments[at];
}

static void note_change(struct journal *j, struct journal_service *s, int64_t revision)
{
    s->changed_revision = revision;
    if (!link_is_in_list(&s->changed))
        list_add_last(&j->changed, &s->changed);
}

static void forget_stored_events(struct journal *j, struct journal_service *s)
{
    int64_t last = last_stored(j, s);
    struct pending_event *e;
    while ((e = first_of(&s->events)) && e->revision <= last)
        free_event(j, e);
    set_idle_if_empty(s);
}

static void enter_generation(struct journal *j, struct journal_service *s)
{
    if (s->generation != j->generation)
        s->segment_count = 0;
    s->generation = j->generation;
}

void journal_put(struct journal *j, struct slice key, struct slice value, int64_t mod_revision)
{
    struct slice prefix;
    int64_t number;
    struct event_segment read = {0};
    if (!parse_key(key, &prefix, &number))
        return;
    struct journal_service *s = service_of(j, prefix);
    enter_generation(j, s);
    struct stored_segment *segment = segment_of(s, number);
    if (segment) {
        segment->is_readable = event_segment_read(value, &read) == OK;
        segment->last = read.last;
        segment->time_ms = read.time_ms;
        segment->count = (uint32_t)(read.count < EVENTS_KEPT ? read.count : EVENTS_KEPT);
        segment->bytes = (uint32_t)value.size;
        segment->mod_revision = mod_revision;
    }
    note_change(j, s, mod_revision);
    if (!MUTANT(EVENTS_STORED_KEPT))
        forget_stored_events(j, s);
}

void journal_remove(struct journal *j, struct slice key, int64_t revision)
{
    struct slice prefix;
    int64_t number;
    struct journal_service *s = parse_key(key, &prefix, &number) ? find(j, prefix) : NULL;
    if (!s)
        return;
    for (size_t i = 0; i < stored_count(j, s); i++) {
        if (s->segments[i].number != number)
            continue;
        memmove(&s->segments[i], &s->segments[i + 1], (s->segment_count - i - 1) * sizeof *s->segments);
        s->segment_count--;
        break;
    }
    note_change(j, s, revision);
}

void journal_end(struct journal *j)
{
    struct link *l;
    while ((l = list_take_first(&j->changed))) {
        struct journal_service *s = container_of(l, struct journal_service, changed);
        LIST_FOR_EACH (at, &s->watches) {
            struct journal_watch *w = container_of(at, struct journal_watch, link);
            w->changed(w);
        }
        drop_if_unused(j, s);
    }
}

int64_t journal_changed(const struct journal *j, struct slice prefix)
{
    const struct journal_service *s = find(j, prefix);
    return s ? s->changed_revision : j->absent_revision;
}

void journal_watch(struct journal *j, struct journal_watch *w, struct slice prefix)
{
    w->service = service_of(j, prefix);
    list_add_last(&w->service->watches, &w->link);
}

void journal_unwatch(struct journal *j, struct journal_watch *w)
{
    if (!link_is_in_list(&w->link))
        return;
    list_remove(&w->link);
    drop_if_unused(j, w->service);
    w->service = NULL;
}

/* --- appends -------------------------------------------------------------------------------------------- */

static const struct stored_segment *last_segment(const struct journal *j, const struct journal_service *s)
{
    size_t count = stored_count(j, s);
    return count ? &s->segments[count - 1] : NULL;
}

bool journal_next(struct journal *j, uint64_t now_ms, struct journal_append *ret)
{
    if (list_is_empty(&j->pending))
        return false;
    struct journal_service *s = container_of(j->pending.next, struct journal_service, turn);
    if (s->due_ms > now_ms)
        return false;
    list_remove(&s->turn);
    list_add_last(&j->under_way, &s->turn);
    s->phase = PHASE_UNDER_WAY;
    const struct stored_segment *last = last_segment(j, s);
    *ret = (struct journal_append){.service = s, .prefix = s->prefix};
    if (last) {
        ret->last = last->number;
        ret->last_mod = last->mod_revision;
        ret->has_room =
            last->is_readable && last->count < EVENT_SEGMENT_COUNT && last->bytes < EVENT_SEGMENT_BYTES;
    }
    return true;
}

struct draft { /* the segment that is being written */
    int64_t number, last, time_ms;
    size_t count;
    struct buf events;
};

static void draft_end(struct draft *d, struct arena *a, struct journal_puts *puts)
{
    struct buf text = {0};
    const struct event_segment s = {d->last, d->time_ms, d->count, buf_slice(&d->events)};
    if (!d->count)
        return;
    event_segment_write(&s, &text);
    puts->list[puts->count++] =
        (struct journal_put){d->number, slice_of(arena_copy(a, text.data, text.size), text.size)};
    puts->bytes += text.size;
    buf_done(&text);
    buf_clear(&d->events);
    d->count = 0;
}

static void draft_add(struct draft *d, const struct pending_event *e)
{
    if (!d->count)
        d->number = e->revision;
    else
        buf_add_byte(&d->events, ',');
    buf_add(&d->events, e->text, e->size);
    d->last = e->revision;
    d->time_ms = e->time_ms;
    d->count++;
}

/* The number of the first stored key that is needed beside `written` new events. */
static int64_t first_kept(const struct journal *j, const struct journal_service *s, size_t written)
{
    size_t total = written, i = stored_count(j, s);
    while (i && total < EVENTS_KEPT)
        total += s->segments[--i].count;
    return stored_count(j, s) && i < stored_count(j, s) ? s->segments[i].number : INT64_MAX;
}

void journal_write(const struct journal *j, const struct journal_append *append, struct slice last_text,
                   struct arena *a, struct journal_puts *ret)
{
    const struct journal_service *s = append->service;
    struct event_segment before;
    struct draft d = {0};
    int64_t revision = 0;
    size_t written = s->event_count;
    *ret = (struct journal_puts){.list = arena_alloc(a, (s->event_count + 1) * sizeof *ret->list)};
    if (append->has_room && event_segment_read(last_text, &before) == OK) {
        d = (struct draft){append->last, before.last, before.time_ms, before.count, {0}};
        buf_add_slice(&d.events, before.events);
    }
    LIST_FOR_EACH (l, &s->events) {
        const struct pending_event *e = container_of(l, struct pending_event, of_service);
        bool is_full = d.count >= EVENT_SEGMENT_COUNT || d.events.size >= EVENT_SEGMENT_BYTES;
        if (is_full && e->revision != revision)
            draft_end(&d, a, ret);
        draft_add(&d, e);
        revision = e->revision;
    }
    draft_end(&d, a, ret);
    buf_done(&d.events);
    ret->first_kept = first_kept(j, s, written);
    if (ret->count && ret->list[0].number < ret->first_kept)
        ret->first_kept = ret->list[0].number; /* it is written again */
    ret->has_old = stored_count(j, s) && s->segments[0].number < ret->first_kept;
}

void journal_done(struct journal *j, uint64_t now_ms, uint64_t delay_ms)
{
    struct link *l;
    while ((l = list_take_first(&j->under_way))) {
        struct journal_service *s = container_of(l, struct journal_service, turn);
        s->phase = PHASE_IDLE;
        if (s->event_count)
            set_pending(j, s, now_ms + delay_ms);
        else
            drop_if_unused(j, s);
    }
}

uint64_t journal_wake_ms(const struct journal *j)
{
    return list_is_empty(&j->pending) ? UINT64_MAX
                                      : container_of(j->pending.next, struct journal_service, turn)->due_ms;
}

/* --- the whole ------------------------------------------------------------------------------------------ */

bool journal_review(struct journal *j, int64_t wall_ms, struct slice *ret_prefix, bool *ret_is_old)
{
    int64_t last_ms = 0;
    if (list_is_empty(&j->all))
        return false;
    struct journal_service *s = container_of(j->all.next, struct journal_service, all);
    list_remove(&s->all);
    list_add_last(&j->all, &s->all);
    for (size_t i = 0; i < stored_count(j, s); i++)
        if (s->segments[i].time_ms > last_ms)
            last_ms = s->segments[i].time_ms;
    *ret_prefix = s->prefix;
    *ret_is_old = stored_count(j, s) && !s->event_count && s->phase == PHASE_IDLE &&
                  (last_ms < wall_ms - EVENT_GONE_MS || j->by_prefix.count > EVENT_SERVICES_MAX);
    return true;
}

size_t journal_services(const struct journal *j)
{
    return j->by_prefix.count;
}

size_t journal_pending(const struct journal *j)
{
    return j->event_count;
}

uint64_t journal_dropped(const struct journal *j)
{
    return j->dropped;
}

struct journal *journal_new(void)
{
    struct journal *j = mem_new(sizeof *j);
    list_init(&j->all);
    list_init(&j->pending);
    list_init(&j->under_way);
    list_init(&j->changed);
    list_init(&j->events);
    return j;
}

void journal_free(struct journal *j)
{
    struct slice key;
    void *value;
    if (!j)
        return;
    while (!list_is_empty(&j->events))
        free_event(j, container_of(j->events.next, struct pending_event, of_all));
    for (size_t at = 0; strmap_next(&j->by_prefix, &at, &key, &value);) {
        mem_free(((struct journal_service *)value)->segments);
        mem_free(value);
    }
    strmap_done(&j->by_prefix);
    mem_free(j);
}
