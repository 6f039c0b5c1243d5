/* SPDX-License-Identifier: Apache-2.0
 * Choice of the files for a restore; see archive.h. */
#include "consensus/backup/archive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* --- catalog ----------------------------------------------------------------------------------------- */

static void add_file(void *arg, const char *name, uint64_t size)
{
    struct backup_catalog *c = arg;
    struct backup_file f;
    if (!backup_file_parse(name, &f))
        return;
    f.size = size;
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? c->capacity * 2 : 64;
        c->list = mem_resize(c->list, c->capacity * sizeof *c->list);
    }
    c->list[c->count++] = f;
}

int backup_catalog_read(const struct backup_folder *folder, struct backup_catalog *c)
{
    *c = (struct backup_catalog){0};
    int err = folder->list(folder->arg, add_file, c);
    if (c->count)
        qsort(c->list, c->count, sizeof *c->list, backup_file_compare);
    return err;
}

void backup_catalog_done(struct backup_catalog *c)
{
    mem_free(c->list);
}

/* --- the log after a full ---------------------------------------------------------------------------- */

struct log_walk {
    const struct backup_folder *folder;
    int (*fn)(void *arg, const struct backup_record *record);
    void *arg;
    uint64_t after;                /* entries up to here are left out */
    struct backup_segment_end end; /* of the segment before, or as far as this one was read */
    bool has_end;                  /* a segment was read */
    uint32_t election_ms;
    int stopped;                 /* the error of fn */
    int64_t revision;            /* after the last record that went to fn */
    char name[BACKUP_NAME_SIZE]; /* of the segment under way */
};

static int walk_record(void *arg, const struct backup_record *record)
{
    struct log_walk *w = arg;
    if (record->kind == BACKUP_ENTRY ? record->index <= w->after : record->index < w->after)
        return OK;
    w->stopped = w->fn(w->arg, record);
    if (!w->stopped && record->kind == BACKUP_ENTRY)
        w->revision = record->revision;
    return w->stopped;
}

/* The member may seal the segment between the listing and the read. */
static int read_segment(struct log_walk *w, const struct backup_file *f, struct buf *bytes)
{
    struct backup_file sealed = *f;
    backup_file_name(f, w->name);
    int err = w->folder->read(w->folder->arg, w->name, bytes);
    if (err != ERR_NOT_FOUND || f->kind != BACKUP_FILE_OPEN)
        return err;
    sealed.kind = BACKUP_FILE_LOG;
    backup_file_name(&sealed, w->name);
    bytes->size = 0;
    return w->folder->read(w->folder->arg, w->name, bytes);
}

static bool is_next(const struct log_walk *w, const struct backup_header *h)
{
    return !w->has_end || (h->sequence == w->end.header.sequence + 1 && h->index == w->end.index &&
                           memcmp(h->previous, w->end.digest, BACKUP_DIGEST_SIZE) == 0);
}

static int walk_segment(struct log_walk *w, const struct backup_file *f, char *error, size_t error_size)
{
    struct buf bytes = {0};
    struct backup_header header;
    struct backup_segment_end end = {0};
    int err = read_segment(w, f, &bytes);
    if (err)
        snprintf(error, error_size, "cannot read %s: %s", w->name, err_text(err));
    bool is_open = f->kind == BACKUP_FILE_OPEN;
    bool has_header = !err && backup_header_read(buf_slice(&bytes), &header) == OK;
    if (has_header)
        w->election_ms = header.election_ms;
    if (has_header && (header.run != f->run || header.sequence != f->sequence || header.index != f->index)) {
        err = ERR_CORRUPT;
        snprintf(error, error_size, "%s: its header is of another file", w->name);
    } else if (has_header && !is_next(w, &header)) {
        err = ERR_CORRUPT;
        snprintf(error, error_size,
                 "%s does not follow the segment before, or that is missing; the last revision that can be "
                 "restored is %" PRId64,
                 w->name, w->revision);
    }
    if (!err) {
        err = backup_segment_walk(buf_slice(&bytes), is_open, walk_record, w, &end);
        if (err && err != w->stopped)
            snprintf(error, error_size,
                     "%s is damaged at offset %" PRIu64
                     ": %s; the last revision that can be restored is %" PRId64,
                     w->name, end.bad_offset, err_text(err), w->revision);
        if (err == OK && end.good_size) { /* else it ends within its header: nothing was in it */
            w->end = end;
            w->has_end = true;
        }
        if (end.is_torn)
            w->end.is_torn = true, w->end.bad_offset = end.bad_offset;
    }
    buf_done(&bytes);
    return err;
}

/* Reads the segments of the run of `full` from the one that has the entry after it. */
static int walk_log(struct log_walk *w, const struct backup_catalog *c, const struct backup_file *full,
                    char *error, size_t error_size)
{
    size_t first = c->count;
    w->after = full->index;
    w->revision = full->revision;
    for (size_t i = 0; i < c->count; i++)
        if (c->list[i].run == full->run && c->list[i].kind != BACKUP_FILE_FULL &&
            (c->list[i].index <= full->index || first == c->count))
            first = i;
    if (first < c->count && c->list[first].index > full->index) {
        snprintf(error, error_size, "the log after the entry %" PRIu64 " is missing", full->index);
        return ERR_CORRUPT;
    }
    int err = OK;
    for (size_t i = first; !err && i < c->count && c->list[i].run == full->run; i++)
        err = walk_segment(w, &c->list[i], error, error_size);
    return err;
}

