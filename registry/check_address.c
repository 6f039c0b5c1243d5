/* SPDX-License-Identifier: Apache-2.0
 * The addresses that health checks may connect to; see check_address.h. The tables follow the special
 * purpose address registries of IANA (RFC 6890). */
#include "registry/check_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static const struct refused {
    const char *network;
    uint8_t bits;
    const char *reason;
} refused_v4[] =
    {
        {"0.0.0.0", 8, "unspecified"},
        {"127.0.0.0", 8, "loopback"},
        {"169.254.169.254", 32, "cloud metadata"}, /* AWS, Azure, Google and others */
        {"169.254.170.2", 32, "cloud metadata"},   /* AWS, containers */
        {"169.254.0.0", 16, "link-local"},
        {"100.100.100.200", 32, "cloud metadata"}, /* Alibaba */
        {"168.63.129.16", 32, "cloud metadata"},   /* Azure */
        {"192.0.0.0", 24, "cloud metadata"},       /* 192.0.0.192: Oracle; the rest: reserved for protocols */
        {"224.0.0.0", 4, "multicast"},
        {"240.0.0.0", 4, "reserved"}, /* and broadcast */
},
  refused_v6[] = {
      {"::", 128, "unspecified"},
      {"::1", 128, "loopback"},
      {"::ffff:0:0", 96, "IPv4-mapped"},
      {"::ffff:0:0:0", 96, "IPv4-translated"},
      {"::", 96, "IPv4-compatible"},
      {"64:ff9b::", 96, "IPv4 through NAT64"},
      {"64:ff9b:1::", 48, "IPv4 through NAT64"},
      {"2001::", 32, "IPv4 through Teredo"},
      {"2002::", 16, "IPv4 through 6to4"},
      {"fe80::", 10, "link-local"},
      {"fec0::", 10, "site-local"},
      {"fd00:ec2::", 32, "cloud metadata"},    /* AWS */
      {"fd20:ce::254", 128, "cloud metadata"}, /* Google */
      {"fd00:42::42", 128, "cloud metadata"},  /* Scaleway */
      {"ff00::", 8, "multicast"},
};

static bool has_prefix(const uint8_t *bytes, const uint8_t *network, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(bytes, network, whole) != 0)
        return false;
    return !rest || (bytes[whole] ^ network[whole]) >> (8 - rest) == 0;
}

static const char *find_refused(const struct refused *table, size_t count, int family, const uint8_t *bytes)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t network[16];
        if (inet_pton(family, table[i].network, network) == 1 && has_prefix(bytes, network, table[i].bits))
            return table[i].reason;
    }
    return NULL;
}

const char *check_address_refusal(const struct check_networks *allowed, bool is_v6, const uint8_t *bytes)
{
    for (size_t i = 0; i < allowed->count; i++) {
        const struct check_network *n = &allowed->list[i];
        if (n->is_v6 == is_v6 && has_prefix(bytes, n->bytes, n->bits))
            return NULL;
    }
    if (is_v6)
        return find_refused(refused_v6, sizeof refused_v6 / sizeof *refused_v6, AF_INET6, bytes);
    return find_refused(refused_v4, sizeof refused_v4 / sizeof *refused_v4, AF_INET, bytes);
}

/* --- networks ------------------------------------------------------------------------------------------- */

static int parse_network(struct slice text, struct check_network *ret)
{
    char address[64];
    uint64_t bits;
    const uint8_t *slash = text.size ? memchr(text.data, '/', text.size) : NULL;
    size_t size = slash ? (size_t)(slash - text.data) : text.size;
    if (size >= sizeof address || size == 0)
        return ERR_INVALID;
    memcpy(address, text.data, size);
    address[size] = 0;
    *ret = (struct check_network){.is_v6 = memchr(address, ':', size) != NULL};
    if (inet_pton(ret->is_v6 ? AF_INET6 : AF_INET, address, ret->bytes) != 1)
        return ERR_INVALID;
    uint64_t most = ret->is_v6 ? 128 : 32;
    bits = most;
    if (slash && (text_to_u64(slice_of(slash + 1, text.size - size - 1), &bits) || bits > most))
        return ERR_INVALID;
    ret->bits = (uint8_t)bits;
    return OK;
}

int check_networks_parse(struct slice text, struct check_networks *ret, char *error, size_t error_size)
{
    struct check_networks networks = {0};
    while (text.size) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        struct slice one = slice_of(text.data, comma ? (size_t)(comma - text.data) : text.size);
        if (networks.count == CHECK_NETWORKS_MAX) {
            snprintf(error, error_size, "there are more than %d networks", CHECK_NETWORKS_MAX);
            return ERR_INVALID;
        }
        if (parse_network(one, &networks.list[networks.count++]) != OK) {
            snprintf(error, error_size, "\"%.*s\" is not a network such as 10.0.0.0/8 or fd00::/8",
                     (int)(one.size < 64 ? one.size : 64), (const char *)one.data);
            return ERR_INVALID;
        }
        text = comma ? slice_of(comma + 1, text.size - one.size - 1) : (struct slice){0};
    }
    *ret = networks;
    return OK;
}
