/* SPDX-License-Identifier: Apache-2.0
 * Tests of the text functions. Go's own time.ParseDuration, Duration.String and strconv.FormatFloat(v, 'g',
 * -1, 64) printed the tables of durations and floats. */
#include "tests/unit/unit.h"

#include <string.h>

#include "base/text.h"

static const struct {
    const char *text;
    bool is_valid;
    int64_t ns;
    const char *printed;
} durations[] = {
    {"0", true, 0, "0s"},
    {"", false, 0, ""},
    {"-0", true, 0, "0s"},
    {"+0", true, 0, "0s"},
    {"5s", true, 5000000000, "5s"},
    {"30s", true, 30000000000, "30s"},
    {"1478s", true, 1478000000000, "24m38s"},
    {"-5s", true, -5000000000, "-5s"},
    {"+5s", true, 5000000000, "5s"},
    {"-0s", true, 0, "0s"},
    {"5.0s", true, 5000000000, "5s"},
    {"5.6s", true, 5600000000, "5.6s"},
    {"5.s", true, 5000000000, "5s"},
    {".5s", true, 500000000, "500ms"},
    {"1.0s", true, 1000000000, "1s"},
    {"1.00s", true, 1000000000, "1s"},
    {"1.004s", true, 1004000000, "1.004s"},
    {"1.0040s", true, 1004000000, "1.004s"},
    {"100.00100s", true, 100001000000, "1m40.001s"},
    {"10ns", true, 10, "10ns"},
    {"11us", true, 11000, "11\u00b5s"},
    {"12\u00b5s", true, 12000, "12\u00b5s"},
    {"12\u03bcs", true, 12000, "12\u00b5s"},
    {"13ms", true, 13000000, "13ms"},
    {"14s", true, 14000000000, "14s"},
    {"15m", true, 900000000000, "15m0s"},
    {"16h", true, 57600000000000, "16h0m0s"},
    {"3h30m", true, 12600000000000, "3h30m0s"},
    {"10.5s4m", true, 250500000000, "4m10.5s"},
    {"-2m3.4s", true, -123400000000, "-2m3.4s"},
    {"1h2m3s4ms5us6ns", true, 3723004005006, "1h2m3.004005006s"},
    {"39h9m14.425s", true, 140954425000000, "39h9m14.425s"},
    {"52763797000ns", true, 52763797000, "52.763797s"},
    {"0.3333333333333333333h", true, 1200000000000, "20m0s"},
    {"9007199254740993ns", true, 9007199254740993, "2501h59m59.254740993s"},
    {"9223372036854775807ns", true, 9223372036854775807, "2562047h47m16.854775807s"},
    {"9223372036854775.807us", true, 9223372036854775807, "2562047h47m16.854775807s"},
    {"9223372036s854ms775us807ns", true, 9223372036854775807, "2562047h47m16.854775807s"},
    {"-9223372036854775808ns", true, INT64_MIN, "-2562047h47m16.854775808s"},
    {"-9223372036854775.808us", true, INT64_MIN, "-2562047h47m16.854775808s"},
    {"-9223372036s854ms775us808ns", true, INT64_MIN, "-2562047h47m16.854775808s"},
    {"-2562047h47m16.854775808s", true, INT64_MIN, "-2562047h47m16.854775808s"},
    {"0.100000000000000000000h", true, 360000000000, "6m0s"},
    {"0.9223372036854775807h", true, 3320413933267, "55m20.413933267s"},
    {"0.830103483285477580700h", true, 2988372539827, "49m48.372539827s"},
    {"3", false, 0, ""},
    {"-", false, 0, ""},
    {"s", false, 0, ""},
    {".", false, 0, ""},
    {"-.", false, 0, ""},
    {".s", false, 0, ""},
    {"+.s", false, 0, ""},
    {"1d", false, 0, ""},
    {"\x85\x85", false, 0, ""},
    {"9223372036854775810ns", false, 0, ""},
    {"9223372036854775808ns", false, 0, ""},
    {"-9223372036854775809ns", false, 0, ""},
    {"9223372036854776us", false, 0, ""},
    {"3000000h", false, 0, ""},
    {"5124096h", false, 0, ""}, /* in nanoseconds just above 2^64 */
    {"307445735m", false, 0, ""},
    {"9223372036854775.808us", false, 0, ""},
    {"9223372036854ms775us808ns", false, 0, ""},
    {"1s ", false, 0, ""},
    {"1 s", false, 0, ""},
    {" 1s", false, 0, ""},
    {"1S", false, 0, ""},
    {"1h-2m", false, 0, ""},
    {"--1s", false, 0, ""},
    {"0.0000000000000000000000001s", true, 0, "0s"},
    {"99999999999999999999999999s", false, 0, ""},
    {"1e3s", false, 0, ""},
    {"00", false, 0, ""},
    {"0x1s", false, 0, ""},
};

