/* SPDX-License-Identifier: Apache-2.0
 * Health checks: /health, /livez and /readyz, with etcd's responses.
 *
 * A check is one row of a table. The checks of a request run one after the other in the table's order,
 * because the linearizable read has to wait. The store limits that wait (5 s and two election timeouts),
 * so a probe is always answered. The alarm NOSPACE fails /health only. */
#include "server/http/health.h"

#include <stdio.h>

#include "base/json.h"
#include "base/metric.h"
#include "consensus/kv.h"
#include "server/http/conn.h"

enum { LIVEZ = 1, READYZ = 2, HEALTH = 4 };
enum { ALARM_NOSPACE_BIT = 1, ALARM_CORRUPT_BIT = 2 };

struct run;

static const struct check {
    const char *name;
    unsigned kinds;
    bool needs_barrier;
    bool is_quiet; /* not etcd's: it appears in the response only when it fails */
} checks[] = {
    {"data_corruption", READYZ, false, false},  {"serializable_read", LIVEZ | READYZ, false, false},
    {"linearizable_read", READYZ, true, false}, {"non_learner", READYZ, false, false},
    {"registry", READYZ, false, true},
};
enum { CHECK_COUNT = sizeof checks / sizeof *checks };

/* One request's checks; lives in the request's arena. */
struct run {
    struct kv_request barrier;
    struct http_request *q;
    unsigned kind;
    size_t next;
    bool is_waiting, has_failed;
    struct buf report;
};

static struct counts {
    uint64_t success, error;
    bool was_success;
} counts[2][CHECK_COUNT];

static struct kv *store_of(const struct http_request *q)
{
    return q->server->options.rpc->kv;
}

/* A local read of at most one key. */
static int read_locally(struct http_request *q)
{
    uint8_t first = 0;
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    range.key = (ProtobufCBinaryData){1, &first};
    range.keys_only = range.serializable = true;
    range.limit = 1;
    return kv_range_now(store_of(q), &range, &q->arena, &response);
}

/* --- /health ----------------------------------------------------------------------------------------- */

static void answer_health(struct http_request *q, const char *reason)
{
    struct json_writer w = {.out = &q->body};
    buf_clear(&q->body);
    jw_open(&w, '{');
    jw_key(&w, "health");
    jw_text(&w, reason ? "false" : "true");
    jw_key(&w, "reason");
    jw_text(&w, reason ? reason : "");
    jw_close(&w, '}');
    metric_add(reason ? METRIC_HEALTH_FAILURES : METRIC_HEALTH_SUCCESS, 1);
    if (reason)
        http_respond_error(q, 503, buf_text(&q->body));
    else
        http_respond(q, 200, "text/plain; charset=utf-8", buf_slice(&q->body));
}

static void answer_read(struct http_request *q, int err)
{
    answer_health(q, err ? arena_printf(&q->arena, "RANGE ERROR:%s", err_text(err)) : NULL);
}

static bool is_excluded(const struct http_request *q, const char *name)
{
    size_t at = 0;
    struct slice value;
    while (http_query_next(q, "exclude", &at, &value))
        if (slice_equal(value, slice_text(name)))
            return true;
    return false;
}

static void on_health_barrier(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    struct run *run = container_of(r, struct run, barrier);
    run->is_waiting = false;
    answer_read(run->q, err ? err : read_locally(run->q));
}

static void wait_for_barrier(struct run *run,
                             void (*done)(struct kv_request *, int, const ProtobufCMessage *))
{
    run->is_waiting = true;
    run->barrier.done = done;
    kv_barrier(store_of(run->q), &run->barrier);
}

static void health_end(struct http_request *q)
{
    unsigned alarms = kv_alarms(store_of(q));
    size_t at = 0;
    struct slice value = {0};
    bool is_serializable =
        http_query_next(q, "serializable", &at, &value) && slice_equal(value, slice_text("true"));
    if ((alarms & ALARM_NOSPACE_BIT) && !is_excluded(q, "NOSPACE")) {
        answer_health(q, "ALARM NOSPACE");
    } else if ((alarms & ALARM_CORRUPT_BIT) && !is_excluded(q, "CORRUPT")) {
        answer_health(q, "ALARM CORRUPT");
    } else if (is_serializable) {
        answer_read(q, read_locally(q));
    } else if (kv_leader(store_of(q)) == 0) {
        answer_health(q, "RAFT NO LEADER");
    } else {
        struct run *run = arena_new(&q->arena, sizeof *run);
        run->q = q;
        run->kind = HEALTH;
        q->state = run;
        wait_for_barrier(run, on_health_barrier);
    }
}

/* --- /livez and /readyz ------------------------------------------------------------------------------ */

