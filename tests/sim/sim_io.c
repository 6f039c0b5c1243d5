/* SPDX-License-Identifier: Apache-2.0
 * Virtual time, timers, workers and files for one simulated process. */
#include "tests/sim/sim_io.h"

#include <assert.h>

#include "base/mem.h"

struct sim_worker {
    struct sim_event event; /* the next step of the first job */
    struct sim_io *owner;
    struct link jobs;
    bool has_run; /* the first job ran, its done callback is pending */
};

struct sim_io {
    struct io io;
    struct sim_io_options options;
    uint64_t random;
    struct sim_worker workers[IO_WORKER_COUNT];
    struct link timers, files;
    uint64_t paused_until_ns;
    bool is_dead;
};

struct io_file {
    struct link link;
    size_t inode;
    char *lock; /* path, while this handle holds it */
};

struct sim_timer {
    struct sim_event event;
    struct link link;
    struct sim_io *io;
    struct io_timer *owner;
};

/* --- clock ------------------------------------------------------------------------------------ */

void sim_clock_add(struct sim_clock *c, struct sim_event *event, uint64_t after_ns)
{
    heap_add(&c->events, &event->node, c->now_ns + after_ns);
}

void sim_clock_remove(struct sim_clock *c, struct sim_event *event)
{
    if (heap_contains(&event->node))
        heap_remove(&c->events, &event->node);
}

bool sim_clock_step(struct sim_clock *c)
{
    struct heap_node *first = heap_first(&c->events);

    if (!first)
        return false;
    struct sim_event *event = container_of(first, struct sim_event, node);
    heap_remove(&c->events, first);
    c->now_ns = first->key;
    event->fire(event);
    return true;
}

void sim_clock_run(struct sim_clock *c)
{
    while (sim_clock_step(c)) {
    }
}

void sim_clock_done(struct sim_clock *c)
{
    heap_done(&c->events);
}

uint64_t sim_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* --- time, randomness, jobs, timers ----------------------------------------------------------- */

static struct sim_io *sim_of(struct io *io)
{
    return container_of(io, struct sim_io, io);
}

/* The world's time as this machine counts it. */
static uint64_t skewed(const struct sim_io_options *o)
{
    uint64_t now = o->clock->now_ns;
    return now + (uint64_t)((int64_t)(now / 1000) * o->rate_ppm / 1000);
}

static uint64_t sim_mono_ns(struct io *io)
{
    const struct sim_io_options *o = &sim_of(io)->options;
    return o->mono_offset_ns + skewed(o);
}

static uint64_t sim_wall_ns(struct io *io)
{
    const struct sim_io_options *o = &sim_of(io)->options;
    const uint64_t year_2026 = 1767225600000000000;
    return year_2026 + skewed(o) + (uint64_t)o->wall_offset_ns;
}

static uint64_t sim_io_random(struct io *io)
{
    return sim_random(&sim_of(io)->random);
}

static uint64_t job_time(struct sim_io *s)
{
    const struct sim_io_options *o = &s->options;
    return o->job_min_ns +
           (o->job_max_ns > o->job_min_ns ? sim_random(&s->random) % (o->job_max_ns - o->job_min_ns) : 0);
}

/* True: the process is paused, and the event is scheduled again for the end of the pause. */
static bool is_postponed(struct sim_io *s, struct sim_event *event)
{
    struct sim_clock *c = s->options.clock;

    if (c->now_ns >= s->paused_until_ns)
        return false;
    sim_clock_add(c, event, s->paused_until_ns - c->now_ns);
    return true;
}

static void on_before_event(struct sim_io *s)
{
    if (s->options.before_event)
        s->options.before_event(s->options.arg);
}

static void schedule_turn(struct sim_io *s)
{
    if (s->options.on_event)
        s->options.on_event(s->options.arg);
}

static void on_worker(struct sim_event *event)
{
    struct sim_worker *w = container_of(event, struct sim_worker, event);
    struct worker_job *job = container_of(w->jobs.next, struct worker_job, link);
    struct sim_io *s = w->owner;

    if (is_postponed(s, event))
        return;
    if (!w->has_run) {
        w->has_run = true;
        job->run(job);
        sim_clock_add(s->options.clock, event, s->options.job_min_ns);
        return;
    }
    w->has_run = false;
    list_remove(&job->link);
    if (!list_is_empty(&w->jobs))
        sim_clock_add(s->options.clock, event, job_time(s));
    on_before_event(s);
    job->done(job);
    schedule_turn(s);
}

static void sim_submit(struct io *io, enum io_worker worker, struct worker_job *job)
{
    struct sim_worker *w = &sim_of(io)->workers[worker];

    list_add_last(&w->jobs, &job->link);
    if (!heap_contains(&w->event.node))
        sim_clock_add(w->owner->options.clock, &w->event, job_time(w->owner));
}

static void on_timer(struct sim_event *event)
{
    struct sim_timer *t = container_of(event, struct sim_timer, event);
    struct sim_io *s = t->io;

    if (is_postponed(s, event))
        return;
    on_before_event(s);
    t->owner->fire(t->owner);
    schedule_turn(s);
}

