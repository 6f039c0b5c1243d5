/* SPDX-License-Identifier: Apache-2.0
 * Gray rules: choice, reading and writing; see gray.h. */
#include "config/gray.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/text.h"

/* --- networks -------------------------------------------------------------------------------- */

static void mask(struct gray_network *n)
{
    for (unsigned bit = n->bits; bit < (n->is_v6 ? 128u : 32u); bit++)
        n->address[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

/* "10.0.0.0/8", "2001:db8::/32", or an address alone. An IPv4-mapped IPv6 address is the IPv4 address. */
static bool parse_network(struct slice text, struct gray_network *ret)
{
    char address[INET6_ADDRSTRLEN];
    struct gray_network n = {0};
    uint64_t bits;
    const uint8_t *slash = text.size ? memchr(text.data, '/', text.size) : NULL;
    size_t size = slash ? (size_t)(slash - text.data) : text.size;
    if (size == 0 || size >= sizeof address || memchr(text.data, 0, size))
        return false;
    memcpy(address, text.data, size);
    address[size] = 0;
    n.is_v6 = strchr(address, ':') != NULL;
    if (inet_pton(n.is_v6 ? AF_INET6 : AF_INET, address, n.address) != 1)
        return false;
    bits = n.is_v6 ? 128 : 32;
    if (slash &&
        (text_to_u64(slice_of(slash + 1, text.size - size - 1), &bits) || bits > (n.is_v6 ? 128 : 32)))
        return false;
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (n.is_v6 && bits >= 96 && memcmp(n.address, mapped, sizeof mapped) == 0) {
        n.is_v6 = false;
        bits -= 96;
        memmove(n.address, n.address + 12, 4);
        memset(n.address + 4, 0, 12);
    }
    n.bits = (uint8_t)bits;
    mask(&n);
    *ret = n;
    return true;
}

static void add_network(struct json_writer *w, const struct gray_network *n)
{
    char address[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 8];
    inet_ntop(n->is_v6 ? AF_INET6 : AF_INET, n->address, address, sizeof address);
    if (n->bits == (n->is_v6 ? 128 : 32))
        snprintf(text, sizeof text, "%s", address);
    else
        snprintf(text, sizeof text, "%s/%u", address, n->bits);
    jw_text(w, text);
}

static bool contains(const struct gray_network *n, struct gray_network client)
{
    if (client.is_v6 != n->is_v6)
        return false;
    client.bits = n->bits;
    mask(&client);
    return memcmp(client.address, n->address, sizeof n->address) == 0;
}

static int compare_networks(const void *a, const void *b)
{
    const struct gray_network *x = a, *y = b;
    int c = memcmp(x->address, y->address, sizeof x->address);
    if (x->is_v6 != y->is_v6)
        return x->is_v6 ? 1 : -1;
    return c ? c : x->bits - y->bits;
}

/* --- choice of a rule ------------------------------------------------------------------------------- */

unsigned gray_bucket(struct slice client_id, struct slice item)
{
    uint8_t digest[32];
    struct sha256 *s = sha256_new();
    if (client_id.size)
        sha256_add(s, client_id.data, client_id.size);
    sha256_add(s, "\n", 1);
    if (item.size)
        sha256_add(s, item.data, item.size);
    sha256_finish(s, digest);
    return get_be32(digest) % 100;
}

static bool has_label(const struct gray_label *wanted, const struct document_map *labels)
{
    for (size_t i = 0; i < labels->count; i++) {
        if (!slice_equal(labels->list[i].key, wanted->key))
            continue;
        for (size_t v = 0; v < wanted->count; v++)
            if (slice_equal(labels->list[i].value, wanted->values[v]))
                return true;
        return false;
    }
    return false;
}

static bool is_in_networks(const struct gray_rule *r, const struct gray_network *client)
{
    for (size_t i = 0; i < r->network_count; i++)
        if (client && contains(&r->networks[i], *client))
            return true;
    return r->network_count == 0;
}

static bool matches(const struct gray_rule *r, const struct document_map *labels,
                    const struct gray_network *client, unsigned bucket)
{
    for (size_t i = 0; i < r->label_count; i++)
        if (!has_label(&r->labels[i], labels))
            return false;
    return bucket < r->percent && is_in_networks(r, client);
}

const struct gray_rule *gray_choose(const struct gray_rules *rules, const struct document_map *labels,
                                    struct slice ip, struct slice client_id, struct slice item)
{
    struct gray_network client;
    bool has_address = parse_network(ip, &client) && !memchr(ip.data, '/', ip.size);
    unsigned bucket = 99; /* without an id: only rules for 100 % match */
    if (rules->count && client_id.size)
        bucket = gray_bucket(client_id, item);
    for (size_t i = 0; i < rules->count; i++)
        if (matches(&rules->list[i], labels, has_address ? &client : NULL, bucket))
            return &rules->list[i];
    return NULL;
}

struct slice gray_address(const char *peer)
{
    struct slice s = slice_text(peer ? peer : "");
    const char *colon = peer ? strrchr(peer, ':') : NULL;
    if (s.size && *peer == '[') {
        const char *end = strchr(peer, ']');
        return slice_of(peer + 1, end ? (size_t)(end - peer - 1) : s.size - 1);
    }
    if (colon && strchr(peer, ':') == colon)
        s.size = (size_t)(colon - peer);
    return s;
}

/* --- reading --------------------------------------------------------------------------------- */

static int gray_compare_slices(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static int compare_labels(const void *a, const void *b)
{
    return slice_compare(((const struct gray_label *)a)->key, ((const struct gray_label *)b)->key);
}

/* Sorts and removes duplicates; returns the new count. */
static size_t sort_unique(void *list, size_t count, size_t size, int (*compare)(const void *, const void *))
{
    uint8_t *at = list;
    size_t kept = 0;
    qsort(list, count, size, compare);
    for (size_t i = 0; i < count; i++) {
        if (kept && compare(at + (kept - 1) * size, at + i * size) == 0)
            continue;
        if (kept != i)
            memcpy(at + kept * size, at + i * size, size);
        kept++;
    }
    return kept;
}

static bool is_value_list(const json_t *value)
{
    size_t count = json_array_size(value);
    bool is = json_is_array(value) && count >= 1 && count <= GRAY_VALUES_MAX;
    for (size_t i = 0; is && i < count; i++) {
        const json_t *item = json_array_get(value, i);
        is = json_is_string(item) && json_string_length(item) <= TEXT_SIZE_MAX;
    }
    return is;
}

static void read_networks(struct document_reader *r, const json_t *list, struct gray_rule *rule)
{
    size_t count = json_array_size(list);
    rule->networks = arena_alloc(r->arena, count * sizeof *rule->networks);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        struct slice text = slice_of(json_string_value(item), json_string_length(item));
        if (!parse_network(text, &rule->networks[i])) {
            document_refuse(r, "match.ip",
                            "has a value that is not an address or network (such as 10.0.0.0/8)");
            return;
        }
    }
    rule->network_count = sort_unique(rule->networks, count, sizeof *rule->networks, compare_networks);
}

static struct gray_label read_label(struct document_reader *r, const char *key, const json_t *list)
{
    size_t count = json_array_size(list), size = strlen(key);
    struct gray_label label = {.key = slice_of(arena_copy(r->arena, key, size), size)};
    label.values = arena_alloc(r->arena, count * sizeof *label.values);
    for (size_t i = 0; i < count; i++)
        label.values[i] = document_keep(r, json_array_get(list, i));
    label.count = sort_unique(label.values, count, sizeof *label.values, gray_compare_slices);
    return label;
}

static void read_match(struct document_reader *r, struct gray_rule *rule)
{
    json_t *object = document_take(r, "match"), *value;
    const char *key;
    if (!object)
        return;
    if (!json_is_object(object) || json_object_size(object) > GRAY_LABELS_MAX) {
        document_refuse(r, "match", "is not an object of at most 16 lists");
        return;
    }
    rule->labels = arena_alloc(r->arena, (json_object_size(object) + 1) * sizeof *rule->labels);
    json_object_foreach(object, key, value)
    {
        if (!*key || strlen(key) > TEXT_SIZE_MAX || !is_value_list(value)) {
            document_refuse(r, "match", "has a value that is not a list of 1 to 256 strings");
            return;
        }
        if (strcmp(key, "ip") == 0)
            read_networks(r, value, rule);
        else
            rule->labels[rule->label_count++] = read_label(r, key, value);
    }
    qsort(rule->labels, rule->label_count, sizeof *rule->labels, compare_labels);
}

void gray_match_read(struct document_reader *r, struct gray_rule *ret)
{
    int64_t priority = 0;
    document_number(r, "priority", -GRAY_PRIORITY_MAX, GRAY_PRIORITY_MAX, &priority);
    read_match(r, ret);
    ret->priority = (int32_t)priority;
}

static void read_rule(struct document_reader *r, struct gray_rule *rule)
{
    int64_t percent = 100, seq = 0;
    gray_match_read(r, rule);
    document_number(r, "percent", 0, 100, &percent);
    document_number(r, "seq", 1, INT64_MAX, &seq);
    rule->percent = (uint8_t)percent;
    rule->seq = (uint64_t)seq;
}

int gray_request_read(struct slice text, struct arena *a, struct gray_request *ret, char *error,
                      size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, error_size);
    struct gray_request q = {0};
    document_begin(&r, text);
    read_rule(&r, &q.rule);
    q.has_content = document_bytes(&r, "content", GRAY_CONTENT_MAX, &q.content);
    if (q.has_content == (q.rule.seq != 0))
        document_refuse(&r, "the rule", "needs either seq or content");
    int err = document_end(&r);
    if (!err)
        *ret = q;
    return err;
}

static int compare_rules(const void *a, const void *b)
{
    const struct gray_rule *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return slice_compare(x->name, y->name);
}

static int read_stored_rule(json_t *object, struct arena *a, struct gray_rule *ret, char *error,
                            size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, error_size);
    struct gray_rule rule = {0};
    document_begin_value(&r, object);
    document_text(&r, "name", &rule.name);
    read_rule(&r, &rule);
    if (!rule.name.size)
        document_refuse(&r, "name", "is missing");
    if (!rule.seq)
        document_refuse(&r, "seq", "is missing");
    int err = document_end(&r);
    if (!err)
        *ret = rule;
    return err;
}

