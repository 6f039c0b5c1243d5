/* SPDX-License-Identifier: Apache-2.0
 * Tests of long polls: a poll misses no change, whatever the client knows; unrelated changes end no wait; a
 * wait costs little and ends with the client and the server. */
#include "tests/unit/api_fake.h"

/* The state that a client keeps between two polls. */
struct poller {
    struct client c;
    const char *target;
    int64_t revision;
    char etag[40];
    bool uses_etag, is_waiting;
    struct buf result; /* at the revision */
    unsigned answers, same;
};

static void keep_result(struct buf *result, const char *body)
{
    const char *comma = strchr(body, ',');
    buf_clear(result);
    buf_add_text(result, comma ? comma : body); /* 404 has no revision */
}

static void poll_again(struct poller *p, const char *timeout)
{
    char target[300], header[100] = "";
    snprintf(target, sizeof target, "%s%cwait_revision=%lld&timeout=%s", p->target,
             strchr(p->target, '?') ? '&' : '?', (long long)p->revision, timeout);
    if (p->uses_etag && p->etag[0])
        snprintf(header, sizeof header, "If-None-Match: %s\r\n", p->etag);
    buf_clear(&p->c.in);
    request(&p->c, "GET", target, header, NULL);
    p->is_waiting = true;
}

/* Applies the response; true: there was one. */
static bool take_answer(struct poller *p)
{
    if (!p->c.in.size)
        return false;
    await_answer(&p->c);
    p->is_waiting = false;
    p->revision = header_revision(&p->c);
    const char *etag = strstr(buf_text(&p->c.in), "ETag: ");
    assert_non_null(etag);
    snprintf(p->etag, sizeof p->etag, "%.34s", etag + 6);
    p->answers++;
    if (has(&p->c, "HTTP/1.1 304"))
        p->same++;
    else
        keep_result(&p->result, body_of(&p->c));
    return true;
}

static void settle(struct poller *p)
{
    for (int i = 0; i < 8; i++)
        pump(&p->c);
}

static void poller_done(struct poller *p)
{
    buf_done(&p->result);
    done(&p->c);
}

static void expect_waiting(struct poller *p)
{
    settle(p);
    if (p->c.in.size)
        fail_msg("answered: %s", buf_text(&p->c.in));
}

static void expect_answer(struct poller *p, const char *status)
{
    await_answer(&p->c);
    char line[40];
    snprintf(line, sizeof line, "HTTP/1.1 %s", status);
    if (!has(&p->c, line))
        fail_msg("not %s: %s", status, buf_text(&p->c.in));
    take_answer(p);
}

/* --- one thing after the other ---------------------------------------------------------------------- */

static void test_changes(void **state)
{
    (void)state;
    struct poller p = {.c = connect_client(), .target = "/api/v1/services/a"};
    poll_again(&p, "30s");
    expect_answer(&p, "404"); /* 0 is before everything: the client gets the present content */
    poll_again(&p, "30s");
    expect_waiting(&p);
    put("b", "1", "{\"host\":\"h\"}"); /* another service */
    expect_waiting(&p);
    put("a", "1", "{\"host\":\"h\"}"); /* it is created */
    expect_answer(&p, "200");
    assert_int_equal(p.revision, 3);
    expect(&p.c, "{\"revision\":3,\"protected\":false,\"instances\":[{\"id\":\"1\"");
    put("a", "2", "{\"host\":\"h\"}"); /* while no client waits */
    poll_again(&p, "30s");
    expect_answer(&p, "200");
    poll_again(&p, "30s");
    expect_waiting(&p);
    put("b", "1", NULL);
    expect_waiting(&p);
    change(NAME_OVERRIDE, "default", "default", "a", "1", "{\"weight\":0}");
    expect_answer(&p, "200");
    poll_again(&p, "30s");
    expect_waiting(&p);
    change(NAME_SERVICE, "default", "default", "a", "", "{\"protect_threshold\":1}");
    expect_answer(&p, "200");
    change(NAME_SERVICE, "default", "default", "a", "", NULL);
    change(NAME_OVERRIDE, "default", "default", "a", "1", NULL);
    put("a", "1", NULL);
    put("a", "2", NULL); /* it was deleted while no client waits */
    poll_again(&p, "30s");
    expect_answer(&p, "404");
    poll_again(&p, "0");
    expect_answer(&p, "304");
    assert_int_equal(p.revision, registry.revision);
    poller_done(&p);
}

