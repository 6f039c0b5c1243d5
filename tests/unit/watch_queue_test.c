/* SPDX-License-Identifier: Apache-2.0
 * The output queue of a watch stream: a response with very many events is freed in slices. */
#include "tests/unit/unit.h"

#include "base/metric.h"
#include "consensus/store/watch_queue.h"

enum { MANY = 20000, SLICE_MAX = 8192 };

static struct blob *event;
static size_t total;
static struct link garbage;

static void add_response(struct watch_queue *q, struct watch_item **open, int64_t revision, unsigned events)
{
    const struct watch_head head = {.watch_id = 1};
    for (unsigned i = 0; i < events; i++)
        watch_queue_add_event(q, open, &head, false, revision, revision, event);
    watch_queue_close_item(open);
}

static void test_many_are_freed_in_slices(void **state)
{
    (void)state;
    struct watch_queue q;
    struct watch_item *open = NULL;
    list_init(&garbage);
    event = blob_copy(slice_text("an event"));
    watch_queue_init(&q, &total, &garbage);
    add_response(&q, &open, 2, 10);
    add_response(&q, &open, 3, MANY);
    add_response(&q, &open, 4, SLICE_MAX + 10);
    watch_queue_done(&q);
    uint32_t refs = event->references, slices = 0;
    bool has_more;
    assert_int_equal(refs, 1 + MANY + SLICE_MAX + 10); /* the small one is gone */
    assert_true(total > (MANY + SLICE_MAX) * event->size);
    do {
        has_more = watch_garbage_release(&garbage, &total);
        assert_in_range(refs - event->references, 1, SLICE_MAX);
        refs = event->references;
        slices++;
    } while (has_more);
    assert_int_equal(refs, 1);
    assert_int_equal(slices, 4);
    assert_int_equal(total, 0);
    assert_false(watch_garbage_release(&garbage, &total));
    blob_unref(event);
}

/* Of a response that was sent in part, the rest. */
static void test_rest_is_freed(void **state)
{
    (void)state;
    struct watch_queue q;
    struct watch_item *open = NULL;
    struct watch_scratch scratch = {0};
    struct watch_output out;
    list_init(&garbage);
    event = blob_copy(slice_text("an event"));
    watch_queue_init(&q, &total, &garbage);
    add_response(&q, &open, 2, MANY);
    assert_true(watch_queue_next(&q, 1 << 20, 1000, &scratch, &out));
    assert_true(out.left > 0);
    watch_queue_done(&q);
    while (watch_garbage_release(&garbage, &total)) {
    }
    assert_int_equal(event->references, 1);
    assert_int_equal(total, 0);
    watch_scratch_clear(&scratch);
    buf_done(&scratch.bytes);
    blob_unref(event);
}

/* Events are pending until they are sent or dropped; only those that are sent count as events of this member. */
static void test_events_are_counted(void **state)
{
    (void)state;
    struct watch_queue q;
    struct watch_item *open = NULL;
    struct watch_scratch scratch = {0};
    struct watch_output out;
    double sent = metric_get(METRIC_EVENTS), pending = metric_get(METRIC_PENDING_EVENTS);
    list_init(&garbage);
    event = blob_copy(slice_text("an event"));
    watch_queue_init(&q, &total, &garbage);
    add_response(&q, &open, 2, 3);
    add_response(&q, &open, 3, 4);
    assert_true(metric_get(METRIC_PENDING_EVENTS) - pending == 7);
    assert_true(watch_queue_next(&q, 1 << 20, 1000, &scratch, &out));
    assert_true(metric_get(METRIC_PENDING_EVENTS) - pending == 4);
    assert_true(metric_get(METRIC_EVENTS) - sent == 3);
    watch_queue_done(&q);
    assert_true(metric_get(METRIC_PENDING_EVENTS) - pending == 0);
    assert_true(metric_get(METRIC_EVENTS) - sent == 3);
    watch_scratch_clear(&scratch);
    buf_done(&scratch.bytes);
    blob_unref(event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_are_freed_in_slices),
        cmocka_unit_test(test_rest_is_freed),
        cmocka_unit_test(test_events_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
