/* SPDX-License-Identifier: Apache-2.0
 * Three members on virtual time; see trio.h. */
#include "tests/unit/trio.h"

void trio_open(struct trio *t, unsigned i)
{
    struct machine *m = &t->world->machines[i];
    t->modules[i] = t->kind->open(m->kv, m->name);
    m->turn = t->kind->turn;
    m->arg = t->modules[i];
}

void trio_close(struct trio *t, unsigned i)
{
    t->kind->close(t->modules[i]);
    t->modules[i] = NULL;
    t->world->machines[i].turn = NULL;
}

bool trio_is_ready(const struct trio *t)
{
    for (unsigned i = 0; i < TRIO; i++)
        if (t->modules[i] && !t->kind->is_ready(t->modules[i]))
            return false;
    return true;
}

struct trio *trio_new(const struct trio_kind *kind)
{
    struct trio *t = mem_new(sizeof *t);
    t->kind = kind;
    t->world = world_new(TRIO);
    for (unsigned i = 0; i < TRIO; i++)
        trio_open(t, i);
    world_wait_for_leader(t->world);
    for (unsigned n = 0; n < 200 && !trio_is_ready(t); n++)
        world_run_ms(t->world, 50);
    assert_true(trio_is_ready(t));
    return t;
}

void trio_free(struct trio *t)
{
    for (unsigned i = 0; i < TRIO; i++)
        if (t->modules[i])
            trio_close(t, i);
    world_free(t->world);
    mem_free(t);
}

unsigned trio_index(const struct trio *t, const struct machine *m)
{
    return (unsigned)(m - t->world->machines);
}

void trio_wait(struct trio *t, const bool *is_done)
{
    uint64_t until = t->world->clock.now_ns + 60000000000;
    while (!*is_done && t->world->clock.now_ns < until)
        world_step(t->world);
    assert_true(*is_done);
}
