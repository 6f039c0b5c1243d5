/* SPDX-License-Identifier: Apache-2.0
 * Tests of server/rpc over a fake transport and a fake store: every method, errors, authorization before
 * decoding, metadata, metrics. rpc_stream_test.c tests streams. */
#include "tests/unit/unit.h"

#include "base/metric.h"
#include "proto/health.pb-c.h"
#include "server/rpc/service.h"
#include "tests/unit/fake_kv.h"
#include "tests/unit/fake_call.h"

static struct kv kv;
static struct rpc_server server;

static int setup(void **state)
{
    (void)state;
    fake_kv_init(&kv);
    server = (struct rpc_server){.kv = &kv, .mono_ms = fake_mono_ms};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(server.calls, 0);
    assert_true(list_is_empty(&kv.pending));
    assert_int_equal(kv.streams_open, 0);
    arena_done(&kv.arena);
    return 0;
}

static struct fake_call *open_call(const char *path)
{
    struct fake_call *f = fake_call_new(&server, path);
    rpc_start(&f->call);
    return f;
}

/* One unary call with an empty or given message, run to its end. */
static struct fake_call *unary(const char *path, const void *message)
{
    struct fake_call *f = open_call(path);
    if (message)
        fake_receive(f, message);
    else
        rpc_receive(&f->call, (struct slice){0});
    rpc_half_close(&f->call);
    fake_kv_turn(&kv);
    return f;
}

static void expect_end(struct fake_call *f, int status, const char *text)
{
    assert_true(f->is_finished);
    assert_string_equal(f->text, text);
    assert_int_equal(f->status, status);
    fake_call_free(f);
}

/* --- the table --------------------------------------------------------------------------------------- */
static void every_path_finds_its_method(void **state)
{
    (void)state;
    size_t count = 0, gateways = 0;
    const struct rpc_method *m;
    for (; (m = rpc_method_at(count)); count++) {
        assert_ptr_equal(rpc_method_find(slice_text(m->path)), m);
        assert_int_equal(rpc_method_index(m), count);
        if (!m->gateway)
            continue;
        gateways++;
        assert_ptr_equal(rpc_gateway_find(slice_text(m->gateway)), m);
        char beta[80];
        snprintf(beta, sizeof beta, "/v3beta/%s", m->gateway + 4);
        assert_ptr_equal(rpc_gateway_find(slice_text(beta)), m);
    }
    /* etcd 3.7: KV 6, Watch 1, Lease 5, Cluster 5, Maintenance 8, Auth 17, Lock 2, Election 5, Health 2. */
    assert_int_equal(count, 51);
    assert_int_equal(gateways, 48);
}

static void aliases_and_unknown_paths(void **state)
{
    (void)state;
    assert_string_equal(rpc_gateway_find(slice_text("/v3/kv/lease/revoke"))->path,
                        "/etcdserverpb.Lease/LeaseRevoke");
    assert_string_equal(rpc_gateway_find(slice_text("/v3beta/kv/lease/leases"))->path,
                        "/etcdserverpb.Lease/LeaseLeases");
    static const char *const unknown[] = {"",
                                          "/",
                                          "/v3",
                                          "/v3/",
                                          "/v3beta/",
                                          "/v3/kv/rang",
                                          "/v3/kv/range/",
                                          "/v3/x/range",
                                          "kv/range",
                                          "/v3alpha/kv/range"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_null(rpc_gateway_find(slice_text(unknown[i])));
        assert_null(rpc_method_find(slice_text(unknown[i])));
    }
    char text[300];
    rpc_unknown_path_text(slice_text("/etcdserverpb.KV/Nope"), text, sizeof text);
    assert_string_equal(text, "unknown method Nope for service etcdserverpb.KV");
    rpc_unknown_path_text(slice_text("/a.B/C"), text, sizeof text);
    assert_string_equal(text, "unknown service a.B");
    rpc_unknown_path_text(slice_text("/v3lockpb.Lock/Nope"), text, sizeof text);
    assert_string_equal(text, "unknown method Nope for service v3lockpb.Lock");
    rpc_unknown_path_text(slice_text("nothing"), text, sizeof text);
    assert_string_equal(text, "malformed method name: \"nothing\"");
}

