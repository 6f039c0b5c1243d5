#!/usr/bin/env bash
# kill -9 at every step of `migrate`: a preloaded library kills the command before its Nth request, and before it reads what the other side
# has answered to it, for N = 1, 2, 3, ... until the command ends by itself. Then the source changes, the same command ends the migration,
# and the target equals the source. (The source stays as it is after the last step, which ends the migration.) Each N begins with an empty target.
source "$(dirname "$0")/lib.sh"
port=$(free_port) || exit 1
other=$(free_port) || exit 1
CTL=$(realpath "${CAIRNCTL:-bin/cairnctl}")
helper=$(realpath tests/e2e/migrate.py)
cd "$work" || exit 1
from=http://127.0.0.1:$port to=http://127.0.0.1:$other
source_pid=""
end_more() { [ -z "$source_pid" ] || kill -KILL "$source_pid"; }
cat >kill.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
static bool is_sending;
static void step(void)
{
    static int steps;
    const char *at = getenv("KILL_AT");
    if (at && ++steps == atoi(at))
        kill(getpid(), SIGKILL);
}
ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    if (!is_sending)
        step();
    is_sending = true;
    return ((ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send"))(fd, bytes, size, flags);
}
ssize_t recv(int fd, void *bytes, size_t size, int flags)
{
    if (is_sending)
        step();
    is_sending = false;
    return ((ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv"))(fd, bytes, size, flags);
}
C
if ! cc -w -std=gnu11 -shared -fPIC -o kill.so kill.c -ldl 2>cc.log; then
    echo "  skip: no C compiler: $(head -1 cc.log)"
    exit 0
fi
at_from() { "$CTL" --endpoints "$from" "$@"; }
move() { timeout 120 "$CTL" --endpoints "$to" migrate from-etcd --from "$from" --snapshot save.db --finish --quiet-time 100ms >moved 2>&1; }
moved_until() { # N: true if it was killed at its Nth step
    { KILL_AT=$1 ASAN_OPTIONS=verify_asan_link_order=0:${ASAN_OPTIONS:-} LD_PRELOAD=$work/kill.so move; status=$?; } 2>killed
    [ $status = 137 ]
}
state() { "$CTL" --endpoints "$to" get /cairn/migrate/ --prefix --keys-only; }
same() { python3 -B "$helper" dump "$from" >from.dump && python3 -B "$helper" dump "$to" >to.dump && cmp -s from.dump to.dump; }
password_came() {
    "$CTL" --endpoints "$to" user add root --new-user-password toor && "$CTL" --endpoints "$to" auth enable &&
        "$CTL" --endpoints "$to" --user alice:secret get k1
}

check "the source serves" start_server "$work/from" "$port"
source_pid=$server_pid
lease=$(at_from lease grant 3600 | awk '{ print $2 }')
for i in 1 2 3; do at_from put k$i v >put.log; done
at_from put leased v --lease "$lease" >put.log
at_from user add alice --new-user-password secret >put.log
at_from role add reader >put.log
at_from role grant-permission reader read k --prefix >put.log
at_from user grant-role alice reader >put.log
at_from snapshot save save.db >put.log

killed=0
for n in $(seq 300); do
    rm -rf to/data
    start_server "$work/to" "$other" || { fails "the target does not start"; break; }
    if ! moved_until "$n"; then
        expect "it ends by itself after $((n - 1)) steps" 0 $status
        check "and the target equals the source" within $LIMIT_S same
        break
    fi
    killed=$n
    if [ "$(state)" ]; then
        at_from put "k$((n % 5))" "v$n" >put.log
        [ $((n % 3)) != 0 ] || at_from del "k$(((n + 2) % 5))" >put.log
    fi
    move || { fails "killed at step $n, then: $(cat moved)"; break; }
    within $LIMIT_S same || { fails "killed at step $n: $(diff from.dump to.dump | head -5)"; break; }
    [ -z "$(state)" ] || { fails "killed at step $n: its state is left"; break; }
    [ $((n % 10)) != 0 ] || password_came >put.log 2>&1 || { fails "killed at step $n: the password did not come: $(cat put.log)"; break; }
    stop_server KILL
done
check "$killed runs were killed" test "$killed" -gt 20
finish