static const char *fail_reason(struct http_request *q, const struct check *check)
{
    if (check == &checks[0])
        return kv_alarms(store_of(q)) & ALARM_CORRUPT_BIT ? "alarm activated: CORRUPT" : NULL;
    if (check == &checks[3])
        return kv_is_learner(store_of(q)) ? "not supported for learner" : NULL;
    if (check == &checks[4]) {
        const struct http_options *o = &q->server->options;
        return o->not_ready ? o->not_ready(o->not_ready_arg) : NULL;
    }
    int err = read_locally(q);
    return err ? err_text(err) : NULL;
}

static void report(struct run *run, const struct check *check, const char *reason)
{
    struct counts *n = &counts[run->kind == READYZ][check - checks];
    if (check->is_quiet && !reason)
        return;
    n->was_success = !reason;
    if (reason) {
        run->has_failed = true;
        n->error++;
        buf_addf(&run->report, "[-]%s failed: %s\n", check->name, reason);
    } else {
        n->success++;
        buf_addf(&run->report, "[+]%s ok\n", check->name);
    }
}

/* True: the request runs this check: "/readyz" runs all, "/readyz/name" one. */
static bool is_asked_for(const struct run *run, const struct check *check)
{
    const char *one = strchr((const char *)run->q->path.data + 1, '/');
    if (!(check->kinds & run->kind))
        return false;
    return one ? strcmp(one + 1, check->name) == 0 : !is_excluded(run->q, check->name);
}

static void answer_checks(struct run *run)
{
    struct http_request *q = run->q;
    size_t at = 0;
    struct slice value;
    q->body = buf_move(&run->report);
    if (run->has_failed) {
        http_respond_error(q, 503, buf_text(&q->body));
        return;
    }
    if (!http_query_next(q, "verbose", &at, &value))
        buf_clear(&q->body);
    buf_add_text(&q->body, "ok\n");
    http_add_header(q, "X-Content-Type-Options", "nosniff");
    http_respond(q, 200, "text/plain; charset=utf-8", buf_slice(&q->body));
}

static void http_health_go_on(struct run *run);

static void on_check_barrier(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    struct run *run = container_of(r, struct run, barrier);
    run->is_waiting = false;
    report(run, &checks[run->next], err ? err_text(err) : fail_reason(run->q, &checks[run->next]));
    run->next++;
    http_health_go_on(run);
}

static void http_health_go_on(struct run *run)
{
    for (; run->next < CHECK_COUNT; run->next++) {
        const struct check *check = &checks[run->next];
        if (!is_asked_for(run, check))
            continue;
        if (check->needs_barrier) {
            wait_for_barrier(run, on_check_barrier);
            return;
        }
        report(run, check, fail_reason(run->q, check));
    }
    answer_checks(run);
}

static void checks_end(struct http_request *q, unsigned kind)
{
    struct run *run = arena_new(&q->arena, sizeof *run);
    run->q = q;
    run->kind = kind;
    q->state = run;
    http_health_go_on(run);
}

static void livez_end(struct http_request *q)
{
    checks_end(q, LIVEZ);
}

static void readyz_end(struct http_request *q)
{
    checks_end(q, READYZ);
}

static void run_gone(struct http_request *q)
{
    struct run *run = q->state;
    if (!run)
        return;
    if (run->is_waiting)
        kv_cancel(store_of(q), &run->barrier);
    buf_done(&run->report);
}

const struct http_handler http_handler_health = {.end = health_end, .gone = run_gone};
const struct http_handler http_handler_livez = {.end = livez_end, .gone = run_gone};
const struct http_handler http_handler_readyz = {.end = readyz_end, .gone = run_gone};

/* --- metrics ----------------------------------------------------------------------------------------- */

static void http_health_collect(void *arg, struct buf *out)
{
    (void)arg;
    static const char *const kinds[] = {"livez", "readyz"};
    metric_print_head(out, "etcd_server_healthcheck", "gauge", "The result of each kind of healthcheck.");
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < CHECK_COUNT; i++)
            if (counts[k][i].success + counts[k][i].error)
                buf_addf(out, "etcd_server_healthcheck{name=\"%s\",type=\"%s\"} %d\n", checks[i].name,
                         kinds[k], counts[k][i].was_success);
    metric_print_head(out, "etcd_server_healthchecks_total", "counter",
                      "The total number of each kind of healthcheck.");
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < CHECK_COUNT; i++) {
            static const char line[] =
                "etcd_server_healthchecks_total{name=\"%s\",status=\"%s\",type=\"%s\"} %llu\n";
            const struct counts *n = &counts[k][i];
            if (n->error)
                buf_addf(out, line, checks[i].name, "error", kinds[k], (unsigned long long)n->error);
            if (n->success)
                buf_addf(out, line, checks[i].name, "success", kinds[k], (unsigned long long)n->success);
        }
    }
}

void http_health_metrics_start(void)
{
    metric_collector_add(http_health_collect, NULL);
}

void http_health_metrics_stop(void)
{
    metric_collector_remove(http_health_collect, NULL);
}
