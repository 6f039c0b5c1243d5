/* SPDX-License-Identifier: Apache-2.0
 * A history as NDJSON. Each struct is described once, by a table of its fields; writing and reading both walk
 * the tables. A field that has its zero value is not written, one that is not known is refused. */
#include "tests/check/history.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"

enum field_type {
    FIELD_INT,
    FIELD_BOOL,
    FIELD_CLIENT, /* uint32_t */
    FIELD_TIME,   /* as INT, but HISTORY_NEVER is what is left out */
    FIELD_BYTES,
    FIELD_NAME, /* an enum, by the names of its values */
    FIELD_LIST,
    FIELD_STRUCT
};

struct field {
    const char *name;
    enum field_type type;
    size_t offset;
    const char *const *names;
    const struct table *table;
    size_t count_offset;
};

struct table {
    size_t size;
    const struct field *fields; /* ends with a name of NULL */
};

#define FIELD(s, f, t) .name = #f, .type = (t), .offset = offsetof(struct s, f)
#define OF(s, f)       FIELD(s, f, FIELD_INT)
#define BOOL(s, f)     FIELD(s, f, FIELD_BOOL)
#define CLIENT(s, f)   FIELD(s, f, FIELD_CLIENT)
#define TIME(s, f)     FIELD(s, f, FIELD_TIME)
#define BYTES(s, f)    FIELD(s, f, FIELD_BYTES)
#define NAMES(s, f)    FIELD(s, f, FIELD_NAME)
#define STRUCT(s, f)   FIELD(s, f, FIELD_STRUCT)
#define LIST(s, f)     FIELD(s, f, FIELD_LIST)
#define COUNT(s, f)    .count_offset = offsetof(struct s, f)

static const char *const kinds[] = {"put",       "range",  "delete",  "txn", "grant",
                                    "keepalive", "revoke", "compact", NULL};
static const char *const outcomes[] = {"unknown", "ok", "failed", NULL};
static const char *const targets[] = {"value", "mod", "create", "version", NULL};
static const char *const relations[] = {"=", "!=", ">", "<", NULL};

static const struct field kv_fields[] = {{BYTES(history_kv, key)},
                                         {BYTES(history_kv, value)},
                                         {OF(history_kv, create)},
                                         {OF(history_kv, mod)},
                                         {OF(history_kv, version)},
                                         {OF(history_kv, lease)},
                                         {.name = NULL}};
static const struct table kv_table = {sizeof(struct history_kv), kv_fields};

static const struct field compare_fields[] = {{BYTES(history_compare, key)},
                                              {NAMES(history_compare, target), .names = targets},
                                              {NAMES(history_compare, relation), .names = relations},
                                              {BYTES(history_compare, value)},
                                              {OF(history_compare, number)},
                                              {.name = NULL}};
static const struct table compare_table = {sizeof(struct history_compare), compare_fields};

static const struct field step_fields[] = {{NAMES(history_step, kind), .names = kinds},
                                           {BYTES(history_step, key)},
                                           {BYTES(history_step, range_end)},
                                           {BYTES(history_step, value)},
                                           {OF(history_step, lease)},
                                           {OF(history_step, at_revision)},
                                           {OF(history_step, limit)},
                                           {BOOL(history_step, is_count_only)},
                                           {BOOL(history_step, wants_prev)},
                                           {.name = NULL}};
static const struct table step_table = {sizeof(struct history_step), step_fields};

static const struct field steps_fields[] = {
    {LIST(history_steps, items), .table = &step_table, COUNT(history_steps, count)}, {.name = NULL}};
static const struct table steps_table = {sizeof(struct history_steps), steps_fields};

static const struct field request_fields[] = {
    {NAMES(history_request, kind), .names = kinds},
    {BOOL(history_request, is_serializable)},
    {LIST(history_request, compares), .table = &compare_table, COUNT(history_request, compare_count)},
    {STRUCT(history_request, then), .table = &steps_table},
    {STRUCT(history_request, otherwise), .table = &steps_table},
    {OF(history_request, lease)},
    {OF(history_request, ttl_s)},
    {OF(history_request, compact_revision)},
    {.name = NULL}};
static const struct table request_table = {sizeof(struct history_request), request_fields};

static const struct field result_fields[] = {
    {LIST(history_result, kvs), .table = &kv_table, COUNT(history_result, kv_count)},
    {OF(history_result, count)},
    {BOOL(history_result, has_more)},
    {.name = NULL}};
