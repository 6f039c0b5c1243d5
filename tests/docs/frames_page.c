/* SPDX-License-Identifier: Apache-2.0
 * Tables of the frames of /api/v1/stream. The server's reader describes the fields: it gets a wrong value of
 * each, and its error is the text. The server's own writers make the example frames. */
#include <stdio.h>
#include <string.h>

#include "config/document.h"
#include "server/stream/frame.h"
#include "tests/access/table.h"
#include "tests/docs/docs.h"

#define HAS(id) STREAM_FIELD(STREAM_HAS_##id)

static const struct {
    const char *name;
    enum access need;
    uint64_t must, may;
} types[] = {
#define TYPE(id, name, need, must, may) {name, ACCESS_##need, must, may},
#include "server/stream/frame.def"
};

static const char *const fields[] = {
#define FIELD(id, name, how, member, limit) name,
#include "server/stream/frame.def"
};

static const struct {
    const char *name;
    enum access need;
    const char *what;
} kinds[] = {
#define KIND(name, how, need, what) {name, ACCESS_##need, what},
#include "server/stream/kind.def"
};

static void add_fields(struct buf *out, uint64_t mask)
{
    for (size_t i = 0; i < STREAM_FIELDS; i++)
        if (mask >> i & 1)
            buf_addf(out, "%s`%s`", out->data[out->size - 1] == ' ' ? "" : ", ", fields[i]);
}

static void print_types(const char *argument, struct buf *out)
{
    (void)argument;
    buf_add_text(out, "| frame | required fields | optional fields | permission |\n|---|---|---|---|\n");
    for (size_t i = 0; i < STREAM_TYPES; i++) {
        buf_addf(out, "| `%s` | ", types[i].name);
        add_fields(out, types[i].must);
        buf_add_text(out, " | ");
        add_fields(out, types[i].may);
        buf_addf(out, " | %s |\n", access_texts[types[i].need].title);
    }
}

/* The refusal of one wrong value: "an integer from 1 to 4294967295". */
static bool read_form(size_t type, size_t field, const char *value, char *ret_form, size_t size)
{
    char text[200], error[400] = "";
    snprintf(text, sizeof text, "{\"type\":\"%s\",\"%s\":%s}", types[type].name, fields[field], value);
    struct stream_frame frame;
    int err = stream_frame_read(slice_text(text), &frame, error, sizeof error);
    stream_frame_done(&frame);
    const char *form = strstr(error, " must be ");
    if (!err || !form)
        return false;
    snprintf(ret_form, size, "%s", form + strlen(" must be "));
    return true;
}

/* An object with wrong members gets a more precise error than a value that is no object. */
static void add_form(struct buf *out, size_t field)
{
    static const char *const values[] = {"{}", "{\"healthy\":1}", "[{}]", "null"};
    char form[400] = "", more[400];
    size_t type = 0;
    while (!((types[type].must | types[type].may) >> field & 1))
        type++;
    if (!read_form(type, field, "null", form, sizeof form))
        snprintf(form, sizeof form, "any value");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        if (!read_form(type, field, values[i], more, sizeof more) || !strchr(more, '{'))
            continue;
        snprintf(form, sizeof form, "%s", more);
        break;
    }
    docs_add_text(out, form);
}

static void print_fields(const char *argument, struct buf *out)
{
    (void)argument;
    buf_add_text(out, "| field | value | in |\n|---|---|---|\n");
    for (size_t i = 0; i < STREAM_FIELDS; i++) {
        buf_addf(out, "| `%s` | ", fields[i]);
        add_form(out, i);
        buf_add_text(out, " | ");
        for (size_t t = 0; t < STREAM_TYPES; t++)
            if ((types[t].must | types[t].may) >> i & 1)
                buf_addf(out, "%s%s", out->data[out->size - 1] == ' ' ? "" : ", ", types[t].name);
        buf_add_text(out, " |\n");
    }
}

static void print_kinds(const char *argument, struct buf *out)
{
    (void)argument;
    buf_add_text(out, "| kind | what a subscription shows | permission |\n|---|---|---|\n");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        buf_addf(out, "| `%s` | %s | %s |\n", kinds[i].name, kinds[i].what,
                 access_texts[kinds[i].need].title);
}

/* --- the server's frames ------------------------------------------------------------------------------- */

static void write_welcome(struct buf *out)
{
    const struct stream_welcome w = {.cluster_id = 14841639068965178418u,
                                     .member = "n1",
                                     .revision = 44,
                                     .session = 0x70d6c2e4f3a1,
                                     .session_key = "8c0f5d2e9b7a41638c0f5d2e9b7a4163",
                                     .ttl_ms = 15000,
                                     .heartbeat_ms = 5000,
                                     .window = 1048576,
                                     .subscriptions_max = 1024,
                                     .requests_max = 64,
                                     .silent_ms = 30000};
    stream_write_welcome(out, &w);
}

