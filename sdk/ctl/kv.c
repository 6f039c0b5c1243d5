/* SPDX-License-Identifier: Apache-2.0
 * The commands get, put, del and compaction, as of etcdctl, error texts included. */
#include "sdk/ctl/kv.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

/* Finds a value of `--order` or `--sort-by`, case-insensitive. */
static int find_word(const char *text, const char *const *words, int count)
{
    char upper[16];
    size_t size = strlen(text);
    if (size >= sizeof upper)
        return -1;
    for (size_t i = 0; i <= size; i++)
        upper[i] = (char)toupper((unsigned char)text[i]);
    for (int i = 0; i < count; i++) {
        if (strcmp(upper, words[i]) == 0)
            return i;
    }
    return -1;
}

static enum ctl_exit read_sort(struct ctl *c, const struct ctl_command_line *t, Etcdserverpb__RangeRequest *r)
{
    static const char *const orders[] = {"", "ASCEND", "DESCEND"};
    static const char *const targets[] = {"KEY", "VERSION", "CREATE", "MODIFY", "VALUE", ""};
    const char *order = ctl_flag_value(t, "order"), *target = ctl_flag_value(t, "sort-by");
    int at = order ? find_word(order, orders, 3) : 0;
    if (at < 0)
        return ctl_fail(c, CTL_BAD_FEATURE, "bad sort order %s", order);
    r->sort_order = (Etcdserverpb__RangeRequest__SortOrder)at;
    at = target ? find_word(target, targets, 6) : 0;
    if (at < 0)
        return ctl_fail(c, CTL_BAD_FEATURE, "bad sort target %s", target);
    r->sort_target = (Etcdserverpb__RangeRequest__SortTarget)(at % 5);
    if (target && *target && r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE)
        r->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    return CTL_DONE;
}

/* Reads the keys of a get or del from arguments and flags. */
static enum ctl_exit read_keys(struct ctl *c, const struct ctl_command_line *t, const char *verb,
                               ProtobufCBinaryData *key, ProtobufCBinaryData *range_end)
{
    bool is_prefix = ctl_bool(t, "prefix"), is_from = ctl_bool(t, "from-key");
    if (is_prefix && is_from)
        return ctl_fail(c, CTL_BAD_ARGS,
                        "`--prefix` and `--from-key` cannot be set at the same time, choose one");
    if (t->arg_count == 0 || t->arg_count > 2)
        return ctl_fail(c, CTL_BAD_ARGS,
                        "%s command needs one argument as key and an optional argument as range_end", verb);
    *key = ctl_bytes(t->args[0]);
    if (t->arg_count == 2) {
        if (is_prefix || is_from)
            return ctl_fail(
                c, CTL_BAD_ARGS,
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set");
        *range_end = ctl_bytes(t->args[1]);
    }
    if (is_prefix)
        ctl_prefix_range(c, key, range_end);
    if (is_from)
        ctl_from_key_range(c, key, range_end);
    return CTL_DONE;
}

enum ctl_exit ctl_read_get(struct ctl *c, const struct ctl_command_line *t, Etcdserverpb__RangeRequest *r)
{
    const char *consistency = ctl_text(t, "consistency");
    enum ctl_exit how = read_keys(c, t, "get", &r->key, &r->range_end);
    if (!how && strcmp(consistency, "s") == 0)
        r->serializable = true;
    else if (!how && strcmp(consistency, "l") != 0)
        how = ctl_fail(c, CTL_BAD_FEATURE, "unknown consistency flag \"%s\"", consistency);
    if (!how)
        how = read_sort(c, t, r);
    r->limit = ctl_int(t, "limit");
    r->revision = ctl_int(t, "rev");
    r->keys_only = ctl_bool(t, "keys-only");
    r->count_only = ctl_bool(t, "count-only");
    r->min_create_revision = ctl_int(t, "min-create-rev");
    r->max_create_revision = ctl_int(t, "max-create-rev");
    r->min_mod_revision = ctl_int(t, "min-mod-rev");
    r->max_mod_revision = ctl_int(t, "max-mod-rev");
    if (!how && r->keys_only && r->count_only)
        how = ctl_fail(c, CTL_BAD_ARGS,
                       "`--keys-only` and `--count-only` cannot be set at the same time, choose one");
    return how;
}

enum ctl_exit ctl_get(struct ctl *c)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *answer;
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request.base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true};
    enum ctl_exit how = ctl_read_get(c, &c->line, &request);
    if (!how && request.count_only && c->form != CTL_FORM_FIELDS && c->line.is_etcdctl)
        how = ctl_fail(c, CTL_BAD_ARGS, "--count-only is only for `--write-out=fields`");
    if (!how && ctl_bool(&c->line, "print-value-only") && c->form != CTL_FORM_SIMPLE &&
        c->form != CTL_FORM_NONE)
        how = ctl_fail(c, CTL_BAD_ARGS, "print-value-only is only for `--write-out=simple`");
    if (!how)
        how = ctl_no_table(c);
    if (!how)
        how = ctl_rpc(c, &rpc, &answer);
    if (how)
        return how;
    if (request.count_only && c->form <= CTL_FORM_SIMPLE)
        buf_addf(&c->out, "%" PRId64 "\n", answer->count);
    else
        ctl_show_range(c, answer, ctl_bool(&c->line, "print-value-only"));
    return CTL_DONE;
}

