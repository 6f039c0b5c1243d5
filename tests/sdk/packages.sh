#!/usr/bin/env bash
# libcairn as it is installed: the symbols and layouts of its ABI, `make install`, and outside projects that find the library by
# pkg-config and by CMake, shared and static. LIBRARY is the folder it was built into.
. "$(dirname "$0")/../e2e/lib.sh"
LIBRARY=$(realpath "$LIBRARY")
port=$(free_port)
check "a server starts" start_server "$work/d" "$port"
endpoint=127.0.0.1:$port

shown=$(nm -D --defined-only "$LIBRARY/libcairn.so" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort)
expect "the shared library shows cairn_* alone" "" "$(grep -v '^cairn_' <<<"$shown")"
said=$(gcc -E -P sdk/cairn.h | tr '\n' ' ' | grep -oE 'cairn_[a-z_]+\(' | tr -d '(' | sort -u | grep -vxE 'cairn_text')
expect "and all that the header says" "" "$(comm -3 <(echo "$said") <(sort -u <<<"$shown") | xargs)"
expect "each with a version" "" "$(objdump -T "$LIBRARY/libcairn.so" | grep ' cairn_' | grep -v ' CAIRN_[0-9]' | xargs)"
expect "its name" libcairn.so.0 "$(objdump -p "$LIBRARY/libcairn.so" | awk '/SONAME/ { print $2 }')"
expect "the static library defines nothing else" "" "$(nm -g --defined-only "$LIBRARY/libcairn.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^cairn_/ { print $3 }' | grep -v '^__' | xargs)"
printf '#include <cairn.h>\n#include <stdio.h>\nint main() { puts(cairn_version()); }\n' >"$work/p.cc"
check "the header is C++ as well" g++ -Wall -Wextra -Werror -Isdk -fsyntax-only "$work/p.cc"
check "and C99" gcc -std=c99 -Wall -Wextra -Wpedantic -Werror -Isdk -fsyntax-only -x c sdk/cairn.h

# The list is for one ABI of C; the check of another copy shows that it finds changes.
if [ "$(uname -m)" = x86_64 ]; then
    check "the ABI is that of sdk/abi.txt" python3 -B tests/sdk/abi.py "$LIBRARY/libcairn.so"
    mkdir -p "$work/copy/tests/sdk"
    cp -r sdk "$work/copy" && cp tests/sdk/abi.py "$work/copy/tests/sdk"
    changed() { # SED: the copy's check after this change of its headers
        cp sdk/cairn*.h "$work/copy/sdk"
        sed -i "$1" "$work/copy/sdk/"cairn*.h
        cmp -s sdk/cairn.h "$work/copy/sdk/cairn.h" && cmp -s sdk/cairn_lock.h "$work/copy/sdk/cairn_lock.h" && return 3
        (cd "$work/copy" && python3 -B tests/sdk/abi.py "$LIBRARY/libcairn.so" >"$work/abi" 2>&1)
    }
    changes() { # WANTED NAME SED
        changed "$3"
        expect "$2" "$1" $?
    }
    changes 1 "it finds a field in the middle" 's/^    uint32_t dial_timeout_ms;/    int more; &/'
    changes 1 "a field at the end of a request" 's/^    struct cairn_cancel \*cancel; \/\* of the wait.*/&\n    int64_t more;/'
    changes 0 "but allows one at the end of the options" 's/^    bool no_thread;.*/&\n    int64_t more;/'
    changes 1 "a type that changed" 's/    int ttl_seconds;          \/\* of the lease/    int64_t ttl_seconds; \/\*/'
    changes 1 "a declaration that changed" 's/^int cairn_close(struct cairn_client \*c);/long cairn_close(struct cairn_client *c);/'
    changes 1 "an enum whose values moved" 's/^enum cairn_watch_kind {/&\n    CAIRN_WATCH_NEW,/'
    changes 1 "a new version without a new list" 's/CAIRN_SDK_VERSION "0\.1\.0"/CAIRN_SDK_VERSION "0.2.0"/'
else
    echo "  --   abi   sdk/abi.txt is for x86_64"
fi

make --no-print-directory install DESTDIR="$work/root" PREFIX=/opt/cairn >"$work/install" 2>&1
expect "make install" 0 $?
installed=$work/root/opt/cairn
runs() { LD_LIBRARY_PATH=$installed/lib "$1" "$endpoint" >"$work/out" 2>&1; }
needs() { objdump -p "$1" | grep -c 'NEEDED.*libcairn.so.0'; }
export PKG_CONFIG_PATH=$installed/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/root
check "a program finds it by pkg-config" gcc sdk/examples/kv.c $(pkg-config --cflags --libs cairn) -o "$work/installed"
check "and runs on the shared library" runs "$work/installed"
check "and is linked with the static one alone" gcc sdk/examples/kv.c -I"$installed/include" "$installed/lib/libcairn.a" $(pkg-config --static --libs-only-l cairn | sed 's/-lcairn//') -o "$work/static"
expect "of which it needs no shared one" "1 0" "$(needs "$work/installed") $(needs "$work/static")"

if command -v cmake >/dev/null; then
    mkdir "$work/project"
    cp sdk/examples/kv.c "$work/project"
    cat >"$work/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.13)
project(outside C)
find_package(cairn ${WANTED} REQUIRED)
add_executable(with_shared kv.c)
target_link_libraries(with_shared cairn::shared)
add_executable(with_static kv.c)
target_link_libraries(with_static cairn::static)
add_executable(with_default kv.c)
target_link_libraries(with_default cairn::cairn)
END
    configure() { cmake -S "$work/project" -B "$work/project/$1" -DCMAKE_PREFIX_PATH="$installed" "${@:2}" >"$work/cmake" 2>&1 || { tail -20 "$work/cmake" && false; }; }
    builds() { cmake --build "$work/project/$1" >"$work/cmake" 2>&1 || { tail -20 "$work/cmake" && false; }; }
    check "a project finds it by CMake" configure a -DWANTED=0.1
    check "and is built" builds a
    check "a program with the shared library runs" runs "$work/project/a/with_shared"
    check "and one with the static library" runs "$work/project/a/with_static"
    expect "each with its own" "1 0 1" "$(needs "$work/project/a/with_shared") $(needs "$work/project/a/with_static") $(needs "$work/project/a/with_default")"
    check "CAIRN_STATIC selects the static one" configure b -DWANTED=0.1 -DCAIRN_STATIC=ON
    check "and is built" builds b
    expect "without the shared one" 0 "$(needs "$work/project/b/with_default")"
    configure c -DWANTED=1.0 >"$work/out"
    expect "another major version is not accepted" 1 $?
    configure d -DWANTED=0.99 >"$work/out"
    expect "nor an older minor version" 1 $?
    rm "$installed/lib/libcairn.a"
    configure e -DWANTED=0.1 >"$work/out"
    expect "an incomplete installation is named" "1 1" "$? $(grep -c 'libcairn.a is missing' "$work/out")"
else
    echo "  --   cmake   is missing"
fi
finish
