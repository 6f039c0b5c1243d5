/* SPDX-License-Identifier: Apache-2.0
 * Tests of events, in virtual time without a store: their causes, their texts, and the journal that says which of
 * them are still to be stored. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/event_journal.h"

#define PREFIX EVENTS_PREFIX "default/default/web/"

/* --- causes -------------------------------------------------------------------------------------------- */

/* A catalog with events; `last` is the text of the last one, "" = there was none. */
struct bench {
    struct catalog *catalog;
    int64_t revision;
    char last[400];
    unsigned count;
};

static void on_replaced(void *arg, const struct catalog_replaced *change)
{
    struct bench *b = arg;
    struct event e;
    struct buf text = {0};
    if (!event_derive(change, &e))
        return;
    e.revision = change->revision;
    e.time_ms = 5;
    event_write(&e, &text);
    snprintf(b->last, sizeof b->last, "%s", buf_text(&text));
    b->count++;
    buf_done(&text);
}

static void on_changed(void *arg, const struct catalog_change *change)
{
    (void)arg;
    (void)change;
}

static void on_session(void *arg, struct catalog_session *session)
{
    (void)arg;
    (void)session;
}

static int bench_setup(void **state)
{
    struct bench *b = mem_new(sizeof *b);
    const struct catalog_events events = {on_changed, on_session, on_session, b, on_replaced};
    b->catalog = catalog_new(&events);
    *state = b;
    return 0;
}

static int bench_teardown(void **state)
{
    struct bench *b = *state;
    catalog_free(b->catalog);
    mem_free(b);
    return 0;
}

/* text NULL: the key is deleted. Expects the event, without its revision and time; NULL = none. */
static void change(struct bench *b, enum name_kind kind, const char *text, const char *expected)
{
    const struct name name = {kind,
                              slice_text("default"),
                              slice_text("default"),
                              slice_text("web"),
                              kind == NAME_SERVICE ? (struct slice){0} : slice_text("i1"),
                              0};
    char whole[450];
    b->last[0] = 0;
    catalog_begin(b->catalog, ++b->revision);
    if (text)
        catalog_put(b->catalog, &name, slice_text(text), b->revision, b->revision);
    else
        catalog_delete(b->catalog, &name);
    catalog_end(b->catalog);
    snprintf(whole, sizeof whole, "{\"revision\":%d,\"time_ms\":5,%s}", (int)b->revision,
             expected ? expected : "");
    assert_string_equal(b->last, expected ? whole : "");
}

static void test_instance(void **state)
{
    struct bench *b = *state;
    change(b, NAME_INSTANCE, "{\"host\":\"h\",\"session\":\"1\"}",
           "\"cause\":\"registered\",\"id\":\"i1\",\"state\":\"up\"");
    change(b, NAME_INSTANCE, "{\"host\":\"g\",\"session\":\"1\"}",
           "\"cause\":\"updated\",\"id\":\"i1\",\"from\":\"up\",\"state\":\"up\"");
    change(b, NAME_INSTANCE, "{\"host\":\"g\",\"session\":\"1\",\"state\":\"draining\"}",
           "\"cause\":\"state_changed\",\"id\":\"i1\",\"from\":\"up\",\"state\":\"draining\"");
    change(b, NAME_INSTANCE, "{\"host\":\"g\",\"session\":\"2\"}",
           "\"cause\":\"registered_again\",\"id\":\"i1\",\"from\":\"draining\",\"state\":\"up\"");
    change(b, NAME_INSTANCE, "{\"host\":\"g\",\"session\":\"2\",\"guarded\":true}",
           "\"cause\":\"guarded\",\"id\":\"i1\",\"from\":\"up\",\"state\":\"up\"");
    change(b, NAME_INSTANCE, "{\"host\":\"g\",\"session\":\"2\"}",
           "\"cause\":\"unguarded\",\"id\":\"i1\",\"from\":\"up\",\"state\":\"up\"");
    change(b, NAME_INSTANCE, "{\"host\":\"g\",\"session\":\"2\",\"state\":\"lost\"}",
           "\"cause\":\"heartbeat_lost\",\"id\":\"i1\",\"from\":\"up\",\"state\":\"lost\"");
    change(b, NAME_INSTANCE, "{\"host\":\"g\",\"session\":\"3\"}",
           "\"cause\":\"registered_again\",\"id\":\"i1\",\"from\":\"lost\",\"state\":\"up\"");
    change(b, NAME_INSTANCE, NULL, "\"cause\":\"deregistered\",\"id\":\"i1\",\"from\":\"up\"");
    change(b, NAME_INSTANCE, NULL, NULL);
    change(b, NAME_INSTANCE, "{\"host\":\"g\",\"session\":\"2\",\"state\":\"lost\"}",
           "\"cause\":\"registered\",\"id\":\"i1\",\"state\":\"lost\"");
    change(b, NAME_INSTANCE, NULL, "\"cause\":\"expired\",\"id\":\"i1\",\"from\":\"lost\"");
}

