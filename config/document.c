/* SPDX-License-Identifier: Apache-2.0
 * Readers and writers of heads, releases and drafts; see document.h. Fields are written in one order; a field
 * with its default value is left out. */
#include "config/document.h"

#include <stdio.h>

#include "base/text.h"
#include "config/seal/keys.h"

static const char *const operation_names[CONFIG_OPERATIONS] = {
#define OPERATION(name, text) text,
#include "config/document.def"
#undef OPERATION
};

const char *config_operation_name(enum config_operation o)
{
    return operation_names[o];
}

/* --- fields ------------------------------------------------------------------------------------- */

static void read_format(struct document_reader *r, enum format *ret)
{
    struct slice name = {0};
    document_text(r, "type", &name);
    if (format_from_name(name, ret))
        document_refuse(r, "type", "is missing or unknown");
}

static void read_operation(struct document_reader *r, enum config_operation *ret)
{
    struct slice name = {0};
    document_text(r, "operation", &name);
    for (int i = 0; i < CONFIG_OPERATIONS; i++) {
        if (!slice_equal(name, slice_text(operation_names[i])))
            continue;
        *ret = (enum config_operation)i;
        return;
    }
    document_refuse(r, "operation", "is missing or unknown");
}

static void read_seq(struct document_reader *r, const char *field, uint64_t *ret)
{
    int64_t value;
    if (document_number(r, field, 1, INT64_MAX, &value))
        *ret = (uint64_t)value;
}

static void read_time(struct document_reader *r, int64_t *ret_ms)
{
    document_number(r, "time_ms", 0, INT64_MAX, ret_ms);
}

static void read_hex(struct document_reader *r, const char *field, char *ret, size_t size)
{
    struct slice text = {0};
    document_text(r, field, &text);
    bool is_fine = text.size == size;
    for (size_t i = 0; i < text.size; i++)
        is_fine = is_fine && text.data[i] && strchr("0123456789abcdef", text.data[i]);
    if (!is_fine)
        document_refuse(r, field, "is not the digest in lower-case hexadecimal digits");
    else
        memcpy(ret, text.data, size);
}

static void read_digest(struct document_reader *r, struct digest *ret)
{
    read_hex(r, "md5", ret->md5, DIGEST_MD5_SIZE);
    read_hex(r, "sha256", ret->sha256, DIGEST_SHA256_SIZE);
}

static void read_note(struct document_reader *r, struct slice *ret)
{
    document_string(r, "note", CONFIG_NOTE_MAX, ret);
}

const uint8_t content_unopened[1];

static void read_sealed(struct document_reader *r, struct slice *ret)
{
    struct slice id = {0};
    if (document_text(r, "sealed", &id) && !seal_is_id(id))
        document_refuse(r, "sealed", "is not the id of a key");
    else
        *ret = id;
}

static void add_digest(struct json_writer *w, const struct digest *d)
{
    document_add_text(w, "md5", slice_text(d->md5));
    document_add_text(w, "sha256", slice_text(d->sha256));
}

static void add_seq(struct json_writer *w, const char *key, uint64_t seq)
{
    if (seq)
        document_add_number(w, key, (int64_t)seq);
}

static void add_content(struct json_writer *w, struct slice content, struct slice encoded)
{
    if (encoded.size)
        jw_raw(w, encoded);
    else
        document_add_bytes(w, "content", content);
}

/* --- heads -------------------------------------------------------------------------------------- */

int config_head_read(struct slice text, struct arena *a, struct config_head *ret, char *error,
                     size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, error_size);
    struct config_head h = {0};
    int64_t size = 0;
    if (text.size > CONFIG_HEAD_MAX) { /* written through the etcd API: every member would parse it */
        snprintf(error, error_size, "it has %zu bytes; a head has at most %u", text.size, CONFIG_HEAD_MAX);
        return ERR_INVALID;
    }
    document_begin(&r, text);
    read_seq(&r, "seq", &h.seq);
    h.last_seq = h.seq;
    read_seq(&r, "last_seq", &h.last_seq);
    read_format(&r, &h.format);
    document_bool(&r, "deleted", &h.is_deleted);
    if (!h.is_deleted) {
        document_number(&r, "size", 0, INT64_MAX, &size);
        read_sealed(&r, &h.sealed);
        read_digest(&r, &h.digest);
    }
    document_text(&r, "title", &h.title);
    read_time(&r, &h.time_ms);
    h.size = (uint64_t)size;
    if (!h.seq)
        document_refuse(&r, "seq", "is missing");
    else if (h.last_seq < h.seq)
        document_refuse(&r, "last_seq", "is below seq");
    json_t *gray = document_take(&r, "gray");
    if (gray)
        r.err = gray_rules_read(gray, a, &h.gray, error, error_size);
    int err = document_end(&r);
    if (!err)
        *ret = h;
    return err;
}

void config_head_write_members(const struct config_head *h, struct json_writer *w)
{
    add_seq(w, "seq", h->seq);
    if (h->last_seq > h->seq)
        add_seq(w, "last_seq", h->last_seq);
    document_add_text(w, "type", slice_text(format_name(h->format)));
    if (h->is_deleted) {
        jw_key(w, "deleted");
        jw_bool(w, true);
    } else {
        document_add_number(w, "size", (int64_t)h->size);
        document_add_text(w, "sealed", h->sealed);
        add_digest(w, &h->digest);
    }
    document_add_text(w, "title", h->title);
    document_add_number(w, "time_ms", h->time_ms);
    if (h->gray.count) {
        jw_key(w, "gray");
        gray_rules_write(&h->gray, w);
    }
}

void config_head_write(const struct config_head *h, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    config_head_write_members(h, &w);
    jw_close(&w, '}');
}

