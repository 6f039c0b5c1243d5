/* SPDX-License-Identifier: Apache-2.0
 * Tests of cairnctl's table and parser. The table is consistent, flags are read as pflag reads them, wrong
 * flags are named, and the error suggests the nearest name. */
#include "tests/unit/unit.h"

#include <string.h>

#include "sdk/ctl/kv.h"

static struct ctl_command_line t;

static int set_up(void **state)
{
    (void)state;
    t = (struct ctl_command_line){0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ctl_command_line_done(&t);
    return 0;
}

/* Words with a blank between. */
static int parse(const char *line, enum ctl_exit *ret_exit)
{
    static char text[512];
    const char *argv[40];
    int argc = 0;
    ctl_command_line_done(&t);
    assert_true(strlen(line) < sizeof text);
    strcpy(text, line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    return ctl_parse(argc, argv, &t, ret_exit);
}

static void accepted(const char *line)
{
    enum ctl_exit how;
    if (parse(line, &how) != OK)
        fail_msg("%s: %s", line, buf_text(&t.error));
}

static void refused(const char *line, enum ctl_exit wanted, const char *says)
{
    enum ctl_exit how = CTL_DONE;
    assert_int_not_equal(parse(line, &how), OK);
    assert_string_equal(buf_text(&t.error), says);
    assert_int_equal(how, wanted);
}

static void the_table_agrees_with_itself(void **state)
{
    (void)state;
    for (int a = 1; a < CTL_COMMAND_COUNT; a++) {
        const struct ctl_command *command = &ctl_commands[a];
        assert_true(command->max < 0 || command->max >= command->min);
        assert_true(strlen(command->summary) > 10);
        assert_null(strstr(command->words, "  "));
        for (int b = a + 1; b < CTL_COMMAND_COUNT; b++)
            assert_string_not_equal(command->words, ctl_commands[b].words);
    }
    for (size_t a = 0; a < ctl_flag_count; a++) {
        const struct ctl_flag *f = &ctl_flags[a];
        assert_int_equal(f->kind == CTL_BOOL, *f->value == 0); /* all others show their argument */
        for (size_t b = a + 1; b < ctl_flag_count; b++)
            assert_false(
                ctl_flags[b].command == f->command &&
                (strcmp(ctl_flags[b].name, f->name) == 0 || (f->letter && f->letter == ctl_flags[b].letter)));
    }
    for (size_t a = 0; a < ctl_choice_count; a++) { /* choices belong to flags that take a value */
        const struct ctl_choices *c = &ctl_choices[a];
        const struct ctl_flag *f = ctl_find_flag(c->command, c->flag, strlen(c->flag), false);
        assert_non_null(f);
        assert_int_equal(f->command, c->command);
        assert_int_not_equal(f->kind, CTL_BOOL);
    }
    for (size_t a = 0; a < ctl_flag_count; a++) { /* defaults are values */
        struct ctl_command_line one = {.values = mem_new(ctl_flag_count * sizeof *one.values),
                                       .program = "x"};
        if (ctl_flags[a].default_text)
            assert_int_equal(ctl_supply(&one, &ctl_flags[a], ctl_flags[a].default_text, ""), OK);
        ctl_command_line_done(&one);
    }
}

static bool has_first_word(enum ctl_command_id a, enum ctl_command_id b)
{
    if (a == CTL_COMMAND_global || b == CTL_COMMAND_global)
        return true;
    size_t size = strcspn(ctl_commands[a].words, " ");
    return strcspn(ctl_commands[b].words, " ") == size &&
           memcmp(ctl_commands[a].words, ctl_commands[b].words, size) == 0;
}

/* A flag's name and the first word decide in the first pass whether a word follows the flag. */
static void flags_of_one_name_are_all_bare_or_all_with_a_value(void **state)
{
    (void)state;
    for (size_t a = 0; a < ctl_flag_count; a++) {
        for (size_t b = 0; b < ctl_flag_count; b++) {
            if (strcmp(ctl_flags[a].name, ctl_flags[b].name) == 0 &&
                has_first_word(ctl_flags[a].command, ctl_flags[b].command))
                assert_int_equal(ctl_flags[a].kind == CTL_BOOL, ctl_flags[b].kind == CTL_BOOL);
        }
    }
    accepted("cairnctl endpoint --cluster status");
    assert_true(ctl_bool(&t, "cluster"));
    accepted("etcdctl --cluster endpoint status");
    assert_true(ctl_bool(&t, "cluster"));
    accepted("cairnctl service --cluster blue get web");
    assert_string_equal(ctl_flag_value(&t, "cluster"), "blue");
}

static void every_command_is_found(void **state)
{
    (void)state;
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        char line[200];
        bool is_etcdutls = ctl_commands[id].grammar == CTL_ONLY_UTL;
        snprintf(line, sizeof line, "%s %s --help", is_etcdutls ? "etcdutl" : "cairnctl",
                 ctl_commands[id].words);
        accepted(line);
        assert_int_equal(t.command, id);
        assert_true(t.wants_help);
        struct buf help = {0};
        ctl_add_help(&help, &t);
        assert_non_null(strstr(buf_text(&help), ctl_commands[id].summary));
        buf_done(&help);
    }
}

static void flags_stand_anywhere(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "cairnctl --endpoints a:1,b:2 -o json service get --tag x web --tag=y",
        "cairnctl service -ojson get web --tag x --tag y --endpoints=a:1,b:2",
        "/usr/bin/cairnctl -o=json service --tag x get --tag y --endpoints a:1,b:2 web",
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        accepted(lines[i]);
        assert_int_equal(t.command, CTL_COMMAND_service_get);
        assert_int_equal(t.arg_count, 1);
        assert_string_equal(t.args[0], "web");
        assert_string_equal(ctl_text(&t, "output"), "json");
        assert_string_equal(ctl_flag_value(&t, "endpoints"), "a:1,b:2");
        assert_int_equal(ctl_list(&t, "tag")->count, 2);
        assert_string_equal(ctl_list(&t, "tag")->list[0], "x");
        assert_string_equal(ctl_list(&t, "tag")->list[1], "y");
        assert_false(ctl_bool(&t, "healthy"));
    }
}

