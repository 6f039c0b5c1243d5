/* SPDX-License-Identifier: Apache-2.0
 * The drawing of a plan; plan.def has the list. */
#include "tests/sim/cluster/plan.h"

#include "tests/sim/sim_io.h"

static uint64_t draw(uint64_t *r, uint64_t from, uint64_t to)
{
    return from + sim_random(r) % (to - from + 1);
}

/* Three is the usual size; one and two have code paths of their own; large clusters are slow to simulate. */
static uint64_t draw_members(uint64_t *r)
{
    static const uint8_t sizes[] = {1, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5, 6, 7};
    return sizes[sim_random(r) % sizeof sizes];
}

/* On in a third of the runs. */
static uint64_t fault(uint64_t *r, uint64_t from, uint64_t to)
{
    uint64_t mean = draw(r, from, to);
    return draw(r, 1, 3) == 1 ? mean : 0;
}

static uint64_t rare_fault(uint64_t *r, uint64_t from, uint64_t to)
{
    uint64_t mean = draw(r, from, to);
    return draw(r, 1, 10) == 1 ? mean : 0;
}

void plan_draw(struct plan *p, uint64_t seed)
{
    uint64_t state = seed ^ 0x5eed5eed, *r = &state;
    p->seed = seed;
    (void)sim_random(r);
#define PLAN(name, how, what) p->name = (uint64_t)(how);
#include "tests/sim/cluster/plan.def"
#undef PLAN
    if (p->calm)
        plan_calm(p);
}

bool plan_set(struct plan *p, const char *name, uint64_t value)
{
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {
#define PLAN(name, how, what) {#name, offsetof(struct plan, name)},
#include "tests/sim/cluster/plan.def"
#undef PLAN
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            memcpy((char *)p + rows[i].offset, &value, sizeof value);
            return true;
        }
    }
    return false;
}

void plan_print(const struct plan *p, struct buf *out)
{
    buf_addf(out, "seed %llu\n", (unsigned long long)p->seed);
#define PLAN(name, how, what) buf_addf(out, "  %-20s %10llu  %s\n", #name, (unsigned long long)p->name, what);
#include "tests/sim/cluster/plan.def"
#undef PLAN
}

void plan_calm(struct plan *p)
{
    p->calm = 1;
    p->skew_ppm = p->drop_ppm = p->duplicate_ppm = p->reorder_ppm = 0;
    p->crash_ms = p->pause_ms = p->partition_ms = p->reset_ms = p->slow_disk_ms = p->disk_error_ms = 0;
    p->disk_full_ms = p->flip_ms = p->wall_ms = p->move_leader_ms = p->member_ms = p->wipe_ms = 0;
}