static void write_snapshot(struct buf *out)
{
    stream_write_snapshot_head(out, 1, 44, 1, true);
    buf_add_text(out, "\"items\":[...]}");
}

static void write_delta(struct buf *out)
{
    stream_write_delta_head(out, 1, 45, 44);
    buf_add_text(out, "\"put\":[...],\"delete\":[...]}");
}

static void write_mark(struct buf *out)
{
    stream_write_mark(out, 45);
}

static void write_resync(struct buf *out)
{
    stream_write_resync(out, 1, "overflow");
}

static void write_goaway(struct buf *out)
{
    stream_write_goaway(out, 2500);
}

static void write_registered(struct buf *out)
{
    const struct registry_result r = {.revision = 46, .session = 0x70d6c2e4f3a1, .ttl_s = 15};
    stream_write_result(out, 7, &r);
}

static void write_published(struct buf *out)
{
    const struct config_head head = {
        .seq = 3,
        .format = FORMAT_YAML,
        .digest = {.md5 = "0cc175b9c0f1b6a831c399e269772661",
                   .sha256 = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}};
    const struct config_result r = {.revision = 47, .seq = 3, .head = &head};
    stream_write_published(out, 8, &r, false);
}

static void write_error(struct buf *out)
{
    stream_write_error_sid(out, 1, stream_error_code(ERR_PERMISSION_DENIED), "permission denied");
}

static void write_malformed(struct buf *out)
{
    const struct config_result r = {.error = "a tab in the indentation", .where = {.line = 2, .column = 1}};
    stream_write_not_published(out, 8, ERR_MALFORMED, &r);
}

static const struct {
    const char *when;
    void (*write)(struct buf *out);
} examples[] = {
    {"after `hello`: the subscriptions may begin", write_welcome},
    {"the whole state; `last` is true in its last part; `absent` is true if the name of a `service` or\n  "
     "`config` does not exist",
     write_snapshot},
    {"changes after `previous`, up to `revision`", write_delta},
    {"everything up to `revision` has been sent", write_mark},
    {"a `snapshot` or the whole difference follows; `reason` is below", write_resync},
    {"`register` and `deregister` were applied", write_registered},
    {"`publish` was applied", write_published},
    {"a request with `rid` failed; `publish` adds `line` and `column`, or `current`", write_malformed},
    {"a subscription failed or has ended; without `sid` and `rid`, the connection", write_error},
    {"this member stops: connect again after so long", write_goaway},
};

static void print_examples(const char *argument, struct buf *out)
{
    (void)argument;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        buf_addf(out, "%s- %s:\n\n      ", i ? "\n" : "", examples[i].when);
        examples[i].write(out);
        buf_add_byte(out, '\n');
    }
}

static const struct {
    int err;
    const char *when;
} codes[] = {
    {ERR_INVALID, "A frame has an unknown type, an unknown field or a wrong value; the message names it."},
    {ERR_MALFORMED, "`publish`: the content is not what its format asks for. A frame that is no JSON ends "
                    "the connection."},
    {ERR_LIMIT, "A limit is reached: subscriptions, requests, the window, or bytes of a frame."},
    {ERR_QUOTA, "A namespace is full."},
    {ERR_NOT_FOUND, "The instance or the configuration does not exist."},
    {ERR_PRECONDITION, "`publish`: `if_seq`, `if_md5`, `if_revision` or `if_absent` does not hold."},
    {ERR_CONFLICT, "Another client changed it at the same time: read it again."},
    {ERR_SESSION_GONE, "The session of `hello` has ended: register again."},
    {ERR_PERMISSION_DENIED, "The user lacks a permission. With `sid` the subscription has ended."},
    {ERR_INVALID_AUTH_TOKEN, "The credentials are not valid, or no longer."},
    {ERR_FUTURE_REV, "`from_revision` is beyond what this member has."},
    {ERR_COMPACTED, "`kv`: the revision has been compacted."},
    {ERR_NOT_READY, "This member has not caught up, or has no place for another stream."},
    {ERR_NO_LEADER, "There is no quorum; nothing was changed."},
    {ERR_TIMEOUT, "The outcome of a write is unknown: it may have been applied."},
    {ERR_STOPPED, "This member stops."},
};

static void print_codes(const char *argument, struct buf *out)
{
    (void)argument;
    buf_add_text(out, "| code | when |\n|---|---|\n");
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        buf_addf(out, "| `%s` | %s |\n", stream_error_code(codes[i].err), codes[i].when);
}

const struct docs_part docs_frame_parts[] = {
    {"frames", print_types},     {"frame-fields", print_fields}, {"kinds", print_kinds},
    {"answers", print_examples}, {"frame-errors", print_codes},  {NULL, NULL},
};
