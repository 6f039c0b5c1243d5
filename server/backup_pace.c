/* SPDX-License-Identifier: Apache-2.0
 * When the continuous backup writes and syncs, and how far it is behind; see backup_pace.h. */
#include "server/backup_pace.h"

enum {
    SYNC_MS = 1000,
    SYNC_BYTES = 8 << 20, /* or so many bytes are not durable */
    RETRY_MS = 1000,
};

enum backup_step backup_pace_step(const struct backup_pace *p, const struct backup_waiting *w,
                                  uint64_t mono_ms)
{
    bool is_due = mono_ms - p->synced_ms >= SYNC_MS || w->bytes >= SYNC_BYTES;
    bool syncs = is_due && (w->has_queued || w->has_written);
    if (p->is_out || mono_ms < p->retry_ms || (!w->has_queued && !syncs))
        return BACKUP_STEP_NONE;
    return syncs ? BACKUP_STEP_SYNC : BACKUP_STEP_WRITE;
}

void backup_pace_begin(struct backup_pace *p, const struct backup_waiting *w)
{
    p->is_out = true;
    p->oldest_ms = w->oldest_ms; /* the job may never end */
}

void backup_pace_done(struct backup_pace *p, enum backup_step step, int err, uint64_t mono_ms)
{
    p->is_out = false;
    if (err)
        backup_pace_retry(p, mono_ms);
    else if (step == BACKUP_STEP_SYNC)
        p->synced_ms = mono_ms;
}

void backup_pace_retry(struct backup_pace *p, uint64_t mono_ms)
{
    p->retry_ms = mono_ms + RETRY_MS;
}

static uint64_t longer(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t age(uint64_t since_ms, uint64_t now_ms)
{
    return since_ms && now_ms > since_ms ? now_ms - since_ms : 0;
}

uint64_t backup_pace_lag_ms(struct backup_pace *p, const struct backup_waiting *w,
                            const struct backup_missing *m, uint64_t wall_ms, uint64_t mono_ms)
{
    if (!p->is_out)
        p->oldest_ms = w->oldest_ms;
    return longer(longer(age(p->oldest_ms, wall_ms), age(m->entry_ms, wall_ms)), age(m->since_ms, mono_ms));
}
