#!/usr/bin/env bash
# kill -9 at every step of `snapshot restore`, `import etcd-data-dir` and the offline defrag: a preloaded library kills the command
# before its Nth call that changes a file or folder, for N = 1, 2, 3, ... until it ends by itself. After each kill the folder is either
# unfinished (no "member"; cairnd refuses it, and the same command succeeds) or whole: equal to that of a run that was not killed.
source "$(dirname "$0")/lib.sh"
source tests/shell/ports.sh
port=$(free_port) || exit 1
CTL=$(realpath "${CAIRNCTL:-bin/cairnctl}")
url=http://127.0.0.1:$port peer=http://127.0.0.1:$((port + 1))
cd "$work" || exit 1
cat >kill.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
static void step(void)
{
    static atomic_int count;
    const char *at = getenv("KILL_AT");
    if (at && atomic_fetch_add(&count, 1) + 1 == atoi(at))
        kill(getpid(), SIGKILL);
}
/* Not of pipes, and not of the output. */
static void step_of(int fd)
{
    struct stat st;
    if (fd > 2 && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        step();
}
#define NEXT(type, name) ((type (*)())dlsym(RTLD_NEXT, #name))
#define OF_FD(type, name, parameters, ...) \
    type name parameters { step_of(fd); return NEXT(type, name)(__VA_ARGS__); }
#define OF_PATH(name, parameters, ...) \
    int name parameters { step(); return NEXT(int, name)(__VA_ARGS__); }
OF_FD(ssize_t, write, (int fd, const void *b, size_t n), fd, b, n)
OF_FD(ssize_t, writev, (int fd, const struct iovec *v, int n), fd, v, n)
OF_FD(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t at), fd, b, n, at)
OF_FD(ssize_t, pwrite64, (int fd, const void *b, size_t n, off_t at), fd, b, n, at)
OF_FD(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t at), fd, v, n, at)
OF_FD(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off_t at), fd, v, n, at)
OF_FD(int, fsync, (int fd), fd)
OF_FD(int, fdatasync, (int fd), fd)
OF_FD(int, ftruncate, (int fd, off_t n), fd, n)
OF_FD(int, ftruncate64, (int fd, off_t n), fd, n)
OF_FD(int, fallocate, (int fd, int mode, off_t at, off_t n), fd, mode, at, n)
OF_FD(int, posix_fallocate, (int fd, off_t at, off_t n), fd, at, n)
OF_PATH(mkdir, (const char *p, mode_t m), p, m)
OF_PATH(rename, (const char *a, const char *b), a, b)
OF_PATH(unlink, (const char *p), p)
OF_PATH(rmdir, (const char *p), p)
OF_PATH(remove, (const char *p), p)
#define OF_OPEN(name) \
    int name(const char *p, int flags, ...) \
    { \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        if (flags & O_CREAT) \
            step(); \
        return NEXT(int, name)(p, flags, mode); \
    }
OF_OPEN(open)
OF_OPEN(open64)
C
if ! cc -w -std=gnu11 -shared -fPIC -o kill.so kill.c -ldl 2>cc.log; then
    echo "  skip: no C compiler: $(head -1 cc.log)"
    exit 0
