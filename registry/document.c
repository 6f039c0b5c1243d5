/* SPDX-License-Identifier: Apache-2.0
 * Readers of documents, field by field, with base/document.h; see document.h. */
#include "registry/document.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

static const char *const state_names[INSTANCE_STATES] = {
#define STATE(name, text, serves) text,
#include "registry/document.def"
#undef STATE
};

static const bool state_serves[INSTANCE_STATES] = {
#define STATE(name, text, serves) serves,
#include "registry/document.def"
#undef STATE
};

const char *instance_state_name(enum instance_state state)
{
    return state_names[state];
}

int instance_state_find(struct slice text, enum instance_state *ret_state)
{
    for (int i = 0; i < INSTANCE_STATES; i++) {
        if (!slice_equal(text, slice_text(state_names[i])))
            continue;
        *ret_state = (enum instance_state)i;
        return OK;
    }
    return ERR_NOT_FOUND;
}

bool instance_state_serves(enum instance_state state)
{
    return state_serves[state];
}

/* --- fields ------------------------------------------------------------------------------------ */

static void take_seconds(struct document_reader *r, const char *field, uint32_t min, uint32_t *ret_s)
{
    int64_t value;
    if (document_number(r, field, min, INSTANCE_TIME_MAX_S, &value))
        *ret_s = (uint32_t)value;
}

static bool take_state(struct document_reader *r, const char *field, enum instance_state *ret)
{
    json_t *value = document_take(r, field);
    if (!value || (json_is_string(value) && json_string_length(value) == 0))
        return false;
    struct slice text = slice_of(json_string_value(value), json_string_length(value));
    if (!json_is_string(value) || instance_state_find(text, ret) != OK) {
        document_refuse(r, field, "is not one of starting, up, warn, draining, lost, down");
        return false;
    }
    return true;
}

static int registry_document_compare_slices(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static void take_tags(struct document_reader *r, struct instance *i)
{
    json_t *array = document_take(r, "tags");
    if (!array)
        return;
    if (!json_is_array(array) || json_array_size(array) > INSTANCE_TAGS_MAX) {
        document_refuse(r, "tags", "is not a list of at most 64 strings");
        return;
    }
    struct slice *tags = arena_alloc(r->arena, (json_array_size(array) + 1) * sizeof *tags);
    size_t count = json_array_size(array), kept = 0;
    for (size_t n = 0; n < count; n++) {
        const json_t *tag = json_array_get(array, n);
        if (!json_is_string(tag) || json_string_length(tag) == 0 || json_string_length(tag) > TEXT_SIZE_MAX) {
            document_refuse(r, "tags", "has an element that is not a string of 1 to 256 bytes");
            return;
        }
        tags[n] = document_keep(r, tag);
    }
    qsort(tags, count, sizeof *tags, registry_document_compare_slices);
    for (size_t n = 0; n < count; n++)
        if (n == 0 || !slice_equal(tags[n], tags[n - 1]))
            tags[kept++] = tags[n];
    i->tags = tags;
    i->tag_count = kept;
}

static int compare_ports(const void *a, const void *b)
{
    return slice_compare(((const struct instance_port *)a)->name, ((const struct instance_port *)b)->name);
}

/* Reads `port`, or `ports` by name. With both, `port` is for clients that ask for no name. */
static void take_ports(struct document_reader *r, struct instance *i)
{
    int64_t port;
    bool has_port = document_number(r, "port", 1, 65535, &port);
    json_t *object = document_take(r, "ports"), *value;
    const char *key;
    if (has_port)
        i->port = (uint16_t)port;
    if (!object)
        return;
    if (!json_is_object(object) || json_object_size(object) > INSTANCE_PORTS_MAX) {
        document_refuse(r, "ports", "is not an object of at most 32 numbers");
        return;
    }
    i->ports = arena_alloc(r->arena, (json_object_size(object) + 1) * sizeof *i->ports);
    json_object_foreach(object, key, value)
    {
        size_t size = strlen(key);
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > 65535 ||
            size == 0 || size > TEXT_SIZE_MAX) {
            document_refuse(r, "ports", "has a value that is not a port from 1 to 65535");
            return;
        }
        i->ports[i->port_count++] = (struct instance_port){slice_of(arena_copy(r->arena, key, size), size),
                                                           (uint16_t)json_integer_value(value)};
    }
    qsort(i->ports, i->port_count, sizeof *i->ports, compare_ports);
    if (!has_port && i->port_count)
        i->port = i->ports[0].port;
}