static const struct table result_table = {sizeof(struct history_result), result_fields};

static const struct field reply_fields[] = {
    {OF(history_reply, revision)},
    {BOOL(history_reply, succeeded)},
    {LIST(history_reply, results), .table = &result_table, COUNT(history_reply, result_count)},
    {OF(history_reply, ttl_s)},
    {BYTES(history_reply, error)},
    {.name = NULL}};
static const struct table reply_table = {sizeof(struct history_reply), reply_fields};

static const struct field op_fields[] = {{CLIENT(history_op, client)},
                                         {NAMES(history_op, outcome), .names = outcomes},
                                         {OF(history_op, call_ns)},
                                         {TIME(history_op, return_ns)},
                                         {STRUCT(history_op, request), .table = &request_table},
                                         {STRUCT(history_op, reply), .table = &reply_table},
                                         {.name = NULL}};
static const struct table op_table = {sizeof(struct history_op), op_fields};

static const struct field change_fields[] = {
    {BOOL(history_change, is_delete)}, {STRUCT(history_change, kv), .table = &kv_table}, {.name = NULL}};
static const struct table change_table = {sizeof(struct history_change), change_fields};

static const struct field commit_fields[] = {
    {OF(history_commit, revision)},
    {LIST(history_commit, changes), .table = &change_table, COUNT(history_commit, count)},
    {OF(history_commit, ended_lease)},
    {.name = NULL}};
static const struct table commit_table = {sizeof(struct history_commit), commit_fields};

static const struct field event_fields[] = {{STRUCT(history_event, change), .table = &change_table},
                                            {BOOL(history_event, has_prev)},
                                            {STRUCT(history_event, prev), .table = &kv_table},
                                            {.name = NULL}};
static const struct table event_table = {sizeof(struct history_event), event_fields};

static const struct field response_fields[] = {
    {OF(history_response, time_ns)},
    {OF(history_response, revision)},
    {BOOL(history_response, is_created)},
    {BOOL(history_response, is_canceled)},
    {BOOL(history_response, is_fragment)},
    {OF(history_response, compact_revision)},
    {LIST(history_response, events), .table = &event_table, COUNT(history_response, event_count)},
    {.name = NULL}};
static const struct table response_table = {sizeof(struct history_response), response_fields};

static const struct field watch_fields[] = {
    {CLIENT(history_watch, client)},
    {OF(history_watch, call_ns)},
    {BYTES(history_watch, key)},
    {BYTES(history_watch, range_end)},
    {OF(history_watch, start_revision)},
    {BOOL(history_watch, excludes_puts)},
    {BOOL(history_watch, excludes_deletes)},
    {BOOL(history_watch, wants_prev)},
    {BOOL(history_watch, allows_fragments)},
    {OF(history_watch, complete_to)},
    {LIST(history_watch, responses), .table = &response_table, COUNT(history_watch, count)},
    {.name = NULL}};
static const struct table watch_table = {sizeof(struct history_watch), watch_fields};

/* --- writing ------------------------------------------------------------------------------------- */

static void write_struct(struct json_writer *w, const struct table *t, const char *base);

/* One load for each type, so that the tables may say only where. */
static int64_t load_int(const struct field *f, const char *at)
{
    int64_t i64;
    uint32_t u32;
    bool b;
    switch (f->type) {
    case FIELD_BOOL:
        memcpy(&b, at, sizeof b);
        return b;
    case FIELD_CLIENT:
    case FIELD_NAME:
        memcpy(&u32, at, sizeof u32);
        return u32;
    case FIELD_INT:
    case FIELD_TIME:
    case FIELD_BYTES:
    case FIELD_LIST:
    case FIELD_STRUCT:
        break;
    }
    memcpy(&i64, at, sizeof i64);
    return i64;
}

static void write_bytes(struct json_writer *w, const struct field *f, struct slice s)
{
    if (s.size == 0)
        return;
    jw_key(w, f->name);
    if (utf8_is_valid(s)) {
        jw_string(w, s);
        return;
    }
    jw_open(w, '{');
    jw_key(w, "base64");
    jw_base64(w, s);
    jw_close(w, '}');
}