static void kinds_have_their_values(void **state)
{
    (void)state;
    accepted("cairnctl service drain web w1 --deadline 1m0.5s --no-wait");
    assert_int_equal(ctl_duration_ms(&t, "deadline"), 60500);
    assert_true(ctl_bool(&t, "no-wait"));
    assert_int_equal(ctl_duration_ms(&t, "command-timeout"), 5000);
    accepted("cairnctl service drain web w1 --no-wait=false");
    assert_false(ctl_bool(&t, "no-wait"));
    assert_int_equal(ctl_duration_ms(&t, "deadline"), 30000);
    accepted("cairnctl config get a --seq 12");
    assert_int_equal(ctl_int(&t, "seq"), 12);
    refused("cairnctl config get a --seq 12x", CTL_BAD_ARGS,
            "cairnctl: --seq is \"12x\"; it must be a whole number\n");
    refused("cairnctl config get a --seq", CTL_BAD_ARGS, "cairnctl: --seq needs a value: N\n");
    refused("cairnctl service ls --command-timeout 5", CTL_BAD_ARGS,
            "cairnctl: --command-timeout is \"5\"; it must be a time, as 5s or 1m30s\n");
}

static void arguments_after_the_dashes_are_not_flags(void **state)
{
    (void)state;
    accepted("cairnctl service register web w1 10.0.0.1:80 --zone b -- run --zone c -x");
    assert_int_equal(t.dash_at, 3);
    assert_int_equal(t.arg_count, 7);
    assert_string_equal(t.args[4], "--zone");
    assert_string_equal(ctl_flag_value(&t, "zone"), "b");
    accepted("cairnctl config set a -"); /* a dash alone is a file */
    assert_string_equal(t.args[1], "-");
}

static void arguments_are_counted(void **state)
{
    (void)state;
    refused("cairnctl service get", CTL_BAD_ARGS,
            "cairnctl: service get needs more arguments\nusage: cairnctl service get SERVICE [INSTANCE]\n");
    refused("cairnctl config ls a b", CTL_BAD_ARGS,
            "cairnctl: config ls has too many arguments\nusage: cairnctl config ls [PREFIX]\n");
    refused("cairnctl service register web w1 10.0.0.1:80 sleep 5", CTL_BAD_ARGS,
            "cairnctl: service register has too many arguments\n"
            "usage: cairnctl service register SERVICE ID HOST:PORT [-- COMMAND ...]\n");
    refused("cairnctl service register web w1 -- 10.0.0.1:80", CTL_BAD_ARGS,
            "cairnctl: service register needs more arguments\n"
            "usage: cairnctl service register SERVICE ID HOST:PORT [-- COMMAND ...]\n");
}

