/* SPDX-License-Identifier: Apache-2.0
 * Tests of option: etcd's rules for flags, environment and YAML over a small table, and the text of every
 * error. */
#include "tests/unit/unit.h"

#include <string.h>

#include "base/option.h"

struct settings {
    char *name;
    char *urls;
    char *cert;
    bool auth;
    bool check;
    int64_t quota;
    uint64_t ops;
    int64_t interval_ns;
};

#define AT(field) offsetof(struct settings, field)
static const struct option options[] = {
    {.help = "# Member"},
    {"name", OPTION_STRING, OPTION_WORKS, AT(name), "default", 0, 0, NULL, "Name of this member."},
    {"listen-client-urls", OPTION_STRING, OPTION_WORKS, AT(urls), "http://localhost:2379", 0, 0, NULL,
     "URLs."},
    {"quota-backend-bytes", OPTION_INT, OPTION_WORKS, AT(quota), "0", 0, 0, NULL, "Quota."},
    {"max-txn-ops", OPTION_UINT, OPTION_WORKS, AT(ops), "128", 1, 100000, NULL, "Operations.\nSecond line."},
    {"interval", OPTION_DURATION, OPTION_WORKS, AT(interval_ns), "5s", 1000000, INT64_MAX, NULL, "Interval."},
    {"check", OPTION_BOOL, OPTION_WORKS, AT(check), "true", 0, 0, NULL, NULL},
    {"cert-file", OPTION_STRING, OPTION_WORKS, AT(cert), NULL, 0, 0, "client-transport-security.cert-file",
     "# Security\nCertificate."},
    {"client-cert-auth", OPTION_BOOL, OPTION_WORKS, AT(auth), "false", 0, 0,
     "client-transport-security.client-cert-auth", "Demand certificates."},
    {"bbolt", OPTION_INT, OPTION_ACCEPTED, 0, "7", 0, 9, NULL, "A number."},
    {"force", OPTION_BOOL, OPTION_IGNORED, 0, NULL, 0, 0, NULL, "Old."},
};

static struct option_set set;
static struct settings s;

static int set_up(void **state)
{
    (void)state;
    set = (struct option_set){
        .options = options, .count = COUNT_OF(options), .env_prefix = "ETCD_", .program = "cairnd"};
    s = (struct settings){0};
    option_init(&set, &s);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    option_done(&set, &s);
    assert_null(s.name);
    return 0;
}

static int again(void)
{
    tear_down(NULL);
    return set_up(NULL);
}

