/* SPDX-License-Identifier: Apache-2.0
 * DNS wire format: parser of queries and writer of answers; see dns_wire.h. */
#include "server/dns/dns_wire.h"

#include <assert.h>

enum {
    FLAG_ANSWER = 0x8000,
    FLAG_AUTHORITATIVE = 0x0400,
    FLAG_TRUNCATED = 0x0200,
    FLAG_RECURSION = 0x0100,
    FLAG_CHECK_DISABLED = 0x0010,
    OPCODE_SHIFT = 11,
    EDNS_DO = 0x8000,
    OPTION_HEAD = 4, /* code, length */
    OPTION_COOKIE = 10,
    POINTER = 0xc0,
    POINTER_MAX = 0x3fff,
};

const char *dns_rcode_name(unsigned rcode)
{
    switch (rcode) {
#define RCODE(name, value, text)                                                                             \
    case value:                                                                                              \
        return text;
#include "server/dns/dns_rcode.def"
#undef RCODE
    default:
        return "other";
    }
}

/* --- reading ----------------------------------------------------------------------------------------- */
struct reader {
    const uint8_t *at, *end;
};

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

/* The caller has checked that two bytes are left. */
static uint16_t take_u16(struct reader *r)
{
    uint16_t v = (uint16_t)(r->at[0] << 8 | r->at[1]);
    r->at += 2;
    return v;
}

/* A question's name is the first of its message, so it cannot be compressed. */
static bool dns_wire_take_name(struct reader *r, struct dns_name *name)
{
    size_t size = 0;
    for (;;) {
        if (left(r) == 0)
            return false;
        uint8_t n = *r->at;
        if (n > DNS_LABEL_MAX || size + n + 1u > DNS_NAME_MAX || left(r) < n + 1u)
            return false;
        memcpy(name->wire + size, r->at, n + 1u);
        r->at += n + 1u;
        if (n == 0) {
            name->size = (uint8_t)(size + 1);
            return true;
        }
        name->labels[name->label_count++] = (uint8_t)size; /* 127 at most: each takes two bytes */
        size += n + 1u;
    }
}

static bool skip_name(struct reader *r)
{
    while (left(r) > 0) {
        uint8_t n = *r->at++;
        if (n == 0)
            return true;
        if ((n & POINTER) == POINTER) {
            if (left(r) == 0)
                return false;
            r->at++;
            return true;
        }
        if (n > DNS_LABEL_MAX || left(r) < n)
            return false;
        r->at += n;
    }
    return false;
}

/* RFC 6891: unknown options are ignored. RFC 7873: only the first COOKIE counts. False: its size is
 * invalid, or the options do not end where the record ends. */
static bool take_options(struct slice data, struct dns_query *q)
{
    struct reader r = {data.data, data.data + data.size};
    while (left(&r) >= OPTION_HEAD) {
        uint16_t code = take_u16(&r), size = take_u16(&r);
        if (left(&r) < size)
            return false;
        if (code == OPTION_COOKIE && q->cookie_size == 0) {
            if (size != DNS_COOKIE_CLIENT_SIZE && (size < DNS_COOKIE_SIZE_MIN || size > DNS_COOKIE_SIZE_MAX))
                return false;
            q->cookie_size = (uint8_t)size;
            memcpy(q->cookie, r.at, size);
        }
        r.at += size;
    }
    return left(&r) == 0;
}

/* Skips a record after the question, but reads an OPT record in the additional section. */
static bool take_record(struct reader *r, bool is_additional, struct dns_query *q)
{
    enum { FIXED = 10 };
    bool is_root = left(r) > 0 && *r->at == 0;
    if (!skip_name(r) || left(r) < FIXED)
        return false;
    uint16_t type = take_u16(r), class = take_u16(r), high = take_u16(r), low = take_u16(r),
             size = take_u16(r);
    if (left(r) < size)
        return false;
    struct slice data = slice_of(r->at, size);
    r->at += size;
    if (type != DNS_OPT)
        return true;
    if (!is_additional || !is_root || q->has_edns)
        return false;
    q->has_edns = true;
    q->udp_size = class;
    q->edns_version = (uint8_t)high;
    q->wants_dnssec = low & EDNS_DO;
    return q->edns_version > 0 || take_options(data, q); /* the options of another version are unknown */
}

