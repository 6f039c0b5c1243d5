/* SPDX-License-Identifier: Apache-2.0
 * Parser and writer of stream frames; see frame.h. The parser looks up each field of the JSON object in
 * the table of frame.def: the type must allow it, and the field's own parser checks the value. */
#include "server/stream/frame.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/json_lex.h"
#include "base/text.h"
#include "registry/view.h"

#define HEARTBEATS_PER_TTL 3
#define LARGE_FRAME        4096

struct field {
    const char *name;
    /* ERR_INVALID: error says what the value must be. */
    int (*read)(struct stream_frame *f, json_t *value, void *to, uint64_t limit, char *error, size_t size);
    size_t at;
    uint64_t limit;
};

static struct slice stream_frame_text_of(const json_t *value)
{
    return slice_of(json_string_value(value), json_string_length(value));
}

static bool is_uint(const json_t *value, uint64_t limit)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 &&
           (uint64_t)json_integer_value(value) <= limit;
}

/* --- parsers of fields ------------------------------------------------------------------------------- */

#define READER(name)                                                                                         \
    static int name(__attribute__((unused)) struct stream_frame *f, json_t *value, void *to,                 \
                    __attribute__((unused)) uint64_t limit, char *error, size_t size)

READER(read_uint)
{
    if (!is_uint(value, limit)) {
        snprintf(error, size, "an integer from 0 to %llu", (unsigned long long)limit);
        return ERR_INVALID;
    }
    *(uint64_t *)to = (uint64_t)json_integer_value(value);
    return 0;
}

READER(read_sid)
{
    if (!is_uint(value, limit) || json_integer_value(value) == 0) {
        snprintf(error, size, "an integer from 1 to %llu", (unsigned long long)limit);
        return ERR_INVALID;
    }
    *(uint32_t *)to = (uint32_t)json_integer_value(value);
    return 0;
}

READER(read_bool)
{
    if (!json_is_boolean(value)) {
        snprintf(error, size, "true or false");
        return ERR_INVALID;
    }
    *(bool *)to = json_is_true(value);
    return 0;
}

READER(read_text)
{
    if (!json_is_string(value) || json_string_length(value) > limit) {
        snprintf(error, size, "a string of at most %llu bytes", (unsigned long long)limit);
        return ERR_INVALID;
    }
    *(struct slice *)to = stream_frame_text_of(value);
    return 0;
}

READER(read_only)
{
    if (!json_is_string(value) || !slice_equal(stream_frame_text_of(value), slice_text("only"))) {
        snprintf(error, size, "\"only\"");
        return ERR_INVALID;
    }
    *(bool *)to = true;
    return 0;
}

READER(read_md5)
{
    struct slice text = json_is_string(value) ? stream_frame_text_of(value) : (struct slice){0};
    if (!digest_is_md5(text)) {
        snprintf(error, size, "an md5: 32 lower-case hexadecimal digits");
        return ERR_INVALID;
    }
    *(struct slice *)to = text;
    return 0;
}

READER(read_object)
{
    if (!json_is_object(value)) {
        snprintf(error, size, "an object");
        return ERR_INVALID;
    }
    char *text = json_dumps(value, JSON_COMPACT);
    if (!text) {
        snprintf(error, size, "an object that can be written again");
        return ERR_INVALID;
    }
    size_t n = strlen(text);
    *(struct slice *)to = slice_of(arena_copy(&f->arena, text, n), n);
    free(text);
    return 0;
}

static int compare_pairs(const void *a, const void *b)
{
    return slice_compare(((const struct document_pair *)a)->key, ((const struct document_pair *)b)->key);
}