/* --- unary methods ----------------------------------------------------------------------------------- */
static void every_unary_method_answers(void **state)
{
    (void)state;
    const struct rpc_method *m;
    for (size_t i = 0; (m = rpc_method_at(i)); i++) {
        if (m->kind != RPC_UNARY)
            continue;
        if (strstr(m->path, "/MemberAdd") || strstr(m->path, "/Downgrade"))
            continue; /* not without URLs, nor a version: below */
        if (strstr(m->path, "v3electionpb") && !strstr(m->path, "/Campaign"))
            continue; /* rpc_line_test.c */
        if (strstr(m->path, "/Authenticate") || strstr(m->path, "/UserAdd"))
            continue; /* not without passwords: rpc_auth_test.c */
        struct fake_call *f = unary(m->path, NULL);
        assert_int_equal(f->count, 1);
        ProtobufCMessage *answer =
            protobuf_c_message_unpack(m->response, NULL, f->messages[0].size, f->messages[0].data);
        assert_non_null(answer);
        protobuf_c_message_free_unpacked(answer, NULL);
        expect_end(f, 0, "");
    }
}

static void peer_urls_are_checked(void **state)
{
    (void)state;
    static char good[][32] = {"http://h2:2380 ", "https://10.0.0.1:2380", "unix:///tmp/peer"};
    static char bad[][32] = {"", "h2:2380", "http://h2", "ftp://h2:2380", "http://h2:2380/path"};
    Etcdserverpb__MemberAddRequest add = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    Etcdserverpb__MemberUpdateRequest update = ETCDSERVERPB__MEMBER_UPDATE_REQUEST__INIT;
    char *urls[3] = {good[2], good[1], good[0]};
    expect_end(unary("/etcdserverpb.Cluster/MemberAdd", &add.base), 3,
               "etcdserver: given member URLs are invalid");
    add.n_peerurls = update.n_peerurls = 3;
    add.peerurls = update.peerurls = urls;
    struct fake_call *f = open_call("/etcdserverpb.Cluster/MemberAdd");
    fake_receive(f, &add);
    const Etcdserverpb__MemberAddRequest *seen =
        (const void *)container_of(kv.pending.next, struct kv_request, link)->message;
    assert_string_equal(seen->peerurls[0], "http://h2:2380"); /* sorted, blanks cut off */
    assert_string_equal(seen->peerurls[2], "unix:///tmp/peer");
    fake_kv_turn(&kv);
    expect_end(f, 0, "");
    expect_end(unary("/etcdserverpb.Cluster/MemberUpdate", &update.base), 0, "");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        urls[1] = bad[i];
        expect_end(unary("/etcdserverpb.Cluster/MemberAdd", &add.base), 3,
                   "etcdserver: given member URLs are invalid");
        /* An update is refused by the store, which reads the member first: there is none at all. */
        f = open_call("/etcdserverpb.Cluster/MemberUpdate");
        fake_receive(f, &update);
        const struct kv_request *asked = container_of(kv.pending.next, struct kv_request, link);
        assert_int_equal(((const Etcdserverpb__MemberUpdateRequest *)asked->message)->n_peerurls, 0);
        fake_kv_turn(&kv);
        expect_end(f, 0, "");
    }
}