static enum dns_rcode read_body(struct reader *r, struct dns_query *q)
{
    uint16_t questions = take_u16(r), answers = take_u16(r), authorities = take_u16(r), more = take_u16(r);
    if (q->opcode != 0)
        return DNS_NOTIMP;
    if (questions > 1 || answers + authorities + more > DNS_RECORDS_READ_MAX)
        return DNS_FORMERR;
    if (questions == 1) {
        if (!dns_wire_take_name(r, &q->name) || left(r) < 4)
            return DNS_FORMERR;
        q->type = take_u16(r);
        q->class = take_u16(r);
        q->has_question = true;
    }
    for (unsigned i = 0; i < (unsigned)answers + authorities + more; i++)
        if (!take_record(r, i >= (unsigned)answers + authorities, q))
            return DNS_FORMERR;
    if (left(r) > 0)
        return DNS_FORMERR;
    if (q->edns_version > 0)
        return DNS_BADVERS;
    return q->has_question || q->cookie_size ? DNS_NOERROR : DNS_FORMERR;
}

int dns_read_query(struct slice bytes, struct dns_query *ret_query, enum dns_rcode *ret_rcode)
{
    struct dns_query *q = ret_query;
    struct reader r = {bytes.data, bytes.data + bytes.size};
    /* Clear only these fields: names are long. */
    q->has_question = q->has_edns = q->wants_dnssec = false;
    q->edns_version = 0;
    q->udp_size = 0;
    q->cookie_size = 0;
    q->name.size = q->name.label_count = 0;
    q->type = q->class = 0;
    if (bytes.size < DNS_HEADER_SIZE)
        return ERR_MALFORMED;
    q->id = take_u16(&r);
    uint16_t flags = take_u16(&r);
    if (flags & FLAG_ANSWER)
        return ERR_MALFORMED;
    q->opcode = (flags >> OPCODE_SHIFT) & 0xf;
    q->wants_recursion = flags & FLAG_RECURSION;
    q->is_check_disabled = flags & FLAG_CHECK_DISABLED;
    *ret_rcode = bytes.size > DNS_QUERY_MAX ? DNS_FORMERR : read_body(&r, q);
    return OK;
}

int dns_name_read_text(struct slice text, struct dns_name *ret_name)
{
    struct dns_name n = {0};
    size_t begin = 0, size = 1; /* offset of the current label's length byte */
    bool is_escaped = false;
    if (text.size > 0 && text.data[text.size - 1] == '.')
        text.size--;
    for (size_t i = 0; i <= text.size; i++) {
        bool is_end = i == text.size || (text.data[i] == '.' && !is_escaped);
        if (is_end) {
            size_t length = size - begin - 1;
            if (length == 0 || length > DNS_LABEL_MAX || is_escaped)
                return ERR_MALFORMED;
            n.wire[begin] = (uint8_t)length;
            n.labels[n.label_count++] = (uint8_t)begin;
            begin = size++;
        } else if (text.data[i] == '\\' && !is_escaped) {
            is_escaped = true;
            continue;
        } else {
            n.wire[size++] = text.data[i];
        }
        is_escaped = false;
        if (size >= DNS_NAME_MAX)
            return ERR_MALFORMED;
    }
    n.wire[begin] = 0;
    n.size = (uint8_t)(begin + 1);
    *ret_name = n;
    return OK;
}

/* --- writing ----------------------------------------------------------------------------------------- */
static bool dns_wire_has_room(struct dns_writer *w, size_t more)
{
    if (w->limit - w->size < more)
        w->is_full = true;
    return !w->is_full;
}

void dns_write_u8(struct dns_writer *w, unsigned value)
{
    if (dns_wire_has_room(w, 1))
        w->data[w->size++] = (uint8_t)value;
}

