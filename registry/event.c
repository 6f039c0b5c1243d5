/* SPDX-License-Identifier: Apache-2.0
 * Events: their causes, their JSON, segments; see event.h. */
#include "registry/event.h"

#include "base/name.h"

enum { REASON_MAX = 200 };

static const char *const names[EVENT_CAUSES] = {
#define EVENT(name, text, meaning) text,
#include "registry/event.def"
#undef EVENT
};

const char *event_cause_name(enum event_cause cause)
{
    return names[cause];
}

static bool find_cause(struct slice text, enum event_cause *ret_cause)
{
    for (int i = 0; i < EVENT_CAUSES; i++) {
        if (!slice_equal(text, slice_text(names[i])))
            continue;
        *ret_cause = (enum event_cause)i;
        return true;
    }
    return false;
}

/* --- causes -------------------------------------------------------------------------------------------- */

static enum event_cause cause_of_result(enum instance_state result)
{
    return result == INSTANCE_UP     ? EVENT_CHECK_PASSING
           : result == INSTANCE_WARN ? EVENT_CHECK_WARNING
           : result == INSTANCE_DOWN ? EVENT_CHECK_FAILING
                                     : EVENT_UPDATED; /* another check: it begins anew */
}

static enum event_cause cause_of_change(const struct instance *before, const struct instance *after)
{
    if (before->state != INSTANCE_LOST && after->state == INSTANCE_LOST)
        return EVENT_HEARTBEAT_LOST;
    if (before->state == INSTANCE_LOST && after->state != INSTANCE_LOST)
        return EVENT_REGISTERED_AGAIN;
    if (after->is_guarded && !before->is_guarded)
        return EVENT_GUARDED;
    if (before->session != after->session)
        return EVENT_REGISTERED_AGAIN;
    if (before->is_guarded && !after->is_guarded)
        return EVENT_UNGUARDED;
    if (before->check && after->check &&
        (before->check->result != after->check->result ||
         !slice_equal(before->check->output, after->check->output)))
        return cause_of_result(after->check->result);
    return before->state != after->state ? EVENT_STATE_CHANGED : EVENT_UPDATED;
}

/* A report for a TTL check is written though it changes nothing, if no holder has confirmed it. */
static bool is_same_document(const struct instance *before, const struct instance *after)
{
    struct buf texts[2] = {{0}, {0}};
    if (!before || !after || !before->check || !after->check)
        return false;
    instance_write(before, &texts[0]);
    instance_write(after, &texts[1]);
    bool is_same = slice_equal(buf_slice(&texts[0]), buf_slice(&texts[1]));
    buf_done(&texts[0]);
    buf_done(&texts[1]);
    return is_same;
}

static void derive_instance(const struct instance *before, const struct instance *after, struct event *e)
{
    if (before && after)
        e->cause = cause_of_change(before, after);
    else if (after)
        e->cause = EVENT_REGISTERED;
    else
        e->cause = before->state == INSTANCE_LOST ? EVENT_EXPIRED : EVENT_DEREGISTERED;
    if (before)
        e->from = before->state;
    if (after)
        e->state = after->state;
    bool is_result = e->cause >= EVENT_CHECK_PASSING && e->cause <= EVENT_CHECK_FAILING;
    if (is_result)
        e->reason = after->check->output;
}

static void derive_override(const struct override *before, const struct override *after, struct event *e)
{
    bool was_drain = before && before->is_drain, is_drain = after && after->is_drain;
    e->cause = is_drain && !was_drain   ? EVENT_DRAIN_STARTED
               : was_drain && !is_drain ? EVENT_DRAIN_ENDED
               : after                  ? EVENT_OVERRIDE_SET
                                        : EVENT_OVERRIDE_CLEARED;
    if (!after)
        return;
    e->has_enabled = after->has_enabled;
    e->is_enabled = after->is_enabled;
    e->has_weight = after->has_weight;
    e->weight = after->weight;
    e->state = after->has_state ? after->state : INSTANCE_STATES;
    e->reason = after->reason;
    e->author = after->author;
}

bool event_derive(const struct catalog_replaced *change, struct event *ret_event)
{
    struct event e = {.from = INSTANCE_STATES, .state = INSTANCE_STATES, .id = change->name->id};
    if (is_same_document(change->old_instance, change->instance))
        return false;
    if (change->old_instance || change->instance) {
        derive_instance(change->old_instance, change->instance, &e);
    } else if (change->old_override || change->override) {
        derive_override(change->old_override, change->override, &e);
    } else if (change->settings) {
        e.cause = EVENT_SETTINGS_CHANGED;
        e.author = change->settings->author;
    } else if (change->old_settings) {
        e.cause = EVENT_SETTINGS_DELETED;
    } else {
        return false;
    }
    *ret_event = e;
    return true;
}

/* --- JSON ---------------------------------------------------------------------------------------------- */

/* At most REASON_MAX bytes, not in the middle of a character. */
static struct slice cut(struct slice s)
{
    if (s.size <= REASON_MAX)
        return s;
    s.size = REASON_MAX;
    while (s.size && (s.data[s.size] & 0xc0) == 0x80)
        s.size--;
    return s;
}