static void write_list(struct json_writer *w, const struct field *f, const char *base)
{
    size_t count;
    const char *items;
    memcpy(&count, base + f->count_offset, sizeof count);
    memcpy(&items, base + f->offset, sizeof items);
    if (count == 0)
        return;
    jw_key(w, f->name);
    jw_open(w, '[');
    for (size_t i = 0; i < count; i++)
        write_struct(w, f->table, items + i * f->table->size);
    jw_close(w, ']');
}

static void write_field(struct json_writer *w, const struct field *f, const char *base)
{
    struct slice bytes;
    int64_t value = f->type == FIELD_TIME ? HISTORY_NEVER : 0;
    switch (f->type) {
    case FIELD_LIST:
        write_list(w, f, base);
        return;
    case FIELD_STRUCT:
        jw_key(w, f->name);
        write_struct(w, f->table, base + f->offset);
        return;
    case FIELD_BYTES:
        memcpy(&bytes, base + f->offset, sizeof bytes);
        write_bytes(w, f, bytes);
        return;
    case FIELD_INT:
    case FIELD_TIME:
    case FIELD_BOOL:
    case FIELD_CLIENT:
    case FIELD_NAME:
        if (load_int(f, base + f->offset) == value)
            return;
        value = load_int(f, base + f->offset);
    }
    jw_key(w, f->name);
    if (f->type == FIELD_BOOL)
        jw_bool(w, value);
    else if (f->type == FIELD_NAME)
        jw_text(w, f->names[value]);
    else
        jw_int(w, value);
}

static void write_struct(struct json_writer *w, const struct table *t, const char *base)
{
    jw_open(w, '{');
    for (const struct field *f = t->fields; f->name; f++)
        write_field(w, f, base);
    jw_close(w, '}');
}

static void write_line(struct buf *out, const char *what, const struct table *t, const void *base)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    jw_key(&w, what);
    write_struct(&w, t, base);
    jw_close(&w, '}');
    buf_add_byte(out, '\n');
}

void history_write(const struct history *h, struct buf *out)
{
    for (size_t i = 0; i < h->op_count; i++)
        write_line(out, "op", &op_table, h->ops[i]);
    for (size_t i = 0; i < h->watch_count; i++)
        write_line(out, "watch", &watch_table, h->watches[i]);
    for (size_t i = 0; i < h->commit_count; i++)
        write_line(out, "commit", &commit_table, &h->commits[i]);
}

/* --- reading ------------------------------------------------------------------------------------- */

struct reader {
    struct arena *arena;
    char *error;
    size_t error_size;
};

static int read_struct(struct reader *r, const struct table *t, const json_t *json, char *base);

static int refuse(struct reader *r, const char *name, const char *what)
{
    snprintf(r->error, r->error_size, "%.40s: %s", name, what);
    return ERR_MALFORMED;
}

static int read_bytes(struct reader *r, const struct field *f, const json_t *json, struct slice *ret_bytes)
{
    if (json_is_string(json)) {
        size_t size = json_string_length(json);
        *ret_bytes = slice_of(arena_copy(r->arena, json_string_value(json), size), size);
        return 0;
    }
    const char *text = json_string_value(json_object_get(json, "base64"));
    struct buf b = {0};
    int rc = text ? base64_decode(slice_text(text), &b) : ERR_MALFORMED;
    if (rc)
        rc = refuse(r, f->name, "is neither a string nor {\"base64\":...}");
    else
        *ret_bytes = slice_of(arena_copy(r->arena, b.data, b.size), b.size);
    buf_done(&b);
    return rc;
}

static int read_list(struct reader *r, const struct field *f, const json_t *json, char *base)
{
    if (!json_is_array(json))
        return refuse(r, f->name, "is no list");
    size_t count = json_array_size(json);
    char *items = arena_new(r->arena, count * f->table->size);
    for (size_t i = 0; i < count; i++) {
        int rc = read_struct(r, f->table, json_array_get(json, i), items + i * f->table->size);
        if (rc)
            return rc;
    }
    memcpy(base + f->offset, &items, sizeof items);
    memcpy(base + f->count_offset, &count, sizeof count);
    return 0;
}

static int read_name(struct reader *r, const struct field *f, const json_t *json, char *at)
{
    const char *text = json_string_value(json);
    for (uint32_t i = 0; text && f->names[i]; i++)
        if (strcmp(f->names[i], text) == 0) {
            memcpy(at, &i, sizeof i);
            return 0;
        }
    return refuse(r, f->name, "has no such value");
}

