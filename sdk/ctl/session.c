/* SPDX-License-Identifier: Apache-2.0
 * Set-up of a run: flags, environment and context to endpoints and credentials; file access; messages on
 * standard error.
 *
 * Precedence: a flag, then CAIRN_NAME, then ETCDCTL_NAME, then the context, then the default. In etcdctl's
 * grammar a flag together with its ETCDCTL_NAME is an error, as in etcdctl, and there are no contexts. */
#include "sdk/ctl/ctl.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/net/tls.h"
#include "base/text.h"
#include "sdk/http_client.h"

/* --- messages ------------------------------------------------------------------------------------------- */

bool ctl_flush(struct ctl *c)
{
    size_t at = 0;
    bool is_fine = true;
    while (is_fine && at < c->out.size) {
        ssize_t n = write(STDOUT_FILENO, c->out.data + at, c->out.size - at);
        if (n > 0)
            at += (size_t)n;
        else if (errno == EAGAIN)
            (void)ctl_pause(c, 10);
        else
            is_fine = errno == EINTR;
    }
    buf_clear(&c->out);
    return is_fine;
}

static void say(struct ctl *c, const char *before, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
static void say(struct ctl *c, const char *before, const char *format, va_list args)
{
    (void)ctl_flush(c); /* flushed first to keep the order */
    struct buf line = {0};
    buf_add_text(&line, before);
    buf_addv(&line, format, args);
    buf_add_byte(&line, '\n');
    fwrite(line.data, 1, line.size, stderr);
    buf_done(&line);
}

enum ctl_exit ctl_fail(struct ctl *c, enum ctl_exit how, const char *format, ...)
{
    char before[160];
    const char *words = ctl_commands[c->line.command].words;
    if (ctl_has_etcd_texts(&c->line))
        snprintf(before, sizeof before, "Error: ");
    else
        snprintf(before, sizeof before, "%s%s%s: ", c->line.program, words ? " " : "", words ? words : "");
    va_list args;
    va_start(args, format);
    say(c, before, format, args);
    va_end(args);
    return how;
}

enum ctl_exit ctl_fail_errno(struct ctl *c, enum ctl_exit how, const char *verb, const char *path)
{
    const char *why = strerror(errno);
    if (ctl_has_etcd_texts(&c->line)) /* as Go writes them */
        return ctl_fail(c, how, "%s %s: %c%s", verb, path, tolower((unsigned char)*why), why + 1);
    return ctl_fail(c, how, "cannot %s %s: %s", verb, path, why);
}

void ctl_note(struct ctl *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(c, "", format, args);
    va_end(args);
}

void ctl_print_rows(struct ctl *c, const json_t *doc, const char *field, const struct ctl_column *columns,
                    size_t column_count)
{
    ctl_show_rows(&c->out, c->form, doc, field, columns, column_count);
}

void ctl_print_done(struct ctl *c, const json_t *doc, const char *format, ...)
{
    if (c->form == CTL_FORM_JSON) {
        ctl_show_json(&c->out, doc);
        return;
    }
    if (c->form == CTL_FORM_YAML) {
        ctl_show_yaml(&c->out, doc);
        return;
    }
    va_list args;
    va_start(args, format);
    buf_addv(&c->out, format, args);
    va_end(args);
    buf_add_byte(&c->out, '\n');
}

/* --- stopping ------------------------------------------------------------------------------------------- */

bool ctl_pause(const struct ctl *c, int64_t ms)
{
    uint64_t end = clock_mono_ms() + (uint64_t)ms;
    for (;;) {
        uint64_t now = clock_mono_ms();
        struct pollfd p = {c->stop_fd, POLLIN, 0};
        int n = poll(&p, 1, now >= end ? 0 : (int)(end - now));
        if (n > 0)
            return true;
        if (n == 0)
            return false;
    }
}

bool ctl_is_stopped(const struct ctl *c)
{
    return ctl_pause(c, 0);
}

/* --- files ---------------------------------------------------------------------------------------------- */

enum ctl_exit ctl_read_file(struct ctl *c, const char *path, size_t max, struct buf *ret_text)
{
    bool is_stdin = !path || strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ctl_fail(c, CTL_IO, "cannot open %s: %s", path, strerror(errno));
    enum ctl_exit how = CTL_DONE;
    for (;;) {
        ssize_t n = read(fd, buf_reserve(ret_text, 64 << 10), 64 << 10);
        if (n < 0 && errno == EINTR && !ctl_is_stopped(c))
            continue;
        if (n < 0)
            how = ctl_fail(c, CTL_IO, "cannot read %s: %s", is_stdin ? "standard input" : path,
                           strerror(errno));
        if (n <= 0)
            break;
        ret_text->size += (size_t)n;
        if (ret_text->size > max) {
            how = ctl_fail(c, CTL_INVALID_INPUT, "%s is larger than %zu bytes",
                           is_stdin ? "standard input" : path, max);
            break;
        }
    }
    if (!is_stdin)
        close(fd);
    return how;
}

enum ctl_exit ctl_write_file(struct ctl *c, const char *path, struct slice text, unsigned mode)
{
    char *beside = arena_printf(&c->arena, "%s.part", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    bool is_fine = fd >= 0;
    while (is_fine && text.size) {
        ssize_t n = write(fd, text.data, text.size);
        is_fine = n > 0 || (n < 0 && errno == EINTR);
        if (n > 0)
            text = slice_of(text.data + n, text.size - (size_t)n);
    }
    is_fine = is_fine && fsync(fd) == 0;
    if (fd >= 0)
        is_fine = close(fd) == 0 && is_fine;
    is_fine = is_fine && rename(beside, path) == 0;
    if (is_fine)
        return CTL_DONE;
    int why = errno;
    if (fd >= 0)
        (void)unlink(beside);
    return ctl_fail(c, CTL_IO, "cannot write %s: %s", path, strerror(why));
}

/* --- environment ---------------------------------------------------------------------------------------- */

static const char *variable_of(const char *prefix, const char *flag, char *name, size_t size)
{
    int n = snprintf(name, size, "%s_%s", prefix, flag);
    for (int i = 0; i < n && (size_t)i < size; i++)
        name[i] = name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static enum ctl_exit read_environment(struct ctl *c)
{
    struct ctl_command_line *t = &c->line;
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        if (f->command != CTL_COMMAND_global || !ctl_has_flag(f, t->is_etcdctl) ||
            strcmp(f->name, "help") == 0)
            continue;
        char name[64];
        const char *value = t->is_etcdctl ? NULL : variable_of("CAIRN", f->name, name, sizeof name);
        if (!value)
            value = variable_of("ETCDCTL", f->name, name, sizeof name);
        /* etcdctl refuses an empty variable beside its flag, too. */
        if (!value && !(t->is_etcdctl && getenv(name)))
            continue;
        if (t->values[i].count && t->is_etcdctl)
            return ctl_fail(c, CTL_ERROR,
                            "conflicting environment variable \"%s\" is shadowed by corresponding "
                            "command-line flag (either unset "
                            "environment variable or disable flag)",
                            name);
        char from[80];
        snprintf(from, sizeof from, " (from %s)", name);
        if (value && !t->values[i].count && ctl_supply(t, f, value, from) != OK) {
            fwrite(t->error.data, 1, t->error.size, stderr);
            return t->is_etcdctl ? CTL_ERROR : CTL_BAD_ARGS;
        }
    }
    return CTL_DONE;
}

/* --- endpoints ------------------------------------------------------------------------------------------ */

/* The value of a flag for access to the servers: of the other side, "--from-cacert" for "cacert". */
static const char *access_flag(const struct ctl *c, const char *name)
{
    char full[32];
    snprintf(full, sizeof full, "%s%s", c->side ? c->side : "", name);
    return ctl_flag_value(&c->line, full);
}

static bool wants_tls(const struct ctl *c)
{
    return access_flag(c, "cacert") || access_flag(c, "cert") || access_flag(c, "key") ||
           ctl_bool(&c->line, "insecure-skip-tls-verify");
}

/* host, host:port, [::1]:port, http://host:port */
static bool read_endpoint(struct ctl *c, const char *text, struct ctl_endpoint *e)
{
    *e = (struct ctl_endpoint){.text = text, .port = 2379, .is_tls = wants_tls(c)};
    if (strncmp(text, "https://", 8) == 0)
        e->is_tls = true, text += 8;
    else if (strncmp(text, "http://", 7) == 0)
        e->is_tls = false, text += 7;
    size_t size = strlen(text);
    if (size && text[size - 1] == '/')
        size--;
    const char *colon = memrchr(text, ':', size), *bracket = text[0] == '[' ? memchr(text, ']', size) : NULL;
    if (bracket && (!colon || colon < bracket))
        colon = NULL;
    if (!bracket && colon && memchr(text, ':', (size_t)(colon - text)))
        return false; /* an IPv6 address without brackets */
    size_t host = colon ? (size_t)(colon - text) : size;
    uint64_t port;
    if (colon) {
        if (text_to_u64(slice_of(colon + 1, size - host - 1), &port) != OK || port == 0 || port > 65535)
            return false;
        e->port = (uint16_t)port;
    }
    if (bracket)
        text++, host -= 2;
    if (host == 0 || host >= sizeof e->host || memchr(text, '/', host))
        return false;
    memcpy(e->host, text, host);
    return true;
}

static void forget_endpoints(struct ctl *c)
{
    for (size_t i = 0; i < c->endpoint_count; i++)
        http_client_free(c->endpoints[i].client);
    c->endpoint_count = c->at = 0;
}

enum ctl_exit ctl_set_endpoints(struct ctl *c, const char *const *list, size_t count)
{
    forget_endpoints(c);
    for (size_t i = 0; i < count; i++) {
        char *save, *all = arena_string(&c->arena, list[i], strlen(list[i]));
        for (char *one = strtok_r(all, ", ", &save); one; one = strtok_r(NULL, ", ", &save)) {
            if (c->endpoint_count == CTL_ENDPOINTS_MAX)
                return ctl_fail(c, CTL_BAD_ARGS, "more than %d endpoints", CTL_ENDPOINTS_MAX);
            if (!read_endpoint(c, one, &c->endpoints[c->endpoint_count]))
                return ctl_fail(c, CTL_BAD_ARGS,
                                "\"%s\" is not an endpoint; use host:port or https://host:port", one);
            c->endpoint_count++;
        }
    }
    if (c->endpoint_count == 0)
        return ctl_fail(c, CTL_BAD_ARGS, "no endpoint is given; --endpoints host:port names one");
    return CTL_DONE;
}

enum ctl_exit ctl_use_endpoints(struct ctl *c)
{
    static const char *const fallback[] = {"127.0.0.1:2379"};
    const char *domain = ctl_flag_value(&c->line, "discovery-srv"), *near = NULL;
    if (c->line.command == CTL_COMMAND_migrate_from_etcd)
        near = "to";
    else if (c->line.command == CTL_COMMAND_migrate_to_etcd)
        near = "from";
    const struct ctl_value *given = near ? ctl_list(&c->line, near) : NULL;
    if (given && given->count)
        return ctl_set_endpoints(c, given->list, given->count);
    given = ctl_list(&c->line, "endpoints");
    if (domain && *domain) {
        const char *list[CTL_ENDPOINTS_MAX];
        size_t count = 0;
        enum ctl_exit how = ctl_discover(c, domain, list, &count);
        if (how || count)
            return how ? how : ctl_set_endpoints(c, list, count);
    }
    return given->count ? ctl_set_endpoints(c, given->list, given->count) : ctl_set_endpoints(c, fallback, 1);
}

enum ctl_exit ctl_open_tls(struct ctl *c, const char *ca, const char *cert, const char *key)
{
    bool is_wanted = false;
    for (size_t i = 0; i < c->endpoint_count; i++)
        is_wanted = is_wanted || c->endpoints[i].is_tls;
    if (!is_wanted)
        return CTL_DONE;
    bool is_checked = !ctl_bool(&c->line, "insecure-skip-tls-verify");
    struct tls_options options = {.cert_file = cert,
                                  .key_file = key,
                                  .ca_file = is_checked ? ca : NULL,
                                  .use_system_ca = is_checked && !ca,
                                  .alpn = "http/1.1"};
    char error[300];
    /* The texts of Go; OpenSSL has others. */
    const char *files[] = {cert, key, options.ca_file};
    if (c->line.is_etcdctl && !cert != !key)
        return ctl_fail(c, CTL_BAD_ARGS, "KeyFile and CertFile must both be present[key: %s, cert: %s]",
                        key ? key : "", cert ? cert : "");
    for (size_t i = 0; c->line.is_etcdctl && i < sizeof files / sizeof *files; i++) {
        if (files[i] && access(files[i], R_OK) != 0)
            return ctl_fail_errno(c, CTL_BAD_ARGS, "open", files[i]);
    }
    if (tls_context_new(&options, error, sizeof error, &c->tls) != OK)
        return ctl_fail(c, CTL_BAD_ARGS, "%s", error);
    return CTL_DONE;
}

/* --- authentication ------------------------------------------------------------------------------------- */

char *ctl_prompt_secret(struct ctl *c, const char *prompt)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    struct termios was, quiet;
    bool is_terminal = tcgetattr(fd, &was) == 0;
    if (is_terminal) {
        quiet = was;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(fd, TCSAFLUSH, &quiet);
    }
    dprintf(fd, "%s", prompt);
    struct buf line = {0};
    char letter;
    while (line.size < 1024 && read(fd, &letter, 1) == 1 && letter != '\n')
        buf_add_byte(&line, (uint8_t)letter);
    if (is_terminal)
        (void)tcsetattr(fd, TCSAFLUSH, &was);
    dprintf(fd, "\n");
    close(fd);
    char *password = arena_string(&c->arena, line.data, line.size);
    buf_done(&line);
    return password;
}

static enum ctl_exit find_password(struct ctl *c, const char *user, const char **ret_password)
{
    const char *file = c->line.is_etcdctl ? NULL : access_flag(c, "password-file");
    if (*ret_password)
        return CTL_DONE;
    if (file) {
        struct buf text = {0};
        enum ctl_exit how = ctl_read_file(c, file, 64 << 10, &text);
        const uint8_t *end = text.size ? memchr(text.data, '\n', text.size) : NULL;
        *ret_password = arena_string(&c->arena, text.data, end ? (size_t)(end - text.data) : text.size);
        buf_done(&text);
        return how;
    }
    *ret_password = ctl_prompt_secret(c, arena_printf(&c->arena, "Password of %s: ", user));
    if (!*ret_password)
        return ctl_fail(c, CTL_BAD_ARGS,
                        "the password of %s is needed and there is no terminal to ask at; --password-file or "
                        "CAIRN_PASSWORD gives it",
                        user);
    return CTL_DONE;
}

/* Servers without authentication have no tokens; etcd's client goes on without one then. */
static enum ctl_exit get_token(struct ctl *c, struct ctl_call *call)
{
    int err = ctl_send(c, call);
    if (err)
        return ctl_fail_reach(c, err);
    if (c->line.is_etcdctl && call->status > 299 &&
        strstr(buf_text(&call->answer), "authentication is not enabled"))
        return CTL_DONE;
    if (call->status > 299)
        return ctl_fail_status(c, call);
    char error[200];
    json_t *doc = NULL;
    if (json_parse(buf_slice(&call->answer), &doc, error, sizeof error) != OK)
        return ctl_fail(c, CTL_ERROR, "%s sent a response that is not JSON: %s", call->endpoint, error);
    const char *token = ctl_json_text(doc, "token");
    if (*token)
        c->token = mem_string(token);
    json_decref(doc);
    return CTL_DONE;
}

enum ctl_exit ctl_log_in(struct ctl *c, const char *user, const char *password)
{
    if (!user)
        return CTL_DONE;
    mem_free(c->token);
    c->token = NULL;
    const char *colon = password ? NULL : strchr(user, ':');
    enum ctl_exit how = CTL_DONE;
    if (colon) {
        password = colon + 1;
        user = arena_string(&c->arena, user, (size_t)(colon - user));
    } else {
        how = find_password(c, user, &password);
    }
    if (how)
        return how;
    struct buf body = {0};
    struct json_writer w = {.out = &body};
    jw_open(&w, '{');
    jw_key(&w, "name");
    jw_text(&w, user);
    jw_key(&w, "password");
    jw_text(&w, password);
    jw_close(&w, '}');
    struct ctl_call call = {.method = "POST", .body = buf_slice(&body), .has_body = true};
    ctl_path(&call, "/v3/auth/authenticate");
    how = get_token(c, &call);
    ctl_call_done(&call);
    buf_done(&body);
    /* etcdctl reports it as a failed connection */
    return how && c->line.is_etcdctl ? CTL_BAD_CONNECTION : how;
}

enum ctl_exit ctl_log_in_side(struct ctl *c)
{
    return ctl_log_in(c, access_flag(c, "user"), c->side ? NULL : ctl_flag_value(&c->line, "password"));
}

/* TLS and a token, by the flags of the side. */
static enum ctl_exit open_access(struct ctl *c)
{
    enum ctl_exit how =
        ctl_open_tls(c, access_flag(c, "cacert"), access_flag(c, "cert"), access_flag(c, "key"));
    const char *token = c->side ? NULL : ctl_flag_value(&c->line, "auth-jwt-token");
    if (how)
        return how;
    if (!token || !*token)
        return ctl_log_in_side(c);
    c->token = mem_string(token);
    return CTL_DONE;
}

/* --- the run -------------------------------------------------------------------------------------------- */

static enum ctl_exit choose_form(struct ctl *c)
{
    const struct ctl_command_line *t = &c->line;
    const char *text = t->is_etcdctl ? NULL : ctl_flag_value(t, "output");
    if (!text)
        text = ctl_flag_value(t, "write-out");
    if (text && !ctl_form_of(text, &c->form))
        return ctl_has_etcd_texts(t)
                   ? ctl_fail(c, CTL_BAD_FEATURE, "unsupported output format")
                   : ctl_fail(c, CTL_BAD_ARGS,
                              "there is no output form \"%s\"; there are table, simple, json, "
                              "yaml, name, fields, protobuf",
                              text);
    return CTL_DONE;
}

/* True for commands that send no request and have no use of the environment. */
static bool is_local(const struct ctl_command_line *t)
{
    return t->is_etcdutl || ctl_commands[t->command].group == CTL_GROUP_PROGRAM;
}

/* True for commands that read a file and send no request. */
static bool reads_file(enum ctl_command_id id)
{
    return id == CTL_COMMAND_snapshot_status || id == CTL_COMMAND_snapshot_restore ||
           id == CTL_COMMAND_hashkv || id == CTL_COMMAND_backup_list || id == CTL_COMMAND_backup_verify;
}

/* A data folder is named: no server is asked. */
static bool is_offline(const struct ctl_command_line *t)
{
    return t->command == CTL_COMMAND_defrag && ctl_flag_value(t, "data-dir");
}

enum ctl_exit ctl_open(struct ctl *c)
{
    if (is_local(&c->line))
        return choose_form(c);
    enum ctl_exit how = read_environment(c);
    if (!how && !c->line.is_etcdctl)
        how = ctl_apply_context(c);
    if (!how)
        how = choose_form(c);
    if (how || reads_file(c->line.command) || is_offline(&c->line))
        return how;
    c->is_hex = ctl_bool(&c->line, "hex");
    c->dial_ms = ctl_duration_ms(&c->line, "dial-timeout");
    c->command_ms = ctl_duration_ms(&c->line, "command-timeout");
    how = ctl_use_endpoints(c);
    if (!how)
        how = open_access(c);
    return how;
}

enum ctl_exit ctl_open_side(struct ctl *c, const char *side, struct ctl *ret)
{
    *ret = (struct ctl){.line = c->line,
                        .side = *side ? side : NULL,
                        .form = c->form,
                        .dial_ms = c->dial_ms,
                        .command_ms = c->command_ms,
                        .stop_fd = c->stop_fd};
    char name[16];
    snprintf(name, sizeof name, "%.*s", *side ? (int)strlen(side) - 1 : 0, side);
    const struct ctl_value *given = *side ? ctl_list(&c->line, name) : NULL;
    enum ctl_exit how = given ? ctl_set_endpoints(ret, given->list, given->count) : ctl_use_endpoints(ret);
    if (!how)
        how = open_access(ret);
    return how;
}

void ctl_close_side(struct ctl *side)
{
    forget_endpoints(side);
    tls_context_free(side->tls);
    mem_free(side->token);
    arena_done(&side->arena);
    buf_done(&side->out);
}

void ctl_done(struct ctl *c)
{
    forget_endpoints(c);
    tls_context_free(c->tls);
    mem_free(c->token);
    ctl_command_line_done(&c->line);
    arena_done(&c->arena);
    buf_done(&c->out);
}