static void a_downgrade_goes_to_the_version_below(void **state)
{
    (void)state;
    static const struct {
        const char *version, *text;
    } cases[] = {
        {"3.5", "etcdserver: invalid downgrade target version"},
        {"2.6.0", "etcdserver: invalid downgrade target version"},
        {"3.7.1", "etcdserver: invalid downgrade target version"},
        {"3.5.0-rc.1+build", "etcdserver: invalid downgrade target version"},
        {"", "etcdserver: wrong downgrade target version format"},
        {"3", "etcdserver: wrong downgrade target version format"},
        {"v3.6", "etcdserver: wrong downgrade target version format"},
        {"3.6.", "etcdserver: wrong downgrade target version format"},
        {"3.6-rc", "etcdserver: wrong downgrade target version format"},
        {"3.6.0.0", "etcdserver: wrong downgrade target version format"},
        {"3.6.0-r_c", "etcdserver: wrong downgrade target version format"},
        {"3.6.1111111111111111111", "etcdserver: wrong downgrade target version format"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Etcdserverpb__DowngradeRequest m = ETCDSERVERPB__DOWNGRADE_REQUEST__INIT;
        char version[64];
        snprintf(version, sizeof version, "%s", cases[i].version);
        m.version = version;
        expect_end(unary("/etcdserverpb.Maintenance/Downgrade", &m.base), 3, cases[i].text);
        m.action = ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__ENABLE;
        expect_end(unary("/etcdserverpb.Maintenance/Downgrade", &m.base), 3, cases[i].text);
    }
    assert_string_equal(kv.downgrade, ""); /* no request has reached the log so far */
    static const char *const targets[] = {"3.6", "3.6.0", "3.6.0-rc.1+build"};
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        Etcdserverpb__DowngradeRequest m = ETCDSERVERPB__DOWNGRADE_REQUEST__INIT;
        char version[64];
        snprintf(version, sizeof version, "%s", targets[i]);
        m.version = version;
        expect_end(unary("/etcdserverpb.Maintenance/Downgrade", &m.base), 0, "");
        assert_string_equal(kv.downgrade, "");
        m.action = ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__ENABLE;
        struct fake_call *f = unary("/etcdserverpb.Maintenance/Downgrade", &m.base);
        fake_kv_turn(&kv);
        expect_end(f, 0, "");
        assert_string_equal(kv.downgrade, "enable 3.6.0");
        kv.downgrade[0] = 0;
    }
    Etcdserverpb__DowngradeRequest m = ETCDSERVERPB__DOWNGRADE_REQUEST__INIT;
    m.action = ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__CANCEL;
    struct fake_call *f = unary("/etcdserverpb.Maintenance/Downgrade", &m.base);
    assert_string_equal(kv.downgrade, "cancel");
    assert_int_equal(f->count, 1);
    Etcdserverpb__DowngradeResponse *r =
        etcdserverpb__downgrade_response__unpack(NULL, f->messages[0].size, f->messages[0].data);
    assert_string_equal(r->version, "3.7");
    assert_int_equal(r->header->revision, kv.revision);
    etcdserverpb__downgrade_response__free_unpacked(r, NULL);
    expect_end(f, 0, "");
    memcpy(&m.action, &(int){9}, sizeof(int));
    expect_end(unary("/etcdserverpb.Maintenance/Downgrade", &m.base), 2, "etcdserver: unknown method");
    /* Without a quorum no version is returned. */
    Etcdserverpb__DowngradeRequest lower = ETCDSERVERPB__DOWNGRADE_REQUEST__INIT;
    char version[] = "3.6";
    lower.version = version;
    kv.err = ERR_TIMEOUT;
    expect_end(unary("/etcdserverpb.Maintenance/Downgrade", &lower.base), 14,
               "etcdserver: request timed out");
}

/* As in etcd: no header. */
static void move_leader_has_an_empty_body(void **state)
{
    (void)state;
    struct fake_call *f = unary("/etcdserverpb.Maintenance/MoveLeader", NULL);
    assert_int_equal(f->count, 1);
    assert_int_equal(f->messages[0].size, 0);
    expect_end(f, 0, "");
}

static void put_hands_over_and_answers(void **state)
{
    (void)state;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    uint8_t key[] = "key", value[] = "value";
    put.key = (ProtobufCBinaryData){3, key};
    put.value = (ProtobufCBinaryData){5, value};
    struct fake_call *f = open_call("/etcdserverpb.KV/Put");
    fake_receive(f, &put);
    assert_false(f->is_finished);
    const Etcdserverpb__PutRequest *seen =
        (const void *)container_of(kv.pending.next, struct kv_request, link)->message;
    assert_int_equal(seen->value.len, 5);
    assert_memory_equal(seen->value.data, "value", 5);
    fake_kv_turn(&kv);
    Etcdserverpb__PutResponse *r =
        etcdserverpb__put_response__unpack(NULL, f->messages[0].size, f->messages[0].data);
    assert_int_equal(r->header->revision, 8);
    assert_int_equal(r->header->cluster_id, 0xcccc);
    etcdserverpb__put_response__free_unpacked(r, NULL);
    expect_end(f, 0, "");
}

static void errors_have_their_code_and_text(void **state)
{
    (void)state;
    kv.err = ERR_COMPACTED;
    expect_end(unary("/etcdserverpb.KV/Range", NULL), 11,
               "etcdserver: mvcc: required revision has been compacted");
    kv.err = ERR_NO_SPACE;
    expect_end(unary("/etcdserverpb.KV/Put", NULL), 8, "etcdserver: mvcc: database space exceeded");
    kv.err = ERR_LEASE_NOT_FOUND;
    expect_end(unary("/etcdserverpb.Lease/LeaseRevoke", NULL), 5, "etcdserver: requested lease not found");
}