static int read_field(struct reader *r, const struct field *f, const json_t *json, char *base)
{
    int64_t value = json_integer_value(json);
    bool is_true = json_is_true(json);
    uint32_t client = (uint32_t)value;
    struct slice bytes = {0};
    int rc;
    switch (f->type) {
    case FIELD_LIST:
        return read_list(r, f, json, base);
    case FIELD_STRUCT:
        return read_struct(r, f->table, json, base + f->offset);
    case FIELD_NAME:
        return read_name(r, f, json, base + f->offset);
    case FIELD_BYTES:
        rc = read_bytes(r, f, json, &bytes);
        memcpy(base + f->offset, &bytes, sizeof bytes);
        return rc;
    case FIELD_BOOL:
        if (!json_is_boolean(json))
            return refuse(r, f->name, "is no boolean");
        memcpy(base + f->offset, &is_true, sizeof is_true);
        return 0;
    case FIELD_INT:
    case FIELD_TIME:
    case FIELD_CLIENT:
        break;
    }
    if (!json_is_integer(json) || (f->type == FIELD_CLIENT && value != client))
        return refuse(r, f->name, "is no integer, or out of range");
    if (f->type == FIELD_CLIENT)
        memcpy(base + f->offset, &client, sizeof client);
    else
        memcpy(base + f->offset, &value, sizeof value);
    return 0;
}

static int read_struct(struct reader *r, const struct table *t, const json_t *json, char *base)
{
    if (!json_is_object(json))
        return refuse(r, "value", "is no object");
    size_t known = 0;
    for (const struct field *f = t->fields; f->name; f++) {
        const json_t *value = json_object_get(json, f->name);
        int64_t never = HISTORY_NEVER;
        if (!value && f->type == FIELD_TIME)
            memcpy(base + f->offset, &never, sizeof never);
        if (!value)
            continue;
        known++;
        int rc = read_field(r, f, value, base);
        if (rc)
            return rc;
    }
    return known == json_object_size(json) ? 0 : refuse(r, "object", "has a field that is not known");
}

static int read_op(struct history *h, struct reader *r, const json_t *json)
{
    struct history_op op = {0};
    int rc = read_struct(r, &op_table, json, (char *)&op);
    if (rc)
        return rc;
    struct history_op *added = history_call(h, op.client, op.call_ns, &op.request);
    *added = (struct history_op){.number = added->number,
                                 .client = op.client,
                                 .outcome = op.outcome,
                                 .call_ns = op.call_ns,
                                 .return_ns = op.return_ns,
                                 .request = added->request,
                                 .reply = op.reply};
    return 0;
}

static int read_watch(struct history *h, struct reader *r, const json_t *json)
{
    struct history_watch w = {0};
    int rc = read_struct(r, &watch_table, json, (char *)&w);
    if (rc)
        return rc;
    struct history_watch *added = history_watch_open(h, w.client, w.call_ns, &w);
    added->call_ns = w.call_ns;
    if (w.count) {
        added->responses = mem_copy(w.responses, w.count * sizeof *w.responses);
        added->count = added->capacity = w.count;
    }
    return 0;
}

static int read_line(struct history *h, struct reader *r, const json_t *json)
{
    const json_t *op = json_object_get(json, "op"), *watch = json_object_get(json, "watch"),
                 *commit = json_object_get(json, "commit");
    if (json_object_size(json) != 1 || (!op && !watch && !commit))
        return refuse(r, "line", "is no op, watch or commit");
    if (op)
        return read_op(h, r, op);
    if (watch)
        return read_watch(h, r, watch);
    struct history_commit c = {0};
    int rc = read_struct(r, &commit_table, commit, (char *)&c);
    if (rc == 0)
        history_commit_add(h, &c);
    return rc;
}

int history_read(struct history *h, struct slice text, size_t *ret_line, char *error, size_t error_size)
{
    struct reader r = {&h->arena, error, error_size};
    for (size_t number = 1; text.size > 0; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        json_t *json = NULL;
        int rc = size ? json_parse(slice_of(text.data, size), &json, error, error_size) : 0;
        if (rc == 0 && json)
            rc = read_line(h, &r, json);
        json_decref(json);
        if (rc) {
            *ret_line = number;
            return rc;
        }
        size_t skip = size + (end != NULL);
        text = slice_of(text.data + skip, text.size - skip);
    }
    return 0;
}
