/* SPDX-License-Identifier: Apache-2.0
 * Name resolution: the readings of a name, tried in order against the catalog; see dns_find.h. */
#include "server/dns/dns_find.h"

static const char unnamed[] = "default"; /* the default of group and namespace */

/* A question's name with its labels in one text; ends[i] is where label i ends. */
struct labels {
    const uint8_t *text;
    const struct dns_name *name;
};

struct search {
    const struct catalog *catalog;
    struct dns_index *index;
    const struct audience *audience;
    struct labels labels;
    bool *is_index_missing; /* set when the index was needed and is not built yet */
};

static uint8_t small(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

bool dns_text_matches(struct slice any, struct slice small_text)
{
    if (any.size != small_text.size)
        return false;
    for (size_t i = 0; i < any.size; i++)
        if (small(any.data[i]) != small_text.data[i])
            return false;
    return true;
}

bool dns_instance_is_at(const struct catalog_instance *i, const struct dns_address *address)
{
    struct dns_address a;
    return i->doc && !dns_address_read(i->doc->host, &a) && dns_address_equal(&a, address);
}

/* Labels from first to before last, with the dots between them. */
static struct slice span(const struct labels *l, size_t first, size_t last)
{
    const struct dns_name *n = l->name;
    size_t begin = n->labels[first] + 1u;
    size_t end = last < n->label_count ? n->labels[last] : n->size - 1u;
    return slice_of(l->text + begin, end - begin);
}

static bool label_is(const struct labels *l, size_t i, const char *text)
{
    return slice_equal(span(l, i, i + 1), slice_text(text));
}

/* --- services ---------------------------------------------------------------------------------------- */
struct reading {
    struct slice ns, group, service;
};

enum { READINGS = 3 };

/* The i-th reading of the labels from first to before last; false: there are too few. */
static bool read_labels(const struct labels *l, size_t first, size_t last, int i, struct reading *ret)
{
    size_t given = (size_t)(READINGS - 1 - i);
    if (last < first + given + 1)
        return false;
    ret->ns = given > 0 ? span(l, last - 1, last) : slice_text(unnamed);
    ret->group = given > 1 ? span(l, last - 2, last - 1) : slice_text(unnamed);
    ret->service = span(l, first, last - given);
    return true;
}

/* The name in the index's form. Each part but the defaults comes from one name of at most 255 bytes. */
static struct slice index_name(const struct reading *r, uint8_t text[DNS_NAME_MAX + 2 * sizeof unnamed])
{
    struct slice parts[] = {r->service, r->group, r->ns};
    size_t size = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (i > 0)
            text[size++] = '.';
        memcpy(text + size, parts[i].data, parts[i].size);
        size += parts[i].size;
    }
    return slice_of(text, size);
}

static struct dns_index *index_of(const struct search *s)
{
    if (!dns_index_is_ready(s->index, s->catalog))
        *s->is_index_missing = true;
    return s->index;
}

static const struct catalog_service *look_up(const struct search *s, const struct reading *r)
{
    uint8_t text[DNS_NAME_MAX + 2 * sizeof unnamed];
    const struct catalog_service *found = catalog_find(s->catalog, r->ns, r->group, r->service);
    if (found && audience_sees_service(s->audience, found))
        return found;
    return dns_index_service(index_of(s), s->catalog, index_name(r, text));
}

static const struct catalog_service *find_service(const struct search *s, size_t first, size_t last)
{
    struct reading r;
    for (int i = 0; i < READINGS; i++) {
        const struct catalog_service *found =
            read_labels(&s->labels, first, last, i, &r) ? look_up(s, &r) : NULL;
        if (found)
            return found;
    }
    return NULL;
}

/* Finds the tag with the letters of the first instance that has it. */
static bool find_tag(const struct search *s, const struct catalog_service *service, struct slice text,
                     struct slice *ret_tag)
{
    for (size_t i = 0; i < service->count; i++) {
        const struct instance *doc =
            audience_sees(s->audience, service->list[i]) ? service->list[i]->doc : NULL;
        for (size_t k = 0; doc && k < doc->tag_count; k++)
            if (dns_text_matches(doc->tags[k], text)) {
                *ret_tag = doc->tags[k];
                return true;
            }
    }
    return false;
}