/* An object of texts; the pairs are sorted by key. */
static int read_pairs(json_t *value, struct document_pair *list, size_t max, size_t *ret_count)
{
    const char *key;
    json_t *one;
    size_t n = 0;
    if (!json_is_object(value) || json_object_size(value) > max)
        return ERR_INVALID;
    json_object_foreach(value, key, one)
    {
        struct slice name = slice_text(key);
        if (!json_is_string(one) || json_string_length(one) > TEXT_SIZE_MAX || name.size > TEXT_SIZE_MAX ||
            name.size == 0)
            return ERR_INVALID;
        list[n++] = (struct document_pair){name, stream_frame_text_of(one)};
    }
    if (n)
        qsort(list, n, sizeof *list, compare_pairs);
    *ret_count = n;
    return 0;
}

READER(read_map)
{
    struct document_map *map = to;
    map->list = json_is_object(value) && json_object_size(value)
                    ? arena_alloc(&f->arena, (size_t)limit * sizeof *map->list)
                    : NULL;
    if (read_pairs(value, map->list, (size_t)limit, &map->count)) {
        snprintf(error, size, "an object of at most %llu strings", (unsigned long long)limit);
        return ERR_INVALID;
    }
    return 0;
}

/* Checks that each field of the object is one of the names. */
static int only(json_t *value, const char *const *names, size_t count, char *error, size_t size)
{
    const char *key;
    json_t *one;
    if (!json_is_object(value)) {
        snprintf(error, size, "an object");
        return ERR_INVALID;
    }
    json_object_foreach(value, key, one)
    {
        size_t i = 0;
        while (i < count && strcmp(names[i], key) != 0)
            i++;
        if (i == count) {
            snprintf(error, size, "without the unknown field \"%.60s\"", key);
            return ERR_INVALID;
        }
    }
    return 0;
}

READER(read_resume)
{
    static const char *const names[] = {"cluster_id", "revision"};
    int err = only(value, names, 2, error, size);
    if (err)
        return err;
    json_t *id = json_object_get(value, names[0]), *revision = json_object_get(value, names[1]);
    (void)to;
    if (!json_is_string(id) || text_to_u64(stream_frame_text_of(id), &f->resume.cluster_id) ||
        !is_uint(revision, STREAM_NUMBER_MAX)) {
        snprintf(error, size, "{\"cluster_id\": a number as a string, \"revision\": a number}");
        return ERR_INVALID;
    }
    f->resume.revision = (uint64_t)json_integer_value(revision);
    return 0;
}

READER(read_session)
{
    static const char *const names[] = {"ttl", "id", "key"};
    int err = only(value, names, 3, error, size);
    if (err)
        return err;
    (void)to;
    json_t *ttl = json_object_get(value, names[0]), *id = json_object_get(value, names[1]);
    json_t *key = json_object_get(value, names[2]);
    if (key && (ttl || !json_is_string(key) || json_string_length(key) != SESSION_KEY_SIZE)) {
        snprintf(error, size,
                 "key stands beside id, and is the session_key that its opening was answered with");
        return ERR_INVALID;
    }
    if (key)
        f->session.key = stream_frame_text_of(key);
    if (ttl && !id && is_uint(ttl, INSTANCE_TIME_MAX_S) && json_integer_value(ttl) >= INSTANCE_TTL_MIN_S)
        f->session.ttl_s = (uint32_t)json_integer_value(ttl);
    else if (ttl || !json_is_string(id) || view_session_read(stream_frame_text_of(id), &f->session.id)) {
        snprintf(error, size, "{\"ttl\": %d to %d seconds} or {\"id\": a session's id, \"key\": its key}",
                 INSTANCE_TTL_MIN_S, INSTANCE_TIME_MAX_S);
        return ERR_INVALID;
    }
    return 0;
}

