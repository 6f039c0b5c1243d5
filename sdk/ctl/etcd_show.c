/* SPDX-License-Identifier: Apache-2.0
 * etcd's messages in etcdctl's output forms: simple, fields, json as Go's encoding/json writes the structs,
 * protobuf. */
#include "proto/json_field.h"
#include "sdk/ctl/rpc.h"

#include <inttypes.h>

#include "base/text.h"

/* --- json ----------------------------------------------------------------------------------------------- */

/* Go leaves zeros out (omitempty). Numbers and enums are numbers; bytes are base64. */
static bool ctl_etcd_show_is_zero(const ProtobufCFieldDescriptor *f, const void *value)
{
    static const uint8_t zeros[8];
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return !*(char *const *)value || !**(char *const *)value;
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)value)->len == 0;
    return memcmp(value, zeros, json_size_of(f->type)) == 0;
}

static void add_message(struct buf *out, const ProtobufCMessage *m, bool with_hex_ids);

/* The fields of this type are ids, but for the term of a header. */
static void add_u64(struct json_writer *w, const ProtobufCFieldDescriptor *f, uint64_t value,
                    bool with_hex_ids)
{
    char hex[17];
    if (!with_hex_ids || strcmp(f->name, "raft_term") == 0) {
        jw_uint(w, value);
        return;
    }
    snprintf(hex, sizeof hex, "%" PRIx64, value);
    jw_text(w, hex);
}

static void ctl_etcd_show_add_value(struct json_writer *w, const ProtobufCFieldDescriptor *f,
                                    const void *value, bool with_hex_ids)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        add_u64(w, f, *(const uint64_t *)value, with_hex_ids);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        jw_int(w, *(const int64_t *)value);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        jw_uint(w, *(const uint32_t *)value);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        jw_int(w, *(const int32_t *)value);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        jw_bool(w, *(const protobuf_c_boolean *)value);
        break;
    case PROTOBUF_C_TYPE_STRING:
        jw_text(w, *(char *const *)value);
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *b = value;
        jw_base64(w, slice_of(b->data, b->len));
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        struct buf inner = {0};
        add_message(&inner, *(ProtobufCMessage *const *)value, with_hex_ids);
        jw_raw(w, buf_slice(&inner));
        buf_done(&inner);
        break;
    }
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        jw_int(w, 0); /* etcd's messages have none */
        break;
    }
}

static void add_field(struct json_writer *w, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                      bool with_hex_ids)
{
    const uint8_t *at = (const uint8_t *)m + f->offset;
    if (f->label != PROTOBUF_C_LABEL_REPEATED) {
        if (!ctl_etcd_show_is_zero(f, at)) {
            jw_key(w, f->name);
            ctl_etcd_show_add_value(w, f, at, with_hex_ids);
        }
        return;
    }
    size_t count = *(const size_t *)((const uint8_t *)m + f->quantifier_offset);
    if (count == 0)
        return;
    jw_key(w, f->name);
    jw_open(w, '[');
    for (size_t i = 0; i < count; i++)
        ctl_etcd_show_add_value(w, f, *(uint8_t *const *)at + i * json_size_of(f->type), with_hex_ids);
    jw_close(w, ']');
}

/* A oneof as etcdctl 3.7 shows it: {"Response":{"response_put":{...}}} */
static void add_op(struct json_writer *w, const Etcdserverpb__ResponseOp *op)
{
    static const char *const names[] = {"", "response_range", "response_put", "response_delete_range",
                                        "response_txn"};
    if (op->response_case < 1 || op->response_case > 4)
        return;
    struct buf inner = {0};
    /* all members of the union are pointers to messages */
    ctl_add_go_json(&inner, &op->response_range->base);
    jw_key(w, "Response");
    jw_open(w, '{');
    jw_key(w, names[op->response_case]);
    jw_raw(w, buf_slice(&inner));
    jw_close(w, '}');
    buf_done(&inner);
}

static void add_message(struct buf *out, const ProtobufCMessage *m, bool with_hex_ids)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    if (m->descriptor == &etcdserverpb__response_op__descriptor)
        add_op(&w, (const Etcdserverpb__ResponseOp *)m);
    for (size_t i = 0; i < m->descriptor->n_fields && m->descriptor != &etcdserverpb__response_op__descriptor;
         i++)
        add_field(&w, m, &m->descriptor->fields[i], with_hex_ids);
    jw_close(&w, '}');
}

void ctl_add_go_json(struct buf *out, const ProtobufCMessage *m)
{
    add_message(out, m, false);
}