static void test_filters(void **state)
{
    (void)state;
    put("a", "1", "{\"host\":\"h\",\"tags\":[\"x\"]}");
    put("a", "2", "{\"host\":\"h\"}");
    struct poller p = {.c = connect_client(), .target = "/api/v1/services/a?tag=x&healthy=true"};
    poll_again(&p, "30s");
    expect_answer(&p, "200");
    poll_again(&p, "30s");
    expect_waiting(&p);
    put("a", "2", "{\"host\":\"other\"}"); /* an instance that the filter hides */
    put("a", "3", "{\"host\":\"h\"}");
    expect_waiting(&p);
    put("a", "1", "{\"host\":\"h\",\"tags\":[\"x\"],\"state\":\"down\"}"); /* leaves the result */
    expect_answer(&p, "200");
    expect(&p.c, "\"instances\":[]");
    put("a", "2", "{\"host\":\"third\"}"); /* hidden, between two polls */
    poll_again(&p, "30s");
    expect_answer(&p, "200"); /* cannot be ruled out by the revision alone */
    put("a", "2", "{\"host\":\"fourth\"}");
    p.uses_etag = true;
    poll_again(&p, "30s");
    expect_waiting(&p); /* but by the client's content */
    put("a", "3", "{\"host\":\"h\",\"tags\":[\"x\"]}");
    expect_answer(&p, "200");
    /* Without a wait it is an ordinary conditional request. */
    buf_clear(&p.c.in);
    char header[100];
    snprintf(header, sizeof header, "If-None-Match: \"abc\", W/%s\r\n", p.etag);
    request(&p.c, "GET", p.target, header, NULL);
    expect_answer(&p, "304");
    assert_false(has(&p.c, "Content-Length"));
    poller_done(&p);
}

static void test_list(void **state)
{
    (void)state;
    struct poller p = {.c = connect_client(), .target = "/api/v1/services?prefix=a"};
    poll_again(&p, "30s");
    expect_answer(&p, "200");
    poll_again(&p, "30s");
    expect_waiting(&p);
    put("b", "1", "{\"host\":\"h\"}");
    change(NAME_INSTANCE, "other", "default", "a", "1", "{\"host\":\"h\"}");
    expect_waiting(&p);
    put("a", "1", "{\"host\":\"h\"}");
    expect_answer(&p, "200");
    poll_again(&p, "30s");
    expect_waiting(&p);
    put("a", "1", "{\"host\":\"other\"}"); /* counts no different */
    expect_waiting(&p);
    put("a", "1", "{\"host\":\"h\",\"state\":\"warn\"}");
    expect_answer(&p, "200");
    put("a", "1", NULL);
    put("b", "1", NULL); /* the namespace is empty, and forgotten */
    poll_again(&p, "30s");
    expect_answer(&p, "200");
    expect(&p.c, "\"services\":[]");
    poller_done(&p);
}

static void test_instance(void **state)
{
    (void)state;
    struct poller p = {.c = connect_client(), .target = "/api/v1/services/a/instances/1"};
    poll_again(&p, "30s");
    expect_answer(&p, "404");
    poll_again(&p, "30s");
    expect_waiting(&p);
    put("a", "2", "{\"host\":\"h\"}");
    expect_waiting(&p);
    put("a", "1", "{\"host\":\"h\"}");
    expect_answer(&p, "200");
    poller_done(&p);
}

