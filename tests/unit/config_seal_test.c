/* SPDX-License-Identifier: Apache-2.0
 * Tests of sealed contents: the cipher by published vectors, key files, and what a config center with keys
 * stores, reads, rolls back, and refuses without its keys. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "base/metric.h"
#include "base/text.h"
#include "config/seal/keys.h"
#include "consensus/feature.h"
#include "tests/unit/config_node.h"

#define KEY_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define KEY_B "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="

static struct seal_keys keys, keys_b_first, keys_b_only;
static struct arena arena;

static void parse(const char *text, struct seal_keys *ret)
{
    char error[200] = "";
    if (seal_keys_parse(slice_text(text), ret, error, sizeof error) != OK)
        fail_msg("%s", error);
}

static int setup_with(void **state, const struct seal_keys *with, unsigned level)
{
    struct config_node *n = mem_new(sizeof *n);
    n->node.feature_level = level;
    parse("a " KEY_A "\n", &keys);
    parse("b " KEY_B "\na " KEY_A "\n", &keys_b_first);
    parse("b " KEY_B "\n", &keys_b_only);
    config_node_open(n, &(struct config_options){.keys = with});
    *state = n;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, &keys, 0);
}

static int setup_without(void **state)
{
    return setup_with(state, NULL, 0);
}

/* As in a cluster with a member of an older version. */
static int setup_older(void **state)
{
    return setup_with(state, &keys, FEATURE_LEVEL_CONTENTS - 1);
}

static int teardown(void **state)
{
    struct config_node *n = *state;
    config_node_close(n);
    mem_free(n);
    arena_done(&arena);
    arena = (struct arena){0};
    return 0;
}

/* --- the cipher ----------------------------------------------------------------------------------------- */

static struct slice hex(const char *text)
{
    size_t size = strlen(text) / 2;
    uint8_t *bytes = arena_alloc(&arena, size + 1);
    for (size_t i = 0; i < size; i++) {
        unsigned byte = 0;
        assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
        bytes[i] = (uint8_t)byte;
    }
    return slice_of(bytes, size);
}

/* McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", test cases 13, 14 and 16. */
static void test_vectors(void **state)
{
    static const struct {
        const char *key, *nonce, *aad, *in, *out, *tag;
    } cases[] = {
        {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
         "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
        {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
         "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18",
         "d0d1c8a799996bf0265b98b5d48ab919"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
         "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16"
         "aedf5"
         "aa0de657ba637b39",
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f"
         "61e63"
         "93ba7a0abcc9f662",
         "76fc6ece0f4e1768cddf8853bb2d551b"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice in = hex(cases[i].in), out = hex(cases[i].out), tag = hex(cases[i].tag);
        uint8_t got[128], got_tag[SEAL_TAG_SIZE];
        assert_int_equal(seal_aes_gcm(hex(cases[i].key).data, hex(cases[i].nonce).data, hex(cases[i].aad), in,
                                      got, got_tag),
                         OK);
        assert_true(slice_equal(slice_of(got, in.size), out));
        assert_true(slice_equal(slice_of(got_tag, SEAL_TAG_SIZE), tag));
    }
    arena_done(&arena);
    arena = (struct arena){0};
}

/* Bytes that are changed anywhere, cut, or moved to another name do not open; nothing of them is returned. */
static void test_open(void **state)
{
    struct buf names = {0}, other = {0}, sealed = {0};
    const struct slice content = slice_text("password: 1234\n");
    const uint8_t nonce[SEAL_NONCE_SIZE] = {1, 2, 3};
    uint8_t out[64] = {0};
    (void)state;
    parse("b " KEY_B "\na " KEY_A "\n", &keys_b_first);
    const struct seal_key *key = seal_keys_find(&keys_b_first, slice_text("a")),
                          *wrong = seal_keys_first(&keys_b_first);
    seal_add_names(&names, slice_text("ns"), slice_text("g"), slice_text("name"));
    seal_add_names(&other, slice_text("ns"), slice_text("gn"), slice_text("ame"));
    assert_int_equal(seal_add(key, nonce, buf_slice(&names), content, &sealed), OK);
    assert_int_equal(sealed.size, content.size + SEAL_ROOM);
    assert_int_equal(seal_open(key, buf_slice(&names), buf_slice(&sealed), out), OK);
    assert_memory_equal(out, content.data, content.size);
    assert_int_equal(seal_open(key, buf_slice(&other), buf_slice(&sealed), out), ERR_CORRUPT);
    assert_int_equal(seal_open(wrong, buf_slice(&names), buf_slice(&sealed), out), ERR_CORRUPT);
    for (size_t i = 0; i < sealed.size; i++) {
        sealed.data[i] ^= 0x10;
        memset(out, 'x', sizeof out);
        assert_int_equal(seal_open(key, buf_slice(&names), buf_slice(&sealed), out), ERR_CORRUPT);
        assert_int_equal(out[0], 0);
        sealed.data[i] ^= 0x10;
    }
    for (size_t size = 0; size < sealed.size; size++)
        assert_int_equal(seal_open(key, buf_slice(&names), slice_of(sealed.data, size), out), ERR_CORRUPT);
    buf_done(&names);
    buf_done(&other);
    buf_done(&sealed);
}

/* Equal contents have equal digests only under the same key and name. */
static void test_digest(void **state)
{
    const struct slice content = slice_text("x");
    uint8_t a[32], again[32], other[32], by_b[32];
    (void)state;
    parse("b " KEY_B "\na " KEY_A "\n", &keys_b_first);
    const struct seal_key *key = &keys_b_first.list[1];
    seal_digest(key, slice_text("n1"), content, a);
    seal_digest(key, slice_text("n1"), content, again);
    seal_digest(key, slice_text("n2"), content, other);
    seal_digest(&keys_b_first.list[0], slice_text("n1"), content, by_b);
    assert_memory_equal(a, again, 32);
    assert_memory_not_equal(a, other, 32);
    assert_memory_not_equal(a, by_b, 32);
}

static void test_keys(void **state)
{
    static const char *const refused[][2] = {
        {"", "it has no key"},
        {"# nothing\n\n", "it has no key"},
        {"a\n", "line 1: after the id"},
        {"a b c " KEY_A "\n", "line 1: after the id"},
        {"\n a!" KEY_A " " KEY_A "\n", "line 2: an id has"},
        {"a AAECAw==\n", "line 1: after the id"},
        {"a " KEY_A "\nb " KEY_B "\na " KEY_B "\n", "line 3: this id is there twice"},
    };
    struct seal_keys k;
    char error[200];
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(seal_keys_parse(slice_text(refused[i][0]), &k, error, sizeof error), ERR_INVALID);
        if (strncmp(error, refused[i][1], strlen(refused[i][1])) != 0)
            fail_msg("%zu: %s", i, error);
        assert_null(strstr(error, "AAEC"));
        assert_int_equal(k.count, 0);
    }
    parse("# c\r\n\t new\t" KEY_B " \r\nold " KEY_A, &k);
    assert_int_equal(k.count, 2);
    assert_string_equal(seal_keys_first(&k)->id, "new");
    assert_null(seal_keys_find(&k, slice_text("ol")));
    assert_null(seal_keys_first(NULL));
}

/* --- the store ------------------------------------------------------------------------------------------ */

static struct config_reply put_policy(struct config_node *n, const char *text)
{
    struct config_reply a = config_reply();
    struct workflow_policy p;
    char error[200];
    assert_int_equal(workflow_policy_request_read(slice_text(text), &arena, &p, error, sizeof error), OK);
    config_put_policy(n->config, &a.request, slice_text("default"), &p);
    config_node_wait(n, &a);
    return a;
}

/* The value that a client of the etcd API reads; "" = there is no such key. */
static const char *stored(struct config_node *n, enum config_key kind, const char *name, uint64_t seq)
{
    struct config_id id = config_id_of(name);
    struct buf key = {0};
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    config_name_add_key(&key, &(struct config_name){kind, id.ns, id.group, id.name, seq});
    m.key = (ProtobufCBinaryData){key.size, key.data};
    assert_int_equal(kv_range_now(n->node.kv, &m, &arena, &response), OK);
    buf_done(&key);
    if (!response->n_kvs)
        return "";
    return arena_printf(&arena, "%.*s", (int)response->kvs[0]->value.len,
                        (const char *)response->kvs[0]->value.data);
}

static void assert_sealed(struct config_node *n, enum config_key kind, const char *name, uint64_t seq,
                          const char *key)
{
    const char *text = stored(n, kind, name, seq), *field = arena_printf(&arena, "\"sealed\":\"%s\"", key);
    if (!strstr(text, field) || strstr(text, "secret"))
        fail_msg("%s %llu is stored as %s", name, (unsigned long long)seq, text);
}

static void reopen(struct config_node *n, const struct seal_keys *with)
{
    config_free(n->config);
    n->config = config_new(&(struct config_options){.kv = n->node.kv, .member = "default", .keys = with});
    config_node_settle(n);
}

static struct config_reply put_draft(struct config_node *n, const char *name, const char *content)
{
    struct config_reply a = config_reply();
    config_put_draft(n->config, &a.request,
                     &(struct config_publish){.key = config_id_of(name), .content = slice_text(content)});
    config_node_wait(n, &a);
    return a;
}

static struct config_reply publish_draft(struct config_node *n, const char *name)
{
    struct config_reply a = config_reply();
    struct config_id id = config_id_of(name);
    config_publish_draft(n->config, &a.request, &id, slice_text(""), slice_text(""), NULL);
    config_node_wait(n, &a);
    return a;
}

static void test_publish(void **state)
{
    struct config_node *n = *state;
    struct digest plain = digest_of(slice_text("secret: 1"));
    assert_int_equal(put_policy(n, "{\"review\":[],\"encrypt\":[\"db*\"]}").err, OK);
    struct config_reply a = config_node_publish(n, "db.yaml", "secret: 1");
    assert_int_equal(a.err, OK);
    assert_sealed(n, CONFIG_RELEASE, "db.yaml", 1, "a");
    assert_sealed(n, CONFIG_HEAD, "db.yaml", 0, "a");
    assert_null(strstr(stored(n, CONFIG_HEAD, "db.yaml", 0), plain.md5));
    assert_null(strstr(stored(n, CONFIG_RELEASE, "db.yaml", 1), plain.sha256));
    a = config_node_read(n, "db.yaml", 0);
    assert_int_equal(a.err, OK);
    assert_string_equal(a.text, "secret: 1");
    assert_int_equal(a.head.size, 9);
    assert_string_not_equal(a.head.digest.md5, plain.md5);
    /* The same again changes nothing; another content does. */
    assert_true(config_node_publish(n, "db.yaml", "secret: 1").result.is_unchanged);
    assert_int_equal(config_node_publish(n, "db.yaml", "secret: 2").result.seq, 2);
    /* Names that the policy does not name stay clear. */
    config_node_publish(n, "app.yaml", "open: 1");
    assert_non_null(strstr(stored(n, CONFIG_RELEASE, "app.yaml", 1), "open: 1"));
    /* Equal contents of two names, and of one name at two times, are different bytes. */
    config_node_publish(n, "db2.yaml", "secret: 2");
    assert_string_not_equal(strstr(stored(n, CONFIG_RELEASE, "db2.yaml", 1), "\"content\""),
                            strstr(stored(n, CONFIG_RELEASE, "db.yaml", 2), "\"content\""));
    config_node_publish(n, "db.yaml", "secret: 3");
    config_node_publish(n, "db.yaml", "secret: 2");
    assert_string_not_equal(strstr(stored(n, CONFIG_RELEASE, "db.yaml", 4), "\"content\""),
                            strstr(stored(n, CONFIG_RELEASE, "db.yaml", 2), "\"content\""));
}

/* A large content goes by the worker. */
static void test_large(void **state)
{
    struct config_node *n = *state;
    struct buf text = {0};
    for (int i = 0; i < 1000; i++)
        buf_addf(&text, "secret%d: %d\n", i, i);
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    struct config_publish p = {.key = config_id_of("big.yaml"), .content = buf_slice(&text)};
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    assert_sealed(n, CONFIG_RELEASE, "big.yaml", 1, "a");
    struct config_reply a = config_node_read(n, "big.yaml", 0);
    assert_int_equal(a.err, OK);
    assert_memory_equal(a.text, text.data, sizeof a.text - 1);
    assert_true(config_node_publish_with(n, &p).result.is_unchanged);
    buf_done(&text);
}

/* A malformed content is refused as a clear one is, with its place. */
static void test_checked(void **state)
{
    struct config_node *n = *state;
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    struct config_reply a = config_node_publish(n, "db.yaml", "a: 1\na: 2\n");
    assert_int_equal(a.err, ERR_MALFORMED);
    assert_int_equal(a.result.where.line, 2);
}

/* Drafts, gray releases, rollbacks and promotions of sealed contents are sealed, also when no policy says so
 * any more. */
static void test_ways(void **state)
{
    struct config_node *n = *state;
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    config_node_publish(n, "db.txt", "secret 1");
    config_node_publish(n, "db.txt", "secret 2");
    assert_int_equal(put_draft(n, "db.txt", "secret 3").err, OK);
    assert_sealed(n, CONFIG_DRAFT, "db.txt", 0, "a");
    assert_int_equal(
        config_node_gray(n, "db.txt", "rule", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"secret gray\"}")
            .err,
        OK);
    assert_sealed(n, CONFIG_RELEASE, "db.txt", 3, "a");
    assert_int_equal(put_policy(n, "{\"review\":[],\"encrypt\":[]}").err, OK);
    assert_int_equal(config_node_rollback(n, "db.txt", 1).result.seq, 4);
    assert_sealed(n, CONFIG_RELEASE, "db.txt", 4, "a");
    struct config_reply a = publish_draft(n, "db.txt");
    assert_int_equal(a.result.seq, 5);
    assert_sealed(n, CONFIG_RELEASE, "db.txt", 5, "a");
    assert_string_equal(config_node_read(n, "db.txt", 5).text, "secret 3");
    a = config_reply();
    struct config_id id = config_id_of("db.txt");
    config_promote_gray(n->config, &a.request, &id, slice_text("rule"), slice_text(""), NULL);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_sealed(n, CONFIG_RELEASE, "db.txt", 6, "a");
    assert_string_equal(config_node_read(n, "db.txt", 0).text, "secret gray");
    /* A publish by hand has what the policy says: it is clear again, though the content is the same. */
    a = config_node_publish(n, "db.txt", "secret gray");
    assert_int_equal(a.result.seq, 7);
    assert_non_null(strstr(stored(n, CONFIG_RELEASE, "db.txt", 7), "secret gray"));
    assert_null(strstr(stored(n, CONFIG_HEAD, "db.txt", 0), "sealed"));
    assert_int_equal(config_node_delete(n, "db.txt").err, OK);
}

/* The first key seals, all open. Without the key there is a sentence, and nothing else is lost. */
static void test_rotation(void **state)
{
    struct config_node *n = *state;
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    config_node_publish(n, "db.txt", "secret 1");
    put_draft(n, "db.txt", "secret draft");
    reopen(n, &keys_b_first);
    assert_string_equal(config_node_read(n, "db.txt", 0).text, "secret 1");
    assert_true(config_node_publish(n, "db.txt", "secret 1").result.is_unchanged);
    assert_int_equal(config_node_publish(n, "db.txt", "secret 2").result.seq, 2);
    assert_sealed(n, CONFIG_RELEASE, "db.txt", 2, "b");
    reopen(n, &keys_b_only);
    assert_string_equal(config_node_read(n, "db.txt", 0).text, "secret 2");
    struct config_reply a = config_node_read(n, "db.txt", 1);
    assert_int_equal(a.err, ERR_KEY_MISSING);
    assert_non_null(strstr(a.error, "key a"));
    assert_string_equal(a.text, "");
    assert_int_equal(config_node_rollback(n, "db.txt", 1).err, ERR_KEY_MISSING);
    assert_int_equal(publish_draft(n, "db.txt").err, ERR_KEY_MISSING);
    a = config_reply();
    struct config_id id = config_id_of("db.txt");
    config_read_draft(n->config, &a.request, &id);
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_KEY_MISSING);
    /* The draft that does not open can be replaced. */
    assert_int_equal(put_draft(n, "db.txt", "secret 3").err, OK);
    assert_int_equal(publish_draft(n, "db.txt").err, OK);
    reopen(n, NULL);
    assert_int_equal(config_node_read(n, "db.txt", 0).err, ERR_KEY_MISSING);
    a = config_node_publish(n, "db.txt", "secret 4");
    assert_int_equal(a.err, ERR_KEY_MISSING);
    assert_non_null(strstr(a.error, "--encryption-key-file"));
    assert_int_equal(config_node_delete(n, "db.txt").err, OK);
}

