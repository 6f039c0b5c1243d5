/* SPDX-License-Identifier: Apache-2.0
 * Shared code of the fault programs: the server child, the raw client and the verdict; see fault.h. */
#include "tests/interop/libwebsockets/fault.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PORT_MIN = 30000, PORT_COUNT = 2700, START_WAIT_MS = 10000, FDS_MAX = 2000 };

struct fault_counts *fault_counts;

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

void fault_sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static struct sockaddr_in address_of(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A port without a listener. */
static int free_port(void)
{
    for (int i = 0; i < PORT_COUNT; i++) {
        int port = PORT_MIN + (getpid() * 7 + i) % PORT_COUNT;
        struct sockaddr_in at = address_of(port);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bool is_free = bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
        if (is_free)
            return port;
    }
    fail("no free port");
    return 0;
}

static void log_line(int level, const char *line)
{
    if (getenv("VERBOSE"))
        fprintf(stderr, "%d: %s", level, line);
}

static const struct lws_protocols *served;
static void (*set_up_served)(struct lws_context_creation_info *info);

static void serve(int port)
{
    struct lws_context_creation_info info = {
        .port = port,
        .iface = "127.0.0.1",
        .protocols = served,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
        .options = LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
        .fd_limit_per_thread = FDS_MAX,
    };
    if (set_up_served)
        set_up_served(&info);
    struct lws_context *context = lws_create_context(&info);
    while (context && lws_service(context, 0) >= 0) {
    }
}

static void start_child(const struct fault_server *s, void (*run)(int port))
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    lws_set_log_level(getenv("VERBOSE") ? 0x3ff : LLL_ERR, log_line);
    run(s->port);
    _exit(2);
}

struct fault_server fault_server_run(void (*run)(int port))
{
    struct fault_server s = {.port = free_port()};
    if (!fault_counts)
        fault_counts =
            mmap(NULL, sizeof *fault_counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fault_counts == MAP_FAILED)
        fail("mmap");
    memset(fault_counts, 0, sizeof *fault_counts);
    s.pid = fork();
    if (s.pid < 0)
        fail("fork");
    if (s.pid == 0)
        start_child(&s, run);
    for (int waited_ms = 0; waited_ms < START_WAIT_MS; waited_ms += 20) {
        struct sockaddr_in at = address_of(s.port);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bool is_up = connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
        if (is_up)
            return s;
        fault_sleep_ms(20);
    }
    fault_server_stop(&s, &(int){0});
    errno = ETIMEDOUT;
    fail("the server does not listen");
    return s;
}

struct fault_server fault_server_start(const struct lws_protocols *protocols,
                                       void (*set_up)(struct lws_context_creation_info *info))
{
    served = protocols;
    set_up_served = set_up;
    return fault_server_run(serve);
}

bool fault_server_stop(struct fault_server *s, int *ret_signal)
{
    int status = 0;
    bool has_ended = waitpid(s->pid, &status, WNOHANG) == s->pid;
    if (!has_ended) {
        kill(s->pid, SIGKILL);
        waitpid(s->pid, &status, 0);
    }
    *ret_signal = has_ended && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return has_ended;
}

bool fault_server_is_up(const struct fault_server *s)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

double fault_server_cpu_s(const struct fault_server *s)
{
    clockid_t clock;
    struct timespec t = {0};
    if (clock_getcpuclockid(s->pid, &clock) == 0)
        clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int fault_connect(const struct fault_server *s)
{
    struct sockaddr_in at = address_of(s->port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval wait = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    /* A server that has just died refuses, a busy one does not accept: both are looked at later. */
    if (connect(fd, (struct sockaddr *)&at, sizeof at) && errno != ECONNREFUSED && errno != EINPROGRESS)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

void fault_send(int fd, const void *data, size_t size)
{
    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size && errno != EPIPE && errno != ECONNRESET &&
        errno != ENOTCONN && errno != EAGAIN)
        fail("send");
}

void fault_send_text(int fd, const char *text)
{
    fault_send(fd, text, strlen(text));
}

size_t fault_receive_until(int fd, char *room, size_t size, const char *end, int wait_ms, bool *ret_is_closed)
{
    size_t n = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    *ret_is_closed = false;
    room[0] = 0;
    while (n + 1 < size && poll(&p, 1, wait_ms) > 0) {
        ssize_t got = recv(fd, room + n, size - n - 1, 0);
        *ret_is_closed = got <= 0;
        if (got <= 0)
            break;
        n += (size_t)got;
        room[n] = 0;
        if (!end || (*end && strstr(room, end)))
            break;
    }
    return n;
}

size_t fault_receive(int fd, char *room, size_t size, int wait_ms, bool *ret_is_closed)
{
    return fault_receive_until(fd, room, size, "", wait_ms, ret_is_closed);
}

void fault_keep(const void *data, size_t size)
{
    for (size_t i = 0; i < size && fault_counts->received + i + 1 < sizeof fault_counts->text; i++)
        fault_counts->text[fault_counts->received + i] = ((const char *)data)[i];
    fault_counts->received += (unsigned)size;
}

int fault_answer(struct lws *wsi, const char *text)
{
    uint8_t room[LWS_PRE + 2048], *begin = room + LWS_PRE, *at = begin, *end = room + sizeof room - 1;
    if (lws_add_http_common_headers(wsi, HTTP_STATUS_OK, "text/plain", strlen(text), &at, end) ||
        lws_finalize_write_http_header(wsi, begin, &at, end))
        return 1;
    memcpy(begin, text, strlen(text));
    if (lws_write(wsi, begin, strlen(text), LWS_WRITE_HTTP_FINAL) < 0)
        return 1;
    return lws_http_transaction_completed(wsi) ? -1 : 0;
}

int fault_verdict(bool is_there, const char *format, ...)
{
    const char *version = lws_get_library_version();
    va_list args;
    printf("%s %.*s: ", is_there ? "fault: still there in libwebsockets" : "mended in",
           (int)strspn(version, "0123456789."), version);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    return 0;
}