static void test_timeout(void **state)
{
    (void)state;
    put("a", "1", "{\"host\":\"h\"}");
    struct poller p = {.c = connect_client(), .target = "/api/v1/services/a"};
    poll_again(&p, "30s");
    expect_answer(&p, "200");
    poll_again(&p, "50ms");
    put("b", "1", "{\"host\":\"h\"}");
    expect_answer(&p, "304");
    assert_int_equal(p.revision, 3); /* nothing has changed up to here */
    put("a", "2", "{\"host\":\"h\"}");
    poll_again(&p, "30s");
    expect_answer(&p, "200");
    poller_done(&p);
}

/* --- revisions that this member does not know ------------------------------------------------------- */

/* A member that was started, or read everything anew, at 50 does not know earlier changes. */
static void test_restart(void **state)
{
    (void)state;
    static const char *const targets[] = {"/api/v1/services/a", "/api/v1/services/gone", "/api/v1/services",
                                          "/api/v1/services?namespace=gone"};
    catalog_free(registry.catalog);
    catalog_open(50);
    const struct name name = name_of(NAME_INSTANCE, "default", "default", "a", "1");
    catalog_put(registry.catalog, &name, slice_text("{\"host\":\"h\"}"), 20, 20);
    catalog_end(registry.catalog);
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        struct poller p = {.c = connect_client(), .target = targets[i], .revision = 40};
        poll_again(&p, "30s");
        expect_answer(&p, i == 1 ? "404" : "200");
        assert_int_equal(p.revision, 50);
        poll_again(&p, "30s");
        expect_waiting(&p);
        poller_done(&p);
    }
    assert_true(list_is_empty(&registry.watches));
    registry.revision = 60;
    catalog_begin_anew(registry.catalog, 60);
    catalog_put(registry.catalog, &name, slice_text("{\"host\":\"h\"}"), 20, 20);
    catalog_end(registry.catalog);
    struct poller p = {.c = connect_client(), .target = targets[0], .revision = 55};
    poll_again(&p, "30s");
    expect_answer(&p, "200");
    poller_done(&p);
}

/* A revision that no member has reached yet is of an earlier cluster: the client gets the present content. */
static void test_beyond(void **state)
{
    (void)state;
    put("a", "1", "{\"host\":\"h\"}");
    struct poller p = {.c = connect_client(), .target = "/api/v1/services/a", .revision = 1000};
    poll_again(&p, "30s");
    expect_answer(&p, "200");
    assert_int_equal(p.revision, 2);
    poller_done(&p);
    /* Locally this member may lag: a barrier decides. */
    struct poller l = {
        .c = connect_client(), .target = "/api/v1/services/a?consistency=local", .revision = 1000};
    unsigned barriers = fake_registry.barriers;
    poll_again(&l, "30s");
    expect_answer(&l, "200");
    assert_int_equal(fake_registry.barriers, barriers + 1);
    /* Without a quorum nothing decides: the poll waits, and changes before the client's revision do not end
     * it. */
    fake_registry.barrier_err = ERR_NO_LEADER;
    l.revision = 5;
    poll_again(&l, "30s");
    expect_waiting(&l);
    put("a", "2", "{\"host\":\"h\"}"); /* 3 */
    put("a", "2", NULL);               /* 4 */
    put("b", "2", "{\"host\":\"h\"}"); /* 5 */
    expect_waiting(&l);
    put("a", "3", "{\"host\":\"h\"}");
    expect_answer(&l, "200");
    poll_again(&l, "30s");
    expect_waiting(&l);
    poller_done(&l);
}

/* --- at random -------------------------------------------------------------------------------------- */

static uint64_t seed;