#define CHECK "{\"host\":\"h\",\"port\":1,\"check\":{\"type\":\"tcp\"}"

static void test_check(void **state)
{
    struct bench *b = *state;
    change(b, NAME_INSTANCE, CHECK ",\"state\":\"starting\",\"checked\":{\"state\":\"starting\"}}",
           "\"cause\":\"registered\",\"id\":\"i1\",\"state\":\"starting\"");
    change(b, NAME_INSTANCE, CHECK ",\"checked\":{\"state\":\"up\",\"output\":\"connected\"}}",
           "\"cause\":\"check_passing\",\"id\":\"i1\",\"from\":\"starting\",\"state\":\"up\",\"reason\":"
           "\"connected\"");
    change(b, NAME_INSTANCE, CHECK ",\"checked\":{\"state\":\"warn\"}}",
           "\"cause\":\"check_warning\",\"id\":\"i1\",\"from\":\"up\",\"state\":\"warn\"");
    change(b, NAME_INSTANCE, CHECK ",\"checked\":{\"state\":\"down\",\"output\":\"refused\"}}",
           "\"cause\":\"check_failing\",\"id\":\"i1\",\"from\":\"warn\",\"state\":\"down\",\"reason\":"
           "\"refused\"");
}

static void test_override_and_settings(void **state)
{
    struct bench *b = *state;
    change(b, NAME_OVERRIDE,
           "{\"weight\":0,\"reason\":\"INC\",\"author\":\"al\",\"on_behalf_of\":\"bo\",\"address\":\"::1\"}",
           "\"cause\":\"override_set\",\"id\":\"i1\",\"weight\":0,\"reason\":\"INC\",\"author\":\"al\",\"on_"
           "behalf_of\":\"bo\"");
    change(b, NAME_OVERRIDE, "{\"enabled\":false,\"state\":\"draining\",\"drain\":true}",
           "\"cause\":\"drain_started\",\"id\":\"i1\",\"state\":\"draining\",\"enabled\":false");
    change(b, NAME_OVERRIDE, "{\"enabled\":false}",
           "\"cause\":\"drain_ended\",\"id\":\"i1\",\"enabled\":false");
    change(b, NAME_OVERRIDE, NULL, "\"cause\":\"override_cleared\",\"id\":\"i1\"");
    change(b, NAME_OVERRIDE, "{\"state\":\"draining\",\"drain\":true}",
           "\"cause\":\"drain_started\",\"id\":\"i1\",\"state\":\"draining\"");
    change(b, NAME_OVERRIDE, NULL, "\"cause\":\"drain_ended\",\"id\":\"i1\"");
    change(b, NAME_SERVICE, "{\"author\":\"al\"}", "\"cause\":\"settings_changed\",\"author\":\"al\"");
    change(b, NAME_SERVICE, NULL, "\"cause\":\"settings_deleted\"");
}