static void unknown_lease_has_ttl_minus_one(void **state)
{
    (void)state;
    kv.err = ERR_LEASE_NOT_FOUND;
    Etcdserverpb__LeaseTimeToLiveRequest m = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    m.id = 77;
    struct fake_call *f = unary("/etcdserverpb.Lease/LeaseTimeToLive", &m);
    Etcdserverpb__LeaseTimeToLiveResponse *r =
        etcdserverpb__lease_time_to_live_response__unpack(NULL, f->messages[0].size, f->messages[0].data);
    assert_int_equal(r->id, 77);
    assert_int_equal(r->ttl, -1);
    assert_int_equal(r->header->revision, 7);
    etcdserverpb__lease_time_to_live_response__free_unpacked(r, NULL);
    expect_end(f, 0, "");
}

static void defragment_has_an_empty_body(void **state)
{
    (void)state;
    struct fake_call *f = unary("/etcdserverpb.Maintenance/Defragment", NULL);
    assert_int_equal(f->count, 1);
    assert_int_equal(f->messages[0].size, 0);
    expect_end(f, 0, "");
}

static void auth_status_is_off_at_revision_one(void **state)
{
    (void)state;
    struct fake_call *f = unary("/etcdserverpb.Auth/AuthStatus", NULL);
    Etcdserverpb__AuthStatusResponse *r =
        etcdserverpb__auth_status_response__unpack(NULL, f->messages[0].size, f->messages[0].data);
    assert_false(r->enabled);
    assert_int_equal(r->authrevision, 1);
    etcdserverpb__auth_status_response__free_unpacked(r, NULL);
    expect_end(f, 0, "");
}

static void health_of_server_and_unknown_services(void **state)
{
    (void)state;
    Grpc__Health__V1__HealthCheckRequest m = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct fake_call *f = unary("/grpc.health.v1.Health/Check", &m);
    assert_memory_equal(f->messages[0].data, "\x08\x01", 2);
    expect_end(f, 0, "");
    m.service = (char *)(uintptr_t) "etcdserverpb.KV";
    expect_end(unary("/grpc.health.v1.Health/Check", &m), 5, "unknown service");
    rpc_server_drain(&server);
    m.service = (char *)(uintptr_t) "";
    f = unary("/grpc.health.v1.Health/Check", &m);
    assert_memory_equal(f->messages[0].data, "\x08\x02", 2);
    expect_end(f, 0, "");
}

static void cancel_takes_the_request_back(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.KV/Put");
    rpc_receive(&f->call, (struct slice){0});
    rpc_cancel(&f->call);
    assert_int_equal(kv.canceled, 1);
    assert_true(list_is_empty(&kv.pending));
    assert_false(f->is_finished);
    fake_call_free(f);
    fake_kv_turn(&kv);
}

/* --- checks before a service --------------------------------------------------------------------------- */
static void metadata_is_checked(void **state)
{
    (void)state;
    struct fake_call *f = fake_call_new(&server, "/etcdserverpb.KV/Range");
    f->call.client_api_version = slice_text("3.\xff");
    rpc_start(&f->call);
    expect_end(f, 3, "etcdserver: invalid client api version");

    kv.leader = 0;
    f = fake_call_new(&server, "/etcdserverpb.KV/Range");
    f->call.has_leader_required = true;
    rpc_start(&f->call);
    expect_end(f, 14, "etcdserver: no leader");
    f = open_call("/etcdserverpb.KV/Range"); /* without hasleader it continues */
    assert_false(f->is_finished);
    fake_call_free(f);
}

static void a_learner_serves_little(void **state)
{
    (void)state;
    kv.is_learner = true;
    static const char refusal[] = "etcdserver: rpc not supported for learner";
    expect_end(open_call("/etcdserverpb.KV/Put"), 9, refusal);
    expect_end(open_call("/etcdserverpb.Watch/Watch"), 9, refusal);
    expect_end(unary("/etcdserverpb.KV/Range", NULL), 9, refusal);
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.serializable = true;
    expect_end(unary("/etcdserverpb.KV/Range", &range), 0, "");
    expect_end(unary("/etcdserverpb.Maintenance/Status", NULL), 0, "");
}