fi
killed_at() { # N COMMAND...: true if the command was killed
    { # without the shell's line about a killed process
        KILL_AT=$1 ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS:-} LD_PRELOAD=$work/kill.so "${@:2}" >said 2>&1
        status=$?
    } 2>/dev/null
    [ $status = 137 ]
}
refused_by_server() { # FOLDER: or taken for an empty one, which has nothing of a restore
    [ -d "$1/member.restoring" ] || return 0
    "$CAIRND" --data-dir "$1" --listen-client-urls "$url" --advertise-client-urls "$url" --listen-peer-urls "$peer" \
        --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" >refused.log 2>&1
    [ $? = 1 ] && has refused.log 'a restore was interrupted; run .*cairnctl snapshot restore'
}
# whole FOLDER LOG: the store is that of the run that was not killed, and so is what there is beside it.
whole() {
    cmp -s "$1/member/store" "reference/data/member/store" && [ "$(ls "$1")" = member ] &&
        [ "$(cd "$2" && stat -c '%n %s' ./*)" = "$(cd reference/log && stat -c '%n %s' ./*)" ] && ! ls -d ./*.restoring >refused.log 2>&1
}
# sweep NAME COMMAND...: the command writes into new/data and, if its log is elsewhere, new-wal.
sweep() {
    local name=$1 n finished=0 unfinished=0 log=new/data/member/wal
    shift
    case "$*" in *new-wal*) log=new-wal ;; esac
    rm -rf new new-wal* reference
    check "$name, not killed" "$@" >said 2>&1
    mkdir reference && mv new/data reference/data
    if [ $log = new-wal ]; then mv new-wal reference/log; else cp -r reference/data/member/wal reference/log; fi
    for n in $(seq 1000); do
        rm -rf new new-wal*
        killed_at "$n" "$@" || break
        if [ -d new/data/member ]; then
            finished=$((finished + 1))
            [ $finished -gt 1 ] || { rm -rf served && cp -r new/data served && cp -r $log served.wal; }
        else
            [ $((n % 8)) != 0 ] || refused_by_server new/data || { fails "$name: killed at step $n, cairnd: $(cat refused.log)"; return; }
            "$@" >said 2>&1 || { fails "$name: killed at step $n, then: $(cat said)"; return; }
            unfinished=$((unfinished + 1))
        fi
        rm -f new/data/member/log-folder # of a run that was killed after it had given its names: the next start does not mind
        whole new/data $log || { fails "$name: killed at step $n: $(ls -lR new)"; return; }
    done
    expect "$name ends by itself after $((n - 1)) steps" 0 $status
    check "$unfinished of them unfinished, $finished whole" test $unfinished -gt 20 -a $finished -gt 0
}
serves() { # VALUE: the folder that the first kill after the rename left
    start_server "$work/at$1" "$port" --data-dir "$work/served" --wal-dir "$work/served.wal" || return 1
    [ "$(ETCDCTL_ENDPOINTS=$url etcdctl get key7 --print-value-only)" = "$1" ] || return 1
    stop_server
    rm -rf served served.wal
}
own=(--initial-cluster "default=$peer" --initial-advertise-peer-urls "$peer")

check "a member serves" start_server "$work/old" "$port"
export ETCDCTL_ENDPOINTS=$url
for i in $(seq 8); do etcdctl put "key$i" v >put.log; done
head -c 100000 /dev/zero | tr '\0' x | etcdctl put large >put.log
"$CTL" --endpoints "$url" snapshot save save.db >put.log
etcdctl del large >put.log
hash=$("$CTL" --endpoints "$url" endpoint hashkv -o json | grep -o '"hash": *[0-9]*' | grep -o '[0-9]*$')
stop_server
sweep "snapshot restore" "$CTL" snapshot restore save.db "${own[@]}" --data-dir new/data
check "a whole one serves" serves v
sweep "snapshot restore with a log elsewhere" "$CTL" snapshot restore save.db "${own[@]}" --data-dir new/data --wal-dir new-wal
check "a whole one serves" serves v

# --- a data folder of etcd ---------------------------------------------------------------------------------------------------
if etcd=$(command -v etcd); then
    "$etcd" --data-dir etcd --listen-client-urls "$url" --advertise-client-urls "$url" --listen-peer-urls "$peer" \
        --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" --backend-batch-interval 1h >etcd.log 2>&1 &
    server_pid=$!
    check "an etcd serves" within $LIMIT_S etcdctl $impatient put key1 imported
    for i in $(seq 2 8); do etcdctl put "key$i" imported >put.log; done
    stop_server KILL
    sum() { (cd etcd && find . -type f -exec sha256sum {} + | sort | sha256sum); }
    before=$(sum)
    sweep "import etcd-data-dir" "$CTL" import etcd-data-dir etcd "${own[@]}" --data-dir new/data
    check "a whole one serves" serves imported
    expect "etcd's folder is as it was" "$before" "$(sum)"
else
    echo "  skip import etcd-data-dir: no etcd"
fi

# --- the offline defrag ------------------------------------------------------------------------------------------------------
hash_of() { # FOLDER: served by a cairnd
    start_server "$work/hashed" "$port" --data-dir "$1" >start.log || return 1
    "$CTL" --endpoints "$url" endpoint hashkv -o json | grep -o '"hash": *[0-9]*' | grep -o '[0-9]*$'
    stop_server
}
defrag_after_kill() { # N: the folder serves what it had, and so it does after another defrag
    local got
    rm -rf copy && cp -r old/data copy
    killed_at "$1" "$CTL" defrag --data-dir copy || return 1
    rm -rf again && cp -r copy again
    got=$(hash_of copy)
    [ "$got" = "$hash" ] || { fails "defrag killed at step $1: its hash is $got: $(tail -3 hashed/log)"; return 1; }
    "$CTL" defrag --data-dir again >said 2>&1 || { fails "defrag killed at step $1, then: $(cat said)"; return 1; }
    got=$(hash_of again)
    [ "$got" = "$hash" ] || { fails "defrag killed at step $1, then defragmented: its hash is $got"; return 1; }
    expect "nothing is left beside the store at step $1" "$(ls old/data/member)" "$(ls again/member)"
}
for n in $(seq 200); do defrag_after_kill "$n" >defrag.out || break; done
grep FAIL defrag.out
expect "defrag ends by itself after $((n - 1)) steps" 0 $status
check "which are several" test "$n" -gt 5
finish