void ctl_add_go_header(struct buf *out, const Etcdserverpb__ResponseHeader *h)
{
    size_t from = out->size;
    ctl_add_go_json(out, &h->base);
    memmove(out->data + from, out->data + from + 1, out->size - from - 2);
    out->size -= 2;
}

void ctl_show_message(struct ctl *c, const ProtobufCMessage *m)
{
    if (c->form == CTL_FORM_PROTOBUF) {
        size_t size = protobuf_c_message_get_packed_size(m);
        c->out.size += protobuf_c_message_pack(m, buf_reserve(&c->out, size));
        return;
    }
    /* etcdctl's --hex changes the ids in what is said of members, and in no other message. */
    static const char members[] = "etcdserverpb.Member";
    add_message(&c->out, m, c->is_hex && strncmp(m->descriptor->name, members, strlen(members)) == 0);
    buf_add_byte(&c->out, '\n');
    if (c->form != CTL_FORM_YAML)
        return;
    /* JSON is valid YAML, but the form yaml has lines. */
    char why[200];
    json_t *doc = NULL;
    if (json_parse(buf_slice(&c->out), &doc, why, sizeof why) == OK) {
        buf_clear(&c->out);
        ctl_show_yaml(&c->out, doc);
    }
    json_decref(doc);
}

/* clientv3's structs of leases have a header inside, and etcdctl takes it for the whole message. */
void ctl_show_with_header(struct ctl *c, const ProtobufCMessage *m, const Etcdserverpb__ResponseHeader *h)
{
    ctl_show_message(c, c->line.is_etcdctl && h ? &h->base : m);
}

static bool is_message_form(const struct ctl *c)
{
    return c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML || c->form == CTL_FORM_PROTOBUF;
}

/* --- simple and fields ---------------------------------------------------------------------------------- */

static struct slice slice_of_bytes(ProtobufCBinaryData b)
{
    return slice_of(b.data, b.len);
}

static void add_bytes_line(struct ctl *c, ProtobufCBinaryData b)
{
    if (c->is_hex)
        ctl_add_hex(&c->out, slice_of_bytes(b));
    else
        buf_add_slice(&c->out, slice_of_bytes(b));
    buf_add_byte(&c->out, '\n');
}

void ctl_show_kv(struct ctl *c, const Mvccpb__KeyValue *kv, bool with_key, bool with_value)
{
    if (with_key)
        add_bytes_line(c, kv->key);
    if (with_value)
        add_bytes_line(c, kv->value);
}

static void add_quoted_field(struct ctl *c, const char *prefix, const char *name, ProtobufCBinaryData b)
{
    buf_addf(&c->out, "\"%s%s\" : ", prefix, name);
    ctl_add_quoted(&c->out, slice_of_bytes(b));
    buf_add_byte(&c->out, '\n');
}

void ctl_show_kv_fields(struct ctl *c, const char *prefix, const Mvccpb__KeyValue *kv)
{
    add_quoted_field(c, prefix, "Key", kv->key);
    buf_addf(&c->out,
             "\"%sCreateRevision\" : %" PRId64 "\n\"%sModRevision\" : %" PRId64 "\n\"%sVersion\" : %" PRId64
             "\n",
             prefix, kv->create_revision, prefix, kv->mod_revision, prefix, kv->version);
    add_quoted_field(c, prefix, "Value", kv->value);
    buf_addf(&c->out, c->is_hex ? "\"%sLease\" : %016" PRIx64 "\n" : "\"%sLease\" : %" PRId64 "\n", prefix,
             kv->lease);
}

void ctl_show_member_id(struct ctl *c, const char *name, uint64_t id)
{
    buf_addf(&c->out, c->is_hex ? "\"%s\" : %" PRIx64 "\n" : "\"%s\" : %" PRIu64 "\n", name, id);
}

void ctl_show_lease_id(struct ctl *c, int64_t id)
{
    buf_addf(&c->out, c->is_hex ? "\"ID\" : %016" PRIx64 "\n" : "\"ID\" : %" PRId64 "\n", id);
}

void ctl_show_header_fields(struct ctl *c, const Etcdserverpb__ResponseHeader *h)
{
    static const Etcdserverpb__ResponseHeader none = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    h = h ? h : &none;
    ctl_show_member_id(c, "ClusterID", h->cluster_id);
    ctl_show_member_id(c, "MemberID", h->member_id);
    if (h->revision > 0) /* responses that are not about keys have none */
        buf_addf(&c->out, "\"Revision\" : %" PRId64 "\n", h->revision);
    buf_addf(&c->out, "\"RaftTerm\" : %" PRIu64 "\n", h->raft_term);
}