/* True if standard input is a file or pipe. As in etcdctl, a device (terminal, /dev/null) is not an input. */
static bool has_input(void)
{
    struct stat st;
    return fstat(STDIN_FILENO, &st) == 0 && !S_ISCHR(st.st_mode);
}

enum ctl_exit ctl_read_put(struct ctl *c, const struct ctl_command_line *t, struct buf *from_stdin,
                           Etcdserverpb__PutRequest *r)
{
    r->ignore_value = ctl_bool(t, "ignore-value");
    r->ignore_lease = ctl_bool(t, "ignore-lease");
    r->prev_kv = ctl_bool(t, "prev-kv");
    bool takes_input = t->arg_count == 1 && !r->ignore_value;
    if (t->arg_count == 0 || (takes_input && (!from_stdin || !has_input())))
        return ctl_fail(c, CTL_BAD_ARGS, "put command needs 1 argument and input from stdin or 2 arguments");
    if (r->ignore_value && t->arg_count > 1)
        return ctl_fail(c, CTL_BAD_ARGS, "put command needs only 1 argument when 'ignore-value' is set");
    enum ctl_exit how = ctl_read_lease(c, ctl_text(t, "lease"), "lease ID", &r->lease);
    r->key = ctl_bytes(t->args[0]);
    if (t->arg_count > 1)
        r->value = ctl_bytes(t->args[1]);
    if (how || !takes_input)
        return how;
    how = ctl_read_file(c, "-", 512 << 20, from_stdin);
    r->value = (ProtobufCBinaryData){from_stdin->size, from_stdin->data};
    return how;
}

enum ctl_exit ctl_put(struct ctl *c)
{
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__PutResponse *answer;
    struct ctl_rpc rpc = {
        .path = "/v3/kv/put", .request = &request.base, .answer = &etcdserverpb__put_response__descriptor};
    struct buf value = {0};
    enum ctl_exit how = ctl_no_table(c);
    if (!how)
        how = ctl_read_put(c, &c->line, &value, &request);
    if (!how)
        how = ctl_rpc(c, &rpc, &answer);
    if (!how)
        ctl_show_put(c, answer);
    buf_done(&value);
    return how;
}

enum ctl_exit ctl_read_del(struct ctl *c, const struct ctl_command_line *t,
                           Etcdserverpb__DeleteRangeRequest *r)
{
    r->prev_kv = ctl_bool(t, "prev-kv");
    return read_keys(c, t, "del", &r->key, &r->range_end);
}

enum ctl_exit ctl_del(struct ctl *c)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__DeleteRangeResponse *answer;
    struct ctl_rpc rpc = {.path = "/v3/kv/deleterange",
                          .request = &request.base,
                          .answer = &etcdserverpb__delete_range_response__descriptor};
    enum ctl_exit how = ctl_no_table(c);
    if (!how)
        how = ctl_read_del(c, &c->line, &request);
    if (!how)
        how = ctl_rpc(c, &rpc, &answer);
    if (!how)
        ctl_show_delete(c, answer);
    return how;
}

enum ctl_exit ctl_compaction(struct ctl *c)
{
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    Etcdserverpb__CompactionResponse *answer;
    struct ctl_rpc rpc = {.path = "/v3/kv/compaction",
                          .request = &request.base,
                          .answer = &etcdserverpb__compaction_response__descriptor};
    const struct ctl_command_line *t = &c->line;
    if (t->arg_count != 1)
        return ctl_fail(c, CTL_BAD_ARGS, "compaction command needs 1 argument");
    request.physical = ctl_bool(t, "physical");
    if (text_to_i64(slice_text(t->args[0]), &request.revision) != OK)
        return ctl_fail(c, CTL_ERROR, "strconv.ParseInt: parsing \"%s\": invalid syntax", t->args[0]);
    if (request.physical)
        rpc.timeout_ms = -1; /* no timeout */
    enum ctl_exit how = ctl_rpc(c, &rpc, &answer);
    if (!how)
        buf_addf(&c->out, "compacted revision %" PRId64 "\n", request.revision);
    return how;
}