/* --- releases ----------------------------------------------------------------------------------- */

static void read_content(struct document_reader *r, struct slice *ret, struct slice *ret_sealed,
                         struct slice *ret_envelope, size_t *ret_size)
{
    int64_t size = -1;
    document_number(r, "size", 0, CONFIG_CONTENT_MAX, &size);
    read_sealed(r, ret_sealed);
    size_t room = ret_sealed->size ? SEAL_ROOM : 0;
    if (!document_bytes(r, "content", CONFIG_CONTENT_MAX + room, ret))
        document_refuse(r, "content", "is missing");
    else if (size < 0 || (uint64_t)size + room != ret->size)
        document_refuse(r, "size", "is not that of the content");
    if (!ret_sealed->size)
        return;
    *ret_envelope = *ret;
    *ret = slice_of(content_unopened, 0);
    *ret_size = size < 0 ? 0 : (size_t)size;
}

int config_release_read(struct slice text, struct arena *a, struct config_release *ret, char *error,
                        size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, error_size);
    struct config_release release = {0};
    document_begin_long(&r, text, "content");
    read_operation(&r, &release.operation);
    read_format(&r, &release.format);
    document_text(&r, "title", &release.title);
    read_note(&r, &release.note);
    author_read(&r, &release.author);
    read_time(&r, &release.time_ms);
    document_text(&r, "emergency", &release.emergency);
    document_text(&r, "approved_by", &release.approved);
    read_seq(&r, "previous_seq", &release.previous_seq);
    read_seq(&r, "origin_seq", &release.origin_seq);
    document_text(&r, "origin_namespace", &release.origin_ns);
    if (release.operation != CONFIG_DELETE) {
        read_digest(&r, &release.digest);
        read_content(&r, &release.content, &release.sealed, &release.envelope, &release.unopened_size);
    }
    int err = document_end(&r);
    if (!err)
        *ret = release;
    return err;
}

void config_release_write_members(const struct config_release *r, bool with_content, struct json_writer *w)
{
    document_add_text(w, "operation", slice_text(config_operation_name(r->operation)));
    document_add_text(w, "type", slice_text(format_name(r->format)));
    document_add_text(w, "title", r->title);
    document_add_text(w, "note", r->note);
    author_write_members(&r->author, w);
    document_add_number(w, "time_ms", r->time_ms);
    document_add_text(w, "emergency", r->emergency);
    document_add_text(w, "approved_by", r->approved);
    add_seq(w, "previous_seq", r->previous_seq);
    add_seq(w, "origin_seq", r->origin_seq);
    document_add_text(w, "origin_namespace", r->origin_ns);
    if (r->operation == CONFIG_DELETE)
        return;
    document_add_number(w, "size", (int64_t)content_size(r->content, r->unopened_size));
    document_add_text(w, "sealed", r->sealed);
    add_digest(w, &r->digest);
    if (with_content)
        add_content(w, r->content, r->encoded);
}

void config_release_write(const struct config_release *r, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    config_release_write_members(r, true, &w);
    jw_close(&w, '}');
}

/* --- drafts ------------------------------------------------------------------------------------- */

int config_draft_read(struct slice text, struct arena *a, struct config_draft *ret, char *error,
                      size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, error_size);
    struct config_draft d = {0};
    document_begin_long(&r, text, "content");
    read_format(&r, &d.format);
    document_text(&r, "title", &d.title);
    read_note(&r, &d.note);
    author_read(&r, &d.author);
    read_seq(&r, "base_seq", &d.base_seq);
    read_time(&r, &d.time_ms);
    document_bool(&r, "deletion", &d.is_deletion);
    if (!d.is_deletion)
        read_content(&r, &d.content, &d.sealed, &d.envelope, &d.unopened_size);
    int err = document_end(&r);
    if (!err)
        *ret = d;
    return err;
}

void config_draft_write(const struct config_draft *d, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    document_add_text(&w, "type", slice_text(format_name(d->format)));
    document_add_text(&w, "title", d->title);
    document_add_text(&w, "note", d->note);
    author_write_members(&d->author, &w);
    add_seq(&w, "base_seq", d->base_seq);
    document_add_number(&w, "time_ms", d->time_ms);
    if (d->is_deletion) {
        jw_key(&w, "deletion");
        jw_bool(&w, true);
    } else {
        document_add_number(&w, "size", (int64_t)content_size(d->content, d->unopened_size));
        document_add_text(&w, "sealed", d->sealed);
        add_content(&w, d->content, d->encoded);
    }
    jw_close(&w, '}');
}

/* --- the client's fields ---------------------------------------------------------------------------- */

int config_check_title(struct slice title, char *error, size_t error_size)
{
    const char *wrong = NULL;
    if (title.size > CONFIG_TITLE_MAX)
        wrong = "is longer than 256 bytes";
    else if (!utf8_is_valid(title))
        wrong = "is not valid UTF-8";
    for (size_t i = 0; !wrong && i < title.size; i++)
        if (title.data[i] < 0x20 || title.data[i] == 0x7f)
            wrong = "holds a control character";
    if (wrong)
        snprintf(error, error_size, "title %s", wrong);
    return wrong ? ERR_INVALID : OK;
}

int config_check_note(struct slice note, char *error, size_t error_size)
{
    const char *wrong = NULL;
    if (note.size > CONFIG_NOTE_MAX)
        wrong = "is longer than 4096 bytes";
    else if (!utf8_is_valid(note))
        wrong = "is not valid UTF-8";
    if (wrong)
        snprintf(error, error_size, "note %s", wrong);
    return wrong ? ERR_INVALID : OK;
}
