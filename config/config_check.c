/* SPDX-License-Identifier: Apache-2.0
 * Content checks of a write by the content worker: one task for all its unchecked contents. The worker reads
 * them in the arena of the write. A write that ends meanwhile leaves its arena to the task, which frees it
 * after the worker. */
#include "config/config_write.h"

struct check {
    struct task task;    /* first */
    struct write *write; /* NULL: the write has ended */
    struct arena arena;  /* of the write that has ended */
    size_t count;
    struct content list[]; /* of the unchecked targets, in their order */
};

static void run_check(struct task *t)
{
    struct check *k = container_of(t, struct check, task);
    for (size_t i = 0; i < k->count; i++)
        content_run(&k->list[i]);
}

static void on_checked(struct task *t)
{
    struct check *k = container_of(t, struct check, task);
    struct write *w = k->write;
    for (size_t i = 0, n = 0; i < w->count; i++) {
        struct target *target = &w->targets[i];
        if (!target->is_unchecked)
            continue;
        target->checked = k->list[n];
        k->list[n++] = (struct content){0};
    }
    k->write = NULL;
    w->check = NULL;
    write_step(w);
}

static void release_check(struct task *t)
{
    struct check *k = container_of(t, struct check, task);
    for (size_t i = 0; i < k->count; i++)
        content_done(&k->list[i]);
    arena_done(&k->arena);
    mem_free(k);
}

int write_check_start(struct write *w)
{
    struct check *k = mem_new(sizeof *k + w->count * sizeof k->list[0]);
    k->write = w;
    for (size_t i = 0; i < w->count; i++) {
        if (!w->targets[i].is_unchecked)
            continue;
        k->list[k->count++] = w->targets[i].checked;
        k->task.bytes += w->targets[i].content.size;
    }
    k->task.run = run_check;
    k->task.done = on_checked;
    k->task.release = release_check;
    int err = task_add(w->op.config->tasks, &k->task, w->client);
    if (err)
        release_check(&k->task);
    else
        w->check = k;
    return err;
}

void write_check_cancel(struct write *w)
{
    struct check *k = w->check;
    if (!k)
        return;
    w->check = NULL;
    k->write = NULL;
    k->arena = w->op.pending_ops.arena;
    w->op.pending_ops.arena = (struct arena){0};
    task_cancel(&k->task);
}
