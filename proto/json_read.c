/* SPDX-License-Identifier: Apache-2.0
 * Reader of JSON into protobuf messages: one pass over the text, straight into the arena, without a tree.
 * It does not use jansson, for three reasons:
 *
 * - errors must name the line and column of a field's value,
 * - plain numbers go up to 2^64 - 1,
 * - a gateway request must not cost an allocation per value.
 *
 * Clients may send the proto3 JSON mapping:
 *
 * - names in proto or lowerCamel spelling,
 * - integers as numbers or strings, enums as names or numbers,
 * - bytes in either base64 alphabet, with or without padding,
 * - null for an absent field.
 *
 * Unknown fields and unknown enum names are skipped, but must be JSON. A field that is given twice is an
 * error, and so are two fields of one oneof. Strings must not contain NUL: C strings cannot hold it. */
#include "proto/json.h"

#include <assert.h>

#include "base/text.h"
#include "proto/json_field.h"
#include "proto/json_token.h"

enum { FIELDS_MAX = 64 }; /* fields of one message: `seen` is one word */

static int read_message(struct json_reader *r, const ProtobufCMessageDescriptor *d,
                        ProtobufCMessage **ret_message);

static int fail_value(struct json_reader *r, const uint8_t *where, const ProtobufCFieldDescriptor *f)
{
    static const char *const names[] = {
        [PROTOBUF_C_TYPE_INT32] = "int32",       [PROTOBUF_C_TYPE_SINT32] = "sint32",
        [PROTOBUF_C_TYPE_SFIXED32] = "sfixed32", [PROTOBUF_C_TYPE_INT64] = "int64",
        [PROTOBUF_C_TYPE_SINT64] = "sint64",     [PROTOBUF_C_TYPE_SFIXED64] = "sfixed64",
        [PROTOBUF_C_TYPE_UINT32] = "uint32",     [PROTOBUF_C_TYPE_FIXED32] = "fixed32",
        [PROTOBUF_C_TYPE_UINT64] = "uint64",     [PROTOBUF_C_TYPE_FIXED64] = "fixed64",
        [PROTOBUF_C_TYPE_FLOAT] = "float",       [PROTOBUF_C_TYPE_DOUBLE] = "double",
        [PROTOBUF_C_TYPE_BOOL] = "bool",         [PROTOBUF_C_TYPE_ENUM] = "enum",
        [PROTOBUF_C_TYPE_STRING] = "string",     [PROTOBUF_C_TYPE_BYTES] = "bytes",
        [PROTOBUF_C_TYPE_MESSAGE] = "message",
    };
    if (where >= r->end)
        return json_fail_token(r);
    return json_fail(r, where, false, "invalid value for %s field %s: %s", names[f->type], f->name,
                     json_quote(r, where).text);
}

/* --- one value: 0, or ERR_MALFORMED with or without a sentence in r->error -------------------- */

static int to_signed(struct json_integer v, int64_t max, int64_t *ret_value)
{
    if (v.magnitude > (uint64_t)max + v.is_negative)
        return ERR_MALFORMED;
    *ret_value = v.is_negative ? (int64_t)(0 - v.magnitude) : (int64_t)v.magnitude;
    return 0;
}

static bool is_unsigned(ProtobufCType type)
{
    return type == PROTOBUF_C_TYPE_UINT32 || type == PROTOBUF_C_TYPE_FIXED32 ||
           type == PROTOBUF_C_TYPE_UINT64 || type == PROTOBUF_C_TYPE_FIXED64;
}

static int read_number(struct json_reader *r, const ProtobufCFieldDescriptor *f, void *member)
{
    struct json_integer v;
    bool is_short = json_size_of(f->type) == 4;
    int64_t number = 0;
    if (json_read_integer(r, &v))
        return ERR_MALFORMED;
    if (is_unsigned(f->type)) {
        if (v.magnitude > (is_short ? UINT32_MAX : UINT64_MAX) || (v.is_negative && v.magnitude))
            return ERR_MALFORMED;
        number = (int64_t)v.magnitude;
    } else if (to_signed(v, is_short ? INT32_MAX : INT64_MAX, &number)) {
        return ERR_MALFORMED;
    }
    if (is_short)
        *(int32_t *)member = (int32_t)number;
    else
        *(int64_t *)member = number;
    return 0;
}