static void add_state(struct json_writer *w, const char *key, enum instance_state state)
{
    if (state == INSTANCE_STATES)
        return;
    jw_key(w, key);
    jw_text(w, instance_state_name(state));
}

void event_write_members(const struct event *e, struct json_writer *w)
{
    document_add_number(w, "revision", e->revision);
    document_add_number(w, "time_ms", e->time_ms);
    jw_key(w, "cause");
    jw_text(w, names[e->cause]);
    document_add_text(w, "id", e->id);
    add_state(w, "from", e->from);
    add_state(w, "state", e->state);
    if (e->has_enabled) {
        jw_key(w, "enabled");
        jw_bool(w, e->is_enabled);
    }
    if (e->has_weight)
        document_add_number(w, "weight", e->weight);
    document_add_text(w, "reason", cut(e->reason));
    document_add_text(w, "author", e->author.name);
    document_add_text(w, "on_behalf_of", e->author.on_behalf_of);
}

void event_write(const struct event *e, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    event_write_members(e, &w);
    jw_close(&w, '}');
}

static void read_state(struct document_reader *r, const char *field, enum instance_state *ret_state)
{
    struct slice text = {0};
    *ret_state = INSTANCE_STATES;
    if (document_text(r, field, &text) && instance_state_find(text, ret_state) != OK)
        document_refuse(r, field, "is no state");
}

static int event_read(json_t *object, struct arena *a, struct event *ret)
{
    char error[200];
    struct slice cause = {0};
    int64_t weight = -1;
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, sizeof error);
    document_begin_value(&r, object);
    *ret = (struct event){0};
    document_number(&r, "revision", 1, INT64_MAX, &ret->revision);
    document_number(&r, "time_ms", 0, INT64_MAX, &ret->time_ms);
    document_text(&r, "cause", &cause);
    document_text(&r, "id", &ret->id);
    read_state(&r, "from", &ret->from);
    read_state(&r, "state", &ret->state);
    ret->has_enabled = document_take(&r, "enabled") != NULL;
    document_bool(&r, "enabled", &ret->is_enabled);
    document_number(&r, "weight", 0, INSTANCE_WEIGHT_MAX, &weight);
    ret->has_weight = weight >= 0;
    ret->weight = (uint16_t)(weight >= 0 ? weight : 0);
    document_text(&r, "reason", &ret->reason);
    document_text(&r, "author", &ret->author.name);
    document_text(&r, "on_behalf_of", &ret->author.on_behalf_of);
    if (!ret->revision || !find_cause(cause, &ret->cause))
        document_refuse(&r, "cause", "or the revision is missing, or is of a newer version");
    return document_end(&r);
}

/* --- segments ------------------------------------------------------------------------------------------ */

static bool take_number(struct slice *rest, const char *before, int64_t *ret_number)
{
    int64_t n = 0;
    size_t digits = 0;
    if (!name_take_prefix(rest, before))
        return false;
    for (; digits < rest->size && digits < 18 && rest->data[digits] >= '0' && rest->data[digits] <= '9';
         digits++)
        n = n * 10 + (rest->data[digits] - '0');
    *rest = slice_of(rest->data + digits, rest->size - digits);
    *ret_number = n;
    return digits > 0;
}

int event_segment_read(struct slice text, struct event_segment *ret)
{
    struct event_segment s;
    int64_t count;
    if (!take_number(&text, "{\"last\":", &s.last) || !take_number(&text, ",\"time_ms\":", &s.time_ms) ||
        !take_number(&text, ",\"count\":", &count) || !name_take_prefix(&text, ",\"events\":[") ||
        text.size < 2 || memcmp(text.data + text.size - 2, "]}", 2) != 0)
        return ERR_MALFORMED;
    s.count = (size_t)count;
    s.events = slice_of(text.data, text.size - 2);
    *ret = s;
    return OK;
}

void event_segment_write(const struct event_segment *s, struct buf *out)
{
    buf_addf(out, "{\"last\":%lld,\"time_ms\":%lld,\"count\":%zu,\"events\":[", (long long)s->last,
             (long long)s->time_ms, s->count);
    buf_add_slice(out, s->events);
    buf_add_text(out, "]}");
}

int event_segment_parse(struct slice text, struct arena *a, struct event **ret_list, size_t *ret_count)
{
    char error[200];
    json_t *root = NULL;
    int err = json_parse(text, &root, error, sizeof error);
    json_t *events = err ? NULL : json_object_get(root, "events");
    size_t count = json_array_size(events);
    struct event *list = arena_alloc(a, (count + 1) * sizeof *list);
    if (!err && !json_is_array(events))
        err = ERR_MALFORMED;
    for (size_t i = 0; !err && i < count; i++)
        err = event_read(json_array_get(events, i), a, &list[i]) ? ERR_MALFORMED : OK;
    json_decref(root);
    if (err)
        return err;
    *ret_list = list;
    *ret_count = count;
    return OK;
}

void event_add_prefix(struct buf *out, struct slice ns, struct slice group, struct slice service)
{
    const struct slice list[] = {ns, group, service};
    buf_add_text(out, EVENTS_PREFIX);
    for (size_t i = 0; i < 3; i++) {
        name_add_segment(out, list[i]);
        buf_add_byte(out, '/');
    }
}