READER(read_known)
{
    static const char *const names[] = {"id", "revision", "seq", "settings_revision"};
    json_t *one;
    size_t i;
    (void)to;
    if (!json_is_array(value) || json_array_size(value) > limit) {
        snprintf(error, size, "a list of at most %llu", (unsigned long long)limit);
        return ERR_INVALID;
    }
    f->known.list = arena_alloc(&f->arena, (json_array_size(value) + 1) * sizeof *f->known.list);
    json_array_foreach(value, i, one)
    {
        int err = only(one, names, 4, error, size);
        if (err)
            return err;
        json_t *id = json_object_get(one, names[0]), *revision = json_object_get(one, names[1]),
               *seq = json_object_get(one, names[2]), *settings = json_object_get(one, names[3]);
        if (!json_is_string(id) || json_string_length(id) > STREAM_KEY_MAX ||
            !is_uint(revision, STREAM_NUMBER_MAX) || (seq && !is_uint(seq, STREAM_NUMBER_MAX)) ||
            (settings && !is_uint(settings, STREAM_NUMBER_MAX))) {
            snprintf(error, size,
                     "a list of {\"id\": a string, \"revision\": a number, \"seq\": a number, "
                     "\"settings_revision\": a number}");
            return ERR_INVALID;
        }
        f->known.list[f->known.count++] =
            (struct stream_known){stream_frame_text_of(id), (int64_t)json_integer_value(revision),
                                  (uint64_t)json_integer_value(seq), (int64_t)json_integer_value(settings)};
    }
    return 0;
}

READER(read_groups)
{
    json_t *one;
    size_t i;
    (void)to;
    bool is_right = json_is_array(value) && json_array_size(value) > 0 && json_array_size(value) <= limit;
    if (is_right) {
        json_array_foreach(value, i, one)
        {
            is_right = is_right && json_is_string(one) && json_string_length(one) > 0 &&
                       json_string_length(one) <= NAME_SIZE_MAX;
            if (is_right)
                f->groups.list[f->groups.count++] = stream_frame_text_of(one);
        }
    }
    if (!is_right)
        snprintf(error, size, "a list of 1 to %llu strings of at most %d bytes", (unsigned long long)limit,
                 NAME_SIZE_MAX);
    return is_right ? 0 : ERR_INVALID;
}

