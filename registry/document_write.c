/* SPDX-License-Identifier: Apache-2.0
 * Writers of documents: canonical JSON. Fields have one order, default values are left out, the reader has
 * sorted maps and tags. See document.h. */
#include <stdio.h>

#include "base/text.h"
#include "registry/document.h"

static void add_ports(struct json_writer *w, const struct instance *i)
{
    if (i->port)
        document_add_number(w, "port", i->port);
    if (!i->port_count)
        return;
    jw_key(w, "ports");
    jw_open(w, '{');
    for (size_t n = 0; n < i->port_count; n++) {
        document_key(w, i->ports[n].name);
        jw_int(w, i->ports[n].port);
    }
    jw_close(w, '}');
}

void instance_write_members(const struct instance *i, struct json_writer *w)
{
    document_add_text(w, "host", i->host);
    add_ports(w, i);
    document_add_text(w, "protocol", i->protocol);
    document_add_text(w, "zone", i->zone);
    document_add_text(w, "region", i->region);
    document_add_text(w, "cluster", i->cluster);
    document_add_text(w, "version", i->version);
    document_add_number(w, "weight", i->weight);
    if (i->tag_count) {
        jw_key(w, "tags");
        jw_open(w, '[');
        for (size_t n = 0; n < i->tag_count; n++)
            jw_string(w, i->tags[n]);
        jw_close(w, ']');
    }
    document_add_map(w, "metadata", &i->metadata);
    document_add_number(w, "ttl", i->ttl_s);
    document_add_number(w, "grace", i->grace_s);
    jw_key(w, "state");
    jw_text(w, instance_state_name(i->state));
    if (i->check)
        check_write_members(i->check, w);
    if (i->is_guarded) {
        jw_key(w, "guarded");
        jw_bool(w, true);
    }
    if (i->session) {
        char id[24];
        snprintf(id, sizeof id, "%llx", (unsigned long long)i->session);
        jw_key(w, "session");
        jw_text(w, id);
    }
    document_add_text(w, "source", i->source);
}

void instance_write(const struct instance *i, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    instance_write_members(i, &w);
    jw_close(&w, '}');
}

static void add_change(struct json_writer *w, const struct author *author, int64_t time_ms)
{
    author_write_members(author, w);
    if (time_ms)
        document_add_number(w, "time_ms", time_ms);
}

void override_write(const struct override *o, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    if (o->has_enabled) {
        jw_key(&w, "enabled");
        jw_bool(&w, o->is_enabled);
    }
    if (o->has_weight)
        document_add_number(&w, "weight", o->weight);
    if (o->has_state) {
        jw_key(&w, "state");
        jw_text(&w, instance_state_name(o->state));
    }
    document_add_text(&w, "reason", o->reason);
    if (o->until_s) {
        struct buf until = {0};
        text_add_time(&until, o->until_s);
        document_add_text(&w, "until", buf_slice(&until));
        buf_done(&until);
    }
    if (o->is_drain) {
        jw_key(&w, "drain");
        jw_bool(&w, true);
    }
    add_change(&w, &o->author, o->time_ms);
    jw_close(&w, '}');
}

void settings_write(const struct settings *s, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    if (s->protect_threshold > 0) {
        struct buf number = {0};
        text_add_double(&number, s->protect_threshold);
        jw_key(&w, "protect_threshold");
        jw_raw(&w, buf_slice(&number));
        buf_done(&number);
    }
    document_add_map(&w, "metadata", &s->metadata);
    if (s->is_inherited) {
        jw_key(&w, "inherit");
        jw_bool(&w, true);
    }
    add_change(&w, &s->author, s->time_ms);
    jw_close(&w, '}');
}

void override_write_view(const struct override *o, struct buf *out)
{
    struct override shown = *o;
    shown.author.address = (struct slice){0};
    override_write(&shown, out);
}

void settings_write_view(const struct settings *s, struct buf *out)
{
    struct settings shown = *s;
    shown.author.address = (struct slice){0};
    settings_write(&shown, out);
}