/* A read of the whole state gives no events: what lay between is not known. */
static void test_whole_state(void **state)
{
    struct bench *b = *state;
    change(b, NAME_INSTANCE, "{\"host\":\"h\"}", "\"cause\":\"registered\",\"id\":\"i1\",\"state\":\"up\"");
    catalog_begin_anew(b->catalog, ++b->revision);
    catalog_end(b->catalog); /* the instance is gone */
    assert_int_equal(b->count, 1);
}

/* --- texts --------------------------------------------------------------------------------------------- */

static void test_segment(void **state)
{
    static const char text[] =
        "{\"last\":9,\"time_ms\":70,\"count\":2,\"events\":["
        "{\"revision\":8,\"time_ms\":60,\"cause\":\"override_set\",\"id\":\"a\\\"b\",\"from\":\"up\","
        "\"state\":\"down\","
        "\"enabled\":false,\"weight\":3,\"reason\":\"r\",\"author\":\"al\",\"on_behalf_of\":\"bo\"},"
        "{\"revision\":9,\"time_ms\":70,\"cause\":\"settings_deleted\"}]}";
    static const char *const wrong[] = {"", "{}", "{\"last\":9,\"time_ms\":70,\"count\":2,\"events\":[",
                                        "{\"last\":,\"time_ms\":70,\"count\":2,\"events\":[]}",
                                        "{\"time_ms\":70,\"last\":9,\"count\":2,\"events\":[]}"};
    static const char *const unparsed[] = {
        "{\"events\":{}}",
        "{\"events\":[{}]}",
        "{\"events\":[1]}",
        "[",
        "{\"events\":[{\"revision\":1,\"cause\":\"of a newer version\"}]}",
        "{\"events\":[{\"revision\":1,\"cause\":\"updated\",\"state\":\"odd\"}]}"};
    struct event_segment s;
    struct arena a = {0};
    struct event *list;
    struct buf out = {0};
    size_t count;
    (void)state;
    assert_int_equal(event_segment_read(slice_text(text), &s), OK);
    assert_int_equal(s.last, 9);
    assert_int_equal(s.time_ms, 70);
    assert_int_equal(s.count, 2);
    event_segment_write(&s, &out);
    assert_string_equal(buf_text(&out), text);
    assert_int_equal(event_segment_parse(slice_text(text), &a, &list, &count), OK);
    assert_int_equal(count, 2);
    buf_clear(&out);
    event_write(&list[0], &out);
    assert_memory_equal(out.data, s.events.data, out.size);
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(event_segment_read(slice_text(wrong[i]), &s), ERR_MALFORMED);
    for (size_t i = 0; i < COUNT_OF(unparsed); i++)
        assert_int_equal(event_segment_parse(slice_text(unparsed[i]), &a, &list, &count), ERR_MALFORMED);
    buf_done(&out);
    arena_done(&a);
}

/* A reason is cut at a character's end. */
static void test_long_reason(void **state)
{
    char reason[301], wanted[400];
    struct buf out = {0};
    (void)state;
    memset(reason, 'x', 199);
    memcpy(reason + 199, "\xc3\xa4yyy", 6);
    const struct event e = {.revision = 1,
                            .cause = EVENT_OVERRIDE_SET,
                            .from = INSTANCE_STATES,
                            .state = INSTANCE_STATES,
                            .reason = slice_text(reason)};
    event_write(&e, &out);
    snprintf(wanted, sizeof wanted,
             "{\"revision\":1,\"time_ms\":0,\"cause\":\"override_set\",\"reason\":\"%.199s\"}", reason);
    assert_string_equal(buf_text(&out), wanted);
    buf_done(&out);
}

/* --- the journal --------------------------------------------------------------------------------------- */

enum { KEYS_MAX = 200 };

