/* SPDX-License-Identifier: Apache-2.0
 * DNS answers: checks of the query, records for each kind of name, limits; see dns_answer.h. */
#include "server/dns/dns_answer.h"

#include <stdio.h>

#include "base/text.h"
#include "registry/inherit.h"
#include "server/dns/dns_choice.h"

enum {
    SOA_REFRESH_S = 3600,
    SOA_RETRY_S = 600,
    SOA_EXPIRE_S = 86400,
    TXT_MAX = 1024, /* bytes of one TXT record */
    ALIAS_TRIES = 16,
};

struct answer {
    const struct dns_view *view;
    const struct dns_query *query;
    const struct dns_target *target;
    struct dns_writer writer;
    struct arena *arena;
    uint64_t random;
    enum dns_rcode rcode;
    bool is_truncated;
};

int dns_zone_init(struct dns_zone *zone, struct slice name, uint32_t ttl_s)
{
    *zone = (struct dns_zone){.ttl_s = ttl_s};
    if (dns_name_read_text(name, &zone->name) || zone->name.size > DNS_ZONE_MAX)
        return ERR_MALFORMED;
    for (size_t i = 0; i < zone->name.size; i++) /* a length byte is at most 63, so it is never a letter */
        if (zone->name.wire[i] >= 'A' && zone->name.wire[i] <= 'Z')
            zone->name.wire[i] |= 0x20;
    return OK;
}

void dns_zone_add_server(struct dns_zone *zone, const struct dns_address *address)
{
    if (zone->server_count < DNS_SERVER_ADDRESSES_MAX)
        zone->servers[zone->server_count++] = *address;
}