static int stream_frame_compare_slices(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static bool read_tags(json_t *value, struct select_query *q)
{
    json_t *one;
    size_t i;
    if (!json_is_array(value) || json_array_size(value) > SELECT_TERMS_MAX)
        return false;
    json_array_foreach(value, i, one)
    {
        if (!json_is_string(one) || json_string_length(one) > TEXT_SIZE_MAX)
            return false;
        q->tags[q->tag_count++] = stream_frame_text_of(one);
    }
    if (q->tag_count)
        qsort(q->tags, q->tag_count, sizeof *q->tags, stream_frame_compare_slices);
    return true;
}

READER(read_filter)
{
    static const char *const names[] = {"healthy", "cluster", "version", "protocol",
                                        "tags",    "labels",  "guarded"};
    struct select_query *q = to;
    int err = only(value, names, sizeof names / sizeof *names, error, size);
    if (err)
        return err;
    struct slice *texts[] = {&q->cluster, &q->version, &q->protocol};
    json_t *one = json_object_get(value, "healthy");
    bool is_right = !one || json_is_boolean(one);
    q->only_serving = one && json_is_true(one);
    one = json_object_get(value, "guarded");
    is_right = is_right && (!one || json_is_boolean(one));
    q->no_guarded = one && json_is_false(one);
    for (size_t i = 0; i < 3; i++) {
        one = json_object_get(value, names[i + 1]);
        is_right &= !one || (json_is_string(one) && json_string_length(one) <= TEXT_SIZE_MAX);
        if (is_right && one)
            *texts[i] = stream_frame_text_of(one);
    }
    one = json_object_get(value, "tags");
    is_right = is_right && (!one || read_tags(one, q));
    one = json_object_get(value, "labels");
    is_right = is_right && (!one || !read_pairs(one, q->labels, SELECT_TERMS_MAX, &q->label_count));
    if (!is_right)
        snprintf(error, size,
                 "{\"healthy\", \"guarded\": true or false, \"cluster\", \"version\", \"protocol\": strings, "
                 "\"tags\": a "
                 "list of strings, \"labels\": an object of strings}");
    return is_right ? 0 : ERR_INVALID;
}

/* --- the tables -------------------------------------------------------------------------------------- */

static const struct field fields[] = {
#define FIELD(id, name, how, member, limit) {name, how, offsetof(struct stream_frame, member), limit},
#include "server/stream/frame.def"
};
_Static_assert(STREAM_FIELDS <= 64, "a frame's fields are bits of a word");

#define HAS(id) STREAM_FIELD(STREAM_HAS_##id)
static const struct {
    const char *name;
    uint64_t must, may;
} types[] = {
#define TYPE(id, name, need, must, may) {name, must, may},
#include "server/stream/frame.def"
};

const char *stream_type_name(enum stream_type type)
{
    return types[type].name;
}

/* --- reading ----------------------------------------------------------------------------------------- */

static int read_field(struct stream_frame *f, const char *key, json_t *value, char *error, size_t size)
{
    char what[160];
    uint64_t allowed = types[f->type].must | types[f->type].may;
    size_t i = 0;
    while (i < STREAM_FIELDS && strcmp(fields[i].name, key) != 0)
        i++;
    if (i == STREAM_FIELDS || !(allowed & STREAM_FIELD(i))) {
        snprintf(error, size, "%s: unknown field \"%.60s\"", types[f->type].name, key);
        return ERR_INVALID;
    }
    if (fields[i].read(f, value, (char *)f + fields[i].at, fields[i].limit, what, sizeof what)) {
        snprintf(error, size, "%s: %s must be %s", types[f->type].name, key, what);
        return ERR_INVALID;
    }
    f->has |= STREAM_FIELD(i);
    return 0;
}

static int find_type(struct stream_frame *f, char *error, size_t size)
{
    const json_t *type = json_object_get(f->root, "type");
    for (size_t i = 0; json_is_string(type) && i < STREAM_TYPES; i++) {
        if (slice_equal(stream_frame_text_of(type), slice_text(types[i].name))) {
            f->type = (enum stream_type)i;
            return 0;
        }
    }
    if (json_is_string(type))
        snprintf(error, size, "unknown type \"%.60s\"", json_string_value(type));
    else
        snprintf(error, size, "a frame needs a type, which is a string");
    return ERR_INVALID;
}

/* Reads sid and rid first, so that the error about an invalid frame can name them. */
static void find_numbers(struct stream_frame *f)
{
    const json_t *sid = json_object_get(f->root, "sid"), *rid = json_object_get(f->root, "rid");
    if (sid && is_uint(sid, UINT32_MAX)) {
        f->sid = (uint32_t)json_integer_value(sid);
        f->has |= HAS(SID);
    }
    if (rid && is_uint(rid, STREAM_NUMBER_MAX)) {
        f->rid = (uint64_t)json_integer_value(rid);
        f->has |= HAS(RID);
    }
}

static int check_presence(const struct stream_frame *f, char *error, size_t size)
{
    uint64_t missing = types[f->type].must & ~f->has;
    if (!missing)
        return 0;
    snprintf(error, size, "%s: %s is missing", types[f->type].name, fields[__builtin_ctzll(missing)].name);
    return ERR_INVALID;
}

/* Decides before parsing: only a publish may be large, and a large one must begin with its type. */
static bool is_publish(struct slice text)
{
    static const char head[] = "{\"type\":\"publish\"";
    return text.size > sizeof head && memcmp(text.data, head, sizeof head - 1) == 0;
}

/* Parses the frame. An instance may have 4,096 keys, and jansson allocates three times for each. So the text
 * of a large one is only taken: its reader parses it, and reports where it is not JSON. */
static int parse(struct slice text, struct stream_frame *f, struct slice *ret_instance, char *error,
                 size_t error_size)
{
    struct buf scratch = {0};
    const uint8_t *end = text.data + text.size, *to = NULL;
    bool is_large = text.size >= LARGE_FRAME && text.size <= STREAM_FRAME_MAX;
    const uint8_t *from = is_large ? json_find_value(text, "instance", &scratch) : NULL;
    if (from && from < end && *from == '{')
        to = json_lex_value_end(from, end, &scratch);
    if (to) {
        size_t size = (size_t)(to - from);
        *ret_instance = slice_of(arena_copy(&f->arena, from, size), size);
        buf_clear(&scratch);
        buf_add(&scratch, text.data, (size_t)(from - text.data));
        buf_add_text(&scratch, "{}");
        buf_add(&scratch, to, (size_t)(end - to));
        text = buf_slice(&scratch);
    }
    int err = json_parse(text, &f->root, error, error_size);
    buf_done(&scratch);
    return err;
}

int stream_frame_read(struct slice text, struct stream_frame *ret, char *error, size_t error_size)
{
    const char *key;
    json_t *value;
    struct slice instance = {0};
    *ret = (struct stream_frame){0};
    if (text.size > STREAM_FRAME_MAX && !is_publish(text)) {
        snprintf(error, error_size, "a frame has at most %d bytes", STREAM_FRAME_MAX);
        return ERR_LIMIT;
    }
    int err = parse(text, ret, &instance, error, error_size);
    if (!err && !json_is_object(ret->root)) {
        snprintf(error, error_size, "a frame is a JSON object");
        err = ERR_MALFORMED;
    }
    if (err)
        return err;
    find_numbers(ret);
    err = find_type(ret, error, error_size);
    if (err)
        return err;
    json_object_foreach(ret->root, key, value)
    {
        err = strcmp(key, "type") == 0 ? 0 : read_field(ret, key, value, error, error_size);
        if (err)
            return err;
    }
    if (instance.size)
        ret->instance = instance;
    return check_presence(ret, error, error_size);
}

void stream_frame_done(struct stream_frame *f)
{
    if (f->root)
        json_decref(f->root);
    arena_done(&f->arena);
    f->root = NULL;
}

/* --- filters ----------------------------------------------------------------------------------------- */

static void add_member(struct json_writer *w, const char *key, struct slice value)
{
    if (!value.size)
        return;
    jw_key(w, key);
    jw_string(w, value);
}

void stream_filter_key(const struct select_query *q, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    if (q->only_serving) {
        jw_key(&w, "healthy");
        jw_bool(&w, true);
    }
    if (q->no_guarded) {
        jw_key(&w, "guarded");
        jw_bool(&w, false);
    }
    add_member(&w, "cluster", q->cluster);
    add_member(&w, "version", q->version);
    add_member(&w, "protocol", q->protocol);
    for (size_t i = 0; i < q->tag_count; i++)
        if (i == 0 || !slice_equal(q->tags[i], q->tags[i - 1]))
            add_member(&w, "tag", q->tags[i]);
    for (size_t i = 0; i < q->label_count; i++) {
        add_member(&w, "label", q->labels[i].key);
        jw_key(&w, "is");
        jw_string(&w, q->labels[i].value);
    }
    jw_close(&w, '}');
}

/* --- writing ----------------------------------------------------------------------------------------- */

static struct json_writer stream_frame_begin(struct buf *out, const char *type)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    jw_key(&w, "type");
    jw_text(&w, type);
    return w;
}