static const struct {
    double value;
    const char *text;
} doubles[] = {
    {0x0p+00, "0"},
    {0x1p+00, "1"},
    {-0x1p+00, "-1"},
    {0x1.0624dd2f1a9fcp-10, "0.001"},
    {0x1.0624dd2f1a9fcp+00, "1.024"},
    {0x1.0624dd2f1a9fcp-09, "0.002"},
    {0x1.0624dd2f1a9fcp-08, "0.004"},
    {0x1.0624dd2f1a9fcp+03, "8.192"},
    {0x1p+16, "65536"},
    {0x1.86ap+16, "100000"},
    {0x1.e847ep+19, "999999"},
    {0x1.e848p+19, "1e+06"},
    {0x1.2d687p+20, "1.234567e+06"},
    {0x1.6e36p+20, "1.5e+06"},
    {0x1.e2408p+16, "123456.5"},
    {0x1.999999999999ap-04, "0.1"},
    {0x1.999999999999ap-03, "0.2"},
    {0x1.3333333333333p-02, "0.3"},
    {0x1.5555555555555p-02, "0.3333333333333333"},
    {0x1.a36e2eb1c432dp-14, "0.0001"},
    {0x1.4f8b588e368f1p-17, "1e-05"},
    {0x1.f75104d551d69p-17, "1.5e-05"},
    {0x1.81cd6c8b43958p+13, "12345.678"},
    {0x1.5af1d78b58c4p+66, "1e+20"},
    {0x1.b1ae4d6e2ef5p+69, "1e+21"},
    {0x1.0f0cf064dd592p+73, "1e+22"},
    {0x1.249ad2594c37dp+332, "1e+100"},
    {0x1.fffffffffffffp+1023, "1.7976931348623157e+308"},
    {0x1p-1022, "2.2250738585072014e-308"},
    {0x1p+53, "9.007199254740992e+15"},
    {0x1.4p+14, "20480"},
    {0x1p+31, "2.147483648e+09"},
    {0x1.3333333333334p-02, "0.30000000000000004"},
    {0x1.9p+06, "100"},
    {0x1.4p+03, "10"},
    {0x1.e847fffffffffp+19, "999999.9999999999"},
    {0x1.86a019999999ap+16, "100000.1"},
    {0x1.47ae147ae147bp+09, "655.36"},
    {0x1.e240c9fcb689fp+16, "123456.789012345"},
    {0x1.c2ffac2fd9401p+912, "6.0994600425870625e+274"},
    {0x1.5822107fcfd52p+215, "7.078406569534682e+64"},
    {-0x1.9f9e2cb82822fp-681, "-1.618181380502966e-205"},
    {-0x1.864602be7fb85p+451, "-8.864558683540502e+135"},
    {0x1.6ce1d9c7d80e2p-525, "1.2976722684001692e-158"},
    {-0x1.4632ae01309cp+623, "-4.435357024565486e+187"},
    {-0x1.ff35c7fe88f15p-290, "-1.0038312309837099e-87"},
    {0x1.e421e454dfff3p+858, "3.634632067643165e+258"},
    {0x1.ea3a02d83795p-102, "3.7765683993919846e-31"},
    {0x1.7815d9518fea6p-1016, "2.0920441869380274e-306"},
    {0x1.5b46eda2e4783p+136, "1.1817226115947764e+41"},
    {-0x1.5889840140c59p-836, "-2.9371068242467855e-252"},
    {-0x1.8d969e6b98636p+291, "-6.179060230278073e+87"},
    {0x1.b0ae828bf0714p-609, "7.955384633282634e-184"},
    {0x1.97d9d94357be9p+527, "6.999535985735064e+158"},
    {0x1.a7dab768b0547p-189, "2.110121731762417e-57"},
    {-0x1.c75dc32808aa4p+971, "-3.5501497481013752e+292"},
    {-0x1.9f4a9e285c37ap+55, "-5.844707923867131e+16"},
    {-0x1.1fe273fab88d7p-911, "-6.496095358680408e-275"},
    {0x1.fdae5877115adp+236, "2.1985557735623729e+71"},
};