/* splitmix64 */
static uint64_t draw(struct answer *a)
{
    uint64_t z = a->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool is_asked_for(const struct answer *a, enum dns_type type)
{
    return a->query->type == type;
}

/* --- single records ---------------------------------------------------------------------------------- */
static uint32_t ttl_of(const struct answer *a)
{
    return a->view->zone->ttl_s;
}

static void dns_answer_begin(struct answer *a, size_t owner_at, enum dns_type type)
{
    dns_write_record(&a->writer, owner_at, type, ttl_of(a));
}

static bool dns_answer_end(struct answer *a, enum dns_section section)
{
    bool has_fit = dns_write_end(&a->writer, section);
    if (!has_fit && section == DNS_ANSWER)
        a->is_truncated = true;
    return has_fit;
}

static size_t zone_at(const struct answer *a)
{
    return DNS_QUESTION_AT + a->target->zone_at;
}

/* Writes a label and a pointer to the zone's name in the question. */
static void write_in_zone(struct answer *a, const char *label)
{
    dns_write_string(&a->writer, slice_text(label));
    dns_write_pointer(&a->writer, zone_at(a));
}

static bool add_address(struct answer *a, size_t owner_at, const struct dns_address *address,
                        enum dns_section section)
{
    dns_answer_begin(a, owner_at, address->size == 4 ? DNS_A : DNS_AAAA);
    dns_write_bytes(&a->writer, address->bytes, address->size);
    return dns_answer_end(a, section);
}

static void add_soa(struct answer *a, enum dns_section section)
{
    dns_answer_begin(a, zone_at(a), DNS_SOA);
    write_in_zone(a, "ns");
    write_in_zone(a, "hostmaster");
    dns_write_u32(&a->writer, (uint32_t)catalog_revision(a->view->catalog));
    dns_write_u32(&a->writer, SOA_REFRESH_S);
    dns_write_u32(&a->writer, SOA_RETRY_S);
    dns_write_u32(&a->writer, SOA_EXPIRE_S);
    dns_write_u32(&a->writer, ttl_of(a));
    dns_answer_end(a, section);
}

/* The answer to ANY (RFC 8482): one small record. */
static void add_hinfo(struct answer *a)
{
    dns_answer_begin(a, DNS_QUESTION_AT, DNS_HINFO);
    dns_write_string(&a->writer, slice_text("RFC8482"));
    dns_write_string(&a->writer, (struct slice){0});
    dns_answer_end(a, DNS_ANSWER);
}

static void add_server_addresses(struct answer *a, size_t owner_at, enum dns_section section)
{
    const struct dns_zone *zone = a->view->zone;
    for (size_t i = 0; i < zone->server_count; i++) {
        bool is_v4 = zone->servers[i].size == 4;
        if (section == DNS_ADDITIONAL || is_asked_for(a, is_v4 ? DNS_A : DNS_AAAA))
            add_address(a, owner_at, &zone->servers[i], section);
    }
}

/* --- names of instances ------------------------------------------------------------------------------ */
/* Adds the labels of a text with dots; false: it cannot be part of a name. */
static bool add_labels(struct dns_name *n, struct slice text)
{
    struct slice rest = text;
    while (rest.size > 0) {
        const uint8_t *dot = memchr(rest.data, '.', rest.size);
        size_t size = dot ? (size_t)(dot - rest.data) : rest.size;
        if (size == 0 || size > DNS_LABEL_MAX || n->size + size + 2 > DNS_NAME_MAX ||
            (dot && size + 1 == rest.size))
            return false;
        n->labels[n->label_count++] = n->size;
        n->wire[n->size] = (uint8_t)size;
        memcpy(n->wire + n->size + 1, rest.data, size);
        n->size = (uint8_t)(n->size + size + 1);
        size_t used = size + (dot != NULL);
        rest = slice_of(rest.data + used, rest.size - used);
    }
    return text.size > 0;
}

/* <address>.<service>.<group>.<ns>.inst.<zone>; false: the service's names are not valid in DNS. */
static bool instance_name(const struct answer *a, const struct catalog_service *s,
                          const struct dns_address *address, struct dns_name *ret)
{
    uint8_t label[DNS_ADDRESS_LABEL_MAX];
    size_t label_size = dns_address_write_label(address, label);
    const struct dns_name *zone = &a->view->zone->name;
    ret->size = ret->label_count = 0;
    if (!add_labels(ret, slice_of(label, label_size)) || !add_labels(ret, s->name) ||
        !add_labels(ret, s->group) || !add_labels(ret, s->ns) || !add_labels(ret, slice_text("inst")) ||
        (unsigned)ret->size + zone->size > DNS_NAME_MAX)
        return false;
    memcpy(ret->wire + ret->size, zone->wire, zone->size);
    ret->size = (uint8_t)(ret->size + zone->size);
    return true;
}

/* --- a service's instances --------------------------------------------------------------------------- */
/* Where a client reaches an instance: its address, or the name of its host. */
struct target {
    const struct catalog_instance *instance;
    bool has_address;
    struct dns_address address;
    uint16_t port; /* 0 = none */
};

/* The port that the question names, or the instance's own port if that name is its protocol; without a
 * name its own port. 0: none. */
static uint16_t port_of(const struct dns_target *f, const struct instance *doc)
{
    bool is_named = f->port_name.size > 0;
    for (size_t i = 0; is_named && i < doc->port_count; i++)
        if (dns_text_matches(doc->ports[i].name, f->port_name))
            return doc->ports[i].port;
    return !is_named || dns_text_matches(doc->protocol, f->port_name) ? doc->port : 0;
}

/* _tcp matches every instance whose protocol is not udp; another protocol must equal the instance's own. */
static bool has_protocol(const struct dns_target *f, const struct instance *doc)
{
    if (f->place != DNS_AT_PORT || dns_text_matches(doc->protocol, f->protocol))
        return true;
    return slice_equal(f->protocol, slice_text("tcp")) && !dns_text_matches(doc->protocol, slice_text("udp"));
}

/* False: the instance does not have the requested port. */
static bool make_target(const struct answer *a, const struct catalog_instance *i, struct target *ret)
{
    ret->instance = i;
    ret->port = port_of(a->target, i->doc);
    ret->has_address = !dns_address_read(i->doc->host, &ret->address);
    return ret->port && has_protocol(a->target, i->doc);
}

static void dns_answer_choose(const struct answer *a, struct select_result *ret)
{
    const struct dns_view *view = a->view;
    *ret = dns_choose(view->choices, view->catalog, a->target->service, a->target->tag, view->audience,
                      a->arena);
}

/* The i-th instance of a random order: one step of a Fisher-Yates shuffle. */
static const struct catalog_instance *next_of(struct answer *a, struct select_result *chosen, size_t i)
{
    size_t k = i + draw(a) % (chosen->count - i);
    const struct catalog_instance *taken = chosen->list[k];
    chosen->list[k] = chosen->list[i];
    chosen->list[i] = taken;
    return taken;
}

static bool is_written(const struct dns_address *list, size_t count, const struct dns_address *address)
{
    for (size_t i = 0; i < count; i++)
        if (dns_address_equal(&list[i], address))
            return true;
    return false;
}

static void add_addresses(struct answer *a, struct select_result *chosen)
{
    struct dns_address done[DNS_RECORDS_MAX];
    size_t count = 0, wanted = is_asked_for(a, DNS_A) ? 4 : 16;
    for (size_t i = 0; i < chosen->count && count < DNS_RECORDS_MAX; i++) {
        struct dns_address address;
        const struct catalog_instance *instance = next_of(a, chosen, i);
        if (dns_address_read(instance->doc->host, &address) || address.size != wanted ||
            is_written(done, count, &address))
            continue;
        if (!add_address(a, DNS_QUESTION_AT, &address, DNS_ANSWER))
            return;
        done[count++] = address;
    }
}

/* An SRV record's target. RFC 2782: its name is not compressed; the address records point to it. */
struct srv {
    struct target target;
    size_t name_at; /* 0: the name of the host or of the service is not valid in DNS */
};

static bool is_same_target(const struct target *x, const struct target *y)
{
    if (x->port != y->port || x->has_address != y->has_address)
        return false;
    if (x->has_address)
        return dns_address_equal(&x->address, &y->address);
    return slice_equal(x->instance->doc->host, y->instance->doc->host);
}

static bool target_name(const struct answer *a, const struct target *t, struct dns_name *ret)
{
    return t->has_address ? instance_name(a, a->target->service, &t->address, ret)
                          : !dns_name_read_text(t->instance->doc->host, ret);
}

/* False: there is no more room. */
static bool add_srv(struct answer *a, struct srv *s)
{
    struct dns_name name;
    s->name_at = 0;
    if (!target_name(a, &s->target, &name))
        return true;
    dns_answer_begin(a, DNS_QUESTION_AT, DNS_SRV);
    dns_write_u16(&a->writer, 0); /* priority: the same for all */
    dns_write_u16(&a->writer, catalog_effect(s->target.instance).weight);
    dns_write_u16(&a->writer, s->target.port);
    s->name_at = a->writer.size;
    dns_write_bytes(&a->writer, name.wire, name.size);
    return dns_answer_end(a, DNS_ANSWER);
}

static void add_glue(struct answer *a, const struct srv *list, size_t count)
{
    struct dns_address done[DNS_RECORDS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct dns_address *address = &list[i].target.address;
        if (!list[i].target.has_address || !list[i].name_at || is_written(done, n, address))
            continue;
        if (!add_address(a, list[i].name_at, address, DNS_ADDITIONAL))
            return;
        done[n++] = *address;
    }
}

static void add_srvs(struct answer *a, struct select_result *chosen)
{
    struct srv *list = arena_alloc(a->arena, DNS_RECORDS_MAX * sizeof *list);
    size_t count = 0;
    for (size_t i = 0; i < chosen->count && count < DNS_RECORDS_MAX; i++) {
        struct srv *s = &list[count];
        bool is_double = false;
        if (!make_target(a, next_of(a, chosen, i), &s->target))
            continue;
        for (size_t k = 0; k < count && !is_double; k++)
            is_double = is_same_target(&list[k].target, &s->target);
        if (is_double)
            continue;
        if (!add_srv(a, s))
            break;
        count++;
    }
    add_glue(a, list, count);
}

static void write_pair(struct dns_writer *w, size_t from, const char *key, struct slice value)
{
    uint8_t text[DNS_STRING_MAX];
    size_t n = strlen(key);
    if (!value.size || n + 1 + value.size > sizeof text || w->size - from + n + value.size + 2 > TXT_MAX)
        return;
    memcpy(text, key, n);
    text[n] = '=';
    memcpy(text + n + 1, value.data, value.size);
    dns_write_string(w, slice_of(text, n + 1 + value.size));
}

/* Without the keys of `hidden`; NULL = none. */
static void write_map(struct answer *a, size_t from, const struct document_map *map,
                      const struct document_map *hidden)
{
    for (size_t i = 0; i < map->count; i++)
        if (map->list[i].key.size < DNS_STRING_MAX &&
            !memchr(map->list[i].key.data, 0, map->list[i].key.size) &&
            !(hidden && document_map_find(hidden, map->list[i].key)))
            write_pair(&a->writer, from, arena_string(a->arena, map->list[i].key.data, map->list[i].key.size),
                       map->list[i].value);
}

/* "key=value" strings (RFC 6763): the instance's fields, then its metadata, its own pairs first. Pairs that do not fit into a
 * string or into the record are left out. */
static bool add_txt(struct answer *a, const struct catalog_instance *i)
{
    const struct instance *doc = i->doc;
    char port[8];
    dns_answer_begin(a, DNS_QUESTION_AT, DNS_TXT);
    size_t from = a->writer.size;
    write_pair(&a->writer, from, "id", i->id);
    write_pair(&a->writer, from, "host", doc->host);
    snprintf(port, sizeof port, "%u", (unsigned)doc->port);
    write_pair(&a->writer, from, "port", doc->port ? slice_text(port) : (struct slice){0});
    write_pair(&a->writer, from, "protocol", doc->protocol);
    write_pair(&a->writer, from, "version", doc->version);
    write_pair(&a->writer, from, "zone", doc->zone);
    write_pair(&a->writer, from, "cluster", doc->cluster);
    write_pair(&a->writer, from, "guarded", doc->is_guarded ? slice_text("true") : (struct slice){0});
    for (size_t k = 0; k < doc->tag_count; k++)
        write_pair(&a->writer, from, "tag", doc->tags[k]);
    const struct inheritance inherited = inheritance_of(i->service);
    write_map(a, from, &doc->metadata, NULL);
    write_map(a, from, &inherited.metadata, &doc->metadata);
    if (a->writer.size == from)
        dns_write_string(&a->writer, (struct slice){0}); /* a TXT record needs at least one string */
    return dns_answer_end(a, DNS_ANSWER);
}

/* A TXT record of the service's settings. */
static bool add_settings(struct answer *a, const struct catalog_service *s)
{
    if (!s->has_settings || !s->settings.metadata.count)
        return true;
    dns_answer_begin(a, DNS_QUESTION_AT, DNS_TXT);
    size_t from = a->writer.size;
    write_map(a, from, &s->settings.metadata, NULL);
    if (a->writer.size == from)
        dns_write_string(&a->writer, (struct slice){0});
    return dns_answer_end(a, DNS_ANSWER);
}

static void add_txts(struct answer *a, struct select_result *chosen)
{
    bool has_fit = add_settings(a, a->target->service);
    for (size_t i = 0; i < chosen->count && i < DNS_RECORDS_MAX && has_fit; i++)
        has_fit = add_txt(a, next_of(a, chosen, i));
}

/* If no instance has an address and one has a host name, the service is an alias (CNAME) of that name. */
static bool add_alias(struct answer *a, struct select_result *chosen)
{
    struct dns_address address;
    struct dns_name host;
    for (size_t i = 0; i < chosen->count; i++)
        if (!dns_address_read(chosen->list[i]->doc->host, &address))
            return false;
    for (size_t i = 0; i < chosen->count && i < ALIAS_TRIES; i++) {
        if (dns_name_read_text(next_of(a, chosen, i)->doc->host, &host))
            continue;
        dns_answer_begin(a, DNS_QUESTION_AT, DNS_CNAME);
        dns_write_bytes(&a->writer, host.wire, host.size);
        dns_answer_end(a, DNS_ANSWER);
        return true;
    }
    return false;
}

/* --- answers by place -------------------------------------------------------------------------------- */
static void at_zone(struct answer *a)
{
    if (is_asked_for(a, DNS_SOA)) {
        add_soa(a, DNS_ANSWER);
    } else if (is_asked_for(a, DNS_NS)) {
        dns_answer_begin(a, DNS_QUESTION_AT, DNS_NS);
        size_t name_at = a->writer.size;
        write_in_zone(a, "ns");
        if (dns_answer_end(a, DNS_ANSWER))
            add_server_addresses(a, name_at, DNS_ADDITIONAL);
    }
}

static void at_service(struct answer *a)
{
    struct select_result chosen;
    dns_answer_choose(a, &chosen);
    if (a->target->place == DNS_AT_SERVICE && add_alias(a, &chosen))
        return;
    if (is_asked_for(a, DNS_SRV))
        add_srvs(a, &chosen);
    else if (is_asked_for(a, DNS_ANY))
        add_hinfo(a);
    else if (a->target->place == DNS_AT_PORT)
        return;
    else if (is_asked_for(a, DNS_A) || is_asked_for(a, DNS_AAAA))
        add_addresses(a, &chosen);
    else if (is_asked_for(a, DNS_TXT))
        add_txts(a, &chosen);
}

static void at_instance(struct answer *a)
{
    const struct dns_target *f = a->target;
    if (is_asked_for(a, f->address.size == 4 ? DNS_A : DNS_AAAA))
        add_address(a, DNS_QUESTION_AT, &f->address, DNS_ANSWER);
    bool has_fit = true;
    for (size_t i = 0, n = 0; is_asked_for(a, DNS_TXT) && i < f->service->count && has_fit; i++)
        if (audience_sees(a->view->audience, f->service->list[i]) &&
            dns_instance_is_at(f->service->list[i], &f->address) && n++ < DNS_RECORDS_MAX)
            has_fit = add_txt(a, f->service->list[i]);
}

static void at_address(struct answer *a)
{
    for (size_t i = 0; is_asked_for(a, DNS_PTR) && i < a->target->service_count; i++) {
        struct dns_name name;
        if (!instance_name(a, a->target->services[i], &a->target->address, &name))
            continue;
        dns_answer_begin(a, DNS_QUESTION_AT, DNS_PTR);
        dns_write_bytes(&a->writer, name.wire, name.size);
        if (!dns_answer_end(a, DNS_ANSWER))
            return;
    }
}

static void answer_question(struct answer *a)
{
    enum dns_place place = a->target->place;
    if (place == DNS_FOREIGN || is_asked_for(a, DNS_AXFR) || is_asked_for(a, DNS_IXFR)) {
        a->rcode = DNS_REFUSED;
        return;
    }
    if (place == DNS_NOT_READY) {
        a->rcode = DNS_SERVFAIL;
        return;
    }
    if (place == DNS_NOWHERE)
        a->rcode = DNS_NXDOMAIN;
    else if (place == DNS_AT_SERVICE || place == DNS_AT_PORT)
        at_service(a);
    else if (is_asked_for(a, DNS_ANY) && place != DNS_BETWEEN)
        add_hinfo(a);
    else if (place == DNS_AT_ZONE)
        at_zone(a);
    else if (place == DNS_AT_SERVER)
        add_server_addresses(a, DNS_QUESTION_AT, DNS_ANSWER);
    else if (place == DNS_AT_INSTANCE)
        at_instance(a);
    else if (place == DNS_AT_ADDRESS)
        at_address(a);
    /* Clients cache a negative answer by the SOA. The reverse trees are not ours: they get none. */
    if (!a->writer.counts[DNS_ANSWER] && !a->is_truncated && place != DNS_AT_ADDRESS)
        add_soa(a, DNS_AUTHORITY);
}

/* The answers that need no lookup. DNS_NOERROR: look the name up. */
static enum dns_rcode check_query(const struct dns_view *view, const struct dns_query *q)
{
    bool is_meta = q->type >= DNS_META_FIRST && q->type <= DNS_ANY;
    if (q->type == 0 || q->type == DNS_OPT)
        return DNS_FORMERR;
    if (q->class != DNS_CLASS_IN)
        return DNS_REFUSED;
    if (is_meta && q->type != DNS_ANY && q->type != DNS_AXFR && q->type != DNS_IXFR)
        return DNS_NOTIMP;
    if (!audience_sees_registry(view->audience))
        return DNS_REFUSED;
    return view->catalog ? DNS_NOERROR : DNS_SERVFAIL;
}

/* The largest size of the answer in bytes: 512 without EDNS, and to a source that may be forged. */
static size_t limit_of(const struct dns_query *q, bool is_tcp, bool is_verified)
{
    if (is_tcp)
        return DNS_ANSWER_MAX;
    if (!is_verified || !q->has_edns || q->udp_size < DNS_UDP_SIZE_MIN)
        return DNS_UDP_SIZE_MIN;
    return q->udp_size < DNS_UDP_SIZE ? q->udp_size : DNS_UDP_SIZE;
}

/* The verdict of the rate limit. Errors and queries without a question never slip: TC means nothing for
 * them. */
static enum dns_rate_verdict limit_rate(const struct answer *a, const struct dns_request *request)
{
    if (!a->view->rate)
        return DNS_RATE_PASS;
    enum dns_rate_verdict verdict = dns_rate_check(a->view->rate, &request->client, request->mono_ns);
    bool is_error = a->rcode || !a->query->has_question;
    return verdict == DNS_RATE_SLIP && is_error ? DNS_RATE_DROP : verdict;
}

/* Over the limit, but the client may be real. With a client cookie it gets BADCOOKIE and repeats the query
 * with the server cookie; without one it gets TC and repeats the query over TCP. */
static void slip(struct answer *a)
{
    if (a->query->cookie_size)
        a->rcode = DNS_BADCOOKIE;
    else
        a->is_truncated = true;
}

/* True: the answer is authoritative. */
static bool answer_query(struct answer *a, struct dns_target *target)
{
    const struct dns_view *view = a->view;
    if (!a->rcode && a->query->has_question)
        a->rcode = check_query(view, a->query);
    if (a->rcode || !a->query->has_question)
        return false;
    dns_find(&a->query->name, &view->zone->name, view->catalog, view->index, view->audience, target);
    answer_question(a);
    return a->rcode != DNS_REFUSED && a->rcode != DNS_SERVFAIL;
}

size_t dns_answer(const struct dns_view *view, const struct dns_request *request, struct arena *arena,
                  uint8_t *out, struct dns_result *ret_result)
{
    struct dns_query q;
    struct dns_target target;
    struct answer a = {
        .view = view, .query = &q, .target = &target, .arena = arena, .random = request->random};
    uint8_t cookie[DNS_COOKIE_SIZE];
    struct dns_result *r = ret_result;
    *r = (struct dns_result){0};
    if (dns_read_query(request->query, &q, &a.rcode))
        return 0;
    r->type = q.type;
    r->cookie =
        dns_cookie_check(view->secrets, slice_of(q.cookie, q.cookie_size), &request->client, request->now_s);
    bool is_verified =
        request->is_tcp || r->cookie == DNS_COOKIE_VALID || dns_address_is_loopback(&request->client);
    r->verdict = is_verified ? DNS_RATE_PASS : limit_rate(&a, request);
    if (r->verdict == DNS_RATE_DROP)
        return 0;
    bool is_ours = false, has_cookie = r->cookie != DNS_COOKIE_NONE;
    dns_write_begin(&a.writer, &q, out, limit_of(&q, request->is_tcp, is_verified));
    if (r->verdict == DNS_RATE_SLIP)
        slip(&a);
    else
        is_ours = answer_query(&a, &target);
    if (has_cookie)
        dns_cookie_make(view->secrets, q.cookie, &request->client, request->now_s, cookie);
    r->rcode = a.rcode;
    r->is_truncated = a.is_truncated;
    return dns_write_finish(&a.writer, &q, a.rcode, is_ours, a.is_truncated, has_cookie ? cookie : NULL);
}