static void the_nearest_name_is_suggested(void **state)
{
    (void)state;
    refused("cairnctl config gett a", CTL_BAD_ARGS,
            "cairnctl: there is no command \"config gett\"; did you mean \"config get\"?\n");
    refused("cairnctl service list", CTL_BAD_ARGS,
            "cairnctl: there is no command \"service list\"; did you mean \"service ls\"?\n");
    refused("cairnctl confg", CTL_BAD_ARGS,
            "cairnctl: there is no command \"confg\"; did you mean \"config\"?\n");
    refused("cairnctl xyzzy", CTL_BAD_ARGS,
            "cairnctl: there is no command \"xyzzy\"; \"cairnctl help\" lists them\n");
    refused("cairnctl config set a --titel b", CTL_BAD_ARGS,
            "cairnctl: config set has no flag --titel; did you mean --title?\n");
    refused("cairnctl config set a -z", CTL_BAD_ARGS,
            "cairnctl: config set has no flag -z; \"cairnctl config set --help\" lists them\n");
    refused("cairnctl config set a --qqq=1", CTL_BAD_ARGS,
            "cairnctl: config set has no flag --qqq; \"cairnctl config set --help\" lists them\n");
    /* A flag of etcdutl alone is not suggested to cairnctl, which would refuse it again. */
    refused("cairnctl config set a --timeout=3s", CTL_BAD_ARGS,
            "cairnctl: config set has no flag --timeout; \"cairnctl config set --help\" lists them\n");
    refused("cairnctl get a --timeot=3s", CTL_BAD_ARGS,
            "cairnctl: get has no flag --timeot; \"cairnctl get --help\" lists them\n");
}

static void a_group_alone_shows_its_help(void **state)
{
    (void)state;
    accepted("cairnctl config");
    assert_true(t.wants_help);
    struct buf help = {0};
    ctl_add_help(&help, &t);
    assert_non_null(strstr(buf_text(&help), "config rollback"));
    assert_null(strstr(buf_text(&help), "service ls"));
    buf_done(&help);
    accepted("cairnctl");
    assert_true(t.wants_help);
}

static void under_the_name_etcdutl_it_is_etcdutl(void **state)
{
    (void)state;
    accepted("/usr/bin/etcdutl snapshot restore f --bump-revision 18446744073709551615 --mark-compacted");
    assert_true(t.is_etcdutl && !t.is_etcdctl);
    assert_int_equal(t.command, CTL_COMMAND_snapshot_restore);
    assert_true(ctl_uint(&t, "bump-revision") == UINT64_MAX);
    assert_string_equal(ctl_text(&t, "initial-cluster"), "default=http://localhost:2380");
    accepted("cairnctl etcdutl hashkv f --rev -1");
    assert_true(t.is_etcdutl);
    assert_int_equal(ctl_int(&t, "rev"), -1);
    accepted("cairnctl hashkv f");
    assert_false(t.is_etcdutl);
    accepted("etcdutl snapshot");
    assert_true(t.wants_help);
    refused("etcdutl put a b", CTL_ERROR,
            "Error: unknown command \"put\" for \"etcdutl\"\nRun 'etcdutl --help' for usage.\n");
    refused("etcdutl snapshot save f", CTL_ERROR,
            "Error: unknown command \"snapshot save\" for \"etcdutl\"\nRun 'etcdutl --help' for usage.\n");
    refused("etcdctl snapshot restore f", CTL_ERROR,
            "Error: unknown command \"snapshot restore\" for \"etcdctl\"\nRun 'etcdctl --help' for usage.\n");
    refused("etcdutl snapshot restore f --bump-revision -3", CTL_ERROR,
            "Error: invalid argument \"-3\" for \"--bump-revision\" flag: strconv.ParseUint: parsing \"-3\": "
            "invalid syntax\n");
    refused("cairnctl snapshot restore f --bump-revision -3", CTL_BAD_ARGS,
            "cairnctl: --bump-revision is \"-3\"; it must be a whole number\n");
}