static unsigned draw(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static void random_change(void)
{
    static const char *const services[] = {"a", "ab", "b"}, *const ids[] = {"1", "2", "3"},
                             *const states[] = {"up", "down", "warn"}, *const tags[] = {"x", "y"};
    const char *service = services[draw(3)], *id = ids[draw(3)], *ns = draw(4) ? "default" : "other";
    char text[200];
    const char *tag = tags[draw(2)], *state = states[draw(3)];
    snprintf(text, sizeof text, "{\"host\":\"h\",\"weight\":%u,\"state\":\"%s\",\"tags\":[\"%s\"]}", draw(2),
             state, tag);
    switch (draw(8)) {
    case 0:
        change(NAME_OVERRIDE, ns, "default", service, id, draw(2) ? "{\"enabled\":false}" : NULL);
        break;
    case 1:
        change(NAME_SERVICE, ns, "default", service, "", draw(2) ? "{\"protect_threshold\":0.5}" : NULL);
        break;
    case 2:
    case 3:
        change(NAME_INSTANCE, ns, "default", service, id, NULL);
        break;
    default:
        change(NAME_INSTANCE, ns, "default", service, id, text);
    }
}

static void result_now(struct client *c, const char *target, struct buf *result)
{
    ask(c, "GET", target, NULL);
    keep_result(result, body_of(c));
}

/* After everything has settled, each waiting client has the content that a plain GET gives. */
static void test_nothing_is_missed(void **state)
{
    (void)state;
    static const char *const targets[] = {
        "/api/v1/services/a",
        "/api/v1/services/a?healthy=true",
        "/api/v1/services/a?tag=x",
        "/api/v1/services/ab?namespace=other&consistency=local",
        "/api/v1/services/a/instances/1",
        "/api/v1/services",
        "/api/v1/services?prefix=a&namespace=other",
        "/api/v1/services?limit=1",
    };
    enum { POLLERS = 16, ROUNDS = 80 };
    struct poller pollers[POLLERS];
    struct client c = connect_client();
    struct buf now = {0};
    unsigned answers = 0;
    seed = 7;
    for (int i = 0; i < POLLERS; i++) {
        pollers[i] =
            (struct poller){.c = connect_client(), .target = targets[i % 8], .uses_etag = i >= POLLERS / 2};
        poll_again(&pollers[i], "600");
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (unsigned n = draw(3); n > 0; n--)
            random_change();
        for (int i = 0; i < POLLERS; i++) {
            struct poller *p = &pollers[i];
            pump(&p->c);
            if (p->is_waiting)
                take_answer(p);
            if (!p->is_waiting && draw(2)) /* some are late, and things change meanwhile */
                poll_again(p, "600");
        }
        if (draw(4))
            continue;
        for (int i = 0; i < POLLERS; i++)
            for (int k = 0; k < 2; k++) {
                if (!pollers[i].is_waiting)
                    poll_again(&pollers[i], "600");
                settle(&pollers[i]);
                take_answer(&pollers[i]);
            }
        for (int i = 0; i < POLLERS; i++) {
            result_now(&c, pollers[i].target, &now);
            if (!slice_equal(buf_slice(&now), buf_slice(&pollers[i].result)))
                fail_msg("round %d, poller %d (%s) knows\n%s, and it is\n%s", round, i, pollers[i].target,
                         buf_text(&pollers[i].result), buf_text(&now));
        }
    }
    for (int i = 0; i < POLLERS; i++) {
        answers += pollers[i].answers;
        poller_done(&pollers[i]);
    }
    assert_true(answers > 100);
    buf_done(&now);
    done(&c);
}

/* --- results that take many turns ------------------------------------------------------------------- */

enum { LARGE = 350, LOGGED_MAX = 4000 };

/* The instance that each revision has changed, and whether it existed afterwards. */
static struct {
    unsigned instance;
    bool is_there;
} logged[LOGGED_MAX];

static void change_large(unsigned n, bool is_there)
{
    static char filler[300];
    char id[20], text[400];
    memset(filler, 'f', sizeof filler - 1);
    snprintf(id, sizeof id, "i%03u", n);
    snprintf(text, sizeof text, "{\"host\":\"h\",\"metadata\":{\"m\":\"%s\"}}", filler);
    put("large", id, is_there ? text : NULL);
    assert_true(registry.revision < LOGGED_MAX);
    logged[registry.revision].instance = n;
    logged[registry.revision].is_there = is_there;
}

/* The answer shows each instance as it was at the answer's revision: nothing later, nothing earlier. */
static void expect_one_revision(struct client *c)
{
    int64_t mods[LARGE] = {0}, revision = header_revision(c);
    char text[60];
    size_t count = 0, shown = 0;
    for (int64_t r = 2; r <= revision; r++)
        mods[logged[r].instance] = logged[r].is_there ? r : 0;
    const char *at = body_of(c);
    for (unsigned i = 0; i < LARGE; i++) {
        snprintf(text, sizeof text, "\"id\":\"i%03u\"", i);
        const char *one = strstr(at, text);
        assert_int_equal(one != NULL, mods[i] != 0);
        if (!one)
            continue;
        count++;
        snprintf(text, sizeof text, "\"mod_revision\":%lld}", (long long)mods[i]);
        assert_int_equal(strncmp(strstr(one, "\"mod_revision\""), text, strlen(text)), 0);
    }
    for (; (at = strstr(at, "\"id\":")); at++)
        shown++;
    assert_int_equal(shown, count);
    assert_string_equal(body_of(c) + strlen(body_of(c)) - 3, "]}\n");
}

static void fill_large(void)
{
    memset(logged, 0, sizeof logged);
    for (unsigned i = 0; i < LARGE; i++)
        change_large(i, true);
}

/* While it is rendered and sent the service changes in each turn. Several clients wait for it; the first ones
 * disconnect. */
static void test_large_service(void **state)
{
    (void)state;
    enum { READERS = 6 };
    struct client readers[READERS];
    fill_large();
    seed = 11;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < READERS; i++) {
            readers[i] = connect_client();
            request(&readers[i], "GET",
                    i % 2 ? "/api/v1/services/large" : "/api/v1/services/large?zone=a&consistency=local",
                    NULL, NULL);
        }
        for (int turn = 0; turn < 40; turn++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            if (turn == 3 + 10 * round) {
                done(&readers[0]); /* in the queue, or while it is rendered for these */
                done(&readers[1]);
            }
            change_large(draw(LARGE), draw(3));
        }
        for (int i = 2; i < READERS; i++) {
            await_answer(&readers[i]);
            expect(&readers[i], "HTTP/1.1 200");
            expect(&readers[i], "Content-Length: ");
            expect_one_revision(&readers[i]);
            done(&readers[i]);
        }
    }
}