static void add_uint(struct json_writer *w, const char *key, uint64_t value)
{
    jw_key(w, key);
    jw_uint(w, value);
}

static void add_int(struct json_writer *w, const char *key, int64_t value)
{
    jw_key(w, key);
    jw_int(w, value);
}

static void add_text(struct json_writer *w, const char *key, const char *value)
{
    jw_key(w, key);
    jw_text(w, value);
}

static void add_session(struct json_writer *w, const char *key, int64_t session)
{
    jw_key(w, key);
    view_session_write(session, w);
}

void stream_write_welcome(struct buf *out, const struct stream_welcome *m)
{
    struct json_writer w = stream_frame_begin(out, "welcome");
    jw_key(&w, "cluster_id");
    jw_uint_string(&w, m->cluster_id);
    add_text(&w, "member", m->member);
    add_int(&w, "revision", m->revision);
    if (m->session)
        add_session(&w, "session", m->session);
    if (m->session_key)
        add_text(&w, "session_key", m->session_key);
    add_uint(&w, "ttl_ms", m->ttl_ms);
    add_uint(&w, "heartbeat_ms", m->heartbeat_ms);
    jw_key(&w, "limits");
    jw_open(&w, '{');
    add_uint(&w, "window", m->window);
    add_uint(&w, "subscriptions", m->subscriptions_max);
    add_uint(&w, "requests", m->requests_max);
    add_uint(&w, "frame_bytes", STREAM_FRAME_MAX);
    add_uint(&w, "silent_ms", m->silent_ms);
    jw_close(&w, '}');
    jw_close(&w, '}');
}

