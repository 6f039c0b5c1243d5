/* SPDX-License-Identifier: Apache-2.0
 * `config encrypt`: seals what is stored already, page by page, with the progress on a terminal. It can be
 * stopped and begun again at any time: what is sealed is passed over. */
#include <stdio.h>
#include <unistd.h>

#include "sdk/ctl/config.h"

struct encrypt_sums {
    json_int_t examined, sealed, failed;
    char error[512]; /* the first one */
};

static json_int_t field_of(const json_t *doc, const char *name)
{
    return json_integer_value(json_object_get(doc, name));
}

static void add_page(struct encrypt_sums *sums, const json_t *doc)
{
    sums->examined += field_of(doc, "examined");
    sums->sealed += field_of(doc, "sealed");
    if (!sums->failed)
        snprintf(sums->error, sizeof sums->error, "%s", ctl_json_text(doc, "error"));
    sums->failed += field_of(doc, "failed");
}

static void show_sums(const struct encrypt_sums *sums, bool is_end)
{
    if (!isatty(STDERR_FILENO))
        return;
    if (is_end)
        fprintf(stderr, "\r%60s\r", "");
    else
        fprintf(stderr, "\r%lld configurations, %lld sealed", (long long)sums->examined,
                (long long)sums->sealed);
}

static enum ctl_exit report(struct ctl *c, const struct encrypt_sums *sums)
{
    json_t *doc = json_pack("{s:I,s:I,s:I}", "examined", sums->examined, "sealed", sums->sealed, "failed",
                            sums->failed);
    ctl_print_done(c, doc, "%lld configurations, %lld releases and drafts sealed", (long long)sums->examined,
                   (long long)sums->sealed);
    json_decref(doc);
    if (!sums->failed)
        return CTL_DONE;
    return ctl_fail(c, CTL_ERROR, "%lld did not open and stay as they are, the first: %s",
                    (long long)sums->failed, sums->error);
}

enum ctl_exit ctl_config_encrypt(struct ctl *c)
{
    struct encrypt_sums sums = {0};
    struct ctl_call call = {.method = "POST", .timeout_ms = 60000};
    ctl_path(&call, "/api/v1/seal");
    ctl_query_names(c, &call);
    ctl_query_author(c, &call);
    ctl_query(&call, "prefix", ctl_flag_value(&c->line, "prefix"));
    size_t size = call.target.size;
    char *next = mem_string("");
    enum ctl_exit how = CTL_DONE;
    do {
        json_t *doc = NULL;
        call.target.size = size;
        if (*next)
            ctl_query(&call, "continue", next);
        how = ctl_call_json(c, &call, &doc);
        mem_free(next);
        next = mem_string(how ? "" : ctl_json_text(doc, "continue"));
        if (!how)
            add_page(&sums, doc);
        json_decref(doc);
        show_sums(&sums, how || !*next);
    } while (!how && *next);
    mem_free(next);
    ctl_call_done(&call);
    return how ? how : report(c, &sums);
}