enum ctl_exit ctl_fail_form(struct ctl *c, const char *form)
{
    return ctl_fail(c, CTL_BAD_FEATURE, "%s not supported as output format", form);
}

enum ctl_exit ctl_no_table_ever(struct ctl *c)
{
    if (c->form != CTL_FORM_TABLE && c->form != CTL_FORM_NAME)
        return CTL_DONE;
    return ctl_fail_form(c, c->form == CTL_FORM_TABLE ? "table" : "name");
}

enum ctl_exit ctl_no_table(struct ctl *c)
{
    if (!c->line.is_etcdctl)
        return ctl_no_table_ever(c);
    ctl_refuse_form(c, CTL_FORM_TABLE);
    return CTL_DONE;
}

void ctl_refuse_form(struct ctl *c, enum ctl_form form)
{
    if (c->line.is_etcdctl && c->form == form)
        c->refused_form = form == CTL_FORM_TABLE ? "table" : form == CTL_FORM_FIELDS ? "fields" : "protobuf";
}

void ctl_show_range(struct ctl *c, const Etcdserverpb__RangeResponse *r, bool values_only)
{
    if (is_message_form(c)) {
        ctl_show_message(c, &r->base);
        return;
    }
    bool is_fields = c->form == CTL_FORM_FIELDS;
    if (is_fields)
        ctl_show_header_fields(c, r->header);
    for (size_t i = 0; i < r->n_kvs; i++) {
        if (is_fields)
            ctl_show_kv_fields(c, "", r->kvs[i]);
        else /* without values there is an empty line in their place */
            ctl_show_kv(c, r->kvs[i], !values_only, true);
    }
    if (is_fields)
        buf_addf(&c->out, "\"More\" : %s\n\"Count\" : %" PRId64 "\n", r->more ? "true" : "false", r->count);
}

void ctl_show_put(struct ctl *c, const Etcdserverpb__PutResponse *r)
{
    if (is_message_form(c)) {
        ctl_show_message(c, &r->base);
    } else if (c->form == CTL_FORM_FIELDS) {
        ctl_show_header_fields(c, r->header);
        if (r->prev_kv)
            ctl_show_kv_fields(c, "Prev", r->prev_kv);
    } else {
        buf_add_text(&c->out, "OK\n");
        if (r->prev_kv)
            ctl_show_kv(c, r->prev_kv, true, true);
    }
}

void ctl_show_delete(struct ctl *c, const Etcdserverpb__DeleteRangeResponse *r)
{
    if (is_message_form(c)) {
        ctl_show_message(c, &r->base);
        return;
    }
    bool is_fields = c->form == CTL_FORM_FIELDS;
    if (is_fields) {
        ctl_show_header_fields(c, r->header);
        buf_addf(&c->out, "\"Deleted\" : %" PRId64 "\n", r->deleted);
    } else {
        buf_addf(&c->out, "%" PRId64 "\n", r->deleted);
    }
    for (size_t i = 0; i < r->n_prev_kvs; i++) {
        if (is_fields)
            ctl_show_kv_fields(c, "Prev", r->prev_kvs[i]);
        else
            ctl_show_kv(c, r->prev_kvs[i], true, true);
    }
}

static void show_op(struct ctl *c, const Etcdserverpb__ResponseOp *op)
{
    if (c->form != CTL_FORM_FIELDS)
        buf_add_byte(&c->out, '\n');
    switch (op->response_case) {
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE:
        ctl_show_range(c, op->response_range, false);
        break;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT:
        ctl_show_put(c, op->response_put);
        break;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE:
        ctl_show_delete(c, op->response_delete_range);
        break;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN:
        ctl_show_txn(c, op->response_txn);
        break;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE__NOT_SET:
    default: /* from a newer server */
        break;
    }
}

void ctl_show_txn(struct ctl *c, const Etcdserverpb__TxnResponse *r)
{
    if (is_message_form(c)) {
        ctl_show_message(c, &r->base);
        return;
    }
    if (c->form == CTL_FORM_FIELDS) {
        ctl_show_header_fields(c, r->header);
        buf_addf(&c->out, "\"Succeeded\" : %s\n", r->succeeded ? "true" : "false");
    } else {
        buf_add_text(&c->out, r->succeeded ? "SUCCESS\n" : "FAILURE\n");
    }
    for (size_t i = 0; i < r->n_responses; i++)
        show_op(c, r->responses[i]);
}