/* Sealed bytes that somebody puts under another name do not open there. */
static void test_moved(void **state)
{
    struct config_node *n = *state;
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    config_node_publish(n, "a.txt", "secret 1");
    config_node_publish(n, "b.txt", "secret 2");
    config_node_put_raw(n, CONFIG_RELEASE, "b.txt", 1, stored(n, CONFIG_RELEASE, "a.txt", 1));
    struct config_reply a = config_node_read(n, "b.txt", 0);
    assert_int_equal(a.err, ERR_CORRUPT);
    assert_string_equal(a.text, "");
}

/* A policy without encrypt, as older clients put it, keeps what is sealed; one that cannot be read seals. */
static void test_policy(void **state)
{
    struct config_node *n = *state;
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    assert_int_equal(put_policy(n, "{\"review\":[\"app*\"]}").err, OK);
    assert_non_null(strstr(stored(n, CONFIG_POLICY, "", 0), "\"review\":[\"app*\"],\"encrypt\":[\"*\"]"));
    config_node_publish(n, "db.txt", "secret 1");
    assert_sealed(n, CONFIG_RELEASE, "db.txt", 1, "a");
    config_node_put_raw(n, CONFIG_POLICY, "", 0, "{");
    put_draft(n, "new.txt", "secret 2");
    assert_sealed(n, CONFIG_DRAFT, "new.txt", 0, "a");
}