static void test_durations(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(durations); i++) {
        int64_t ns = -77;
        int err = text_to_duration_ns(slice_text(durations[i].text), &ns);
        if (err != (durations[i].is_valid ? OK : ERR_MALFORMED) || (!err && ns != durations[i].ns))
            fail_msg("%s: err %d, %lld", durations[i].text, err, (long long)ns);
        if (err) {
            assert_int_equal(ns, -77);
            continue;
        }
        struct buf b = {0};
        text_add_duration(&b, ns);
        assert_string_equal(buf_text(&b), durations[i].printed);
        buf_done(&b);
    }
}

static void test_duration_prints(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        const char *text;
    } rows[] = {
        {0, "0s"},
        {1, "1ns"},
        {1100, "1.1\u00b5s"},
        {2200000, "2.2ms"},
        {3300000000, "3.3s"},
        {245000000000, "4m5s"},
        {245001000000, "4m5.001s"},
        {18367001000000, "5h6m7.001s"},
        {480000000001, "8m0.000000001s"},
        {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"},
        {-999, "-999ns"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = {0};
        text_add_duration(&b, rows[i].ns);
        assert_string_equal(buf_text(&b), rows[i].text);
        buf_done(&b);
    }
}

static void test_doubles(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(doubles); i++) {
        struct buf b = {0};
        text_add_double(&b, doubles[i].value);
        assert_string_equal(buf_text(&b), doubles[i].text);
        buf_done(&b);
    }
    struct buf b = {0};
    text_add_double(&b, __builtin_nan(""));
    text_add_double(&b, __builtin_inf());
    text_add_double(&b, -__builtin_inf());
    assert_string_equal(buf_text(&b), "NaN+Inf-Inf");
    buf_done(&b);
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    assert_int_equal(text_to_u64(slice_text("18446744073709551615"), &u), OK);
    assert_true(u == UINT64_MAX);
    static const char *const bad[] = {"",   "18446744073709551616", "-1", "+1", " 1", "1 ",
                                      "1x", "99999999999999999999"};
    for (size_t k = 0; k < COUNT_OF(bad); k++)
        assert_int_equal(text_to_u64(slice_text(bad[k]), &u), ERR_MALFORMED);
    assert_true(u == UINT64_MAX);
    assert_int_equal(text_to_i64(slice_text("-9223372036854775808"), &i), OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(text_to_i64(slice_text("+5"), &i), OK);
    assert_int_equal(i, 5);
    static const char *const bad_signed[] = {"",   "-", "+", "9223372036854775808", "-9223372036854775809",
                                             "--1"};
    for (size_t k = 0; k < COUNT_OF(bad_signed); k++)
        assert_int_equal(text_to_i64(slice_text(bad_signed[k]), &i), ERR_MALFORMED);
    struct buf b = {0};
    text_add_i64(&b, INT64_MIN);
    text_add_u64(&b, UINT64_MAX);
    text_add_i64(&b, 0);
    assert_string_equal(buf_text(&b), "-9223372036854775808184467440737095516150");
    buf_done(&b);
    bool v;
    assert_int_equal(text_to_bool(slice_text("T"), &v), OK);
    assert_true(v);
    assert_int_equal(text_to_bool(slice_text("False"), &v), OK);
    assert_false(v);
    assert_int_equal(text_to_bool(slice_text("yes"), &v), ERR_MALFORMED);
    assert_int_equal(text_to_bool(slice_text(""), &v), ERR_MALFORMED);
}

static void test_base64(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"},
                                          {"\xfb\xff\xbf", "+/+/"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = {0};
        base64_encode(&b, slice_text(rows[i][0]));
        assert_string_equal(buf_text(&b), rows[i][1]);
        struct slice text = slice_text(rows[i][1]);
        for (int unpadded = 0; unpadded < 2; unpadded++) {
            buf_clear(&b);
            buf_add_text(&b, "x");
            assert_int_equal(base64_decode(text, &b), OK);
            assert_string_equal(buf_text(&b) + 1, rows[i][0]);
            while (text.size && text.data[text.size - 1] == '=')
                text.size--;
        }
        buf_done(&b);
    }
    struct buf b = {0};
    assert_int_equal(base64_decode(slice_text("-_-_"), &b), OK);
    assert_memory_equal(b.data, "\xfb\xff\xbf", 3);
    buf_clear(&b);
    static const char *const bad[] = {
        "A", "=", "==", "A===", "Zg=", "Zm8==", "Zg==Zg==", "Z g=", "Zm9v\n", "Zm9vY"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(base64_decode(slice_text(bad[i]), &b), ERR_MALFORMED);
        assert_int_equal(b.size, 0);
    }
    buf_done(&b);
}

static void test_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "plain ascii, long enough",
                                       "\u00b5",
                                       "\uffff",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "12345678\xc3\xa9"};
    static const char *const bad[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xc3",         "\xe2\x82",         "12345678\xff",     "\xe2\x28\xa1"};
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(utf8_is_valid(slice_text(good[i])));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(utf8_is_valid(slice_text(bad[i])));
}