/* A store with one service's segments: what the appends write is put there, and given to the journal. */
struct world {
    struct journal *journal;
    struct {
        int64_t number;
        char *text;
    } keys[KEYS_MAX];
    size_t count;
    int64_t revision; /* of the store */
    uint64_t now_ms;
};

static int setup(void **state)
{
    struct world *w = mem_new(sizeof *w);
    w->journal = journal_new();
    w->now_ms = 1000;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    journal_free(w->journal);
    for (size_t i = 0; i < w->count; i++)
        mem_free(w->keys[i].text);
    mem_free(w);
    return 0;
}

static void add(struct world *w, int64_t revision)
{
    struct buf text = {0};
    const struct event e = {.revision = revision,
                            .time_ms = revision * 10,
                            .cause = EVENT_UPDATED,
                            .id = slice_text("i"),
                            .from = INSTANCE_STATES,
                            .state = INSTANCE_STATES};
    event_write(&e, &text);
    journal_add(w->journal, slice_text(PREFIX), revision, e.time_ms, buf_slice(&text), w->now_ms);
    buf_done(&text);
}

static struct slice key_of(char key[100], int64_t number)
{
    snprintf(key, 100, PREFIX "%016llx", (unsigned long long)number);
    return slice_text(key);
}

static void put(struct world *w, int64_t number, struct slice text)
{
    char key[100];
    size_t at = 0;
    while (at < w->count && w->keys[at].number != number)
        at++;
    if (at == w->count)
        w->count++;
    else
        mem_free(w->keys[at].text);
    w->keys[at].number = number;
    w->keys[at].text = mem_alloc(text.size + 1);
    memcpy(w->keys[at].text, text.data, text.size);
    w->keys[at].text[text.size] = 0;
    journal_put(w->journal, key_of(key, number), text, ++w->revision);
}

static void remove_before(struct world *w, int64_t number)
{
    char key[100];
    size_t kept = 0;
    for (size_t i = 0; i < w->count; i++) {
        if (w->keys[i].number >= number) {
            w->keys[kept++] = w->keys[i];
            continue;
        }
        journal_remove(w->journal, key_of(key, w->keys[i].number), w->revision);
        mem_free(w->keys[i].text);
    }
    w->count = kept;
}

static const char *text_of(const struct world *w, int64_t number)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->keys[i].number == number)
            return w->keys[i].text;
    return "";
}

/* Appends what is due; false: nothing. is_applied false: the transaction failed. */
static bool append(struct world *w, bool is_applied)
{
    struct journal_append next;
    struct journal_puts puts;
    struct arena a = {0};
    if (!journal_next(w->journal, w->now_ms, &next))
        return false;
    assert_memory_equal(next.prefix.data, PREFIX, next.prefix.size);
    journal_write(w->journal, &next, slice_text(text_of(w, next.last)), &a, &puts);
    if (is_applied && puts.has_old)
        remove_before(w, puts.first_kept);
    for (size_t i = 0; is_applied && i < puts.count; i++)
        put(w, puts.list[i].number, puts.list[i].text);
    journal_end(w->journal);
    journal_done(w->journal, w->now_ms, EVENT_DELAY_MS);
    arena_done(&a);
    return true;
}

/* The stored revisions, "1 2,3": a comma between segments. */
static const char *stored(const struct world *w)
{
    static char all[4000];
    struct arena a = {0};
    struct event *list;
    size_t count, used = 0;
    all[0] = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct event_segment s;
        assert_int_equal(event_segment_read(slice_text(w->keys[i].text), &s), OK);
        assert_int_equal(event_segment_parse(slice_text(w->keys[i].text), &a, &list, &count), OK);
        assert_int_equal(s.count, count);
        assert_int_equal(s.last, list[count - 1].revision);
        assert_int_equal(s.time_ms, list[count - 1].time_ms);
        for (size_t n = 0; n < count; n++)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%lld",
                                     n   ? " "
                                     : i ? ","
                                         : "",
                                     (long long)list[n].revision);
    }
    arena_done(&a);
    return all;
}