int gray_rules_read(json_t *array, struct arena *a, struct gray_rules *ret, char *error, size_t error_size)
{
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count > GRAY_RULES_MAX) {
        snprintf(error, error_size, "gray is not a list of at most %d rules", GRAY_RULES_MAX);
        return ERR_INVALID;
    }
    struct gray_rules rules = {.list = arena_alloc(a, (count + 1) * sizeof *rules.list), .count = count};
    for (size_t i = 0; i < count; i++) {
        int err = read_stored_rule(json_array_get(array, i), a, &rules.list[i], error, error_size);
        if (err)
            return err;
        for (size_t k = 0; k < i; k++)
            if (slice_equal(rules.list[k].name, rules.list[i].name)) {
                snprintf(error, error_size, "gray has two rules of one name");
                return ERR_INVALID;
            }
    }
    qsort(rules.list, count, sizeof *rules.list, compare_rules);
    *ret = rules;
    return OK;
}

/* --- writing --------------------------------------------------------------------------------- */

static void write_match(const struct gray_rule *rule, struct json_writer *w)
{
    jw_key(w, "match");
    jw_open(w, '{');
    for (size_t i = 0; i < rule->label_count; i++) {
        document_key(w, rule->labels[i].key);
        jw_open(w, '[');
        for (size_t v = 0; v < rule->labels[i].count; v++)
            jw_string(w, rule->labels[i].values[v]);
        jw_close(w, ']');
    }
    if (rule->network_count) {
        jw_key(w, "ip");
        jw_open(w, '[');
        for (size_t i = 0; i < rule->network_count; i++)
            add_network(w, &rule->networks[i]);
        jw_close(w, ']');
    }
    jw_close(w, '}');
}