static void test_without_keys(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    assert_int_equal(a.err, ERR_INVALID);
    assert_non_null(strstr(a.error, "--encryption-key-file"));
    assert_int_equal(put_policy(n, "{\"review\":[],\"encrypt\":[]}").err, OK);
    assert_int_equal(config_node_publish(n, "db.txt", "secret 1").err, OK);
}

static void test_metrics(void **state)
{
    struct config_node *n = *state;
    struct buf text = {0};
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    config_node_publish(n, "a.txt", "secret 1");
    config_node_publish(n, "b.txt", "secret 1");
    reopen(n, &keys_b_first);
    config_node_publish(n, "b.txt", "secret 2");
    metric_print(&text);
    assert_non_null(strstr(buf_text(&text), "\ncairn_config_sealed{key=\"a\"} 1\n"));
    assert_non_null(strstr(buf_text(&text), "\ncairn_config_sealed{key=\"b\"} 1\n"));
    config_node_delete(n, "a.txt");
    buf_clear(&text);
    metric_print(&text);
    assert_null(strstr(buf_text(&text), "cairn_config_sealed{key=\"a\"}"));
    buf_done(&text);
}

/* --- sealing again -------------------------------------------------------------------------------------- */

static struct config_reseal reseal_of(const char *prefix)
{
    struct config_reply a = config_reply();
    return (struct config_reseal){
        .request = a.request, .ns = slice_text("default"), .prefix = slice_text(prefix), .limit = 1000};
}