static void test_delay(void **state)
{
    struct world *w = *state;
    assert_int_equal(journal_wake_ms(w->journal), UINT64_MAX);
    add(w, 5);
    w->now_ms += EVENT_DELAY_MS - 1;
    add(w, 6);
    assert_false(append(w, true));
    w->now_ms++;
    assert_int_equal(journal_wake_ms(w->journal), w->now_ms);
    assert_true(append(w, true));
    assert_string_equal(stored(w), "5 6");
    assert_int_equal(journal_wake_ms(w->journal), UINT64_MAX);
    assert_int_equal(journal_pending(w->journal), 0);
    add(w, 9);
    w->now_ms += EVENT_DELAY_MS;
    assert_true(append(w, false));
    assert_int_equal(journal_pending(w->journal), 1); /* it failed: it is tried again */
    assert_false(append(w, true));
    w->now_ms += EVENT_DELAY_MS;
    assert_true(append(w, true));
    assert_string_equal(stored(w), "5 6 9"); /* the segment had room */
}

/* Events that another member has stored are not pending any more; the others are. */
static void test_stored_by_another(void **state)
{
    struct world *w = *state;
    static const char text[] =
        "{\"last\":6,\"time_ms\":1,\"count\":2,\"events\":["
        "{\"revision\":5,\"cause\":\"updated\"},{\"revision\":6,\"cause\":\"updated\"}]}";
    add(w, 5);
    add(w, 6);
    add(w, 6);
    add(w, 7);
    put(w, 5, slice_text(text));
    journal_end(w->journal);
    assert_int_equal(journal_pending(w->journal), 1);
    add(w, 6); /* too late */
    assert_int_equal(journal_pending(w->journal), 1);
    w->now_ms += EVENT_DELAY_MS;
    assert_true(append(w, true));
    assert_int_equal(w->count, 1);
    assert_non_null(strstr(w->keys[0].text, "\"count\":3"));
    assert_non_null(strstr(w->keys[0].text, "\"revision\":7"));
}

/* Segments are closed at EVENT_SEGMENT_COUNT, except within a revision, and old ones go. */
static void test_segments(void **state)
{
    struct world *w = *state;
    int64_t revision = 1;
    for (; revision <= 19; revision++)
        add(w, revision);
    for (int i = 0; i < 5; i++)
        add(w, 20);
    add(w, 21);
    w->now_ms += EVENT_DELAY_MS;
    assert_true(append(w, true));
    assert_string_equal(stored(w), "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 20 20 20 20,21");
    for (revision = 22; revision < 400; revision++) {
        add(w, revision);
        w->now_ms += EVENT_DELAY_MS;
        assert_true(append(w, true));
        const char *all = stored(w);
        size_t count = 1;
        for (const char *p = all; *p; p++)
            count += *p == ' ' || *p == ',';
        assert_true(count >= EVENTS_KEPT || atoi(all) == 1);
        assert_true(count < EVENTS_KEPT + EVENT_SEGMENT_COUNT + 5);
        assert_true(w->count <= EVENTS_KEPT / EVENT_SEGMENT_COUNT + 1);
    }
    for (int i = 0; i < 3 * EVENTS_KEPT; i++)
        add(w, revision++); /* a storm: only the last are written */
    assert_int_equal(journal_pending(w->journal), EVENTS_KEPT);
    w->now_ms += EVENT_DELAY_MS;
    assert_true(append(w, true));
    assert_non_null(strstr(stored(w), " 399 600,")); /* the last segment had room */
    assert_int_equal(journal_dropped(w->journal), 0);
}

