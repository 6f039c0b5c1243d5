/* SPDX-License-Identifier: Apache-2.0
 * Gray rules: which clients get another release than the live one. Pure.
 *
 * A rule matches a client if all of these hold; a condition that the rule does not have is true:
 *   - each label of the rule has one of the values listed for it
 *   - the client's address lies in one of the listed networks
 *   - the client's bucket is below the percentage
 * Rules are tried in descending order of priority, then by name. The first that matches decides.
 *
 * The bucket of a client for an item is sha256(client_id, a byte 0x0A, "ns/group/name"), its first four bytes
 * as a big-endian number, modulo 100. In Python:
 *     text = f"{client_id}\n{ns}/{group}/{name}"
 *     int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100
 * It depends on nothing else:
 *   - A higher percentage keeps the clients of the lower one.
 *   - The clients of a 10 % rule are half of those of a 20 % rule of the same item.
 *   - Another item has other clients, so that the same clients are not always the first.
 * A client without an id has no bucket: only rules for 100 % match it. */
#ifndef CONFIG_GRAY_H
#define CONFIG_GRAY_H

#include "base/document.h"
#include "base/name.h"

#define GRAY_RULES_MAX    16  /* of one item */
#define GRAY_LABELS_MAX   16  /* of one rule */
#define GRAY_VALUES_MAX   256 /* values of one label; networks of a rule */
#define GRAY_PRIORITY_MAX 1000000
#define GRAY_CONTENT_MAX                                                                                     \
    (64u << 20) /* bytes, more than a request may have; the caller enforces the item's limit */

struct gray_network {
    bool is_v6;
    uint8_t bits; /* length of the network's prefix; the bits after it are 0 */
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
    uint64_t seq;    /* the release that its clients get */
};

/* In the order in which they are tried: by descending priority, then by name. */
struct gray_rules {
    struct gray_rule *list;
    size_t count;
};

/* A client's request to put a rule; the rule's name is in the path. Either seq or content is given. */
struct gray_request {
    struct gray_rule rule; /* seq 0 if content is given */
    bool has_content;
    struct slice content;
};

/* ip is an address as text, or empty; item is "ns/group/name". NULL: no rule matches; use the live
 * release. */
const struct gray_rule *gray_choose(const struct gray_rules *rules, const struct document_map *labels,
                                    struct slice ip, struct slice client_id, struct slice item);
unsigned gray_bucket(struct slice client_id, struct slice item);
/* The address in a peer: "10.0.0.5:80", "[::1]:80" or an address alone (NULL = none). */
struct slice gray_address(const char *peer);

/* {"priority":1,"match":{"zone":["b"],"ip":["10.0.0.0/8","::1"]},"percent":10,"seq":3}: everything except seq
 * or content is optional (priority 0, percent 100). In match, "ip" has the networks; address bits after a
 * network's prefix are dropped. error (at least 200 bytes) as in base/document.h. */
MUST_CHECK int gray_request_read(struct slice text, struct arena *a, struct gray_request *ret, char *error,
                                 size_t error_size);
/* Reads the fields priority and match alone, of a document that has a rule among other fields. */
void gray_match_read(struct document_reader *r, struct gray_rule *ret);
/* Reads the list in a head tolerantly; rules there have a "name". */
MUST_CHECK int gray_rules_read(json_t *array, struct arena *a, struct gray_rules *ret, char *error,
                               size_t error_size);
void gray_rule_write(const struct gray_rule *rule, struct json_writer *w);
void gray_rules_write(const struct gray_rules *rules, struct json_writer *w);

/* New lists in the arena that share the old list's rules. ERR_LIMIT: too many; ERR_NOT_FOUND: no such
 * rule. */
MUST_CHECK int gray_rules_put(const struct gray_rules *old, const struct gray_rule *rule, struct arena *a,
                              struct gray_rules *ret);
MUST_CHECK int gray_rules_remove(const struct gray_rules *old, struct slice name, struct arena *a,
                                 struct gray_rules *ret);

#endif