static void sim_timer_start(struct io *io, struct io_timer *timer, uint64_t after_ms)
{
    struct sim_io *s = sim_of(io);
    struct sim_timer *t = timer->impl;

    if (s->is_dead)
        return;
    if (!t) {
        t = mem_new(sizeof(*t));
        t->event.fire = on_timer;
        t->owner = timer;
        t->io = s;
        list_add_last(&s->timers, &t->link);
        timer->impl = t;
    }
    sim_clock_remove(s->options.clock, &t->event);
    uint64_t after_ns = after_ms * 1000000;
    after_ns -= (uint64_t)((int64_t)(after_ns / 1000) * s->options.rate_ppm / 1000);
    sim_clock_add(s->options.clock, &t->event, after_ns);
}

static void sim_timer_stop(struct io *io, struct io_timer *timer)
{
    struct sim_timer *t = timer->impl;

    if (!t)
        return;
    timer->impl = NULL;
    sim_clock_remove(sim_of(io)->options.clock, &t->event);
    list_remove(&t->link);
    mem_free(t);
}

/* --- files ------------------------------------------------------------------------------------ */

static int sim_mkdir(struct io *io, const char *path)
{
    (void)path;
    return sim_of(io)->is_dead ? ERR_IO : 0;
}

/* A folder exists when something is in it: mkdir leaves no trace. */
static int sim_list(struct io *io, const char *dir, struct buf *ret_names)
{
    if (sim_of(io)->is_dead)
        return ERR_IO;
    sim_disk_list(sim_of(io)->options.disk, dir, ret_names);
    return 0;
}

static struct io_file *file_new(struct sim_io *s, size_t inode)
{
    struct io_file *file = mem_new(sizeof(*file));

    file->inode = inode;
    list_add_last(&s->files, &file->link);
    return file;
}

static int sim_open(struct io *io, const char *path, bool create, struct io_file **ret_file)
{
    struct sim_io *s = sim_of(io);
    size_t inode;

    if (s->is_dead)
        return ERR_IO;
    if (!sim_disk_find(s->options.disk, path, &inode)) {
        int err = create ? sim_disk_create(s->options.disk, path, &inode) : ERR_NOT_FOUND;
        if (err)
            return err;
    }
    *ret_file = file_new(s, inode);
    return 0;
}

static void unlock(struct sim_io *s, struct io_file *file)
{
    if (!file->lock)
        return;
    sim_disk_unlock(s->options.disk, file->lock);
    mem_free(file->lock);
    file->lock = NULL;
}

static void sim_close(struct io *io, struct io_file *file)
{
    unlock(sim_of(io), file);
    list_remove(&file->link);
    mem_free(file);
}

static int sim_size(struct io *io, struct io_file *file, uint64_t *ret_size)
{
    struct sim_io *s = sim_of(io);

    if (s->is_dead)
        return ERR_IO;
    *ret_size = sim_disk_content(s->options.disk, file->inode).size;
    return 0;
}

static int sim_read(struct io *io, struct io_file *file, uint64_t at, void *data, size_t size,
                    size_t *ret_got)
{
    struct sim_io *s = sim_of(io);
    return s->is_dead ? ERR_IO : sim_disk_read(s->options.disk, file->inode, at, data, size, ret_got);
}

static int sim_write(struct io *io, struct io_file *file, uint64_t at, const void *data, size_t size)
{
    struct sim_io *s = sim_of(io);
    return s->is_dead ? ERR_IO : sim_disk_write(s->options.disk, file->inode, at, data, size);
}

static int sim_truncate(struct io *io, struct io_file *file, uint64_t size)
{
    struct sim_io *s = sim_of(io);
    return s->is_dead ? ERR_IO : sim_disk_truncate(s->options.disk, file->inode, size);
}

/* Unsynced data are never safe, also if they were written back. */
static void sim_write_back(struct io *io, struct io_file *file, uint64_t at, uint64_t size)
{
    (void)io;
    (void)file;
    (void)at;
    (void)size;
}

static int sim_sync(struct io *io, struct io_file *file)
{
    struct sim_io *s = sim_of(io);
    return s->is_dead ? ERR_IO : sim_disk_sync(s->options.disk, file->inode);
}

static int sim_write_synced(struct io *io, struct io_file *file, uint64_t at, const void *data, size_t size)
{
    int err = sim_write(io, file, at, data, size);
    return err ? err : sim_sync(io, file);
}

static int sim_sync_dir(struct io *io, const char *dir)
{
    struct sim_io *s = sim_of(io);
    return s->is_dead ? ERR_IO : sim_disk_sync_dir(s->options.disk, dir);
}

static int sim_rename(struct io *io, const char *from, const char *to)
{
    struct sim_io *s = sim_of(io);
    return s->is_dead ? ERR_IO : sim_disk_rename(s->options.disk, from, to);
}

static int sim_unlink(struct io *io, const char *path)
{
    struct sim_io *s = sim_of(io);
    return s->is_dead ? ERR_IO : sim_disk_unlink(s->options.disk, path);
}