static bool find_tagged(const struct search *s, size_t first, size_t last, struct dns_target *ret)
{
    ret->tag = (struct slice){0};
    ret->service = find_service(s, first, last);
    if (ret->service)
        return true;
    struct reading r;
    for (int i = 0; last - first > 1 && i < READINGS; i++) {
        ret->service = read_labels(&s->labels, first + 1, last, i, &r) ? look_up(s, &r) : NULL;
        if (ret->service && find_tag(s, ret->service, span(&s->labels, first, first + 1), &ret->tag))
            return true;
    }
    ret->service = NULL;
    return false;
}

struct below {
    const struct audience *audience;
    bool is_there;
};

static bool stop_at_first(void *arg, struct catalog_service *s)
{
    struct below *below = arg;
    below->is_there = audience_sees_service(below->audience, s);
    return !below->is_there;
}

/* True: a namespace, a group or the end of a name with dots is below these labels. */
static bool is_above_something(const struct search *s, size_t first, size_t last)
{
    uint8_t text[DNS_NAME_MAX + 2 * sizeof unnamed];
    const struct labels *l = &s->labels;
    struct slice none = {0};
    struct reading r;
    struct below below = {.audience = s->audience};
    for (int i = 0; i < READINGS; i++)
        if (read_labels(l, first, last, i, &r) &&
            dns_index_is_above(index_of(s), s->catalog, index_name(&r, text)))
            return true;
    if (dns_index_is_above(index_of(s), s->catalog, span(l, first, last)))
        return true;
    if (last - first <= 2)
        catalog_each(s->catalog, span(l, last - 1, last),
                     last - first == 2 ? span(l, first, first + 1) : none, none, none, stop_at_first, &below);
    return below.is_there;
}

/* --- names with underscores -------------------------------------------------------------------------- */
static bool begins_with_underscore(const struct labels *l, size_t i)
{
    struct slice s = span(l, i, i + 1);
    return s.size > 1 && s.data[0] == '_';
}

static struct slice behind_underscore(const struct labels *l, size_t i)
{
    struct slice s = span(l, i, i + 1);
    return slice_of(s.data + 1, s.size - 1);
}

static bool find_port(const struct search *s, size_t last, struct dns_target *ret)
{
    const struct labels *l = &s->labels;
    size_t rest = last - 2;
    struct slice name = behind_underscore(l, 0);
    ret->protocol = behind_underscore(l, 1);
    if (rest <= 2) {
        struct reading r = {rest > 0 ? span(l, last - 1, last) : slice_text(unnamed),
                            rest > 1 ? span(l, last - 2, last - 1) : slice_text(unnamed), name};
        ret->service = look_up(s, &r);
        if (ret->service)
            return true;
    }
    ret->port_name = name;
    return rest > 0 && find_tagged(s, 2, last, ret);
}

/* --- places ------------------------------------------------------------------------------------------ */
static enum dns_place find_under_svc(const struct search *s, size_t last, struct dns_target *ret)
{
    const struct labels *l = &s->labels;
    if (last == 0)
        return DNS_BETWEEN;
    if (find_tagged(s, 0, last, ret))
        return DNS_AT_SERVICE;
    if (begins_with_underscore(l, 0)) {
        if (last > 1 && begins_with_underscore(l, 1))
            return find_port(s, last, ret) ? DNS_AT_PORT : DNS_NOWHERE;
        if (last == 1 || find_tagged(s, 1, last, ret))
            return DNS_BETWEEN; /* _tcp.orders.svc */
        return is_above_something(s, 1, last) ? DNS_BETWEEN : DNS_NOWHERE;
    }
    return is_above_something(s, 0, last) ? DNS_BETWEEN : DNS_NOWHERE;
}

