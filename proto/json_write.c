/* SPDX-License-Identifier: Apache-2.0
 * Writer of protobuf messages as JSON, and the splitter of a stream of JSON values. A field with its
 * default value is left out. Exceptions: a member of a oneof that is set, even to zero, and an empty
 * message ({}). Fields are in the order of their numbers, which is the order of their declaration. */
#include "proto/json.h"

#include "base/json.h"
#include "proto/json_field.h"

static void write_message(struct json_writer *w, const ProtobufCMessage *m);

static bool is_default(const ProtobufCFieldDescriptor *f, const void *member)
{
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)member;
        return !text || !*text;
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)member)->len == 0;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(const void *const *)member == NULL;
    return json_size_of(f->type) == 8 ? *(const uint64_t *)member == 0 : *(const uint32_t *)member == 0;
}

static void write_enum(struct json_writer *w, const ProtobufCEnumDescriptor *d, int value)
{
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, value);
    if (v)
        jw_text(w, v->name);
    else
        jw_int(w, value);
}

static void write_value(struct json_writer *w, const ProtobufCFieldDescriptor *f, const void *member)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        jw_int(w, *(const int32_t *)member);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        jw_uint(w, *(const uint32_t *)member);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        jw_int_string(w, *(const int64_t *)member);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        jw_uint_string(w, *(const uint64_t *)member);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        jw_bool(w, *(const protobuf_c_boolean *)member);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        write_enum(w, f->descriptor, *(const int *)member);
        break;
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(const char *const *)member;
        jw_text(w, text ? text : "");
        break;
    }
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *bytes = member;
        jw_base64(w, slice_of(bytes->data, bytes->len));
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        write_message(w, *(const ProtobufCMessage *const *)member);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        jw_int(w, 0); /* the API has none; json_test.c checks this */
        break;
    }
}

static void write_list(struct json_writer *w, const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m)
{
    size_t count = *(const size_t *)(const void *)((const char *)m + f->quantifier_offset);
    if (count == 0)
        return;
    const char *list = *(const char *const *)(const void *)((const char *)m + f->offset);
    jw_key(w, f->name);
    jw_open(w, '[');
    for (size_t i = 0; i < count; i++)
        write_value(w, f, list + i * json_size_of(f->type));
    jw_close(w, ']');
}

static void write_message(struct json_writer *w, const ProtobufCMessage *m)
{
    jw_open(w, '{');
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const char *member = (const char *)m + f->offset;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            write_list(w, f, m);
            continue;
        }
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
            if (*(const uint32_t *)(const void *)((const char *)m + f->quantifier_offset) != f->id)
                continue;
        } else if (is_default(f, member)) {
            continue;
        }
        jw_key(w, f->name);
        write_value(w, f, member);
    }
    jw_close(w, '}');
}

void message_to_json(const ProtobufCMessage *m, struct buf *out)
{
    struct json_writer w = {.out = out};
    write_message(&w, m);
}

/* --- splitting a stream ----------------------------------------------------------------------- */

/* Scans one byte; true if a value ends with it. */
static bool scan_byte(struct json_scan *s, uint8_t c)
{
    bool is_blank = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (s->in_escape) {
        s->in_escape = false;
        return false;
    }
    if (s->in_string) {
        s->in_escape = c == '\\';
        s->in_string = c != '"';
        return !s->in_string && s->depth == 0;
    }
    if (is_blank)
        return s->is_scalar && s->depth == 0;
    s->is_inside = true;
    s->in_string = c == '"';
    if (c == '{' || c == '[') {
        s->depth++;
        return false;
    }
    if (c == '}' || c == ']') {
        s->depth -= s->depth > 0;
        return s->depth == 0;
    }
    s->is_scalar = s->is_scalar || (s->depth == 0 && !s->in_string); /* a number or word ends with a blank */
    return false;
}

size_t json_scan(struct json_scan *s, struct slice piece)
{
    s->is_complete = false;
    for (size_t i = 0; i < piece.size; i++) {
        if (scan_byte(s, piece.data[i])) {
            *s = (struct json_scan){.is_complete = true};
            return i + 1;
        }
    }
    return piece.size;
}