static int sim_lock(struct io *io, const char *path, struct io_file **ret_file)
{
    struct sim_io *s = sim_of(io);
    struct io_file *file;

    int err = sim_open(io, path, true, &file);
    if (err)
        return err;
    if (!sim_disk_lock(s->options.disk, path)) {
        sim_close(io, file);
        return ERR_EXISTS;
    }
    file->lock = mem_string(path);
    *ret_file = file;
    return 0;
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct io_ops sim_ops = {
    .mono_ns = sim_mono_ns,
    .wall_ns = sim_wall_ns,
    .random = sim_io_random,
    .submit = sim_submit,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
    .mkdir = sim_mkdir,
    .list = sim_list,
    .open = sim_open,
    .close = sim_close,
    .size = sim_size,
    .read = sim_read,
    .write = sim_write,
    .truncate = sim_truncate,
    .write_back = sim_write_back,
    .sync = sim_sync,
    .write_synced = sim_write_synced,
    .sync_dir = sim_sync_dir,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .lock = sim_lock,
};

struct io *sim_io_new(const struct sim_io_options *options)
{
    struct sim_io *s = mem_new(sizeof(*s));

    s->io.ops = &sim_ops;
    s->options = *options;
    s->random = options->seed;
    list_init(&s->timers);
    list_init(&s->files);
    for (int i = 0; i < IO_WORKER_COUNT; i++) {
        s->workers[i].owner = s;
        s->workers[i].event.fire = on_worker;
        list_init(&s->workers[i].jobs);
    }
    return &s->io;
}

void sim_io_kill(struct io *io)
{
    struct sim_io *s = sim_of(io);

    s->is_dead = true;
    LIST_FOR_EACH (l, &s->files)
        unlock(s, container_of(l, struct io_file, link));
    while (!list_is_empty(&s->timers))
        sim_timer_stop(io, container_of(s->timers.next, struct sim_timer, link)->owner);
}

/* An event that was postponed to the pause's end arrives when the pause really ends. */
static void bring_forward(struct sim_io *s, struct sim_event *event, uint64_t from_ns, uint64_t to_ns)
{
    if (heap_contains(&event->node) && event->node.key == from_ns)
        heap_move(&s->options.clock->events, &event->node, to_ns);
}

void sim_io_pause(struct io *io, uint64_t until_ns)
{
    struct sim_io *s = sim_of(io);
    uint64_t before_ns = s->paused_until_ns, now_ns = s->options.clock->now_ns;
    uint64_t to_ns = until_ns > now_ns ? until_ns : now_ns;

    s->paused_until_ns = until_ns;
    if (to_ns >= before_ns)
        return;
    for (int i = 0; i < IO_WORKER_COUNT; i++)
        bring_forward(s, &s->workers[i].event, before_ns, to_ns);
    LIST_FOR_EACH (l, &s->timers)
        bring_forward(s, &container_of(l, struct sim_timer, link)->event, before_ns, to_ns);
}

static const struct sim_io *sim_of_const(const struct io *io)
{
    return (const struct sim_io *)((const char *)io - offsetof(struct sim_io, io));
}

uint64_t sim_io_paused_until(const struct io *io)
{
    const struct sim_io *s = sim_of_const(io);
    return s->options.clock->now_ns < s->paused_until_ns ? s->paused_until_ns : 0;
}

void sim_io_set_job_time(struct io *io, uint64_t min_ns, uint64_t max_ns)
{
    sim_of(io)->options.job_min_ns = min_ns;
    sim_of(io)->options.job_max_ns = max_ns;
}

void sim_io_step_wall(struct io *io, int64_t by_ns)
{
    sim_of(io)->options.wall_offset_ns += by_ns;
}

bool sim_io_is_idle(const struct io *io)
{
    const struct sim_io *s = sim_of_const(io);

    for (int i = 0; i < IO_WORKER_COUNT; i++)
        if (!list_is_empty(&s->workers[i].jobs))
            return false;
    return true;
}

static size_t count_links(const struct link *head)
{
    size_t count = 0;

    LIST_FOR_EACH (l, head)
        count++;
    return count;
}

size_t sim_io_timer_count(const struct io *io)
{
    const struct sim_io *s = sim_of_const(io);
    size_t count = 0;

    LIST_FOR_EACH (l, &s->timers) {
        const struct sim_timer *t = container_of(l, struct sim_timer, link);
        count += heap_contains(&t->event.node);
    }
    return count;
}

size_t sim_io_file_count(const struct io *io)
{
    return count_links(&sim_of_const(io)->files);
}

void sim_io_free(struct io *io)
{
    struct sim_io *s = sim_of(io);

    for (int i = 0; i < IO_WORKER_COUNT; i++)
        assert(list_is_empty(&s->workers[i].jobs));
    while (!list_is_empty(&s->timers))
        sim_timer_stop(io, container_of(s->timers.next, struct sim_timer, link)->owner);
    assert(list_is_empty(&s->files)); /* every opened file was closed */
    mem_free(s);
}