static void put_u16(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

void dns_write_u16(struct dns_writer *w, unsigned value)
{
    if (!dns_wire_has_room(w, 2))
        return;
    put_u16(w->data + w->size, value);
    w->size += 2;
}

void dns_write_u32(struct dns_writer *w, uint32_t value)
{
    dns_write_u16(w, value >> 16);
    dns_write_u16(w, value & 0xffff);
}

void dns_write_bytes(struct dns_writer *w, const void *data, size_t size)
{
    if (size == 0 || !dns_wire_has_room(w, size))
        return;
    memcpy(w->data + w->size, data, size);
    w->size += size;
}

void dns_write_string(struct dns_writer *w, struct slice s)
{
    size_t n = s.size < DNS_STRING_MAX ? s.size : DNS_STRING_MAX;
    dns_write_u8(w, (unsigned)n);
    dns_write_bytes(w, s.data, n);
}

void dns_write_pointer(struct dns_writer *w, size_t at)
{
    assert(at >= DNS_HEADER_SIZE);
    w->is_full |= at > POINTER_MAX;
    dns_write_u16(w, (unsigned)(POINTER << 8 | at));
}

void dns_write_begin(struct dns_writer *w, const struct dns_query *q, uint8_t *data, size_t limit)
{
    assert(limit >= DNS_UDP_SIZE_MIN);
    size_t opt_size = DNS_OPT_SIZE + (q->cookie_size ? OPTION_HEAD + DNS_COOKIE_SIZE : 0u);
    *w = (struct dns_writer){
        .data = data, .size = DNS_HEADER_SIZE, .limit = limit - opt_size, .opt_size = opt_size};
    if (!q->has_question)
        return;
    dns_write_bytes(w, q->name.wire, q->name.size);
    dns_write_u16(w, q->type);
    dns_write_u16(w, q->class);
}

void dns_write_record(struct dns_writer *w, size_t owner_at, enum dns_type type, uint32_t ttl_s)
{
    assert(!w->record);
    w->record = w->size;
    dns_write_pointer(w, owner_at);
    dns_write_u16(w, type);
    dns_write_u16(w, DNS_CLASS_IN);
    dns_write_u32(w, ttl_s);
    w->length_at = w->size;
    dns_write_u16(w, 0);
}

bool dns_write_end(struct dns_writer *w, enum dns_section section)
{
    assert(w->record);
    bool has_fit = !w->is_full && w->size - w->length_at - 2 <= UINT16_MAX;
    if (has_fit) {
        put_u16(w->data + w->length_at, (unsigned)(w->size - w->length_at - 2));
        w->counts[section]++;
    } else {
        w->size = w->record;
    }
    w->record = 0;
    w->is_full = false;
    return has_fit;
}

size_t dns_write_finish(struct dns_writer *w, const struct dns_query *q, unsigned rcode,
                        bool is_authoritative, bool is_truncated, const uint8_t cookie[DNS_COOKIE_SIZE])
{
    enum { LOW_BITS = 4, RCODE_LOW = 0xf };
    unsigned flags = FLAG_ANSWER | (unsigned)q->opcode << OPCODE_SHIFT | (rcode & RCODE_LOW);
    assert(!w->record);
    flags |= (is_authoritative ? FLAG_AUTHORITATIVE : 0u) | (is_truncated ? FLAG_TRUNCATED : 0u);
    flags |= (q->wants_recursion ? FLAG_RECURSION : 0u) | (q->is_check_disabled ? FLAG_CHECK_DISABLED : 0u);
    if (q->has_edns) {
        w->limit += w->opt_size;
        dns_write_u8(w, 0); /* the root */
        dns_write_u16(w, DNS_OPT);
        dns_write_u16(w, DNS_UDP_SIZE);
        dns_write_u8(w, rcode >> LOW_BITS);
        dns_write_u8(w, 0); /* version */
        dns_write_u16(w, q->wants_dnssec ? EDNS_DO : 0);
        dns_write_u16(w, cookie ? OPTION_HEAD + DNS_COOKIE_SIZE : 0);
        if (cookie) {
            dns_write_u16(w, OPTION_COOKIE);
            dns_write_u16(w, DNS_COOKIE_SIZE);
            dns_write_bytes(w, cookie, DNS_COOKIE_SIZE);
        }
        w->counts[DNS_ADDITIONAL]++;
    }
    put_u16(w->data, q->id);
    put_u16(w->data + 2, flags);
    put_u16(w->data + 4, q->has_question);
    for (size_t i = 0; i < DNS_SECTIONS; i++)
        put_u16(w->data + 6 + 2 * i, w->counts[i]);
    return w->size;
}
