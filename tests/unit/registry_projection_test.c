/* SPDX-License-Identifier: Apache-2.0
 * Tests of the projection of registrations that frameworks write. The frameworks' own registrars wrote the
 * keys and values marked (real): kratos 3, go-micro 6, dubbo-go 3.3, go-zero 1.10 and etcd's endpoints
 * manager. Only addresses and names were changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "registry/projection.h"

#define ALL                                                                                                  \
    "defaults,go-zero=user.rpc,go-zero=zero/,grpc=services2/@prod/g,kratos=/kr,dubbo-interface=/group2/@n/"  \
    "g2"

static struct projections *parsed(const char *text)
{
    struct projections *p = NULL;
    char error[300] = "";
    int err = projections_parse(slice_text(text), error, sizeof error, &p);
    if (err)
        print_error("%s\n", error);
    assert_int_equal(err, OK);
    return p;
}

/* --- keys and values -------------------------------------------------------------------------------- */

#define DUBBO_URL                                                                                            \
    "dubbo%3A%2F%2F10.0.0.6%3A20000%2Fcom.example.GreetService%3Fanyhost%3Dtrue%26application%3Dorder-app"   \
    "%26group%3Dg%26interface%3Dcom.example.GreetService%26methods%3DGreet%26registry.role%3D3"              \
    "%26timestamp%3D1700000000%26version%3D1.2.0%26weight%3D50"
#define DUBBO_DOC                                                                                            \
    "{\"host\":\"10.0.0.6\",\"port\":20000,\"protocol\":\"dubbo\",\"version\":\"1.2.0\",\"weight\":50,"      \
    "\"metadata\":{\"anyhost\":\"true\",\"application\":\"order-app\",\"group\":\"g\",\"interface\":"        \
    "\"com.example.GreetService\",\"methods\":\"Greet\",\"registry.role\":\"3\",\"timestamp\":"              \
    "\"1700000000\","                                                                                        \
    "\"version\":\"1.2.0\",\"weight\":\"50\"},\"ttl\":0,\"grace\":0,\"state\":\"up\","                       \
    "\"source\":\"dubbo-interface\"}"
#define END(source) ",\"ttl\":0,\"grace\":0,\"state\":\"up\",\"source\":\"" source "\"}"