/* Reads the fields that only the registry itself writes. */
static void take_own_fields(struct document_reader *r, struct instance *i)
{
    json_t *session = document_take(r, "session");
    uint64_t id = 0;
    if (session) {
        const char *text = json_string_value(session);
        char *end_of = NULL;
        if (text)
            id = strtoull(text, &end_of, 16);
        if (!text || *end_of || id == 0 || id > INT64_MAX)
            document_refuse(r, "session", "is not a session's id in hexadecimal digits");
        i->session = (int64_t)id;
    }
    document_bool(r, "guarded", &i->is_guarded);
    document_text(r, "source", &i->source);
}

/* --- the documents -------------------------------------------------------------------------------- */

static struct instance instance_standard(void)
{
    return (struct instance){.weight = INSTANCE_WEIGHT,
                             .ttl_s = INSTANCE_TTL_S,
                             .grace_s = INSTANCE_GRACE_S,
                             .state = INSTANCE_UP};
}

/* Reads the fields of an instance into *i, which has the defaults. */
static void take_instance(struct document_reader *r, enum document_reading how, struct instance *i)
{
    int64_t weight;
    document_text(r, "host", &i->host);
    take_ports(r, i);
    document_text(r, "protocol", &i->protocol);
    document_text(r, "zone", &i->zone);
    document_text(r, "region", &i->region);
    document_text(r, "cluster", &i->cluster);
    document_text(r, "version", &i->version);
    if (document_number(r, "weight", 0, INSTANCE_WEIGHT_MAX, &weight))
        i->weight = (uint16_t)weight;
    take_tags(r, i);
    document_strings(r, "metadata", INSTANCE_METADATA_MAX / 2, INSTANCE_METADATA_MAX, &i->metadata);
    take_seconds(r, "ttl", INSTANCE_TTL_MIN_S, &i->ttl_s);
    take_seconds(r, "grace", 0, &i->grace_s);
    take_state(r, "state", &i->state);
    check_read(r, how == DOCUMENT_TOLERANT, &i->state, &i->check);
    if (how == DOCUMENT_TOLERANT)
        take_own_fields(r, i);
    else if (i->state == INSTANCE_LOST)
        document_refuse(r, "state", "\"lost\" is set by the registry only: use \"down\"");
    if (i->host.size == 0)
        document_refuse_last(r, "host", "is missing");
    if (i->check && i->check->type != CHECK_TTL && !i->check->port && !i->port)
        document_refuse_last(r, "check", "has no port: give it one, or the instance");
}

int instance_read(struct slice text, enum document_reading how, struct arena *a, struct instance *ret,
                  char *error, size_t error_size)
{
    struct document_reader r = document_reader_of(how, a, error, error_size);
    struct instance i = instance_standard();
    document_begin_map(&r, text, "metadata", INSTANCE_METADATA_MAX / 2);
    take_instance(&r, how, &i);
    int err = document_end(&r);
    if (!err)
        *ret = i;
    return err;
}

int instance_read_item(struct slice text, struct arena *a, struct instance_names *names, struct instance *ret,
                       char *error, size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, error_size);
    struct instance i = instance_standard();
    document_begin_map(&r, text, "metadata", INSTANCE_METADATA_MAX / 2);
    document_text(&r, "namespace", &names->ns);
    document_text(&r, "group", &names->group);
    document_text(&r, "service", &names->service);
    document_text(&r, "id", &names->id);
    take_instance(&r, DOCUMENT_STRICT, &i);
    if (json_object_get(r.root, "ttl"))
        document_refuse(&r, "ttl", "belongs to the whole list: give it beside instances");
    if (!names->service.size)
        document_refuse_last(&r, "service", "is missing");
    if (!names->id.size)
        document_refuse_last(&r, "id", "is missing");
    int err = document_end(&r);
    if (!err)
        *ret = i;
    return err;
}

static void take_change(struct document_reader *r, struct author *author, int64_t *ret_time_ms)
{
    author_read(r, author);
    document_number(r, "time_ms", 0, INT64_MAX, ret_time_ms);
}

