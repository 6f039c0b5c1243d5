/* SPDX-License-Identifier: Apache-2.0
 * DNS wire format (RFC 1035, 6891): parser of queries, writer of answers. Bounded, without allocation; the
 * input may be any bytes. It does not look names up.
 *
 * A question's name is kept byte for byte: the answer repeats it with the same letters (0x20), and every
 * record of that name points to it. Names in records are not compressed, except where RFC 3597 allows a
 * pointer. */
#ifndef SERVER_DNS_WIRE_H
#define SERVER_DNS_WIRE_H

#include "base/buf.h"
#include "base/err.h"

enum {
    DNS_HEADER_SIZE = 12,
    DNS_NAME_MAX = 255, /* bytes, with length bytes and the root */
    DNS_LABEL_MAX = 63,
    DNS_LABELS_MAX = 127,
    DNS_STRING_MAX = 255,   /* of one string in a TXT record */
    DNS_QUERY_MAX = 4096,   /* bytes; a question needs 270 */
    DNS_UDP_SIZE = 1232,    /* the largest answer, and the size that we announce: paths do not fragment it */
    DNS_UDP_SIZE_MIN = 512, /* without EDNS, and to a source that is not verified */
    DNS_ANSWER_MAX = 65535, /* over TCP */
    DNS_OPT_SIZE = 11,      /* of our OPT record without options */
    DNS_RECORDS_READ_MAX = 32, /* in one query */
    DNS_COOKIE_CLIENT_SIZE = 8,
    DNS_COOKIE_SIZE = 24, /* the client's 8 bytes and our 16 */
    DNS_COOKIE_SIZE_MIN = 16,
    DNS_COOKIE_SIZE_MAX = 40, /* RFC 7873: a server cookie has 8 to 32 bytes */
};

enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_HINFO = 13,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_SRV = 33,
    DNS_OPT = 41,
    DNS_META_FIRST = 128, /* 128 to 255: query types that are not types of records */
    DNS_IXFR = 251,
    DNS_AXFR = 252,
    DNS_ANY = 255,
};

enum { DNS_CLASS_IN = 1, DNS_CLASS_ANY = 255 };

enum dns_rcode {
#define RCODE(name, value, text) DNS_##name = value,
#include "server/dns/dns_rcode.def"
#undef RCODE
};
const char *dns_rcode_name(unsigned rcode);

/* A name with its original letters. labels: offsets of the length bytes in wire, without the root. */
struct dns_name {
    uint8_t wire[DNS_NAME_MAX];
    uint8_t size;
    uint8_t label_count;
    uint8_t labels[DNS_LABELS_MAX];
};

struct dns_query {
    uint16_t id;
    uint8_t opcode;
    bool wants_recursion, is_check_disabled; /* repeated in the answer */
    bool has_question; /* a query without one requests a cookie only (RFC 7873 section 5.4) */
    struct dns_name name;
    uint16_t type, class;
    bool has_edns, wants_dnssec;
    uint8_t edns_version;
    uint16_t udp_size; /* the largest UDP answer that the client accepts, bytes */
    /* The first COOKIE option; 0 bytes = none. */
    uint8_t cookie_size;
    uint8_t cookie[DNS_COOKIE_SIZE_MAX];
};

/* Parses a query. ret_rcode: DNS_NOERROR, or the error to answer with; ret_query is then filled as far as
 * it was valid. ERR_MALFORMED: send no answer (it is an answer itself, or too short to have an id). */
MUST_CHECK int dns_read_query(struct slice bytes, struct dns_query *ret_query, enum dns_rcode *ret_rcode);

/* "a.b." or "a.b", 1 to 255 bytes with `\.` for a dot in a label. ERR_MALFORMED. */
MUST_CHECK int dns_name_read_text(struct slice text, struct dns_name *ret_name);

enum dns_section { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL, DNS_SECTIONS };

/* The writer leaves out a record that does not fit completely: dns_write_end returns false, and the
 * message stays as it was before the record. */
struct dns_writer {
    uint8_t *data;
    size_t size, limit; /* bytes; limit is without the OPT record's */
    size_t opt_size;    /* room kept for the OPT record */
    uint16_t counts[DNS_SECTIONS];
    size_t record; /* where the record that is open begins; 0 = none */
    size_t length_at;
    bool is_full; /* in this record */
};

/* Writes header and question. data has `limit` bytes, at least DNS_UDP_SIZE_MIN. */
void dns_write_begin(struct dns_writer *w, const struct dns_query *q, uint8_t *data, size_t limit);
enum { DNS_QUESTION_AT = DNS_HEADER_SIZE };
/* Writes a record: 1. dns_write_record, 2. the writers of its data, 3. dns_write_end, which returns true
 * if it fit. Its owner is the name at offset owner_at of the message. */
void dns_write_record(struct dns_writer *w, size_t owner_at, enum dns_type type, uint32_t ttl_s);
void dns_write_u8(struct dns_writer *w, unsigned value);
void dns_write_u16(struct dns_writer *w, unsigned value);
void dns_write_u32(struct dns_writer *w, uint32_t value);
void dns_write_bytes(struct dns_writer *w, const void *data, size_t size);
void dns_write_string(struct dns_writer *w, struct slice s); /* cut at DNS_STRING_MAX */
void dns_write_pointer(struct dns_writer *w, size_t at);     /* ends a name; does not fit beyond 16 KiB */
bool dns_write_end(struct dns_writer *w, enum dns_section section);
/* Writes the header's flags and, if the client uses EDNS, the OPT record; returns the size. cookie: NULL =
 * none; only for a query that has one. */
size_t dns_write_finish(struct dns_writer *w, const struct dns_query *q, unsigned rcode,
                        bool is_authoritative, bool is_truncated, const uint8_t cookie[DNS_COOKIE_SIZE]);

#endif