static void broken_messages_are_internal(void **state)
{
    (void)state;
    static const char text[] =
        "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data";
    static const char *const broken[] = {"\x0a\x05zz", "\x0a", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                                         "\x07",       "\x0b", "\x02zz",
                                         "\x09zzzz"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct fake_call *f = open_call("/etcdserverpb.KV/Put");
        rpc_receive(&f->call, slice_text(broken[i]));
        expect_end(f, 13, text);
    }
    struct fake_call *f = open_call("/etcdserverpb.Watch/Watch");
    rpc_receive(&f->call, slice_text("\xff"));
    expect_end(
        f, 13,
        "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data");
    f = open_call("/grpc.health.v1.Health/Check");
    rpc_receive(&f->call, slice_text("\x0a\x01\xff"));
    expect_end(f, 13, "grpc: error unmarshalling request: string field contains invalid UTF-8");
}

static void cardinality_is_checked(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.KV/Put");
    rpc_receive(&f->call, (struct slice){0});
    rpc_receive(&f->call, (struct slice){0});
    assert_int_equal(kv.canceled, 1); /* the first is canceled */
    assert_int_equal(f->status, 13);
    fake_call_free(f);
    f = open_call("/etcdserverpb.KV/Put");
    rpc_half_close(&f->call);
    assert_int_equal(f->status, 13);
    fake_call_free(f);
}

/* TxnRequest{success: [RequestOp{request_txn: TxnRequest{...}}]} `levels` deep, built from the inside. */
static struct buf nested_txn(unsigned levels)
{
    struct buf b = {0};
    uint8_t *end = mem_alloc(levels * 16), *p = end + levels * 16;
    size_t size = 0;
    for (unsigned i = 0; i < levels; i++) {
        uint8_t head[8];
        size_t n = 0;
        head[n++] = i % 2 == 0 ? 0x22 : 0x12; /* request_txn = 4; success = 2 */
        size_t v = size;
        for (; v >= 0x80; v >>= 7)
            head[n++] = (uint8_t)(v | 0x80);
        head[n++] = (uint8_t)v;
        p -= n;
        memcpy(p, head, n);
        size += n;
    }
    buf_add(&b, p, size);
    mem_free(end);
    return b;
}

static void depth_bomb_is_refused(void **state)
{
    (void)state;
    bool has_surplus;
    struct buf b = nested_txn(298); /* 1 + 298 = 299 messages */
    assert_null(rpc_message_check(&etcdserverpb__txn_request__descriptor, buf_slice(&b), 0, &has_surplus));
    buf_done(&b);
    b = nested_txn(300);
    assert_string_equal(
        rpc_message_check(&etcdserverpb__txn_request__descriptor, buf_slice(&b), 0, &has_surplus),
        "proto: exceeded maximum recursion depth");
    buf_done(&b);
    b = nested_txn(400000);
    struct fake_call *f = open_call("/etcdserverpb.KV/Txn");
    rpc_receive(&f->call, buf_slice(&b));
    expect_end(f, 13, "grpc: error unmarshalling request: proto: exceeded maximum recursion depth");
    buf_done(&b);
}

static void field_bombs_are_refused(void **state)
{
    (void)state;
    bool has_surplus;
    struct buf b = {0};
    for (unsigned i = 0; i < 300000; i++)
        buf_add(&b, "\x0a\x00", 2); /* empty compares */
    assert_string_equal(
        rpc_message_check(&etcdserverpb__txn_request__descriptor, buf_slice(&b), 0, &has_surplus),
        "proto: too many fields");
    buf_clear(&b);
    for (unsigned i = 0; i < 2000; i++)
        buf_add(&b, "\x78\x00", 2); /* field 15 */
    assert_string_equal(
        rpc_message_check(&etcdserverpb__txn_request__descriptor, buf_slice(&b), 0, &has_surplus),
        "proto: too many unknown fields");
    buf_done(&b);
}

static void few_of_very_many_operations_are_decoded(void **state)
{
    (void)state;
    struct buf b = {0};
    for (unsigned i = 0; i < 1000; i++)
        buf_add(&b, "\x0a\x00", 2);
    server.txn_ops_max = 128;
    struct fake_call *f = open_call("/etcdserverpb.KV/Txn");
    rpc_receive(&f->call, buf_slice(&b));
    assert_int_equal(((const Etcdserverpb__TxnRequest *)f->call.request.message)->n_compare, 129);
    fake_call_free(f);
    buf_done(&b);
}

static void header_encoding_is_protobufs(void **state)
{
    (void)state;
    Etcdserverpb__WatchResponse m = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader h = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    m.header = &h;
    const uint64_t values[] = {0, 1, 127, 128, 300, UINT64_MAX};
    for (size_t i = 0; i < 6; i++) {
        h.cluster_id = values[i];
        h.member_id = values[5 - i];
        h.revision = (int64_t)values[(i + 2) % 6];
        h.raft_term = values[(i + 4) % 6];
        uint8_t ours[RPC_HEADER_MAX], theirs[128];
        size_t n = rpc_header_encode(&h, ours);
        assert_int_equal(n, etcdserverpb__watch_response__pack(&m, theirs));
        assert_memory_equal(ours, theirs, n);
    }
}