static const struct {
    const char *key, *value;
    const char *name; /* NULL: the key is not an instance */
    const char *doc;  /* NULL: the value is not an instance */
} cases[] = {
    /* kratos (real) */
    {"/microservices/helloworld/3f6c1f9e-0a54-4d0c-9a5e-5d1a35f1b1c1",
     "{\"id\":\"3f6c1f9e-0a54-4d0c-9a5e-5d1a35f1b1c1\",\"name\":\"helloworld\",\"version\":\"v1.0.0\","
     "\"metadata\":{\"zone\":\"b\"},\"endpoints\":[\"grpc://10.0.0.5:9000?isSecure=false\","
     "\"http://10.0.0.5:8000?isSecure=false\"]}",
     "default/default/helloworld kratos:3f6c1f9e-0a54-4d0c-9a5e-5d1a35f1b1c1",
     "{\"host\":\"10.0.0.5\",\"port\":9000,\"ports\":{\"grpc\":9000,\"http\":8000},\"protocol\":\"grpc\","
     "\"zone\":\"b\",\"version\":\"v1.0.0\",\"weight\":100,\"metadata\":{\"zone\":\"b\"}" END("kratos")},
    {"/microservices/helloworld/n2",
     "{\"id\":\"n2\",\"name\":\"helloworld\",\"version\":\"\",\"metadata\":null,"
     "\"endpoints\":[\"grpcs://[fd00::5]:9000\"]}",
     "default/default/helloworld kratos:n2",
     "{\"host\":\"fd00::5\",\"port\":9000,\"protocol\":\"grpcs\",\"weight\":100" END("kratos")},
    /* kratos: another prefix, a weight, endpoints of two hosts, twice one protocol, none */
    {"/kr/a/b/c/1", "{\"endpoints\":[\"http://h:1\"],\"metadata\":{\"weight\":\"7\",\"n\":1}}",
     "default/default/a.b.c kratos:1",
     "{\"host\":\"h\",\"port\":1,\"protocol\":\"http\",\"weight\":7,\"metadata\":{\"weight\":\"7\"}" END(
         "kratos")},
    {"/kr/a/1",
     "{\"endpoints\":[7,\"nonsense\",\"http://h:1/x\",\"grpc://other:2\",\"http://h:3\",\"tcp://h:4\"]}",
     "default/default/a kratos:1",
     "{\"host\":\"h\",\"port\":1,\"ports\":{\"http\":1,\"tcp\":4},\"protocol\":\"http\",\"weight\":100" END(
         "kratos")},
    {"/microservices/a/1", "{\"endpoints\":[]}", "default/default/a kratos:1", NULL},
    {"/microservices/a/1", "{\"endpoints\":[\"http://h\"]}", "default/default/a kratos:1", NULL},
    {"/microservices/a/1", "{\"endpoints\":\"http://h:1\"}", "default/default/a kratos:1", NULL},
    {"/microservices/a/1", "[\"http://h:1\"]", "default/default/a kratos:1", NULL},
    {"/microservices/a/1", "", "default/default/a kratos:1", NULL},
    {"/microservices/a/1", "{\"endpoints\":[\"http://h:1\"]", "default/default/a kratos:1", NULL},
    {"/microservices/a/1", "{\"endpoints\":[\"http://h:0\"]}", "default/default/a kratos:1", NULL},
    {"/microservices/a/1", "{\"endpoints\":[\"http://h:65536\"]}", "default/default/a kratos:1", NULL},
    {"/microservices/a/1", "{\"endpoints\":[\"http://u@h:1\"]}", "default/default/a kratos:1", NULL},
    {"/microservices/a/1", "{\"endpoints\":[\"http://::1:1\"]}", "default/default/a kratos:1", NULL},
    {"/microservices/a", "{\"endpoints\":[\"http://h:1\"]}", NULL, NULL},
    {"/microservices/a/", "{\"endpoints\":[\"http://h:1\"]}", NULL, NULL},
    {"/microservices//a", "{\"endpoints\":[\"http://h:1\"]}", NULL, NULL},
    {"/microservices/", "", NULL, NULL},
    {"/microservices/a\n/1", "{\"endpoints\":[\"http://h:1\"]}", NULL, NULL},
    {"/microservices/\xff/1", "{\"endpoints\":[\"http://h:1\"]}", NULL, NULL},
    /* kitex: its struct, as its registrar marshals it */
    {"kitex/registry-etcd/echo/10.0.0.8:8888",
     "{\"network\":\"tcp\",\"address\":\"10.0.0.8:8888\",\"weight\":10,\"tags\":{\"cluster\":\"c1\",\"idc\":"
     "\"x\"}}",
     "default/default/echo kitex:10.0.0.8:8888",
     "{\"host\":\"10.0.0.8\",\"port\":8888,\"protocol\":\"tcp\",\"cluster\":\"c1\",\"weight\":10,"
     "\"metadata\":{\"cluster\":\"c1\",\"idc\":\"x\"}" END("kitex")},
    {"kitex/registry-etcd/echo/[fd00::8]:8888",
     "{\"network\":\"tcp\",\"address\":\"[fd00::8]:8888\",\"weight\":0,\"tags\":null}",
     "default/default/echo kitex:[fd00::8]:8888",
     "{\"host\":\"fd00::8\",\"port\":8888,\"protocol\":\"tcp\",\"weight\":10" END("kitex")},
    {"kitex/registry-etcd/echo/h:1", "{\"network\":\"tcp\",\"address\":\"h:1\",\"weight\":100000}",
     "default/default/echo kitex:h:1",
     "{\"host\":\"h\",\"port\":1,\"protocol\":\"tcp\",\"weight\":65535" END("kitex")},
    {"kitex/registry-etcd/echo/x", "{\"network\":\"unix\",\"address\":\"/tmp/sock\",\"weight\":10}",
     "default/default/echo kitex:x", NULL},
    /* go-micro (real) */
    {"/micro/registry/greeter/greeter-0b5a3a6c",
     "{\"name\":\"greeter\",\"version\":\"latest\",\"metadata\":{\"team\":\"x\"},\"endpoints\":[{\"request\":"
     "{\"name\":\"Request\",\"type\":\"Request\",\"values\":null},\"response\":{\"name\":\"Response\","
     "\"type\":"
     "\"Response\",\"values\":null},\"metadata\":{\"stream\":\"false\"},\"name\":\"Greeter.Hello\"}],"
     "\"nodes\":"
     "[{\"metadata\":{\"broker\":\"http\",\"protocol\":\"grpc\",\"region\":\"eu\",\"registry\":\"etcd\","
     "\"server\":"
     "\"grpc\",\"transport\":\"grpc\"},\"id\":\"greeter-0b5a3a6c\",\"address\":\"10.0.0.7:40001\"}]}",
     "default/default/greeter go-micro:greeter-0b5a3a6c",
     "{\"host\":\"10.0.0.7\",\"port\":40001,\"protocol\":\"grpc\",\"region\":\"eu\",\"version\":\"latest\","
     "\"weight\":100,\"metadata\":{\"broker\":\"http\",\"protocol\":\"grpc\",\"region\":\"eu\",\"registry\":"
     "\"etcd\","
     "\"server\":\"grpc\",\"team\":\"x\",\"transport\":\"grpc\"}" END("go-micro")},
    {"/micro/registry/greeter/x", "{\"name\":\"greeter\",\"nodes\":[]}", "default/default/greeter go-micro:x",
     NULL},
    {"/micro/registry/greeter/x", "{\"name\":\"greeter\",\"nodes\":[{\"address\":\"nowhere\"}]}",
     "default/default/greeter go-micro:x", NULL},
    /* dubbo, application level (real) */
    {"/services/order-app/10.0.0.6:20000",
     "{\"ID\":\"10.0.0.6:20000\",\"ServiceName\":\"order-app\",\"Host\":\"10.0.0.6\",\"Port\":20000,"
     "\"Weight\":100,"
     "\"Enable\":true,\"Healthy\":true,\"Metadata\":{\"dubbo.endpoints\":\"[{\\\"port\\\":20000,"
     "\\\"protocol\\\":"
     "\\\"dubbo\\\"}]\",\"dubbo.metadata.revision\":\"1\"},\"ServiceMetadata\":null,\"Address\":\"\","
     "\"GroupName\":\"\",\"Tag\":\"\"}\n",
     "default/default/order-app dubbo:10.0.0.6:20000",
     "{\"host\":\"10.0.0.6\",\"port\":20000,\"protocol\":\"dubbo\",\"weight\":100,\"metadata\":{"
     "\"dubbo.endpoints\":\"[{\\\"port\\\":20000,\\\"protocol\\\":\\\"dubbo\\\"}]\","
     "\"dubbo.metadata.revision\":\"1\"}" END("dubbo")},
    {"/services/a/h:1",
     "{\"host\":\"h\",\"port\":1,\"weight\":5,\"enabled\":false,\"tag\":\"blue\",\"metadata\":{\"dubbo."
     "endpoints\":"
     "\"[{\\\"port\\\":0},{\\\"port\\\":2,\\\"protocol\\\":\\\"tri\\\"},{\\\"port\\\":3,\\\"protocol\\\":"
     "\\\"rest\\\"}]\"}}",
     "default/default/a dubbo:h:1",
     "{\"host\":\"h\",\"port\":2,\"ports\":{\"rest\":3,\"tri\":2},\"protocol\":\"tri\",\"weight\":5,\"tags\":"
     "[\"blue\"],"
     "\"metadata\":{\"dubbo.endpoints\":\"[{\\\"port\\\":0},{\\\"port\\\":2,\\\"protocol\\\":\\\"tri\\\"},{"
     "\\\"port\\\":3,"
     "\\\"protocol\\\":\\\"rest\\\"}]\"},\"ttl\":0,\"grace\":0,\"state\":\"draining\",\"source\":\"dubbo\"}"},
    {"/services/a/h:1", "{\"Host\":\"h\",\"Port\":1,\"Healthy\":false}", "default/default/a dubbo:h:1",
     "{\"host\":\"h\",\"port\":1,\"weight\":100,\"ttl\":0,\"grace\":0,\"state\":\"down\",\"source\":"
     "\"dubbo\"}"},
    {"/services/a/h:1", "{\"Port\":1}", "default/default/a dubbo:h:1", NULL},
    {"/services/a/h:1", "{\"Host\":\"h h\",\"Port\":1}", "default/default/a dubbo:h:1", NULL},
    /* dubbo, interface level (real); other keys under the prefix are no instances */
    {"/dubbo/com.example.GreetService/providers/" DUBBO_URL, "",
     "default/default/com.example.GreetService dubbo-interface:10.0.0.6:20000:", DUBBO_DOC},
    {"/group2/com.example.GreetService/providers/" DUBBO_URL, "",
     "n/g2/com.example.GreetService dubbo-interface:10.0.0.6:20000:", DUBBO_DOC},
    {"/dubbo/a%24b/providers/tri%3A%2F%2Fh%3A1", "", "default/default/a$b dubbo-interface:h:1:",
     "{\"host\":\"h\",\"port\":1,\"protocol\":\"tri\",\"weight\":100" END("dubbo-interface")},
    {"/dubbo/com.example.GreetService/consumers/" DUBBO_URL, "", NULL, NULL},
    {"/dubbo/com.example.GreetService/providers", "", NULL, NULL},
    {"/dubbo/com.example.GreetService", "", NULL, NULL},
    {"/dubbo", "", NULL, NULL},
    {"/dubbo/order-app/1", "{}", NULL, NULL},
    {"/dubbo/a/providers/tri%3A%2F%2Fh", "", NULL, NULL},
    {"/dubbo/a/providers/tri%3A%2F%2Fh%3A1%", "", NULL, NULL},
    /* go-zero (real) */
    {"user.rpc/7587895402130465286", "10.0.0.9:8080", "default/default/user.rpc go-zero:7587895402130465286",
     "{\"host\":\"10.0.0.9\",\"port\":8080,\"weight\":100" END("go-zero")},
    {"zero/shop/order.rpc/77", "[fd00::1]:1", "default/default/shop.order.rpc go-zero:77",
     "{\"host\":\"fd00::1\",\"port\":1,\"weight\":100" END("go-zero")},
    {"user.rpc2/7", "h:1", "default/default/user.rpc2 go-zero:7",
     "{\"host\":\"h\",\"port\":1,\"weight\":100" END("go-zero")},
    {"user.rpc/7", "no address", "default/default/user.rpc go-zero:7", NULL},
    {"user.rpc/7", "", "default/default/user.rpc go-zero:7", NULL},
    {"user.rpc/a7", "h:1", NULL, NULL},
    {"user.rpc", "h:1", NULL, NULL},
    /* etcd's endpoints manager (real) */
    {"services2/orders/10.0.0.3:50051", "{\"Op\":0,\"Addr\":\"10.0.0.3:50051\",\"Metadata\":null}",
     "prod/g/orders grpc:10.0.0.3:50051",
     "{\"host\":\"10.0.0.3\",\"port\":50051,\"protocol\":\"grpc\",\"weight\":100" END("grpc")},
    {"services2/a/b/x", "{\"Op\":0,\"Addr\":\"h:1\",\"Metadata\":{\"zone\":\"b\",\"n\":7}}",
     "prod/g/a.b grpc:x",
     "{\"host\":\"h\",\"port\":1,\"protocol\":\"grpc\",\"zone\":\"b\",\"weight\":100,\"metadata\":{\"zone\":"
     "\"b\"}" END("grpc")},
    {"services2/a/x", "{\"Op\":0,\"Addr\":\"h:1\",\"Metadata\":\"text\"}", "prod/g/a grpc:x",
     "{\"host\":\"h\",\"port\":1,\"protocol\":\"grpc\",\"weight\":100" END("grpc")},
    {"services2/a/x", "{\"Op\":1,\"Addr\":\"h:1\"}", "prod/g/a grpc:x", NULL},
    {"services2/a/x", "{\"Op\":0,\"Addr\":\"unix:/run/x\"}", "prod/g/a grpc:x", NULL},
    /* of no framework */
    {"/other/a/1", "h:1", NULL, NULL},
    {"", "", NULL, NULL},
};