/* Keys that a client of the etcd API has written. */
static void test_strange_keys(void **state)
{
    struct world *w = *state;
    static const char *const keys[] = {EVENTS_PREFIX,
                                       EVENTS_PREFIX "a",
                                       PREFIX "1",
                                       EVENTS_PREFIX "a/b/0000000000000001",
                                       EVENTS_PREFIX "a/b/c/d/0000000000000001",
                                       PREFIX "ffffffffffffffff",
                                       PREFIX "000000000000000g"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        journal_put(w->journal, slice_text(keys[i]), slice_text("x"), 1);
        journal_remove(w->journal, slice_text(keys[i]), 2);
    }
    journal_end(w->journal);
    assert_int_equal(journal_services(w->journal), 0);
    put(w, 3, slice_text("x")); /* a segment that cannot be read is left alone */
    add(w, 5);
    w->now_ms += EVENT_DELAY_MS;
    assert_true(append(w, true));
    assert_string_equal(text_of(w, 3), "x");
    assert_non_null(strstr(text_of(w, 5), "\"count\":1"));
}

/* The state is read again: what was deleted meanwhile is not counted any more. */
static void test_read_anew(void **state)
{
    struct world *w = *state;
    bool is_old;
    struct slice prefix;
    add(w, 5);
    w->now_ms += EVENT_DELAY_MS;
    assert_true(append(w, true));
    assert_true(journal_review(w->journal, 50 + EVENT_GONE_MS, &prefix, &is_old));
    assert_false(is_old);
    assert_true(journal_review(w->journal, 51 + EVENT_GONE_MS, &prefix, &is_old));
    assert_true(is_old);
    assert_memory_equal(prefix.data, PREFIX, prefix.size);
    journal_begin_anew(w->journal);
    add(w, 5); /* as if it were not stored */
    remove_before(w, INT64_MAX);
    w->now_ms += EVENT_DELAY_MS;
    assert_true(append(w, true));
    assert_string_equal(stored(w), "5");
}

static unsigned notified;

static void on_event(struct journal_watch *w)
{
    (void)w;
    notified++;
}

static void test_watch(void **state)
{
    struct world *w = *state;
    struct journal_watch watch = {.changed = on_event};
    notified = 0;
    journal_watch(w->journal, &watch, slice_text(PREFIX));
    add(w, 5);
    assert_int_equal(notified, 0);
    w->now_ms += EVENT_DELAY_MS;
    append(w, true);
    assert_int_equal(notified, 1);
    assert_int_equal(journal_changed(w->journal, slice_text(PREFIX)), w->revision);
    w->revision++;
    remove_before(w, INT64_MAX);
    journal_end(w->journal);
    assert_int_equal(notified, 2);
    journal_unwatch(w->journal, &watch);
    assert_int_equal(journal_services(w->journal), 0); /* nothing is left of it */
    assert_int_equal(journal_changed(w->journal, slice_text(PREFIX)), w->revision);
}

/* Beyond EVENT_PENDING_BYTES the oldest of all services are dropped. */
static void test_overflow(void **state)
{
    struct world *w = *state;
    char prefix[100];
    size_t size = 400000;
    uint8_t *large = mem_new(size);
    for (int i = 0; i < 120; i++) {
        snprintf(prefix, sizeof prefix, EVENTS_PREFIX "default/default/s%d/", i);
        journal_add(w->journal, slice_text(prefix), i + 1, 1, slice_of(large, size), w->now_ms);
    }
    size_t kept = journal_pending(w->journal);
    assert_true(kept * size <= EVENT_PENDING_BYTES && (kept + 1) * size > EVENT_PENDING_BYTES);
    assert_int_equal(journal_dropped(w->journal), 120 - kept);
    assert_int_equal(journal_services(w->journal), kept);
    journal_drop(w->journal, slice_text(prefix));
    assert_int_equal(journal_pending(w->journal), kept - 1);
    mem_free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_instance, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_check, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_override_and_settings, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_whole_state, bench_setup, bench_teardown),
        cmocka_unit_test(test_segment),
        cmocka_unit_test(test_long_reason),
        cmocka_unit_test_setup_teardown(test_delay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stored_by_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strange_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overflow, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