int override_read(struct slice text, enum document_reading how, struct arena *a, struct override *ret,
                  char *error, size_t error_size)
{
    struct document_reader r = document_reader_of(how, a, error, error_size);
    struct override o = {0};
    struct slice until = {0};
    int64_t weight;
    document_begin(&r, text);
    o.has_enabled = document_bool(&r, "enabled", &o.is_enabled);
    o.has_weight = document_number(&r, "weight", 0, INSTANCE_WEIGHT_MAX, &weight);
    if (o.has_weight)
        o.weight = (uint16_t)weight;
    o.has_state = take_state(&r, "state", &o.state);
    document_text(&r, "reason", &o.reason);
    document_text(&r, "until", &until);
    if (how == DOCUMENT_TOLERANT) {
        document_bool(&r, "drain", &o.is_drain);
        take_change(&r, &o.author, &o.time_ms);
    }
    if (until.size && text_to_time(until, &o.until_s) != OK)
        document_refuse(&r, "until", "is not a time as in 2026-01-31T12:00:00Z");
    if (!o.has_enabled && !o.has_weight && !o.has_state)
        document_refuse_last(&r, "the override", "is empty: give enabled, weight or state");
    int err = document_end(&r);
    if (!err)
        *ret = o;
    return err;
}

bool override_without_drain(const struct override *o, struct override *ret)
{
    *ret = *o;
    if (o->state == INSTANCE_DRAINING)
        ret->has_state = false;
    if (slice_equal(o->reason, slice_text(OVERRIDE_DRAIN)))
        ret->reason = (struct slice){0};
    ret->is_drain = false;
    return ret->has_enabled || ret->has_weight || ret->has_state;
}

int settings_read(struct slice text, enum document_reading how, struct arena *a, struct settings *ret,
                  char *error, size_t error_size)
{
    struct document_reader r = document_reader_of(how, a, error, error_size);
    struct settings s = {0};
    document_begin_map(&r, text, "metadata", SETTINGS_METADATA_MAX / 2);
    json_t *threshold = document_take(&r, "protect_threshold");
    if (threshold) {
        s.protect_threshold = json_number_value(threshold);
        if (!json_is_number(threshold) || !(s.protect_threshold >= 0 && s.protect_threshold <= 1))
            document_refuse(&r, "protect_threshold", "is not a number from 0 to 1");
    }
    document_strings(&r, "metadata", SETTINGS_METADATA_MAX / 2, SETTINGS_METADATA_MAX, &s.metadata);
    if (how == DOCUMENT_TOLERANT) {
        document_bool(&r, "inherit", &s.is_inherited);
        take_change(&r, &s.author, &s.time_ms);
    }
    int err = document_end(&r);
    if (!err)
        *ret = s;
    return err;
}

static void take_digest(struct document_reader *r, struct session *s)
{
    struct slice text = {0};
    document_text(r, "key_sha256", &text);
    if (!text.size)
        return;
    s->has_key = text.size == 2 * sizeof s->key_digest;
    for (size_t i = 0; s->has_key && i < text.size; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = memchr(digits, text.data[i], sizeof digits - 1);
        s->has_key = digit != NULL;
        if (digit)
            s->key_digest[i / 2] = (uint8_t)(s->key_digest[i / 2] << 4 | (digit - digits));
    }
    if (!s->has_key)
        document_refuse(r, "key_sha256", "is not 64 hexadecimal digits");
}

int report_read(struct slice text, struct arena *a, enum instance_state *ret_state, struct slice *ret_output,
                char *error, size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, error_size);
    struct slice state = {0};
    *ret_output = (struct slice){0};
    *ret_state = INSTANCE_STATES;
    document_begin(&r, text);
    document_text(&r, "state", &state);
    document_text(&r, "output", ret_output);
    if (!state.size)
        document_refuse_last(&r, "state", "is missing: give up, warn or down");
    else if (instance_state_find(state, ret_state) ||
             (*ret_state != INSTANCE_UP && *ret_state != INSTANCE_WARN && *ret_state != INSTANCE_DOWN))
        document_refuse(&r, "state", "is not one of up, warn, down");
    if (ret_output->size > CHECK_OUTPUT_MAX)
        document_refuse(&r, "output", "is longer than 200 bytes");
    return document_end(&r);
}

int session_read(struct slice text, enum document_reading how, struct arena *a, struct session *ret,
                 char *error, size_t error_size)
{
    struct document_reader r = document_reader_of(how, a, error, error_size);
    struct session s = {.ttl_s = INSTANCE_TTL_S};
    document_begin_map(&r, text, "labels", LABELS_MAX);
    document_text(&r, "client_id", &s.client_id);
    take_seconds(&r, "ttl", INSTANCE_TTL_MIN_S, &s.ttl_s);
    document_strings(&r, "labels", LABELS_MAX, INSTANCE_METADATA_MAX, &s.labels);
    if (how == DOCUMENT_TOLERANT) {
        document_bool(&r, "implicit", &s.is_implicit);
        document_string(&r, "owner", TEXT_SIZE_MAX, &s.owner);
        take_digest(&r, &s);
    }
    int err = document_end(&r);
    if (!err)
        *ret = s;
    return err;
}