static void check(const struct projections *p, size_t n)
{
    struct arena a = {0};
    struct name name;
    enum projection_layout layout;
    struct instance doc;
    struct buf text = {0};
    int err = projection_name(p, slice_text(cases[n].key), &a, &name, &layout);
    if (!cases[n].name) {
        assert_true(err == ERR_NOT_FOUND || err == ERR_MALFORMED);
        goto out;
    }
    assert_int_equal(err, OK);
    buf_add_slice(&text, name.ns);
    buf_addf(&text, "/%.*s/", (int)name.group.size, name.group.data);
    buf_add_slice(&text, name.service);
    buf_addf(&text, " %.*s", (int)name.id.size, name.id.data);
    if (layout == LAYOUT_DUBBO_INTERFACE)
        text.size -= 8; /* the key's checksum */
    assert_string_equal(buf_text(&text), cases[n].name);
    err = projection_read(layout, slice_text(cases[n].key), slice_text(cases[n].value), &a, &doc);
    assert_int_equal(err, cases[n].doc ? OK : ERR_MALFORMED);
    if (err)
        goto out;
    buf_clear(&text);
    instance_write(&doc, &text);
    assert_string_equal(buf_text(&text), cases[n].doc);
    /* The store's own reader accepts it, except for the property that only a projection has (no TTL). */
    struct instance *copy = instance_copy(&doc);
    buf_clear(&text);
    instance_write(copy, &text);
    assert_string_equal(buf_text(&text), cases[n].doc);
    mem_free(copy);
out:
    buf_done(&text);
    arena_done(&a);
}

