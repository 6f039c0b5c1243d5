/* SPDX-License-Identifier: Apache-2.0
 * The enumeration of all disks that a power cut may leave. The journal is executed again, operation by
 * operation, on a copy of the disk it began with. After each step every fate is tried for the operations
 * without a sync. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tests/sim/disk_internal.h"

enum { ALL_SUBSETS_MAX = 8 };

struct crash_walk {
    const struct sim_disk *disk; /* at the present position */
    struct sim_crash crash;
    struct sim_fate *fates;
    size_t *order;
    uint64_t *seen; /* hashes of images shown, open addressing; 0 = free */
    size_t seen_count, seen_capacity;
    size_t shown;
    bool is_stopped;
    bool (*fn)(void *arg, struct sim_disk *image, const struct sim_crash *crash);
    void *arg;
};

static uint64_t mix(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

struct sim_fate sim_fate_draw(const struct sim_op *op, uint64_t *seed)
{
    uint64_t sectors = (op->data.size + SIM_SECTOR - 1) / SIM_SECTOR;
    uint64_t cut = (mix(seed) % (sectors + 1)) * SIM_SECTOR;

    switch (mix(seed) % (op->kind == SIM_OP_WRITE ? 5 : 2)) {
    case 0:
        return (struct sim_fate){.is_lost = true};
    case 1:
        return sim_fate_kept;
    case 2:
        return (struct sim_fate){.to = cut};
    case 3:
        return (struct sim_fate){.from = cut, .to = UINT64_MAX};
    default:
        return (struct sim_fate){.grows = true};
    }
}

static uint64_t image_hash(const struct sim_disk *d)
{
    uint64_t h = 0;

    for (size_t i = 0; i < d->names.count; i++) {
        const struct buf *b = &d->live[d->names.rows[i].inode];
        h = hash64_u64(h ^ hash64(d->names.rows[i].path, strlen(d->names.rows[i].path)));
        h = hash64_u64(h ^ hash64(b->data, b->size) ^ b->size);
    }
    return h;
}

/* Adds to the set; false if it was there. */
static bool see(struct crash_walk *w, uint64_t hash)
{
    if (hash == 0)
        hash = 1;
    if (2 * w->seen_count >= w->seen_capacity) {
        uint64_t *old = w->seen;
        size_t old_capacity = w->seen_capacity;
        w->seen_capacity = old_capacity ? 2 * old_capacity : 1024;
        w->seen = mem_new(w->seen_capacity * sizeof(*w->seen));
        w->seen_count = 0;
        for (size_t i = 0; i < old_capacity; i++) {
            if (old[i])
                see(w, old[i]);
        }
        mem_free(old);
    }
    size_t at = hash & (w->seen_capacity - 1);
    for (; w->seen[at]; at = (at + 1) & (w->seen_capacity - 1)) {
        if (w->seen[at] == hash)
            return false;
    }
    w->seen[at] = hash;
    w->seen_count++;
    return true;
}

static void show(struct crash_walk *w, const size_t *order)
{
    if (w->is_stopped)
        return;
    struct sim_disk *image = sim_disk_after_crash(w->disk, w->fates, order);
    if (see(w, image_hash(image) ^ hash64_u64(w->crash.mark))) {
        w->shown++;
        w->is_stopped = !w->fn(w->arg, image, &w->crash);
    }
    sim_disk_free(image);
}

static void set_all(struct crash_walk *w, bool is_kept)
{
    for (size_t i = 0; i < w->disk->pending.count; i++)
        w->fates[i] = is_kept ? sim_fate_kept : (struct sim_fate){.is_lost = true};
}

static void show_all_subsets(struct crash_walk *w)
{
    size_t n = w->disk->pending.count;

    for (unsigned kept = 0; kept < 1u << n; kept++) {
        for (size_t i = 0; i < n; i++)
            w->fates[i] = kept >> i & 1 ? sim_fate_kept : (struct sim_fate){.is_lost = true};
        snprintf(w->crash.what, sizeof(w->crash.what), "%zu unsynced, kept %#x", n, kept);
        show(w, NULL);
    }
}

/* Up to three operations differ from the rest. */
static void show_small_subsets(struct crash_walk *w, bool rest_is_kept)
{
    size_t n = w->disk->pending.count;
    struct sim_fate odd = rest_is_kept ? (struct sim_fate){.is_lost = true} : sim_fate_kept;

    for (size_t i = 0; i < n; i++) {
        for (size_t j = i; j < n; j++) {
            for (size_t k = j; k < n; k++) {
                set_all(w, rest_is_kept);
                w->fates[i] = w->fates[j] = w->fates[k] = odd;
                snprintf(w->crash.what, sizeof(w->crash.what), "%zu unsynced, only %zu %zu %zu %s", n, i, j,
                         k, rest_is_kept ? "lost" : "kept");
                show(w, NULL);
            }
        }
    }
}

static void show_subsets(struct crash_walk *w)
{
    if (w->disk->pending.count <= ALL_SUBSETS_MAX) {
        show_all_subsets(w);
        return;
    }
    for (int rest_is_kept = 0; rest_is_kept < 2; rest_is_kept++) {
        set_all(w, rest_is_kept);
        snprintf(w->crash.what, sizeof(w->crash.what), "all %s", rest_is_kept ? "kept" : "lost");
        show(w, NULL);
        show_small_subsets(w, rest_is_kept);
    }
}

static void show_torn(struct crash_walk *w, size_t i, bool rest_is_kept)
{
    uint64_t size = w->disk->pending.rows[i].data.size;

    for (uint64_t cut = 0; cut <= size; cut += SIM_SECTOR) {
        const struct sim_fate fates[] = {
            {.to = cut},
            {.to = cut, .grows = true},
            {.from = cut, .to = UINT64_MAX},
            {.from = cut, .to = cut + SIM_SECTOR},
            {.from = cut, .to = cut + SIM_SECTOR, .grows = true},
        };
        for (size_t f = 0; f < sizeof(fates) / sizeof(fates[0]); f++) {
            set_all(w, rest_is_kept);
            w->fates[i] = fates[f];
            snprintf(w->crash.what, sizeof(w->crash.what), "write %zu torn at %llu (form %zu), rest %s", i,
                     (unsigned long long)cut, f, rest_is_kept ? "kept" : "lost");
            show(w, NULL);
        }
    }
}

/* Operation i comes after operation j instead of before it. */
static void show_reordered(struct crash_walk *w)
{
    size_t n = w->disk->pending.count;

    set_all(w, true);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            for (size_t k = 0; k < n; k++)
                w->order[k] = k < i || k > j ? k : k == j ? i : k + 1;
            snprintf(w->crash.what, sizeof(w->crash.what), "operation %zu after %zu", i, j);
            show(w, w->order);
        }
    }
}