static void under_the_name_etcdctl_it_is_etcdctl(void **state)
{
    (void)state;
    static const char unknown[] =
        "Error: unknown command \"service\" for \"etcdctl\"\nRun 'etcdctl --help' for usage.\n";
    refused("/usr/bin/etcdctl service ls", CTL_ERROR, unknown);
    refused("cairnctl etcdctl service ls", CTL_ERROR, unknown);
    refused("etcdctl version -o json", CTL_ERROR, "Error: unknown shorthand flag: 'o' in -o\n");
    refused("etcdctl version --namespace a", CTL_ERROR, "Error: unknown flag: --namespace\n");
    accepted("etcdctl version -w json");
    assert_true(t.is_etcdctl);
}

static void a_comparison_is_read(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "value",
                                        "value(\"a\") = b",
                                        "value(a) = \"b\"",
                                        "size(\"a\") = \"b\"",
                                        "mod(\"a\") = \"x\"",
                                        "mod(\"a\") ~ \"1\"",
                                        "mod(\"a\" = \"1\"",
                                        "mod(\"a\") = \"1\" 2",
                                        "val(\"a\\q\") = \"1\"",
                                        "lease(\"a\") = \"xyz\""};
    struct arena arena = {0};
    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
    assert_true(ctl_read_compare(&arena, "value(\"k\\x41\\n\") !=  \"v \\\"\"", &compare));
    assert_int_equal(compare.result, ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL);
    assert_int_equal(compare.key.len, 3);
    assert_memory_equal(compare.key.data, "kA\n", 3);
    assert_int_equal(compare.value.len, 3);
    assert_memory_equal(compare.value.data, "v \"", 3);
    assert_true(ctl_read_compare(&arena, "mod(\"k\") > \"-7\"", &compare));
    assert_int_equal(compare.mod_revision, -7);
    assert_true(ctl_read_compare(&arena, "lease(\"k\") < \"7fffffffffffffff\"", &compare));
    assert_true(compare.lease == INT64_MAX);
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_false(ctl_read_compare(&arena, wrong[i], &compare));
    arena_done(&arena);
}

static void a_line_is_cut_into_words(void **state)
{
    (void)state;
    struct arena arena = {0};
    int count;
    char **words = ctl_cut_line(&arena, "  put \"a b\\t\" 'c \"d' --prev-kv\t", &count);
    assert_int_equal(count, 4);
    assert_string_equal(words[0], "put");
    assert_string_equal(words[1], "a b\t");
    assert_string_equal(words[2], "c \"d");
    assert_string_equal(words[3], "--prev-kv");
    assert_null(words[4]);
    assert_null(ctl_cut_line(&arena, "put \"a", &count));
    assert_null(ctl_cut_line(&arena, "put 'a", &count));
    assert_non_null(ctl_cut_line(&arena, " ", &count));
    assert_int_equal(count, 0);
    arena_done(&arena);
}

static void completions_know_every_command(void **state)
{
    (void)state;
    static const char *const shells[] = {"bash", "zsh", "fish"};
    struct buf out = {0};
    for (size_t i = 0; i < COUNT_OF(shells); i++) {
        buf_clear(&out);
        ctl_add_completion(&out, shells[i], false);
        assert_non_null(strstr(buf_text(&out), "rollback"));
        assert_non_null(strstr(buf_text(&out), "if-md5"));
    }
    buf_clear(&out);
    ctl_add_completion(&out, "cmd", false);
    assert_int_equal(out.size, 0);
    ctl_add_man(&out);
    assert_non_null(strstr(buf_text(&out), ".SS config rollback NAME SEQ\n"));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_table_agrees_with_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flags_of_one_name_are_all_bare_or_all_with_a_value, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(every_command_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flags_stand_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kinds_have_their_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(arguments_after_the_dashes_are_not_flags, set_up, tear_down),
        cmocka_unit_test_setup_teardown(arguments_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_nearest_name_is_suggested, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_group_alone_shows_its_help, set_up, tear_down),
        cmocka_unit_test_setup_teardown(under_the_name_etcdctl_it_is_etcdctl, set_up, tear_down),
        cmocka_unit_test_setup_teardown(under_the_name_etcdutl_it_is_etcdutl, set_up, tear_down),
        cmocka_unit_test(a_comparison_is_read),
        cmocka_unit_test(a_line_is_cut_into_words),
        cmocka_unit_test(completions_know_every_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