static void test_url(void **state)
{
    (void)state;
    static const struct {
        const char *text, *scheme, *host;
        int port;
        const char *path;
    } good[] = {
        {"http://localhost:2379", "http", "localhost", 2379, ""},
        {"HTTPS://10.0.0.1:0/a/b", "https", "10.0.0.1", 0, "/a/b"},
        {"http://[::1]:65535/", "http", "::1", 65535, "/"},
        {"http://[fe80::1%25eth0]:1", "http", "fe80::1%25eth0", 1, ""},
        {"unix:///run/etcd.sock", "unix", "/run/etcd.sock", 0, ""},
        {"unixs://localhost:2379", "unixs", "localhost:2379", 0, ""},
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct url url;
        assert_int_equal(url_parse(slice_text(good[i].text), &url), OK);
        assert_string_equal(url.scheme, good[i].scheme);
        assert_string_equal(url.host, good[i].host);
        assert_int_equal(url.port, good[i].port);
        assert_string_equal(url.path, good[i].path);
    }
    static const char *const bad[] = {
        "",
        "http",
        "http:/a:1",
        "://a:1",
        "ftp://a:1",
        "http://",
        "http://a",
        "http://:2379",
        "http://a:",
        "http://a:65536",
        "http://a:-1",
        "http://a:+1",
        "http://a:1x",
        "http://a b:1",
        "http://u@a:1",
        "http://::1:2379",
        "http://[::1]",
        "http://[]:1",
        "http://a:1?x",
        "http://a:1/p?x",
        "http://a:1/#f",
        "http://a:000001",
        "unix://",
        "httpss://a:1",
        "http://a:1,http://b:1",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct url url;
        if (url_parse(slice_text(bad[i]), &url) != ERR_MALFORMED)
            fail_msg("accepted: %s", bad[i]);
    }
    char text[600] = "http://";
    memset(text + 7, 'a', 255);
    strcpy(text + 7 + 255, ":1");
    struct url url;
    assert_int_equal(url_parse(slice_text(text), &url), OK);
    memset(text + 7, 'a', 256);
    strcpy(text + 7 + 256, ":1");
    assert_int_equal(url_parse(slice_text(text), &url), ERR_MALFORMED);
    assert_int_equal(url_parse(slice_of("unix://a\0b", 10), &url), ERR_MALFORMED);
}

/* A zeroed slice is empty text; no parser may do arithmetic on its NULL. */
static void test_zero_slices(void **state)
{
    (void)state;
    struct slice none = {0};
    struct buf b = {0};
    uint64_t u;
    int64_t i;
    bool v;
    struct url url;
    assert_int_equal(text_to_u64(none, &u), ERR_MALFORMED);
    assert_int_equal(text_to_i64(none, &i), ERR_MALFORMED);
    assert_int_equal(text_to_duration_ns(none, &i), ERR_MALFORMED);
    assert_int_equal(text_to_bool(none, &v), ERR_MALFORMED);
    assert_int_equal(url_parse(none, &url), ERR_MALFORMED);
    assert_int_equal(base64_decode(none, &b), OK);
    assert_int_equal(percent_decode(none, true, &b), OK);
    base64_encode(&b, none);
    assert_true(utf8_is_valid(none));
    assert_int_equal(utf8_length(none), 0);
    assert_int_equal(b.size, 0);
    buf_done(&b);
}

static void test_percent(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(percent_decode(slice_text("a%20b+c%2F%e2%82%AC"), false, &b), OK);
    assert_string_equal(buf_text(&b), "a b+c/\u20ac");
    buf_clear(&b);
    assert_int_equal(percent_decode(slice_text("a+b%2B"), true, &b), OK);
    assert_string_equal(buf_text(&b), "a b+");
    static const char *const bad[] = {"%", "%1", "abc%", "%zz", "%1g", "x%%20"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(percent_decode(slice_text(bad[i]), false, &b), ERR_MALFORMED);
    assert_string_equal(buf_text(&b), "a b+");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),   cmocka_unit_test(test_duration_prints),
        cmocka_unit_test(test_doubles),     cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_base64),      cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_url),         cmocka_unit_test(test_percent),
        cmocka_unit_test(test_zero_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