/* A waiting poll is answered with the change, also if the change came while its result was being rendered. */
static void test_large_poll(void **state)
{
    (void)state;
    fill_large();
    struct poller p = {.c = connect_client(), .target = "/api/v1/services/large"};
    poll_again(&p, "9m");
    expect_answer(&p, "200");
    for (int round = 0; round < 6; round++) {
        poll_again(&p, "9m");
        for (int turn = 0; turn < 12 * round; turn++) /* at the barrier, being rendered, waiting */
            uv_run(&loop, UV_RUN_NOWAIT);
        change_large(7, true);
        int64_t revision = registry.revision;
        expect_answer(&p, "200");
        assert_true(p.revision >= revision);
        expect_one_revision(&p.c);
    }
    /* An unchanged result is 304, by its tag and by the end of the wait. */
    char header[100];
    snprintf(header, sizeof header, "If-None-Match: %s\r\n", p.etag);
    buf_clear(&p.c.in);
    request(&p.c, "GET", "/api/v1/services/large", header, NULL);
    expect_answer(&p, "304");
    poll_again(&p, "1s");
    expect_answer(&p, "304");
    poll_again(&p, "9m");
    for (int turn = 0; turn < 20; turn++)
        uv_run(&loop, UV_RUN_NOWAIT);
    http_server_drain(server);
    expect_answer(&p, "304");
    poller_done(&p);
}

/* --- many clients, and the end ---------------------------------------------------------------------- */