struct reseal_reply {
    struct config_reseal reseal;
    bool is_done, has_more;
    int err;
    char last[200];
};

static void on_reseal(struct config_request *q, int err, const struct config_result *result)
{
    struct config_reseal *r = container_of(q, struct config_reseal, request);
    struct reseal_reply *a = container_of(r, struct reseal_reply, reseal);
    a->is_done = true;
    a->err = err;
    a->has_more = result->has_more;
    snprintf(a->last, sizeof a->last, "%.*s", (int)r->last.size, (const char *)r->last.data);
}

static bool is_resealed(void *arg)
{
    return ((struct reseal_reply *)arg)->is_done;
}

static void start_reseal(struct config_node *n, struct reseal_reply *a, const char *prefix)
{
    *a = (struct reseal_reply){.reseal = reseal_of(prefix)};
    a->reseal.request.done = on_reseal;
    config_reseal(n->config, &a->reseal);
}

static struct reseal_reply reseal(struct config_node *n, const char *prefix)
{
    struct reseal_reply a;
    start_reseal(n, &a, prefix);
    one_node_run(&n->node, is_resealed, &a);
    return a;
}

/* Contents that were in clear before there was a policy: history, gray releases, a deleted one, a draft. */
static void test_seal_existing(void **state)
{
    struct config_node *n = *state;
    struct buf large = {0};
    for (int i = 0; i < 40000; i++)
        buf_addf(&large, "secret%d: %d\n", i, i);
    config_node_publish(n, "db.txt", "secret 1");
    config_node_publish(n, "db.txt", "secret 2");
    config_node_gray(n, "db.txt", "rule", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"secret gray\"}");
    put_draft(n, "db.txt", "secret draft");
    config_node_publish(n, "gone.txt", "secret 3");
    config_node_delete(n, "gone.txt");
    config_node_publish_with(
        n, &(struct config_publish){.key = config_id_of("large.txt"), .content = buf_slice(&large)});
    config_node_publish(n, "open.yaml", "open: 1");
    for (int i = 0; i < 50; i++)
        config_node_publish(n, "many.txt", arena_printf(&arena, "secret %d", i));
    const struct config_item *i = config_node_find(n, "db.txt");
    struct digest before = i->head->digest;
    put_policy(n, "{\"review\":[],\"encrypt\":[\"db.txt\",\"gone*\",\"l*\",\"many*\"]}");
    struct reseal_reply a = reseal(n, "");
    assert_int_equal(a.err, OK);
    assert_false(a.has_more);
    assert_int_equal(a.reseal.examined, 5);
    assert_int_equal(a.reseal.failed, 0);
    assert_int_equal(a.reseal.sealed, 3 + 1 + 1 + 1 + 50);
    assert_sealed(n, CONFIG_RELEASE, "db.txt", 1, "a");
    assert_sealed(n, CONFIG_RELEASE, "db.txt", 2, "a");
    assert_sealed(n, CONFIG_RELEASE, "db.txt", 3, "a");
    assert_sealed(n, CONFIG_DRAFT, "db.txt", 0, "a");
    assert_sealed(n, CONFIG_HEAD, "db.txt", 0, "a");
    assert_sealed(n, CONFIG_RELEASE, "gone.txt", 1, "a");
    assert_sealed(n, CONFIG_RELEASE, "large.txt", 1, "a");
    assert_sealed(n, CONFIG_RELEASE, "many.txt", 50, "a");
    assert_non_null(strstr(stored(n, CONFIG_RELEASE, "open.yaml", 1), "open: 1"));
    config_node_settle(n);
    i = config_node_find(n, "db.txt");
    assert_int_equal(i->head->seq, 2);
    assert_int_equal(i->head->gray.count, 1);
    assert_string_not_equal(i->head->digest.md5, before.md5);
    assert_string_equal(config_node_read(n, "db.txt", 0).text, "secret 2");
    assert_string_equal(config_node_read(n, "db.txt", 3).text, "secret gray");
    assert_string_equal(config_node_read(n, "many.txt", 7).text, "secret 6");
    assert_true(config_node_publish(n, "db.txt", "secret 2").result.is_unchanged);
    assert_int_equal(publish_draft(n, "db.txt").err, OK);
    assert_int_equal(config_node_rollback(n, "gone.txt", 1).err, OK);
    /* The second time nothing is left to do. */
    assert_int_equal(reseal(n, "").reseal.sealed, 0);
    buf_done(&large);
}