static void test_layouts(void **state)
{
    struct projections *p = parsed(ALL);
    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++)
        check(p, n);
    projections_free(p);
}

/* Long ones are left out; the rest stays. */
static void test_limits(void **state)
{
    struct projections *p = parsed("defaults");
    struct arena a = {0};
    struct buf key = {0}, value = {0};
    struct name name;
    enum projection_layout layout;
    struct instance doc;
    (void)state;
    buf_add_text(&key, "/microservices/");
    for (int i = 0; i < 256; i++)
        buf_add_byte(&key, 's');
    buf_add_text(&key, "/1");
    assert_int_equal(projection_name(p, buf_slice(&key), &a, &name, &layout), OK);
    buf_add_text(&key, "/1");
    assert_int_equal(projection_name(p, buf_slice(&key), &a, &name, &layout), ERR_MALFORMED);
    buf_clear(&key);
    buf_add_text(&key, "/microservices/s/");
    for (int i = 0; i < 256 - 7; i++)
        buf_add_byte(&key, 'i');
    assert_int_equal(projection_name(p, buf_slice(&key), &a, &name, &layout), OK);
    buf_add_byte(&key, 'i');
    assert_int_equal(projection_name(p, buf_slice(&key), &a, &name, &layout), ERR_MALFORMED);
    buf_add_text(&value, "{\"endpoints\":[\"http://h:1\"],\"version\":\"");
    for (int i = 0; i < 300; i++)
        buf_add_byte(&value, 'v');
    buf_add_text(&value, "\",\"metadata\":{\"a\":\"1\",\"b\":\"");
    for (int i = 0; i < 9000; i++)
        buf_add_byte(&value, 'm');
    buf_add_text(&value, "\",\"c\":\"3\"}}");
    int err = projection_read(LAYOUT_KRATOS, slice_text("/microservices/s/1"), buf_slice(&value), &a, &doc);
    assert_int_equal(err, OK);
    assert_int_equal(doc.version.size, 0);
    assert_int_equal(doc.metadata.count, 2);
    assert_true(slice_equal(doc.metadata.list[1].key, slice_text("c")));
    buf_done(&key);
    buf_done(&value);
    arena_done(&a);
    projections_free(p);
}

