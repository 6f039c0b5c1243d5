/* SPDX-License-Identifier: Apache-2.0
 * Gray rules: which clients get another release than the one that is live. Pure.
 *
 * A rule matches a client if each of its labels is one of the values listed for it, and its address lies in
 * one of the networks listed, and its bucket is below the percentage; what a rule does not name, it does not
 * ask. Rules are tried from the highest priority down, among equals by name; the first that matches decides.
 *
 * The bucket of a client for an item is sha256(client_id, a byte 0x0A, "ns/group/name"), its first four bytes
 * as a big-endian number, modulo 100. It depends on nothing else: raising a percentage keeps those who are
 * in, and the clients of a 10 % rule are the first half of those of a 20 % rule of the same item; of another
 * item they are others, so that not always the same ones come first. In Python:
 *     text = f"{client_id}\n{ns}/{group}/{name}"
 *     int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100
 * A client without an id is in no bucket: only rules for 100 % match it. */
#ifndef CONFIG_GRAY_H
#define CONFIG_GRAY_H

#include "base/document.h"
#include "base/name.h"

#define GRAY_RULES_MAX    16  /* of one item */
#define GRAY_LABELS_MAX   16  /* of one rule */
#define GRAY_VALUES_MAX   256 /* of one label; networks of a rule */
#define GRAY_PRIORITY_MAX 1000000
#define GRAY_CONTENT_MAX  (64u << 20) /* beyond what a request may be: the item's limit is the caller's */

struct gray_network {
    bool is_v6;
    uint8_t bits; /* of the network; those behind are 0 */
    uint8_t address[16];
};

/* Values sorted, none twice, at least one. */
struct gray_label {
    struct slice key;
    struct slice *values;
    size_t count;
};

struct gray_rule {
    struct slice name;
    int32_t priority;
    struct gray_label *labels; /* sorted by key */
    size_t label_count;
    struct gray_network *networks; /* sorted, none twice */
    size_t network_count;
    uint8_t percent; /* 0 to 100 */
    uint64_t seq;    /* the release that it gives */
};

/* In the order in which they are tried. */
struct gray_rules {
    struct gray_rule *list;
    size_t count;
};

/* What a client sends for a rule; its name stands in the path. Either seq or content is given. */
struct gray_request {
    struct gray_rule rule; /* seq 0 if content is given */
    bool has_content;
    struct slice content;
};

/* ip is an address as text, or empty; item is "ns/group/name". NULL: none matches, the live release it is. */
const struct gray_rule *gray_choose(const struct gray_rules *rules, const struct document_map *labels,
                                    struct slice ip, struct slice client_id, struct slice item);
unsigned gray_bucket(struct slice client_id, struct slice item);
/* Of a peer, "10.0.0.5:80", "[::1]:80" or an address alone (NULL = none), the address. */
struct slice gray_address(const char *peer);

/* {"priority":1,"match":{"zone":["b"],"ip":["10.0.0.0/8","::1"]},"percent":10,"seq":3}: all but seq or
 * content may be left out (priority 0, percent 100). In match, "ip" is the networks; bits behind a network's
 * are dropped. error (at least 200 bytes) as in base/document.h. */
MUST_CHECK int gray_request_read(struct slice text, struct arena *a, struct gray_request *ret, char *error,
                                 size_t error_size);
/* The list as it stands in a head, read tolerantly; rules there have a "name". */
MUST_CHECK int gray_rules_read(json_t *array, struct arena *a, struct gray_rules *ret, char *error,
                               size_t error_size);
void gray_rule_write(const struct gray_rule *rule, struct json_writer *w);
void gray_rules_write(const struct gray_rules *rules, struct json_writer *w);

/* New lists in the arena that share the old one's rules. ERR_LIMIT: too many; ERR_NOT_FOUND. */
MUST_CHECK int gray_rules_put(const struct gray_rules *old, const struct gray_rule *rule, struct arena *a,
                              struct gray_rules *ret);
MUST_CHECK int gray_rules_remove(const struct gray_rules *old, struct slice name, struct arena *a,
                                 struct gray_rules *ret);

#endif
