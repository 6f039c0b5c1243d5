/* SPDX-License-Identifier: Apache-2.0
 * Log records as JSON, one object a line:
 *
 *   {"segment":NAME,"offset":N,"type":"segment","sequence":..,"cluster_id":HEX,"member_id":HEX,
 *    "index_before":..}
 *   {"segment":NAME,"offset":N,"type":"entry","index":..,"term":..,"entry":"normal","request":{..}}
 *   {..,"entry":"conf_change" or "conf_change_v2","change":{..}}      {..,"type":"hard_state","term":..,..}
 *   {..,"type":"snapshot","index":..,"term":..}                       {..,"type":"damage","what":TEXT}
 *
 * A request is an InternalRaftRequest in the JSON of the gateway: bytes in base64, 64-bit numbers in quotes.
 * Bytes that do not decode are printed as "data", in base64. */
#include "consensus/tools/waldump.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/mem.h"
#include "consensus/raft/message.h"
#include "consensus/tools/etcd_wal.h"
#include "consensus/tools/wal_walk.h"
#include "proto/internal.pb-c.h"
#include "proto/json.h"

struct dump {
    FILE *out, *errors;
    const char *dir;
    uint64_t from;
    struct etcd_wal *etcd; /* NULL = JSON */
    struct buf line;
    struct json_writer json;
    struct arena arena;
};

static void begin_line(struct dump *d, struct wal_place place, const char *type)
{
    buf_clear(&d->line);
    d->json = (struct json_writer){.out = &d->line};
    jw_open(&d->json, '{');
    jw_key(&d->json, "segment");
    jw_text(&d->json, place.segment);
    jw_key(&d->json, "offset");
    jw_uint(&d->json, place.offset);
    jw_key(&d->json, "type");
    jw_text(&d->json, type);
}

static void end_line(struct dump *d)
{
    jw_close(&d->json, '}');
    buf_add_byte(&d->line, '\n');
    fwrite(d->line.data, 1, d->line.size, d->out);
}

static void add_number_field(struct dump *d, const char *key, uint64_t value)
{
    jw_key(&d->json, key);
    jw_uint(&d->json, value);
}

static void add_id(struct dump *d, const char *key, uint64_t id)
{
    char text[17];
    snprintf(text, sizeof text, "%" PRIx64, id);
    jw_key(&d->json, key);
    jw_text(&d->json, text);
}

/* --- entries ---------------------------------------------------------------------------------- */

static void add_data(struct dump *d, struct slice data)
{
    jw_key(&d->json, "data");
    jw_base64(&d->json, data);
}

/* The output is often sent to others: password hashes and tokens are removed. */
static void hide_secrets(Etcdserverpb__InternalRaftRequest *m)
{
    static char hidden[] = "(hidden)";
    if (m->auth_user_add)
        m->auth_user_add->hashedpassword = m->auth_user_add->password = hidden;
    if (m->auth_user_change_password)
        m->auth_user_change_password->hashedpassword = m->auth_user_change_password->password = hidden;
    if (m->authenticate)
        m->authenticate->simple_token = m->authenticate->password = hidden;
}

static void add_request(struct dump *d, struct slice data)
{
    arena_reset(&d->arena);
    Etcdserverpb__InternalRaftRequest *m =
        etcdserverpb__internal_raft_request__unpack(arena_allocator(&d->arena), data.size, data.data);
    if (!m) {
        add_data(d, data);
        return;
    }
    hide_secrets(m);
    struct buf text = {0};
    message_to_json(&m->base, &text);
    jw_key(&d->json, "request");
    jw_raw(&d->json, buf_slice(&text));
    buf_done(&text);
}

static const char *change_name(enum raft_conf_change_type type)
{
    switch (type) {
    case RAFT_ADD_NODE:
        return "add_node";
    case RAFT_REMOVE_NODE:
        return "remove_node";
    case RAFT_UPDATE_NODE:
        return "update_node";
    case RAFT_ADD_LEARNER:
        return "add_learner";
    }
    return "unknown";
}

static void add_conf_change(struct dump *d, struct slice data, bool v1)
{
    static const char *const transitions[] = {"auto", "joint_implicit", "joint_explicit"};
    struct raft_conf_change change;
    if (raft_conf_change_decode(data, v1, &change) != OK) {
        add_data(d, data);
        return;
    }
    jw_key(&d->json, "change");
    jw_open(&d->json, '{');
    jw_key(&d->json, "transition");
    jw_text(&d->json, transitions[change.transition]);
    jw_key(&d->json, "changes");
    jw_open(&d->json, '[');
    for (uint32_t i = 0; i < change.count; i++) {
        jw_open(&d->json, '{');
        jw_key(&d->json, "type");
        jw_text(&d->json, change_name(change.changes[i].type));
        add_id(d, "member_id", change.changes[i].node_id);
        jw_close(&d->json, '}');
    }
    jw_close(&d->json, ']');
    jw_key(&d->json, "context");
    jw_base64(&d->json, change.context);
    jw_close(&d->json, '}');
}