void gray_rule_write(const struct gray_rule *rule, struct json_writer *w)
{
    jw_open(w, '{');
    document_add_text(w, "name", rule->name);
    document_add_number(w, "priority", rule->priority);
    if (rule->label_count || rule->network_count)
        write_match(rule, w);
    document_add_number(w, "percent", rule->percent);
    if (rule->seq)
        document_add_number(w, "seq", (int64_t)rule->seq);
    jw_close(w, '}');
}

void gray_rules_write(const struct gray_rules *rules, struct json_writer *w)
{
    jw_open(w, '[');
    for (size_t i = 0; i < rules->count; i++)
        gray_rule_write(&rules->list[i], w);
    jw_close(w, ']');
}

/* --- changes of the list ---------------------------------------------------------------------------- */

static struct gray_rules without(const struct gray_rules *old, struct slice name, struct arena *a)
{
    struct gray_rules rules = {.list = arena_alloc(a, (old->count + 1) * sizeof *rules.list)};
    for (size_t i = 0; i < old->count; i++)
        if (!slice_equal(old->list[i].name, name))
            rules.list[rules.count++] = old->list[i];
    return rules;
}

int gray_rules_put(const struct gray_rules *old, const struct gray_rule *rule, struct arena *a,
                   struct gray_rules *ret)
{
    struct gray_rules rules = without(old, rule->name, a);
    if (rules.count >= GRAY_RULES_MAX)
        return ERR_LIMIT;
    rules.list[rules.count++] = *rule;
    qsort(rules.list, rules.count, sizeof *rules.list, compare_rules);
    *ret = rules;
    return OK;
}

int gray_rules_remove(const struct gray_rules *old, struct slice name, struct arena *a,
                      struct gray_rules *ret)
{
    struct gray_rules rules = without(old, name, a);
    if (rules.count == old->count)
        return ERR_NOT_FOUND;
    *ret = rules;
    return OK;
}