static enum dns_place find_under_inst(const struct search *s, size_t last, struct dns_target *ret)
{
    enum { PARTS = 4 }; /* address, service, group, namespace */
    struct reading r;
    if (last == 0)
        return DNS_BETWEEN;
    if (last >= PARTS - 1 && read_labels(&s->labels, 0, last, 0, &r) && look_up(s, &r))
        return DNS_BETWEEN;
    if (last < PARTS)
        return is_above_something(s, 0, last) ? DNS_BETWEEN : DNS_NOWHERE;
    if (!dns_address_read_label(span(&s->labels, 0, 1), &ret->address) &&
        read_labels(&s->labels, 1, last, 0, &r)) {
        ret->service = look_up(s, &r);
        for (size_t i = 0; ret->service && i < ret->service->count; i++)
            if (audience_sees(s->audience, ret->service->list[i]) &&
                dns_instance_is_at(ret->service->list[i], &ret->address))
                return DNS_AT_INSTANCE;
    }
    return is_above_something(s, 0, last) ? DNS_BETWEEN : DNS_NOWHERE;
}

static enum dns_place find_reverse(const struct search *s, const struct dns_name *name,
                                   struct dns_target *ret)
{
    const struct catalog_service *list[DNS_SERVICES_AT_ADDRESS_MAX];
    if (dns_address_read_reverse(name, &ret->address))
        return DNS_FOREIGN;
    size_t n =
        dns_index_at_address(index_of(s), s->catalog, &ret->address, list, DNS_SERVICES_AT_ADDRESS_MAX);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < list[i]->count; k++)
            if (audience_sees(s->audience, list[i]->list[k]) &&
                dns_instance_is_at(list[i]->list[k], &ret->address)) {
                ret->services[ret->service_count++] = list[i];
                break;
            }
    return ret->service_count ? DNS_AT_ADDRESS : DNS_FOREIGN;
}

static enum dns_place dns_find_run(const struct search *s, const struct dns_name *name,
                                   const struct dns_name *zone, struct dns_target *ret)
{
    size_t n = name->label_count, m = zone->label_count;
    struct slice end = n >= m && m > 0 ? span(&s->labels, n - m, n) : (struct slice){0};
    bool is_in_zone = end.size == zone->size - 2u;
    for (size_t i = 0, label = 0; is_in_zone && i < end.size; i++) {
        bool is_dot = label + 1 < m && i + 1u == zone->labels[label + 1];
        label += is_dot;
        is_in_zone = end.data[i] == (is_dot ? '.' : zone->wire[i + 1]);
    }
    if (!is_in_zone)
        return find_reverse(s, name, ret);
    size_t last = n - m;
    ret->zone_at = last < n ? name->labels[last] : 0;
    if (last == 0)
        return DNS_AT_ZONE;
    if (label_is(&s->labels, last - 1, "svc"))
        return find_under_svc(s, last - 1, ret);
    if (label_is(&s->labels, last - 1, "inst"))
        return find_under_inst(s, last - 1, ret);
    return last == 1 && label_is(&s->labels, 0, "ns") ? DNS_AT_SERVER : DNS_NOWHERE;
}

void dns_find(const struct dns_name *name, const struct dns_name *zone, const struct catalog *c,
              struct dns_index *x, struct audience *audience, struct dns_target *ret)
{
    bool is_index_missing = false;
    struct search s = {c, x, audience, {ret->text, name}, &is_index_missing};
    dns_index_set_audience(x, audience);
    /* Clear all fields but the text and the list: these are long, and are written where they are used. */
    ret->zone_at = ret->service_count = 0;
    ret->service = NULL;
    ret->tag = ret->port_name = ret->protocol = (struct slice){0};
    for (size_t i = 0; i < name->size; i++)
        ret->text[i] = small(name->wire[i]);
    for (size_t i = 0; i < name->label_count; i++)
        ret->text[name->labels[i]] = '.';
    ret->place = dns_find_run(&s, name, zone, ret);
    if (is_index_missing)
        ret->place = DNS_NOT_READY;
}