/* Words separated by spaces. */
static int args(const char *line)
{
    char text[400];
    char *argv[40] = {text};
    int argc = 1;
    strcpy(text, "cairnd");
    strcpy(text + 10, line);
    for (char *word = strtok(text + 10, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    return option_parse_args(&set, &s, argc, argv);
}

static int env(const char *entry)
{
    char text[400];
    strcpy(text, entry);
    char *const list[] = {(char[]){"PATH=/bin"}, text, NULL};
    return option_parse_env(&set, &s, list);
}

static int yaml(const char *text)
{
    return option_parse_yaml(&set, &s, slice_text(text), "etcd.yaml");
}

static void fails(int err, const char *error)
{
    assert_int_equal(err, ERR_INVALID);
    assert_string_equal(set.error, error);
    again();
}

static void test_defaults(void **state)
{
    (void)state;
    assert_string_equal(s.name, "default");
    assert_string_equal(s.cert, "");
    assert_true(s.check);
    assert_false(s.auth);
    assert_int_equal(s.ops, 128);
    assert_int_equal(s.interval_ns, 5000000000);
    assert_false(option_is_given(&set, "name"));
    assert_false(option_is_given(&set, "unheard-of"));
}

static void test_flags(void **state)
{
    (void)state;
    assert_int_equal(args("--name a -max-txn-ops=7 --quota-backend-bytes -1 --client-cert-auth --check=false "
                          "-interval 1m --name=b=c --listen-client-urls -x --force --bbolt 3"),
                     OK);
    assert_string_equal(s.name, "b=c");
    assert_string_equal(s.urls, "-x");
    assert_int_equal(s.ops, 7);
    assert_int_equal(s.quota, -1);
    assert_true(s.auth);
    assert_false(s.check);
    assert_int_equal(s.interval_ns, 60000000000);
    assert_true(option_is_given(&set, "name"));
    assert_true(option_is_given(&set, "force"));
    assert_false(option_is_given(&set, "cert-file"));
    assert_string_equal(buf_text(&set.warnings), "flag --bbolt is accepted, but has no effect here\n");
    assert_int_equal(args("--name= --"), OK);
    assert_string_equal(s.name, "");
}

static void test_flag_refusals(void **state)
{
    (void)state;
    fails(args("--nam a"), "flag provided but not defined: -nam (see --help)");
    fails(args("--name a b"), "\"b\" is not a valid flag: flags begin with --, see --help");
    fails(args("--client-cert-auth false"), "\"false\" is not a valid flag: flags begin with --, see --help");
    fails(args("-"), "\"-\" is not a valid flag: flags begin with --, see --help");
    fails(args("-- --name"), "\"--name\" is not a valid flag: flags begin with --, see --help");
    fails(args("---name a"), "bad flag syntax: ---name");
    fails(args("--=a"), "bad flag syntax: --=a");
    fails(args("--name"), "flag needs an argument: -name");
    fails(args("--check=maybe"), "flag --check is \"maybe\", but must be true or false");
    fails(args("--max-txn-ops -5"), "flag --max-txn-ops is \"-5\", but must be a whole number, 0 or more");
    fails(args("--max-txn-ops 0"), "flag --max-txn-ops is 0, but must be between 1 and 100000");
    fails(args("--max-txn-ops 18446744073709551615"),
          "flag --max-txn-ops is 18446744073709551615, but must be between 1 and 100000");
    fails(args("--quota-backend-bytes 1.5"),
          "flag --quota-backend-bytes is \"1.5\", but must be a whole number");
    fails(args("--interval 5"),
          "flag --interval is \"5\", but must be a duration such as 100ms, 5s or 1h30m");
    fails(args("--interval 1us"), "flag --interval is 1us, but must be at least 1ms");
    fails(args("--bbolt 10"), "flag --bbolt is 10, but must be between 0 and 9");
}

static void test_env(void **state)
{
    (void)state;
    assert_int_equal(env("ETCD_LISTEN_CLIENT_URLS=http://a:1"), OK);
    assert_string_equal(s.urls, "http://a:1");
    assert_true(option_is_given(&set, "listen-client-urls"));
    assert_int_equal(env("ETCD_NAME="), OK);
    assert_string_equal(s.name, "default");
    assert_false(option_is_given(&set, "name"));
    assert_int_equal(set.warnings.size, 0);
    assert_int_equal(env("ETCD_NAM=x"), OK);
    assert_int_equal(env("ETCD_NAMES=x"), OK);
    assert_int_equal(env("ETCD_="), OK);
    assert_int_equal(env("ETCD_NAME"), OK);
    assert_string_equal(buf_text(&set.warnings), "unrecognized environment variable ETCD_NAM\n"
                                                 "unrecognized environment variable ETCD_NAMES\n"
                                                 "unrecognized environment variable ETCD_\n");
    fails(env("ETCD_MAX_TXN_OPS=x"),
          "environment variable ETCD_MAX_TXN_OPS is \"x\", but must be a whole number, 0 or more");
}

static void test_env_conflict(void **state)
{
    (void)state;
    assert_int_equal(args("--name a"), OK);
    assert_int_equal(env("ETCD_CHECK=0"), OK);
    assert_false(s.check);
    assert_int_equal(env("ETCD_NAME=b"), ERR_INVALID);
    assert_string_equal(set.error,
                        "conflicting environment variable is shadowed by corresponding command-line flag "
                        "(either unset environment variable or disable flag): ETCD_NAME");
    assert_int_equal(env("ETCD_NAME="), ERR_INVALID);
    assert_string_equal(s.name, "a");
}

static void test_yaml(void **state)
{
    (void)state;
    assert_int_equal(yaml("name: 'n 1'\n"
                          "listen-client-urls: [http://a:1, 'http://b:2']\n"
                          "quota-backend-bytes: -1\n"
                          "max-txn-ops: 5\n"
                          "interval: 600000000000\n"
                          "check: no\n"
                          "client-transport-security:\n"
                          "  cert-file: /c\n"
                          "  client-cert-auth: True\n"
                          "  unknown: 1\n"
                          "peer-transport-security: {cert-file: x}\n"
                          "bbolt: ~\n"
                          "cert-file: y\n"),
                     OK);
    assert_string_equal(s.name, "n 1");
    assert_string_equal(s.urls, "http://a:1,http://b:2");
    assert_int_equal(s.quota, -1);
    assert_int_equal(s.ops, 5);
    assert_true(s.interval_ns == 600000000000);
    assert_false(s.check);
    assert_string_equal(s.cert, "/c");
    assert_true(s.auth);
    assert_false(option_is_given(&set, "bbolt"));
    assert_true(option_is_given(&set, "cert-file"));
    assert_string_equal(
        buf_text(&set.warnings),
        "etcd.yaml, line 10, column 3: client-transport-security.unknown is not a known option and is "
        "ignored\n"
        "etcd.yaml, line 11, column 1: peer-transport-security is not a known option and is ignored\n"
        "etcd.yaml, line 13, column 1: cert-file is not a known option and is ignored\n");
    assert_int_equal(
        yaml("interval: 1m30s\nclient-transport-security:\nname: null\nlisten-client-urls: []\n"), OK);
    assert_int_equal(s.interval_ns, 90000000000);
    assert_string_equal(s.name, "n 1");
    assert_string_equal(s.urls, "");
    assert_int_equal(yaml(""), OK);
    assert_int_equal(yaml("---\n"), OK);
}

static void test_yaml_refusals(void **state)
{
    (void)state;
    fails(yaml("- a\n"), "etcd.yaml, line 1, column 1: must be a mapping of options");
    fails(yaml("a: 1\na: 2\n"), "etcd.yaml, line 2, column 1: duplicate key \"a\"");
    fails(yaml("name: {a: b}\n"), "etcd.yaml, line 1, column 1: name must be text");
    fails(yaml("name: [[a]]\n"), "etcd.yaml, line 1, column 1: name must be a list of plain values");
    fails(yaml("max-txn-ops: [1]\n"),
          "etcd.yaml, line 1, column 1: max-txn-ops must be a whole number, 0 or more");
    fails(yaml("\nmax-txn-ops: 0\n"),
          "etcd.yaml, line 2, column 1: max-txn-ops is 0, but must be between 1 and 100000");
    fails(yaml("interval: 5\n"), "etcd.yaml, line 1, column 1: interval is 5ns, but must be at least 1ms");
    fails(yaml("check: 'no'\n"), "etcd.yaml, line 1, column 1: check is \"no\", but must be true or false");
    fails(yaml("name: \"a\\0b\"\n"), "etcd.yaml, line 1, column 1: name has a NUL byte in its value");
}

static void test_help(void **state)
{
    (void)state;
    struct buf b = {0};
    option_print_help(&set, &b);
    assert_string_equal(buf_text(&b), "\nMember:\n"
                                      "  --name 'default'\n    Name of this member.\n"
                                      "  --listen-client-urls 'http://localhost:2379'\n    URLs.\n"
                                      "  --quota-backend-bytes '0'\n    Quota.\n"
                                      "  --max-txn-ops '128'\n    Operations.\n    Second line.\n"
                                      "  --interval '5s'\n    Interval.\n"
                                      "  --check 'true'\n"
                                      "\nSecurity:\n"
                                      "  --cert-file ''\n    Certificate.\n"
                                      "  --client-cert-auth 'false'\n    Demand certificates.\n"
                                      "  --bbolt '7'\n    A number.\n"
                                      "    Accepted for compatibility; has no effect here.\n");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flags, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flag_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_env, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_env_conflict, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_yaml, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_yaml_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_help, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
