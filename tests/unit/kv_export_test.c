/* SPDX-License-Identifier: Apache-2.0
 * Tests of snapshots for clients through the public API (kv.h), on virtual time. The number of exports at a
 * time and the queue have limits, and so have clients that read slowly or not at all. */
#include <stdio.h>

#include "tests/unit/cluster_world.h"

struct client {
    struct kv_export *export;
    struct kv_export_progress progress;
    size_t bytes;
    unsigned told;
    int err;
};

static void on_ready(void *arg)
{
    ((struct client *)arg)->told++;
}

static void begin(struct machine *m, struct client *c)
{
    *c = (struct client){0};
    c->export = kv_export_open(m->kv, on_ready, c);
}

static void end(struct client *c)
{
    kv_export_close(c->export);
    c->export = NULL;
}

/* One block at most. */
static size_t take(struct client *c)
{
    struct slice block;
    if (c->err || c->progress.is_done)
        return 0;
    c->err = kv_export_next(c->export, &block, &c->progress);
    c->bytes += block.size;
    return block.size;
}

static void read_all(struct world *w, struct client *c)
{
    for (int i = 0; i < 100000 && !c->err && !c->progress.is_done; i++)
        if (take(c) == 0)
            world_run_ms(w, 5);
    assert_int_equal(c->err, OK);
    assert_true(c->progress.is_done);
    assert_int_equal(c->bytes, c->progress.size);
}

static struct world *start(size_t max)
{
    static char value[200001];
    world_max_snapshots = max;
    struct world *w = world_new(1);
    world_wait_for_leader(w);
    memset(value, 'v', sizeof value - 1);
    for (unsigned i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(world_put(world_leader(w), key, value, 0), OK);
    }
    return w;
}

static bool has_begun(struct client *c)
{
    return c->told > 0;
}

/* Two at once; the others in the order in which they arrived. */
static void test_places(void **state)
{
    (void)state;
    struct world *w = start(2);
    struct client c[5];
    for (unsigned i = 0; i < 5; i++)
        begin(world_leader(w), &c[i]);
    world_run_ms(w, 1000);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(has_begun(&c[i]), i < 2);
    read_all(w, &c[1]);
    world_run_ms(w, 1000);
    assert_true(has_begun(&c[2]));
    assert_false(has_begun(&c[3]));
    end(&c[0]); /* in the middle */
    end(&c[3]); /* while it waits */
    world_run_ms(w, 1000);
    assert_true(has_begun(&c[4]));
    read_all(w, &c[2]);
    read_all(w, &c[4]);
    end(&c[1]);
    end(&c[2]);
    end(&c[4]);
    world_free(w);
}

/* A client that waits too long gets an error, and so does a client that meets a full queue. */
static void test_too_many(void **state)
{
    (void)state;
    struct world *w = start(1);
    struct client first, waits[64], more;
    begin(world_leader(w), &first);
    for (unsigned i = 0; i < 64; i++)
        begin(world_leader(w), &waits[i]);
    begin(world_leader(w), &more);
    take(&more);
    assert_int_equal(more.err, ERR_TOO_MANY_REQUESTS);
    end(&more);
    for (unsigned i = 0; i < 62; i++) {
        world_run_ms(w, 1000);
        take(&first);
        take(&waits[0]);
        if (first.progress.is_done || first.err) {
            end(&first); /* a slow client, but not too slow, is followed by the next: all of them are slow */
            begin(world_leader(w), &first);
        }
    }
    unsigned refused = 0;
    for (unsigned i = 0; i < 64; i++) {
        take(&waits[i]);
        refused += waits[i].err == ERR_TOO_MANY_REQUESTS;
        end(&waits[i]);
    }
    assert_true(refused > 50);
    end(&first);
    /* All have left the queue: as many may wait again. */
    begin(world_leader(w), &first);
    for (unsigned i = 0; i < 64; i++) {
        begin(world_leader(w), &waits[i]);
        take(&waits[i]);
        assert_int_equal(waits[i].err, OK);
    }
    for (unsigned i = 0; i < 64; i++)
        end(&waits[i]);
    end(&first);
    world_free(w);
}

/* No block is taken for half a minute: the export ends. A client that takes a block now and then continues,
 * alone. */
static void test_unread(void **state)
{
    (void)state;
    struct world *w = start(1);
    struct client idle, slow;
    begin(world_leader(w), &idle);
    world_run_ms(w, 29000);
    assert_true(take(&idle) > 0);
    world_run_ms(w, 29000);
    assert_true(take(&idle) > 0);
    world_run_ms(w, 31000);
    take(&idle);
    assert_int_equal(idle.err, ERR_SNAPSHOT_UNREAD);
    end(&idle);
    begin(world_leader(w), &slow);
    while (!slow.progress.is_done && !slow.err) {
        take(&slow);
        world_run_ms(w, 20000);
    }
    assert_int_equal(slow.err, OK);
    end(&slow);
    world_free(w);
}

/* But not while another one waits for its place. */
static void test_slow_gives_way(void **state)
{
    (void)state;
    struct world *w = start(1);
    struct client slow, other;
    begin(world_leader(w), &slow);
    world_run_ms(w, 20000);
    assert_true(take(&slow) > 0);
    world_run_ms(w, 20000);
    assert_true(take(&slow) > 0);
    begin(world_leader(w), &other);
    world_run_ms(w, 1000);
    take(&slow);
    assert_int_equal(slow.err, ERR_SNAPSHOT_SLOW);
    read_all(w, &other);
    end(&slow);
    end(&other);
    world_free(w);
}

/* The member ends first, in order or at once. */
static void test_member_ends(void **state)
{
    (void)state;
    for (int is_crash = 0; is_crash < 2; is_crash++) {
        struct world *w = start(1);
        struct client c, waits;
        begin(world_leader(w), &c);
        begin(world_leader(w), &waits);
        world_run_ms(w, 50);
        take(&c);
        if (is_crash)
            machine_crash(&w->machines[0]);
        else
            machine_stop(&w->machines[0]);
        take(&c);
        take(&waits);
        assert_int_equal(c.err, ERR_STOPPED);
        assert_int_equal(waits.err, ERR_STOPPED);
        end(&c);
        end(&waits);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),      cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_unread),      cmocka_unit_test(test_slow_gives_way),
        cmocka_unit_test(test_member_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