static int read_bool(struct json_reader *r, protobuf_c_boolean *member)
{
    bool is_true = json_take_word(r, "true");
    if (!is_true && !json_take_word(r, "false"))
        return ERR_MALFORMED;
    *member = is_true;
    return 0;
}

/* Reads an enum. An unknown name is skipped as an unknown field is: a newer client may know more names. */
static int read_enum(struct json_reader *r, const ProtobufCFieldDescriptor *f, int *member, bool *ret_is_set)
{
    const ProtobufCEnumDescriptor *d = f->descriptor;
    if (json_peek(r) != '"')
        return read_number(r, f, member);
    struct slice name;
    int err = json_read_string(r, &name);
    if (err)
        return err;
    for (unsigned i = 0; i < d->n_value_names; i++) {
        if (slice_equal(name, slice_text(d->values_by_name[i].name))) {
            *member = d->values[d->values_by_name[i].index].value;
            return 0;
        }
    }
    *ret_is_set = false;
    return 0;
}

static int read_text(struct json_reader *r, char **member)
{
    struct slice s;
    if (json_peek(r) != '"' || json_read_string(r, &s) || (s.size && memchr(s.data, 0, s.size)))
        return ERR_MALFORMED;
    *member = arena_string(r->arena, s.data, s.size);
    return 0;
}

static int read_bytes(struct json_reader *r, ProtobufCBinaryData *member)
{
    struct slice s;
    buf_clear(&r->bytes);
    if (json_peek(r) != '"' || json_read_string(r, &s) || base64_decode(s, &r->bytes))
        return ERR_MALFORMED;
    member->len = r->bytes.size;
    member->data = r->bytes.size ? arena_copy(r->arena, r->bytes.data, r->bytes.size) : NULL;
    return 0;
}

/* Reads a value. *ret_is_set becomes false if the value is to be skipped. */
static int read_value(struct json_reader *r, const ProtobufCFieldDescriptor *f, void *member,
                      bool *ret_is_set)
{
    json_peek(r);
    const uint8_t *where = r->at;
    int err = ERR_MALFORMED;
    switch (f->type) {
    case PROTOBUF_C_TYPE_BOOL:
        err = read_bool(r, member);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        err = read_enum(r, f, member, ret_is_set);
        break;
    case PROTOBUF_C_TYPE_STRING:
        err = read_text(r, member);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        err = read_bytes(r, member);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        err = read_message(r, f->descriptor, member);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        err = read_number(r, f, member);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        break; /* the API has none; json_test.c checks this */
    }
    return err && !r->error[0] ? fail_value(r, where, f) : err;
}

/* --- messages ------------------------------------------------------------------------------- */

/* "range_end" is also "rangeEnd"; names without '_' have one spelling. */
static bool name_matches(const char *name, struct slice key)
{
    size_t at = 0;
    for (const char *n = name; *n; n++) {
        char c = *n;
        if (c == '_' && n[1] && !(at < key.size && key.data[at] == '_')) {
            c = *++n;
            if (c >= 'a' && c <= 'z')
                c = (char)(c - 'a' + 'A');
        }
        if (at >= key.size || key.data[at++] != (uint8_t)c)
            return false;
    }
    return at == key.size;
}

/* Finds a field by name. Clients write fields in order, so the search begins behind the previous field. */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *d, struct slice key,
                                                  unsigned *hint)
{
    for (unsigned i = 0; i < d->n_fields; i++) {
        unsigned at = (*hint + i) % d->n_fields;
        if (name_matches(d->fields[at].name, key)) {
            *hint = at + 1;
            return &d->fields[at];
        }
    }
    return NULL;
}