/* After a rotation everything is sealed with the first key, whatever the policy says now; without the old key
 * what is left is counted. */
static void test_seal_again(void **state)
{
    struct config_node *n = *state;
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    config_node_publish(n, "a.txt", "secret 1");
    config_node_publish(n, "b.txt", "secret 2");
    put_policy(n, "{\"review\":[],\"encrypt\":[]}");
    reopen(n, &keys_b_first);
    struct reseal_reply a = reseal(n, "a");
    assert_int_equal(a.reseal.examined, 1);
    assert_int_equal(a.reseal.sealed, 1);
    assert_sealed(n, CONFIG_RELEASE, "a.txt", 1, "b");
    assert_sealed(n, CONFIG_HEAD, "a.txt", 0, "b");
    reopen(n, &keys_b_only);
    assert_string_equal(config_node_read(n, "a.txt", 0).text, "secret 1");
    a = reseal(n, "");
    assert_int_equal(a.err, OK);
    assert_int_equal(a.reseal.sealed, 0);
    assert_int_equal(a.reseal.failed, 1);
    assert_non_null(strstr(a.reseal.error, "default/b.txt, release 1: it is sealed with key a"));
    reopen(n, NULL);
    assert_int_equal(reseal(n, "").err, ERR_KEY_MISSING);
}