static void test_many(void **state)
{
    (void)state;
    enum { POLLERS = 150 };
    struct poller pollers[POLLERS];
    put("a", "1", "{\"host\":\"h\"}");
    for (int i = 0; i < POLLERS; i++) {
        pollers[i] = (struct poller){
            .c = connect_client(), .target = "/api/v1/services/a", .revision = registry.revision};
        poll_again(&pollers[i], "600");
    }
    expect_waiting(&pollers[POLLERS - 1]);
    assert_int_equal(http_server_waiting(server), POLLERS);
    put("a", "2", "{\"host\":\"h\"}");
    for (int i = 0; i < POLLERS; i++)
        expect_answer(&pollers[i], "200");
    for (int i = 0; i < POLLERS; i++)
        poll_again(&pollers[i], "600");
    expect_waiting(&pollers[POLLERS - 1]);
    for (int i = 0; i < POLLERS / 2; i++)
        poller_done(&pollers[i]);
    size_t left = 0;
    LIST_FOR_EACH (l, &registry.watches)
        left++;
    assert_int_equal(left, POLLERS - POLLERS / 2);
    /* The server stops: the other clients are told that nothing has changed, and that they must connect
     * again. */
    http_server_drain(server);
    for (int i = POLLERS / 2; i < POLLERS; i++) {
        expect_answer(&pollers[i], "304");
        expect(&pollers[i].c, "Connection: close\r\n");
        poller_done(&pollers[i]);
    }
    assert_true(list_is_empty(&registry.watches));
    assert_int_equal(http_server_waiting(server), 0);
}

/* A turn of the loop has time for one poll: the others are notified of a change turns later. */
static int start_slow(void **state)
{
    api_clock_step_ns = 3000000;
    return start_api(state);
}

static int stop_slow(void **state)
{
    api_clock_step_ns = 0;
    return stop_api(state);
}

/* Results are kept while polls of b wait for their notification. A result that was rendered before a change
 * of a does not answer for that change. */
static void test_results_that_are_kept(void **state)
{
    (void)state;
    enum { OF_B = 12 };
    struct poller pollers[OF_B], a = {.c = connect_client(), .target = "/api/v1/services/a"};
    put("a", "1", "{\"host\":\"h\"}");
    put("b", "1", "{\"host\":\"h\"}");
    poll_again(&a, "30s");
    expect_answer(&a, "200");
    poll_again(&a, "9m");
    expect_waiting(&a);
    for (int i = 0; i < OF_B; i++) {
        pollers[i] = (struct poller){.c = connect_client(), .target = "/api/v1/services/b"};
        poll_again(&pollers[i], "30s");
        expect_answer(&pollers[i], "200");
        poll_again(&pollers[i], "30s");
        expect_waiting(&pollers[i]);
    }
    struct client c = connect_client();
    request(&c, "GET", "/api/v1/services/a?consistency=local", NULL, NULL);
    await_answer(&c);
    request(&c, "GET", "/api/v1/services/a?consistency=local", NULL, NULL);
    put("b", "1", "{\"host\":\"h2\"}");
    uv_run(&loop, UV_RUN_NOWAIT); /* rendered while polls of b wait */
    assert_true(uv_is_active((uv_handle_t *)&again_handle));
    put("a", "1", "{\"host\":\"h3\"}");
    expect_answer(&a, "200");
    expect(&a.c, "h3");
    for (int i = 0; i < OF_B; i++) {
        expect_answer(&pollers[i], "200");
        expect(&pollers[i].c, "h2");
        poller_done(&pollers[i]);
    }
    poller_done(&a);
    done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_changes, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_filters, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_list, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_instance, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_timeout, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_restart, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_beyond, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_nothing_is_missed, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_large_service, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_large_service, start_slow, stop_slow),
        cmocka_unit_test_setup_teardown(test_large_poll, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_large_poll, start_slow, stop_slow),
        cmocka_unit_test_setup_teardown(test_many, start_api, stop_api),
        cmocka_unit_test_setup_teardown(test_nothing_is_missed, start_slow, stop_slow),
        cmocka_unit_test_setup_teardown(test_many, start_slow, stop_slow),
        cmocka_unit_test_setup_teardown(test_results_that_are_kept, start_slow, stop_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