static void end_error(struct json_writer *w, const char *code, const char *message)
{
    add_text(w, "code", code);
    add_text(w, "message", message);
    jw_close(w, '}');
}

void stream_write_error(struct buf *out, const struct stream_frame *about, const char *code,
                        const char *message)
{
    struct json_writer w = stream_frame_begin(out, "error");
    if (about && stream_frame_has(about, STREAM_HAS_RID))
        add_uint(&w, "rid", about->rid);
    if (about && stream_frame_has(about, STREAM_HAS_SID))
        add_uint(&w, "sid", about->sid);
    end_error(&w, code, message);
}

void stream_write_error_sid(struct buf *out, uint32_t sid, const char *code, const char *message)
{
    struct json_writer w = stream_frame_begin(out, "error");
    add_uint(&w, "sid", sid);
    end_error(&w, code, message);
}

void stream_write_error_rid(struct buf *out, uint64_t rid, const char *code, const char *message)
{
    struct json_writer w = stream_frame_begin(out, "error");
    add_uint(&w, "rid", rid);
    end_error(&w, code, message);
}

void stream_write_mark(struct buf *out, int64_t revision)
{
    struct json_writer w = stream_frame_begin(out, "mark");
    add_int(&w, "revision", revision);
    jw_close(&w, '}');
}

void stream_write_resync(struct buf *out, uint32_t sid, const char *reason)
{
    struct json_writer w = stream_frame_begin(out, "resync");
    add_uint(&w, "sid", sid);
    add_text(&w, "reason", reason);
    jw_close(&w, '}');
}

void stream_write_goaway(struct buf *out, uint64_t after_ms)
{
    struct json_writer w = stream_frame_begin(out, "goaway");
    add_uint(&w, "after_ms", after_ms);
    jw_close(&w, '}');
}

void stream_write_result(struct buf *out, uint64_t rid, const struct registry_result *r)
{
    struct json_writer w = stream_frame_begin(out, "result");
    add_uint(&w, "rid", rid);
    add_int(&w, "revision", r->revision);
    if (r->session) {
        add_session(&w, "session", r->session);
        if (r->session_key)
            add_text(&w, "session_key", r->session_key);
        add_uint(&w, "ttl", r->ttl_s);
        add_uint(&w, "heartbeat_ms", (uint64_t)r->ttl_s * 1000 / HEARTBEATS_PER_TTL);
    }
    if (r->is_unchanged) {
        jw_key(&w, "unchanged");
        jw_bool(&w, true);
    }
    jw_close(&w, '}');
}

/* --- publish ----------------------------------------------------------------------------------------- */