/* --- the option ------------------------------------------------------------------------------------- */

static void test_prefixes(void **state)
{
    static const char *const expected[] = {"/microservices/",
                                           "kitex/registry-etcd/",
                                           "/micro/registry/",
                                           "/services/",
                                           "/dubbo/",
                                           "user.rpc",
                                           "zero/",
                                           "services2/",
                                           "/kr/",
                                           "/group2/"};
    struct projections *p = parsed(ALL);
    (void)state;
    assert_int_equal(projections_count(p), sizeof expected / sizeof *expected);
    for (size_t i = 0; i < projections_count(p); i++)
        assert_string_equal(projections_prefix(p, i), expected[i]);
    projections_free(p);
    p = parsed("none");
    assert_int_equal(projections_count(p), 0);
    projections_free(p);
    p = parsed("");
    assert_int_equal(projections_count(p), 0);
    projections_free(p);
}

static void test_wrong_options(void **state)
{
    static const char *const wrong[][2] = {
        {"nacos=/x/", "\"nacos=/x/\" is not layout=prefix, with a layout of kratos, kitex"},
        {"kratos", "\"kratos\" is not layout=prefix"},
        {"defaults,", NULL}, /* an empty end is valid */
        {",defaults", "\"\" is not layout=prefix"},
        {"kratos=", "the prefix \"\" is empty"},
        {"kratos=/a/,kitex=/a/", "\"/a/\" and \"/a/\" overlap"},
        {"kratos=/a/,kitex=/a/b/", "\"/a/b/\" and \"/a/\" overlap"},
        {"go-zero=user,go-zero=us", "\"us\" and \"user\" overlap"},
        {"defaults,defaults", "overlap"},
        {"grpc=/cairn/x", "\"/cairn/x\" and \"/cairn/\" overlap"},
        {"grpc=/", "\"/\" and \"/cairn/\" overlap"},
        {"grpc=x@prod", "\"@prod\" is not @namespace/group"},
        {"grpc=x@/g", "a namespace is empty"},
        {"grpc=x@n/", "a group is empty"},
        {"grpc=x@n/g/h", "a group holds a '/'"},
    };
    (void)state;
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        struct projections *p = NULL;
        char error[300] = "";
        int err = projections_parse(slice_text(wrong[n][0]), error, sizeof error, &p);
        assert_int_equal(err, wrong[n][1] ? ERR_INVALID : OK);
        if (wrong[n][1] && !strstr(error, wrong[n][1]))
            print_error("%s: %s\n", wrong[n][0], error);
        assert_true(!wrong[n][1] || strstr(error, wrong[n][1]));
        projections_free(p);
    }
    /* Too many. */
    struct buf many = {0};
    char error[300];
    struct projections *p;
    for (int i = 0; i <= PROJECTIONS_MAX; i++)
        buf_addf(&many, "grpc=p%02d/,", i);
    assert_int_equal(projections_parse(buf_slice(&many), error, sizeof error, &p), ERR_INVALID);
    buf_done(&many);
}