static int read_elements(struct json_reader *r, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m)
{
    size_t *count = (size_t *)(void *)((char *)m + f->quantifier_offset);
    void **list = (void **)(void *)((char *)m + f->offset);
    size_t element = json_size_of(f->type), capacity = 0;
    for (;;) {
        if (*count == capacity) {
            size_t grown = capacity ? capacity * 2 : 4;
            void *room = arena_alloc(r->arena, grown * element);
            if (capacity)
                memcpy(room, *list, capacity * element);
            *list = room;
            capacity = grown;
        }
        bool is_set = true;
        int err = read_value(r, f, (char *)*list + *count * element, &is_set);
        if (err)
            return err;
        *count += is_set;
        if (json_peek(r) != ',')
            return json_expect(r, ']');
        r->at++;
    }
}

static int read_list(struct json_reader *r, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m)
{
    if (json_peek(r) != '[')
        return json_fail_token(r);
    if (++r->depth > JSON_DEPTH_MAX)
        return json_fail(r, r->at, false, "exceeded max recursion depth");
    r->at++;
    int err = 0;
    if (json_peek(r) == ']')
        r->at++;
    else
        err = read_elements(r, f, m);
    r->depth--;
    return err;
}

/* Reads the value behind the ':' of a known field. */
static int read_field(struct json_reader *r, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return read_list(r, f, m);
    uint32_t *oneof_case = NULL;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        oneof_case = (uint32_t *)(void *)((char *)m + f->quantifier_offset);
        if (*oneof_case)
            return json_fail(r, r->at, false, "error parsing \"%s\", its oneof is already set", f->name);
    }
    bool is_set = true;
    int err = read_value(r, f, (char *)m + f->offset, &is_set);
    if (!err && is_set && oneof_case)
        *oneof_case = f->id;
    return err;
}

static int read_member(struct json_reader *r, ProtobufCMessage *m, uint64_t *seen, unsigned *hint)
{
    struct slice key;
    json_peek(r);
    const uint8_t *where = r->at;
    int err = json_read_string(r, &key);
    if (err)
        return err;
    const ProtobufCFieldDescriptor *f = find_field(m->descriptor, key, hint);
    if ((err = json_expect(r, ':')))
        return err;
    if (!f)
        return json_skip_value(r);
    uint64_t bit = 1ull << (f - m->descriptor->fields);
    if (*seen & bit)
        return json_fail(r, where, false, "duplicate field \"%s\"", f->name);
    *seen |= bit;
    if (json_peek(r) == 'n' && json_take_word(r, "null"))
        return 0;
    return read_field(r, f, m);
}

static int read_members(struct json_reader *r, ProtobufCMessage *m)
{
    uint64_t seen = 0;
    unsigned hint = 0;
    for (;;) {
        int err = read_member(r, m, &seen, &hint);
        if (err)
            return err;
        if (json_peek(r) != ',')
            return json_expect(r, '}');
        r->at++;
    }
}

static int read_message(struct json_reader *r, const ProtobufCMessageDescriptor *d,
                        ProtobufCMessage **ret_message)
{
    assert(d->n_fields <= FIELDS_MAX);
    if (json_peek(r) != '{')
        return json_fail_token(r);
    if (++r->depth > JSON_DEPTH_MAX)
        return json_fail(r, r->at, false, "exceeded max recursion depth");
    r->at++;
    ProtobufCMessage *m = arena_alloc(r->arena, d->sizeof_message);
    d->message_init(m);
    int err = 0;
    if (json_peek(r) == '}')
        r->at++;
    else
        err = read_members(r, m);
    r->depth--;
    if (!err)
        *ret_message = m;
    return err;
}

int json_to_message(const ProtobufCMessageDescriptor *d, struct slice text, struct arena *a, char *error,
                    size_t error_size, ProtobufCMessage **ret_message)
{
    assert(error_size > 0);
    error[0] = 0;
    struct json_reader r = {
        .start = text.data,
        .at = text.data,
        .end = text.data + text.size,
        .arena = a,
        .error = error,
        .error_size = error_size,
    };
    int err = read_message(&r, d, ret_message);
    buf_done(&r.unescaped);
    buf_done(&r.bytes);
    return err;
}