void stream_write_published(struct buf *out, uint64_t rid, const struct config_result *r, bool is_checked)
{
    struct json_writer w = stream_frame_begin(out, "result");
    const struct config_head *head = r->head;
    add_uint(&w, "rid", rid);
    add_int(&w, "revision", r->revision);
    if (is_checked) {
        jw_key(&w, "valid");
        jw_bool(&w, true);
    } else {
        add_uint(&w, "seq", r->seq);
    }
    if (!is_checked && head && head->seq == r->seq && !head->is_deleted) {
        add_text(&w, "format", format_name(head->format));
        add_text(&w, "md5", head->digest.md5);
        add_text(&w, "sha256", head->digest.sha256);
    }
    if (r->is_unchanged) {
        jw_key(&w, "unchanged");
        jw_bool(&w, true);
    }
    jw_close(&w, '}');
}

void stream_write_not_published(struct buf *out, uint64_t rid, int err, const struct config_result *r)
{
    struct json_writer w = stream_frame_begin(out, "error");
    add_uint(&w, "rid", rid);
    add_text(&w, "code", stream_error_code(err));
    add_text(&w, "message", r && r->error ? r->error : err_text(err));
    if (r && err == ERR_MALFORMED && r->where.line) {
        add_uint(&w, "line", r->where.line);
        add_uint(&w, "column", r->where.column);
    }
    if (r && (err == ERR_PRECONDITION || err == ERR_CONFLICT) && r->head) {
        jw_key(&w, "current");
        jw_open(&w, '{');
        config_head_write_members(r->head, &w);
        jw_close(&w, '}');
    }
    jw_close(&w, '}');
}

void stream_write_snapshot_head(struct buf *out, uint32_t sid, int64_t revision, size_t part, bool is_last)
{
    struct json_writer w = stream_frame_begin(out, "snapshot");
    add_uint(&w, "sid", sid);
    add_int(&w, "revision", revision);
    add_uint(&w, "part", part);
    jw_key(&w, "last");
    jw_bool(&w, is_last);
    buf_add_byte(out, ',');
}

void stream_write_delta_head(struct buf *out, uint32_t sid, int64_t revision, int64_t previous)
{
    struct json_writer w = stream_frame_begin(out, "delta");
    add_uint(&w, "sid", sid);
    add_int(&w, "revision", revision);
    add_int(&w, "previous", previous);
    buf_add_byte(out, ',');
}

const char *stream_error_code(int err)
{
    static char code[64];
    if (err == ERR_PERMISSION_DENIED)
        return "forbidden"; /* as the HTTP API */
    if (err == ERR_USER_EMPTY || err == ERR_USER_NOT_FOUND || err == ERR_AUTH_OLD_REVISION)
        err = ERR_INVALID_AUTH_TOKEN;
    const char *name = err_name(err) + strlen("ERR_");
    size_t n = 0;
    for (; name[n] && n < sizeof code - 1; n++)
        code[n] = (char)(name[n] >= 'A' && name[n] <= 'Z' ? name[n] - 'A' + 'a' : name[n]);
    code[n] = 0;
    return code;
}

/* --- tokens of event streams ------------------------------------------------------------------------- */

void stream_write_token(struct buf *out, uint64_t cluster_id, int64_t revision)
{
    text_add_u64(out, cluster_id);
    buf_add_byte(out, ':');
    text_add_i64(out, revision);
}

int stream_read_token(struct slice text, uint64_t *ret_cluster_id, int64_t *ret_revision)
{
    const uint8_t *colon = text.size ? memchr(text.data, ':', text.size) : NULL;
    uint64_t cluster_id;
    int64_t revision;
    if (!colon)
        return ERR_MALFORMED;
    size_t n = (size_t)(colon - text.data);
    int err = text_to_u64(slice_of(text.data, n), &cluster_id);
    if (!err)
        err = text_to_i64(slice_of(colon + 1, text.size - n - 1), &revision);
    if (err || revision < 0 || (uint64_t)revision > STREAM_NUMBER_MAX)
        return ERR_MALFORMED;
    *ret_cluster_id = cluster_id;
    *ret_revision = revision;
    return 0;
}