/* --- plan -------------------------------------------------------------------------------------------- */

enum { REACHED = 1 };

struct aim {
    const struct backup_target *target;
    struct backup_plan *plan;
};

static int aim_record(void *arg, const struct backup_record *record)
{
    struct aim *a = arg;
    if (record->kind != BACKUP_ENTRY)
        return OK;
    if (a->target->kind == BACKUP_AT_REVISION && record->revision > a->target->revision)
        return REACHED;
    if (a->target->kind == BACKUP_AT_TIME && record->time_ms > a->target->time_ms)
        return REACHED;
    a->plan->index = record->index;
    a->plan->revision = record->revision;
    a->plan->time_ms = record->time_ms;
    return OK;
}

static bool may_begin_with(const struct backup_file *f, const struct backup_target *t)
{
    return f->kind == BACKUP_FILE_FULL && (t->kind != BACKUP_AT_REVISION || f->revision <= t->revision) &&
           (t->kind != BACKUP_AT_TIME || f->time_ms <= t->time_ms);
}

static const struct backup_file *find_full(const struct backup_catalog *c, const struct backup_target *t,
                                           size_t skip)
{
    for (size_t i = c->count; i-- > 0;)
        if (may_begin_with(&c->list[i], t) && skip-- == 0)
            return &c->list[i];
    return NULL;
}

static int refuse_target(const struct backup_catalog *c, const struct backup_target *t, char *error,
                         size_t error_size)
{
    const struct backup_target any = {0};
    const struct backup_file *first = NULL;
    for (size_t i = 0; i < c->count && !first; i++)
        if (may_begin_with(&c->list[i], &any))
            first = &c->list[i];
    if (!first)
        snprintf(error, error_size, "there is no complete snapshot in this backup");
    else if (t->kind == BACKUP_AT_REVISION)
        snprintf(error, error_size, "revision %" PRId64 " is before the first one of this backup, %" PRId64,
                 t->revision, first->revision);
    else
        snprintf(error, error_size,
                 "the time is before the first snapshot of this backup (revision %" PRId64 ")",
                 first->revision);
    return ERR_NOT_FOUND;
}

int backup_plan_make(const struct backup_folder *folder, const struct backup_catalog *c,
                     const struct backup_target *target, size_t skip, struct backup_plan *plan, char *error,
                     size_t error_size)
{
    const struct backup_file *full = find_full(c, target, skip);
    return full ? backup_plan_from(folder, c, target, full, plan, error, error_size)
                : refuse_target(c, target, error, error_size);
}

int backup_plan_from(const struct backup_folder *folder, const struct backup_catalog *c,
                     const struct backup_target *target, const struct backup_file *full,
                     struct backup_plan *plan, char *error, size_t error_size)
{
    struct aim aim = {target, plan};
    struct log_walk w = {.folder = folder, .fn = aim_record, .arg = &aim};
    *plan = (struct backup_plan){
        .full = *full, .index = full->index, .revision = full->revision, .time_ms = full->time_ms};
    int err = walk_log(&w, c, full, error, error_size);
    plan->election_ms = w.election_ms;
    if (w.stopped == REACHED)
        err = OK;
    else if (err && target->kind == BACKUP_AT_REVISION && plan->revision == target->revision)
        err = OK; /* the damage comes after it */
    else
        plan->is_end = !err;
    if (!err && plan->is_end && w.end.is_torn) {
        plan->is_torn = true;
        plan->torn_offset = w.end.bad_offset;
        memcpy(plan->torn_name, w.name, sizeof plan->torn_name);
    }
    if (!err && target->kind == BACKUP_AT_REVISION && plan->revision < target->revision) {
        snprintf(error, error_size, "revision %" PRId64 " is not in this backup: %s %" PRId64,
                 target->revision, plan->is_end ? "it ends at" : "the last one before it is", plan->revision);
        return ERR_NOT_FOUND;
    }
    return err;
}

struct carry {
    const struct backup_plan *plan;
    int (*fn)(void *arg, const struct backup_record *record);
    void *arg;
    uint64_t last; /* entry that fn has got */
};

static int carry_record(void *arg, const struct backup_record *record)
{
    struct carry *c = arg;
    if (record->index > c->plan->index)
        return REACHED;
    c->last = record->index;
    return c->fn(c->arg, record);
}

int backup_plan_walk(const struct backup_folder *folder, const struct backup_catalog *c,
                     const struct backup_plan *plan, int (*fn)(void *arg, const struct backup_record *record),
                     void *arg, char *error, size_t error_size)
{
    struct carry carry = {plan, fn, arg, plan->full.index};
    struct log_walk w = {.folder = folder, .fn = carry_record, .arg = &carry};
    int err = walk_log(&w, c, &plan->full, error, error_size);
    /* Damage after the plan's last entry does not matter. */
    return w.stopped == REACHED || (!w.stopped && carry.last == plan->index) ? OK : err;
}