/* Pages by the number of items. */
static void test_seal_pages(void **state)
{
    struct config_node *n = *state;
    for (int i = 0; i < 5; i++)
        config_node_publish(n, arena_printf(&arena, "c%d.txt", i), "secret");
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    struct reseal_reply a = {.reseal = reseal_of("c")};
    size_t sealed = 0, pages = 0;
    char after[200] = "";
    do {
        a = (struct reseal_reply){.reseal = reseal_of("c")};
        a.reseal.request.done = on_reseal;
        a.reseal.limit = 2;
        a.reseal.after = slice_text(after);
        config_reseal(n->config, &a.reseal);
        one_node_run(&n->node, is_resealed, &a);
        assert_int_equal(a.err, OK);
        sealed += a.reseal.sealed;
        snprintf(after, sizeof after, "%s", a.last);
        pages++;
    } while (a.has_more && pages < 9);
    assert_int_equal(sealed, 5);
    assert_true(pages == 3);
}

/* Writes and a sealing at the same time: none of them is lost. */
static void test_seal_beside_writes(void **state)
{
    struct config_node *n = *state;
    put_policy(n, "{\"review\":[],\"encrypt\":[\"*\"]}");
    for (int i = 0; i < 30; i++) {
        const char *text = arena_printf(&arena, "secret %d", i);
        struct reseal_reply a;
        struct config_reply put = config_reply();
        put_draft(n, "db.txt", "secret old");
        config_node_publish(n, "db.txt", arena_printf(&arena, "secret live %d", i));
        reopen(n, i % 2 ? &keys : &keys_b_first);
        start_reseal(n, &a, "");
        for (int turns = 0; turns < i; turns++)
            uv_run(&n->node.loop, UV_RUN_NOWAIT);
        config_put_draft(
            n->config, &put.request,
            &(struct config_publish){.key = config_id_of("db.txt"), .content = slice_text(text)});
        config_node_wait(n, &put);
        one_node_run(&n->node, is_resealed, &a);
        assert_int_equal(put.err, OK);
        assert_int_equal(a.err, OK);
        put = config_reply();
        struct config_id id = config_id_of("db.txt");
        config_read_draft(n->config, &put.request, &id);
        config_node_wait(n, &put);
        assert_string_equal(put.text, text);
    }
}

/* --- imports -------------------------------------------------------------------------------------------- */

struct import_reply {
    struct config_import import;
    struct config_import_item items[3];
    bool is_done;
    int err;
};

static void on_import(struct config_import *i, int err)
{
    struct import_reply *r = container_of(i, struct import_reply, import);
    r->is_done = true;
    r->err = err;
}

static bool is_imported(void *arg)
{
    return ((struct import_reply *)arg)->is_done;
}

static void run_import(struct config_node *n, struct import_reply *r, enum config_import_policy policy)
{
    r->import = (struct config_import){.done = on_import, .items = r->items, .count = 3, .policy = policy};
    r->is_done = false;
    config_import(n->config, &r->import);
    one_node_run(&n->node, is_imported, r);
}

static struct slice sealed_content(const struct seal_key *key, const char *name, const char *content)
{
    struct config_id id = config_id_of(name);
    const uint8_t nonce[SEAL_NONCE_SIZE] = {7};
    struct buf names = {0}, sealed = {0};
    seal_add_names(&names, id.ns, id.group, id.name);
    assert_int_equal(seal_add(key, nonce, buf_slice(&names), slice_text(content), &sealed), OK);
    struct slice copy = slice_of(arena_copy(&arena, sealed.data, sealed.size), sealed.size);
    buf_done(&names);
    buf_done(&sealed);
    return copy;
}

/* Sealed files of an archive are opened by the names that they had, compared with what is live, and sealed
 * under their new names, without a policy. */
