# Ports for a test's servers, which no other test on this machine gets as long as this one lives. Source it.
#
# Blocks of a hundred ports from 20000 to 29999, below those that outgoing connections get. A file for each says whose it is; that
# of a process which is gone is free again. ports.py does the same in Python.
# Other programs do not use these files: a block with a listening port is skipped, but a program may listen
# there later.

. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# free_base [COUNT]: the first of a hundred ports, of which COUNT (50) are looked at. For $(...) too: the owner is the script, not the subshell.
free_base() {
    local folder=${TMPDIR:-/tmp}/cairn-ports.$UID owner p k
    mkdir -p "$folder"
    (
        flock -w 60 9 || exit 1
        for p in $(shuf -i 0-99 | awk '{ print 20000 + 100 * $1 }'); do
            owner=$(cat "$folder/$p" 2>/dev/null)
            [ -n "$owner" ] && kill -0 "$owner" 2>/dev/null && continue
            for k in $(seq 0 $((${1:-50} - 1))); do
                (exec 3<>"/dev/tcp/127.0.0.1/$((p + k))") 2>/dev/null && continue 2
            done
            echo $$ >"$folder/$p"
            echo "$p"
            exit
        done
        echo "no free ports" >&2
        exit 1
    ) 9>"$folder/lock"
}
# A script that has ended some of its tests may return all its ports.
give_back_ports() { grep -lx $$ "${TMPDIR:-/tmp}/cairn-ports.$UID"/* 2>/dev/null | xargs -r rm -f; }
# free_port: one; those behind it are free too.
free_port() { free_base; }