/* --- metrics ------------------------------------------------------------------------------------------ */
static void expect_line(const char *text, const char *line)
{
    if (!strstr(text, line))
        fail_msg("no line '%s'", line);
}

static void metrics_are_grpc_prometheus(void **state)
{
    (void)state;
    rpc_metrics_start();
    rpc_metrics_extensive(true);
    fake_call_free(unary("/etcdserverpb.Maintenance/Alarm", NULL));
    kv.err = ERR_TIMEOUT;
    fake_call_free(unary("/etcdserverpb.Maintenance/Alarm", NULL));
    struct fake_call *f = fake_call_new(&server, "/etcdserverpb.Maintenance/Alarm");
    f->call.client_api_version = slice_text("3.7");
    rpc_start(&f->call);
    fake_call_free(f);
    for (int i = 0; i < 100; i++) { /* a client that invents versions */
        char version[16];
        snprintf(version, sizeof version, "9.%d", i);
        f = fake_call_new(&server, "/etcdserverpb.Maintenance/Alarm");
        f->call.client_api_version = slice_text(version);
        rpc_start(&f->call);
        fake_call_free(f);
    }
    struct buf out = {0};
    metric_print(&out);
    const char *text = buf_text(&out);
#define ALARM "grpc_method=\"Alarm\",grpc_service=\"etcdserverpb.Maintenance\",grpc_type=\"unary\""
    expect_line(text, "# TYPE grpc_server_handled_total counter\n");
    /* The calls of every_unary_method_answers, and those above. */
    expect_line(text, "grpc_server_started_total{" ALARM "} 104\n");
    expect_line(text, "grpc_server_handled_total{grpc_code=\"OK\"," ALARM "} 2\n");
    expect_line(text, "grpc_server_handled_total{grpc_code=\"Unavailable\"," ALARM "} 1\n");
    expect_line(text, "grpc_server_handled_total{grpc_code=\"Canceled\"," ALARM "} 101\n");
    expect_line(text, "grpc_server_handled_total{grpc_code=\"DataLoss\"," ALARM "} 0\n");
    expect_line(text, "grpc_server_msg_received_total{" ALARM "} 3\n");
    expect_line(text, "grpc_server_msg_sent_total{" ALARM "} 2\n");
    expect_line(text, "grpc_server_handling_seconds_bucket{" ALARM ",le=\"+Inf\"} 103\n");
    expect_line(text, "grpc_server_handling_seconds_count{" ALARM "} 103\n");
    expect_line(text, "etcd_server_client_requests_total{client_api_version=\"3.7\",type=\"unary\"} 1\n");
    expect_line(text, "etcd_server_client_requests_total{client_api_version=\"other\",type=\"unary\"} 87\n");
    buf_done(&out);
    rpc_metrics_extensive(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_path_finds_its_method),
        cmocka_unit_test(aliases_and_unknown_paths),
        cmocka_unit_test_setup_teardown(every_unary_method_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(metrics_are_grpc_prometheus, setup, teardown),
        cmocka_unit_test_setup_teardown(put_hands_over_and_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_have_their_code_and_text, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_lease_has_ttl_minus_one, setup, teardown),
        cmocka_unit_test_setup_teardown(defragment_has_an_empty_body, setup, teardown),
        cmocka_unit_test_setup_teardown(peer_urls_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_downgrade_goes_to_the_version_below, setup, teardown),
        cmocka_unit_test_setup_teardown(move_leader_has_an_empty_body, setup, teardown),
        cmocka_unit_test_setup_teardown(auth_status_is_off_at_revision_one, setup, teardown),
        cmocka_unit_test_setup_teardown(health_of_server_and_unknown_services, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel_takes_the_request_back, setup, teardown),
        cmocka_unit_test_setup_teardown(metadata_is_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_learner_serves_little, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_messages_are_internal, setup, teardown),
        cmocka_unit_test_setup_teardown(cardinality_is_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(depth_bomb_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(field_bombs_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(few_of_very_many_operations_are_decoded, setup, teardown),
        cmocka_unit_test(header_encoding_is_protobufs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