/* --- the catalog ------------------------------------------------------------------------------------ */

static void put(struct projections *p, struct catalog *c, const char *key, const char *value,
                int64_t revision)
{
    Mvccpb__KeyValue pair = MVCCPB__KEY_VALUE__INIT;
    pair.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    pair.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)(uintptr_t)value};
    pair.create_revision = 1;
    pair.mod_revision = revision;
    catalog_begin(c, revision);
    assert_true(projections_put(p, c, &pair));
    catalog_end(c);
}

static struct catalog_service *find(struct catalog *c)
{
    struct slice name = slice_text("default");
    return catalog_find(c, name, name, slice_text("a"));
}

static void test_catalog(void **state)
{
    struct projections *p = parsed("defaults,go-zero=a");
    struct catalog *c = catalog_new(&(struct catalog_events){0});
    Mvccpb__KeyValue other = MVCCPB__KEY_VALUE__INIT;
    (void)state;
    put(p, c, "/microservices/a/1", "{\"endpoints\":[\"http://h:1\"]}", 2);
    put(p, c, "/services/a/h:2", "{\"Host\":\"h\",\"Port\":2}", 3);
    put(p, c, "a/77", "h:3", 4);
    assert_int_equal(find(c)->instances, 3); /* beside each other, whoever wrote them */
    assert_int_equal(find(c)->by_state[INSTANCE_UP], 3);
    assert_true(slice_equal(find(c)->list[0]->doc->source, slice_text("dubbo")));
    assert_int_equal(find(c)->list[0]->mod_revision, 3);
    /* A key that is no instance any more, is unreadable, or is deleted, disappears; the catalog does not
     * count it as unreadable. */
    put(p, c, "a/77", "not an address", 5);
    assert_int_equal(find(c)->instances, 2);
    put(p, c, "a/x", "h:3", 6);
    assert_int_equal(find(c)->instances, 2);
    catalog_begin(c, 7);
    assert_true(projections_remove(p, c, slice_text("/services/a/h:2")));
    assert_true(projections_remove(p, c, slice_text("/services/a/nothing")));
    assert_true(projections_remove(p, c, slice_text("/services/")));
    assert_false(projections_remove(p, c, slice_text("/cairn/registry/x")));
    assert_false(projections_put(p, c, &other));
    catalog_end(c);
    assert_int_equal(find(c)->instances, 1);
    assert_int_equal(catalog_unreadable(c), 0);
    catalog_free(c);
    projections_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),       cmocka_unit_test(test_limits),  cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_wrong_options), cmocka_unit_test(test_catalog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