static void test_import(void **state)
{
    struct config_node *n = *state;
    const struct seal_key *key = seal_keys_first(&keys);
    struct import_reply r = {0};
    const char *const names[] = {"to/default/a.txt", "to/default/b.txt", "to/default/c.txt"};
    config_node_publish(n, "to/default/b.txt", "secret in clear");
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < 3; i++)
            r.items[i] = (struct config_import_item){
                .key = config_id_of(names[i]), .has_format = true, .format = FORMAT_TEXT};
        r.items[0].content = sealed_content(key, "from/default/a.txt", "secret 1");
        r.items[1].content = sealed_content(key, "from/default/b.txt", "secret 2");
        r.items[0].sealed = r.items[1].sealed = slice_text("a");
        r.items[0].sealed_as = config_id_of("from/default/a.txt");
        r.items[1].sealed_as = config_id_of("from/default/b.txt");
        r.items[2].content = slice_text("secret 3");
        r.items[2].is_decrypted = true;
        run_import(n, &r, CONFIG_IMPORT_OVERWRITE);
        assert_int_equal(r.err, OK);
        assert_int_equal(r.import.actions[CONFIG_UNCHANGED], again ? 3 : 0);
        config_import_done(&r.import);
    }
    assert_sealed(n, CONFIG_RELEASE, names[0], 1, "a");
    assert_sealed(n, CONFIG_RELEASE, names[1], 2, "a");
    assert_sealed(n, CONFIG_RELEASE, names[2], 1, "a");
    assert_string_equal(config_node_read(n, names[1], 0).text, "secret 2");
    /* One that does not open refuses the whole import, with its reason. */
    r.items[0].sealed = slice_text("a");
    r.items[0].is_decrypted = false;
    r.items[0].sealed_as = config_id_of("from/default/a.txt");
    r.items[0].content = sealed_content(key, "from/default/other.txt", "secret 4");
    r.items[1] = r.items[2] = (struct config_import_item){.has_format = true, .format = FORMAT_TEXT};
    r.items[1].key = config_id_of("to/default/d.txt");
    r.items[2].key = config_id_of("to/default/e.txt");
    r.items[2].sealed = slice_text("z");
    r.items[2].sealed_as = r.items[2].key;
    run_import(n, &r, CONFIG_IMPORT_OVERWRITE);
    assert_int_equal(r.err, ERR_CORRUPT);
    assert_int_equal(r.items[2].err, ERR_KEY_MISSING);
    assert_int_equal(r.import.actions[CONFIG_REFUSED], 2);
    assert_null(config_node_find(n, "to/default/d.txt"));
    config_import_done(&r.import);
}

/* Sealed files may come in an archive of another cluster, whose policy is not needed. */
static void test_import_beside_older_members(void **state)
{
    struct config_node *n = *state;
    struct import_reply r = {0};
    const char *const names[] = {"to/default/a.txt", "to/default/b.txt", "to/default/c.txt"};
    for (int i = 0; i < 3; i++)
        r.items[i] = (struct config_import_item){.key = config_id_of(names[i]),
                                                 .has_format = true,
                                                 .format = FORMAT_TEXT,
                                                 .content = slice_text("in clear")};
    r.items[1].content = sealed_content(seal_keys_first(&keys), "from/default/b.txt", "secret");
    r.items[1].sealed = slice_text("a");
    r.items[1].sealed_as = config_id_of("from/default/b.txt");
    run_import(n, &r, CONFIG_IMPORT_OVERWRITE);
    assert_int_equal(r.err, ERR_UNIMPLEMENTED);
    assert_null(config_node_find(n, names[1]));
    config_import_done(&r.import);
}

/* A member of an older version passes over `encrypt` and stores in clear, so the policy is refused while there may be
 * one. */
static void test_older_members(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = put_policy(n, "{\"review\":[],\"encrypt\":[\"db*\"]}");
    assert_int_equal(a.err, ERR_UNIMPLEMENTED);
    assert_string_equal(a.error,
                        "policies that encrypt need all members to be of this version: the feature level "
                        "of the cluster is 3, and must be 4");
    assert_int_equal(put_policy(n, "{\"review\":[\"db*\"]}").err, OK);
    assert_int_equal(put_policy(n, "{\"review\":[],\"encrypt\":[]}").err, OK);
    assert_int_equal(config_node_publish(n, "db", "password: 1").err, OK);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_keys),
        WITH(test_publish),
        WITH(test_large),
        WITH(test_checked),
        WITH(test_ways),
        WITH(test_rotation),
        WITH(test_moved),
        WITH(test_policy),
        cmocka_unit_test_setup_teardown(test_without_keys, setup_without, teardown),
        WITH(test_metrics),
        WITH(test_import),
        WITH(test_seal_existing),
        WITH(test_seal_again),
        WITH(test_seal_pages),
        WITH(test_seal_beside_writes),
        cmocka_unit_test_setup_teardown(test_older_members, setup_older, teardown),
        cmocka_unit_test_setup_teardown(test_import_beside_older_members, setup_older, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