static void print_entry(struct dump *d, struct wal_place place, const struct wal_entry *e)
{
    static const char *const names[] = {"normal", "conf_change", "conf_change_v2"};
    if (e->index < d->from)
        return;
    begin_line(d, place, "entry");
    add_number_field(d, "index", e->index);
    add_number_field(d, "term", e->term);
    jw_key(&d->json, "entry");
    if (e->type < sizeof names / sizeof *names)
        jw_text(&d->json, names[e->type]);
    else
        jw_int(&d->json, e->type);
    if (e->type == RAFT_ENTRY_NORMAL && e->data.size)
        add_request(d, e->data);
    else if (e->type == RAFT_ENTRY_CONF_CHANGE || e->type == RAFT_ENTRY_CONF_CHANGE_V2)
        add_conf_change(d, e->data, e->type == RAFT_ENTRY_CONF_CHANGE);
    else if (e->data.size)
        add_data(d, e->data);
    end_line(d);
}

/* --- other records ---------------------------------------------------------------------------- */

static void print_hard_state(struct dump *d, struct wal_place place, const struct wal_hard_state *s)
{
    begin_line(d, place, "hard_state");
    add_number_field(d, "term", s->term);
    add_id(d, "vote", s->vote);
    add_number_field(d, "commit", s->commit);
    end_line(d);
}

static void print_snapshot(struct dump *d, struct wal_place place, const struct wal_snapshot *s)
{
    begin_line(d, place, "snapshot");
    add_number_field(d, "index", s->index);
    add_number_field(d, "term", s->term);
    end_line(d);
}

static void on_record(void *arg, struct wal_place place, const struct wal_record *record)
{
    struct dump *d = arg;
    if (d->etcd)
        etcd_wal_add(d->etcd, record);
    else if (record->kind == WAL_RECORD_ENTRY)
        print_entry(d, place, &record->entry);
    else if (record->kind == WAL_RECORD_HARD_STATE)
        print_hard_state(d, place, &record->hard_state);
    else
        print_snapshot(d, place, &record->snapshot);
}

static void on_segment(void *arg, struct wal_place place, const struct wal_segment_header *h)
{
    struct dump *d = arg;
    if (d->etcd) {
        etcd_wal_begin(d->etcd, h);
        return;
    }
    begin_line(d, place, "segment");
    add_number_field(d, "sequence", h->sequence);
    if (h->metadata.size == 16) {
        add_id(d, "cluster_id", get_be64(h->metadata.data));
        add_id(d, "member_id", get_be64(h->metadata.data + 8));
    }
    add_number_field(d, "index_before", h->state.last_index);
    end_line(d);
}

static void on_damage(void *arg, struct wal_place place, const char *what)
{
    struct dump *d = arg;
    fprintf(d->errors, "cairnd waldump: %s/%s: offset %" PRIu64 ": %s\n", d->dir, place.segment, place.offset,
            what);
    if (d->etcd)
        return;
    begin_line(d, place, "damage");
    jw_key(&d->json, "what");
    jw_text(&d->json, what);
    end_line(d);
}

/* --- folder of the log ------------------------------------------------------------------------ */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A data folder has its log in member/wal, a copied member folder in wal. */
static char *find_log(const char *dir)
{
    static const char *const inside[] = {"member/wal", "wal"};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        struct buf path = {0};
        buf_addf(&path, "%s/%s", dir, inside[i]);
        bool is_here = is_folder(buf_text(&path));
        char *found = is_here ? mem_string(buf_text(&path)) : NULL;
        buf_done(&path);
        if (found)
            return found;
    }
    return mem_string(dir);
}

int waldump(const struct waldump_options *o, FILE *out, FILE *errors)
{
    struct dump d = {.out = out, .errors = errors, .from = o->from};
    struct wal_visitor visitor = {on_segment, on_record, on_damage, &d};
    char *dir = find_log(o->dir);
    int err = OK;
    d.dir = dir;
    if (o->etcd_dir) {
        err = etcd_wal_create(o->etcd_dir, &d.etcd);
        if (err) {
            fprintf(errors, "cairnd waldump: %s: %s\n", o->etcd_dir,
                    err == ERR_EXISTS ? "holds a log already" : err_text(err));
            goto out;
        }
    }
    err = wal_walk(dir, &visitor);
    if (err == ERR_NOT_FOUND)
        fprintf(errors, "cairnd waldump: %s: there is no log here\n", dir);
    if (d.etcd) {
        int etcd_err = etcd_wal_finish(d.etcd);
        if (etcd_err)
            fprintf(errors, "cairnd waldump: %s: %s\n", o->etcd_dir, err_text(etcd_err));
        err = err ? err : etcd_err;
    }
    if (fflush(out) != 0 && !err)
        err = ERR_IO;
out:
    mem_free(dir);
    buf_done(&d.line);
    arena_done(&d.arena);
    return err;
}
