/* SPDX-License-Identifier: Apache-2.0
 * The link to a continuous backup: each applied entry goes to one listener, in the turn in which it was
 * applied. The listener's note about them is stored with the store's commits, and entries that it has not
 * archived stay in the log within a limit, so that it can read them again. */
#include <stdio.h>

#include "consensus/kv/kv_impl.h"

#define KEPT_LOG_BYTES (UINT64_C(256) << 20) /* of the log's files: with more they are cut */
#define READ_BYTES_MAX (1u << 20)

void kv_on_entry(struct kv *kv, void (*fn)(void *arg, const struct kv_applied *entry), void *arg)
{
    kv->archive.fn = fn;
    kv->archive.arg = arg;
}

void kv_archive_entry(struct kv *kv, const struct raft_entry *entry, bool is_kept)
{
    if (!kv->archive.fn)
        return;
    struct kv_applied applied = {
        .index = entry->index, .term = entry->term, .revision = store_revision(kv->store)};
    if (is_kept && entry->data)
        applied.data = blob_slice(entry->data);
    kv->archive.fn(kv->archive.arg, &applied);
}

void kv_set_notice(struct kv *kv, const char *text)
{
    snprintf(kv->archive.notice, sizeof kv->archive.notice, "%s", text ? text : "");
}

const char *kv_archive_notice(const struct kv *kv)
{
    return kv->archive.notice;
}

uint64_t kv_applied_index(const struct kv *kv, uint64_t *ret_term)
{
    *ret_term = store_applied_term(kv->store);
    return store_applied_index(kv->store);
}

/* --- what survives a kill ---------------------------------------------------------------------------- */

static void write_note(void *arg, struct buf *out)
{
    struct kv *kv = arg;
    if (kv->archive.note_fn)
        kv->archive.note_fn(kv->archive.note_arg, out);
    else
        buf_add_slice(out, buf_slice(&kv->archive.note));
}

void kv_archive_listen(struct kv *kv)
{
    if (kv->archive.has_note)
        store_on_commit(kv->store, write_note, kv);
}

void kv_on_commit(struct kv *kv, void (*fn)(void *arg, struct buf *out), void *arg)
{
    if (!fn && kv->archive.note_fn)
        kv->archive.note_fn(kv->archive.note_arg, &kv->archive.note);
    kv->archive.note_fn = fn;
    kv->archive.note_arg = arg;
    kv->archive.has_note = true;
    kv_archive_listen(kv);
}

int kv_note(struct kv *kv, struct slice *ret_note)
{
    arena_reset(&kv->arena);
    return store_note(kv->store, &kv->arena, ret_note);
}

void kv_archive_done(struct kv_archive *a)
{
    buf_done(&a->note);
}

/* --- the log ----------------------------------------------------------------------------------------- */

void kv_keep_log(struct kv *kv, uint64_t index)
{
    kv->archive.kept_index = index;
}

uint64_t kv_archive_log_needed(const struct kv *kv, uint64_t durable_index)
{
    uint64_t kept = kv->archive.kept_index, limit = kv->settings.log_disk_bytes_max;
    if (!kept || kept >= durable_index)
        return durable_index;
    if (!limit || limit > KEPT_LOG_BYTES)
        limit = KEPT_LOG_BYTES;
    return node_log_disk_bytes(kv->node) <= limit ? kept : durable_index;
}

static void kv_archive_on_read(void *arg, int err, const struct node_log_entry *list, size_t count)
{
    struct kv *kv = arg;
    struct kv_applied *applied = mem_new((count + 1) * sizeof *applied);
    for (size_t i = 0; i < count; i++)
        applied[i] = (struct kv_applied){.index = list[i].index, .term = list[i].term, .data = list[i].data};
    kv->archive.read_fn(kv->archive.read_arg, err, applied, count);
    mem_free(applied);
    kv_schedule_turn(kv);
}

bool kv_read_log(struct kv *kv, uint64_t from,
                 void (*fn)(void *arg, int err, const struct kv_applied *list, size_t count), void *arg)
{
    if (kv_is_closing(kv) || from > store_applied_index(kv->store))
        return false;
    kv->archive.read_fn = fn;
    kv->archive.read_arg = arg;
    return node_read_log(kv->node, from, store_applied_index(kv->store), READ_BYTES_MAX, kv_archive_on_read,
                         kv);
}

void kv_read_log_cancel(struct kv *kv)
{
    node_read_log_cancel(kv->node);
}