static void show_position(struct crash_walk *w)
{
    size_t n = w->disk->pending.count;

    w->fates = mem_resize(w->fates, (n + 1) * sizeof(*w->fates));
    w->order = mem_resize(w->order, (n + 1) * sizeof(*w->order));
    show_subsets(w);
    for (size_t i = 0; i < n; i++) {
        if (w->disk->pending.rows[i].kind == SIM_OP_WRITE) {
            show_torn(w, i, false);
            show_torn(w, i, true);
        }
    }
    show_reordered(w);
}

size_t sim_disk_each_crash(const struct sim_disk *d,
                           bool (*fn)(void *arg, struct sim_disk *image, const struct sim_crash *crash),
                           void *arg)
{
    struct sim_disk *replayed = sim_disk_copy_unsynced(d->base);
    struct crash_walk w = {.disk = replayed, .fn = fn, .arg = arg};

    show_position(&w);
    for (size_t i = 0; i < d->journal.count && !w.is_stopped; i++) {
        const struct sim_op *op = &d->journal.rows[i];
        sim_disk_apply(replayed, op);
        if (op->kind == SIM_OP_MARK)
            w.crash.mark = op->at;
        w.crash.position = i + 1;
        show_position(&w);
    }
    sim_disk_free(replayed);
    mem_free(w.fates);
    mem_free(w.order);
    mem_free(w.seen);
    return w.shown;
}
