/* SPDX-License-Identifier: Apache-2.0
 * The link to a continuous backup: each applied entry goes to one listener, in the turn in which it was
 * applied. */
#include <stdio.h>

#include "consensus/kv/kv_impl.h"

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