void session_write(const struct session *s, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    document_add_text(&w, "client_id", s->client_id);
    document_add_number(&w, "ttl", s->ttl_s);
    document_add_map(&w, "labels", &s->labels);
    if (s->is_implicit) {
        jw_key(&w, "implicit");
        jw_bool(&w, true);
    }
    document_add_text(&w, "owner", s->owner);
    if (s->has_key) {
        struct buf digest = {0};
        for (size_t i = 0; i < sizeof s->key_digest; i++)
            buf_addf(&digest, "%02x", s->key_digest[i]);
        document_add_text(&w, "key_sha256", buf_slice(&digest));
        buf_done(&digest);
    }
    jw_close(&w, '}');
}

/* --- one block ----------------------------------------------------------------------------------- */

static struct slice move_slice(uint8_t **at, struct slice s)
{
    if (!s.size)
        return (struct slice){0};
    memcpy(*at, s.data, s.size);
    struct slice moved = slice_of(*at, s.size);
    *at += s.size;
    return moved;
}

static size_t bytes_of(const struct instance *i)
{
    size_t n = i->host.size + i->protocol.size + i->zone.size + i->region.size + i->cluster.size +
               i->version.size + i->source.size + i->origin.size;
    if (i->check)
        n += i->check->path.size + i->check->service.size + i->check->output.size;
    for (size_t k = 0; k < i->port_count; k++)
        n += i->ports[k].name.size;
    for (size_t k = 0; k < i->tag_count; k++)
        n += i->tags[k].size;
    for (size_t k = 0; k < i->metadata.count; k++)
        n += i->metadata.list[k].key.size + i->metadata.list[k].value.size;
    return n;
}

/* One block: the struct, its check, then the lists, then the bytes. */
struct instance *instance_copy(const struct instance *i)
{
    size_t lists = i->port_count * sizeof *i->ports + i->tag_count * sizeof *i->tags +
                   i->metadata.count * sizeof *i->metadata.list;
    size_t check = i->check ? sizeof *i->check : 0;
    struct instance *c = mem_alloc(sizeof *c + check + lists + bytes_of(i));
    *c = *i;
    c->snapshots = 0;
    if (i->check) {
        c->check = (struct check *)(c + 1);
        *c->check = *i->check;
    }
    c->ports = (struct instance_port *)((uint8_t *)(c + 1) + check);
    c->tags = (struct slice *)(c->ports + i->port_count);
    c->metadata.list = (struct document_pair *)(c->tags + i->tag_count);
    uint8_t *at = (uint8_t *)(c->metadata.list + i->metadata.count);
    struct slice *texts[] = {&c->host,    &c->protocol, &c->zone,   &c->region,
                             &c->cluster, &c->version,  &c->source, &c->origin};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
        *texts[k] = move_slice(&at, *texts[k]);
    if (c->check) {
        c->check->path = move_slice(&at, i->check->path);
        c->check->service = move_slice(&at, i->check->service);
        c->check->output = move_slice(&at, i->check->output);
    }
    for (size_t k = 0; k < i->port_count; k++)
        c->ports[k] = (struct instance_port){move_slice(&at, i->ports[k].name), i->ports[k].port};
    for (size_t k = 0; k < i->tag_count; k++)
        c->tags[k] = move_slice(&at, i->tags[k]);
    for (size_t k = 0; k < i->metadata.count; k++)
        c->metadata.list[k] = (struct document_pair){move_slice(&at, i->metadata.list[k].key),
                                                     move_slice(&at, i->metadata.list[k].value)};
    return c;
}

struct override *override_copy(const struct override *o)
{
    size_t bytes =
        o->reason.size + o->author.name.size + o->author.on_behalf_of.size + o->author.address.size;
    struct override *c = mem_alloc(sizeof *c + bytes);
    uint8_t *at = (uint8_t *)(c + 1);
    *c = *o;
    c->snapshots = 0;
    c->reason = move_slice(&at, c->reason);
    c->author.name = move_slice(&at, c->author.name);
    c->author.on_behalf_of = move_slice(&at, c->author.on_behalf_of);
    c->author.address = move_slice(&at, c->author.address);
    return c;
}
