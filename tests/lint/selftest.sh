#!/usr/bin/env bash
# Plants one violation of each kind in a folder of its own and compares what the checkers say with what they
# should: a checker that lets everything pass is worse than none.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
mkdir -p registry base/net consensus/raft consensus/wal server/http tests/unit sdk odd

printf '#include "consensus/wal/wal.h"\n#include "consensus/kv.h"\n#include "config/config.h"\n' >registry/bad.c
printf '#include "base/buf.h"\n# include "base/net/tls.h"\n#include <uv.h>\n#include <yaml.h>\n' >base/worker.c
printf '#include "base/buf.h"\n#include "base/clock.h"\n#include "consensus/raft/raft.h"\n' >consensus/raft/raft.c
printf '#include "consensus/io.h"\n#include "consensus/raft/raft.h"\n#include <lmdb.h>\n' >consensus/wal/wal.c
printf '#include <openssl/evp.h>\n#include "base/net/tls.h"\n#include "server/rpc/private.h"\n' >server/http/http.c
printf '#include <lmdb.h>\n#include "consensus/wal/wal.h"\n' >tests/unit/x_test.c
printf '#include "consensus/kv.h"\n#include "kv.h"\n' >sdk/cairn.c
printf '\n' >odd/x.c
cat >want <<'END'
registry/bad.c:1: registry may not include consensus/wal (consensus/wal/wal.h)
registry/bad.c:3: registry may not include config (config/config.h)
base/worker.c:2: base may not include base/net (base/net/tls.h)
base/worker.c:4: base may not include the library (yaml.h)
consensus/raft/raft.c:2: consensus/raft may not include base (base/clock.h)
consensus/wal/wal.c:2: consensus/wal may not include consensus/raft (consensus/raft/raft.h)
consensus/wal/wal.c:3: consensus/wal may not include the library (lmdb.h)
server/http/http.c:1: server/http may not include the library (openssl/evp.h)
server/http/http.c:3: server/http may not include server/rpc (server/rpc/private.h)
sdk/cairn.c:1: sdk may not include consensus (consensus/kv.h)
sdk/cairn.c:2: sdk may not include an unknown header (kv.h)
odd/x.c:1: no module of the table
END
awk -f "$here/layers.awk" "$here/layers" registry/bad.c base/worker.c consensus/raft/raft.c consensus/wal/wal.c \
    server/http/http.c tests/unit/x_test.c sdk/cairn.c odd/x.c >got && { echo "layers.awk: exit 0"; exit 1; }
diff want got || { echo "layers.awk does not say what it should"; exit 1; }
printf '#include "base/buf.h"\n#include "registry/private.h"\n#include "consensus/kv.h"\n' >registry/good.c
awk -f "$here/layers.awk" "$here/layers" registry/good.c || { echo "layers.awk: exit 1 on good code"; exit 1; }

mkdir -p consensus/kv
printf '    kv->read_index.round_id = kv->store + kv->turn.now_ms;\n    f(&kv->turn, ((struct kv *)arg)->auth.epoch, kv->scans.count);\n' >consensus/kv/read_index.c
printf '    kv->scans.count++; kv_turn_init(&kv->turn);\n' >consensus/kv/scan.c
printf '    kv_turn_init(&kv->turn, kv->lifecycle.lock);\n' >consensus/kv/open.c
printf '# remains\nread_index:scans.count\nscan:gone.field\n' >allowed
cat >want <<'END'
consensus/kv/read_index.c:1: kv->turn.now_ms is of another part (consensus/kv/turn.h): call a function of that part
consensus/kv/read_index.c:2: kv->turn is of another part (consensus/kv/turn.h): call a function of that part
consensus/kv/read_index.c:2: kv->auth.epoch is of another part (consensus/kv/auth.h): call a function of that part
consensus/kv/scan.c:1: kv->turn is of another part (consensus/kv/turn.h): call a function of that part
allowed:3: scan:gone.field is not needed any more
END
awk -f "$here/kv_parts.awk" allowed consensus/kv/*.c >got && { echo "kv_parts.awk: exit 0"; exit 1; }
diff want got || { echo "kv_parts.awk does not say what it should"; exit 1; }
awk -f "$here/kv_parts.awk" <(echo '# none') consensus/kv/open.c || { echo "kv_parts.awk: exit 1 on good code"; exit 1; }

spdx='/* SPDX-License-Identifier: Apache-2.0 */'
{
    printf 'int no_licence;\ntypedef int number;\nstatic __attribute__((format(printf, 1, 2))) int badName(int x)\n{\n    return x;\n}\n'
    printf 'int long_one(int a,\n             int b)\n{\n'
    printf '    a++;\n%.0s' {1..88}
    printf '    return a;\n}\n'
} >a.c
{ printf '%s\nint good_name(void)\n{\n    callOther();\n' "$spdx"; printf '    x();\n%.0s' {1..80}; printf '}\n'; } >b.c
{ printf '%s\n' "$spdx"; printf 'int x;\n%.0s' {1..899}; } >c.c
cat >want <<'END'
a.c:1: must begin with /* SPDX-License-Identifier: Apache-2.0
a.c:2: typedef; say struct, enum or union
a.c:3: badName() is not snake_case
a.c:9: long_one() has 91 lines; 90 is the limit
c.c:900: file of 900 lines; 900 is the limit
END
awk -f "$here/names.awk" a.c b.c c.c >got && { echo "names.awk: exit 0"; exit 1; }
diff want got || { echo "names.awk does not say what it should"; exit 1; }
awk -f "$here/names.awk" b.c || { echo "names.awk: exit 1 on good code"; exit 1; }

cat >comments.c <<'END'
/* A sentence that fills its line to the end.
 * */
/* --- a section
 * ----------------------------------------- */
/* --- another ------------------------------
 */
/* --- a third
 * -----------------------------------------
 */
/*   what      result
 *   --------
 *   ------
 *   this      that */
END
cat >want <<'END'
comments.c:2: the comment's end stands alone: put it behind the last word
comments.c:4: the ruler of a section is one line: /* --- name ----- */
comments.c:6: the ruler of a section is one line: /* --- name ----- */
comments.c:9: the ruler of a section is one line: /* --- name ----- */
comments.c:12: the ruler of a table is one line
END
awk -f "$here/comments.awk" comments.c >got && { echo "comments.awk: exit 0"; exit 1; }
diff want got || { echo "comments.awk does not say what it should"; exit 1; }
cat >comments.c <<'END'
/* --- a section ---------------------------- */
/* --- another ------------------------------
 * It says more. */
/*   what      result
 *   ------    ------
 *   this      that
 */
END
awk -f "$here/comments.awk" comments.c || { echo "comments.awk: exit 1 on good code"; exit 1; }

printf 'int kept_%s(void);\n' {1..9} >order.c
{ echo '# a comment'; printf 'kept_%s\n' {1..9}; echo made__by_a_tool; } >order
bash "$here/start_order.sh" order order.c || { echo "start_order.sh: exit 1 on a good list"; exit 1; }
printf 'gone_%s\n' 1 2 >>order
cat >want <<'END'
order: no source has gone_1 gone_2
order: rename the lines with the functions, or write the list again: make start-order
END
bash "$here/start_order.sh" order order.c >got && { echo "start_order.sh: exit 0"; exit 1; }
diff want got || { echo "start_order.sh does not say what it should"; exit 1; }

cat >folds.c <<'END'
long a(struct e *e, long k)
{
    bool b = e && e->v;
    long sum = b ? e->v + 1 : 1;
    sum += e->has ? k | f(e) : k;
    sum += k & 1 ? e->v - 8 : -8;
    sum += (k & 1) == 0 ? k : k ^ *e->q;
    sum += 1 + (b ? e->v
                  : 0);
    return b ? k / e->v + (k + 1) : (k + 1);
}
END
cat >want <<'END'
folds.c:4: gcc 14.2 reads "e->v + 1" whatever the condition is: write an if
folds.c:5: gcc 14.2 reads "k | f(e)" whatever the condition is: write an if
folds.c:6: gcc 14.2 reads "e->v - 8" whatever the condition is: write an if
folds.c:7: gcc 14.2 reads "k ^ *e->q" whatever the condition is: write an if
folds.c:8: gcc 14.2 reads "e->v" whatever the condition is: write an if
folds.c:10: gcc 14.2 reads "k / e->v + (k + 1)" whatever the condition is: write an if
END
awk -f "$here/folds.awk" folds.c >got && { echo "folds.awk: exit 0"; exit 1; }
diff want got || { echo "folds.awk does not say what it should"; exit 1; }
cat >folds.c <<'END'
/* b ? e->v + 1 : 1 */
long a(struct e *e, long k)
{
    long sum = k > 3 ? e->v + 1 : 1;
    sum += !b ? 1 : e->v + 1;
    sum += b ? k + 1 : 1;
    sum += b ? e->v : 1;
    sum += (b ? e->v : 0) * 2;
    return e && e->v ? e->v + 1 : 1;
}
END
awk -f "$here/folds.awk" folds.c || { echo "folds.awk: exit 1 on good code"; exit 1; }

cat >turns.c <<'END'
static void on_timer(uv_timer_t *timer);

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    receive(stream->data, buf, n);
}

static void on_timer(uv_timer_t *timer)
{
    turn_enter(TURN_TIMER);
}

static void on_close(uv_handle_t *handle)
{
    mem_free(handle->data);
}
END
echo 'turns.c:3: on_read does not name its work: turn_enter (base/turn.h)' >want
awk -f "$here/turns.awk" turns.c >got && { echo "turns.awk: exit 0"; exit 1; }
diff want got || { echo "turns.awk does not say what it should"; exit 1; }

# Stand-ins for compilers: what they "build" prints what the check's program would.
check="$here/../compiler/check.sh"
stand_in() { # WHAT ITS PROGRAM SAYS
    printf '#!/bin/sh\ncase $1 in --version) echo "cc 1.0"; exit;; -dumpmachine) echo none-elf; exit;; esac\n' >cc
    printf 'while [ "$1" != -o ]; do shift; done\nprintf "#!/bin/sh\\necho %s\\n" >"$2"; chmod +x "$2"\n' "$1" >>cc
    chmod +x cc
}
says() { # STATUS SENTENCE STAMP
    rm -f stamp
    bash "$check" "$PWD/stamp" ./cc -O2 >got 2>&1
    [ $? = "$1" ] && { [ -z "$2" ] || grep -q -- "$2" got; } || { echo "check.sh does not say '$2':"; cat got; exit 1; }
    [ "$(cat stamp 2>/dev/null)" = "$3" ] || { echo "check.sh leaves a stamp: $(cat stamp)"; exit 1; }
}
stand_in right && says 0 '' 'cc 1.0: right'
stand_in 'avoided folded_plus' && says 0 'the sources avoid this form' 'cc 1.0: avoided folded_plus'
stand_in 'wrong add_by_if' && says 1 'builds wrong code (add_by_if in' ''
stand_in '' && says 0 'cannot be run here' 'cc 1.0: not run'
printf '#!/bin/sh\nexit 1\n' >cc && says 1 'does not build' ''

mkdir -p scripts
printf '#!/usr/bin/env bash\n. "$(dirname "$0")/lib.sh"\n' >scripts/good.sh
printf '. "$(dirname "${BASH_SOURCE[0]}")/../tests/shell/environment.sh"\n' >scripts/lib.sh
mkdir -p tests/shell && : >tests/shell/environment.sh
printf '#!/usr/bin/env bash\nsort x\n' >scripts/bare.sh
locale=LC_ALL
printf '#!/usr/bin/env bash\n. scripts/lib.sh\n%s=C sort x\n' $locale >scripts/own.sh
bash "$here/environment.sh" scripts/good.sh scripts/lib.sh || { echo "environment.sh: exit 1 on good scripts"; exit 1; }
cat >want <<END
scripts/bare.sh: does not source tests/shell/environment.sh
scripts/own.sh:3:$locale=C sort x (tests/shell/environment.sh sets it)
END
bash "$here/environment.sh" scripts/good.sh scripts/bare.sh scripts/own.sh >got && { echo "environment.sh: exit 0"; exit 1; }
diff want got || { echo "environment.sh does not say what it should"; exit 1; }

# promises.sh reads the repository that it stands in; a page with one mistake of each kind.
mkdir -p page/tests/unit page/tests/sim page/tests/shell page/base page/docs
cp tests/shell/environment.sh page/tests/shell
mkdir -p page/tests/lint && cp "$here/promises.sh" page/tests/lint
printf 'MUTANT_ROW(TWO_VOTES, "a")\nMUTANT_ROW(NOT_FOUND, "b")\n' >page/base/mutant.def
printf 'quick TWO_VOTES sim 50\n' >page/tests/sim/mutants.txt
printf 'sim explore: x\n' >page/Makefile
: >page/tests/unit/store_test.c
printf '| `make explore`, `store_test`, `base/mutant.def` | TWO_VOTES |\n' >page/docs/good.md
printf '| `make exploer X=1`, `stoer_test`, `tests/sim/x.c` | NOT_FOUND, NO_SUCH |\n' >page/docs/bad.md
cat >want <<END
docs/bad.md: there is no mutant NOT_FOUND
docs/bad.md: there is no mutant NO_SUCH
docs/bad.md: there is no unit test stoer_test
docs/bad.md: there is no file tests/sim/x.c
docs/bad.md: there is no make target exploer
END
(cd page && bash tests/lint/promises.sh docs/good.md) || { echo "promises.sh: exit 1 on a good page"; exit 1; }
(cd page && bash tests/lint/promises.sh docs/bad.md) >got && { echo "promises.sh: exit 0"; exit 1; }
diff want got || { echo "promises.sh does not say what it should"; exit 1; }

# pages.py reads the repository that it stands in: one with good pages, then one mistake of each kind.
mkdir -p pages/docs pages/base pages/core/part pages/tests/interop && cd pages && git init -q . || exit 1
printf 'MUTANT_ROW(ONE, "a")\nMUTANT_ROW(TWO, "b")\n' >base/mutant.def
printf '# base\n' >base/README.md
printf 'int core_run(int n);\nstruct core {\n    int n;\n};\n' >core/core.h
printf '/* core_stop (see core_run) stops it. */\nstatic int limit = 3;\nint core_run(int n,\n             int m)\n{\n    return core_stop(n);\n}\n' >core/core.c
: >core/part/p.c
printf '| file | what |\n|---|---|\n| `core.[ch]` | it |\n| `part/` | parts |\n' >core/README.md
printf '2 mutants. [other](README.zh-CN.md)\n' >README.md
printf '2 mutants. [other](README.md)\n' >README.zh-CN.md
printf '# A\n\n1. It runs (`core/core.c`: `core_run`, `limit`; `core/core.h`: `core`).\n' >docs/architecture.md
printf '| Name | etcd | Ours | Why |\n|---|---|---|---|\n| `one` | a | b | c. d |\n| `two` | a | b | c |\n| `three` | a | b | c |\n' >tests/interop/DEVIATIONS.md
printf '# E\n\n## What differs on purpose\n\n| name | Cairn | reason |\n|---|---|---|\n| **Keys** | | |\n| `one` | b | c |\n| `two`, `three` | b | c |\n\n## Move\n\n| `x` | y |\n' >docs/etcd.md
python3 -B "$here/pages.py" || { echo "pages.py: exit 1 on good pages"; exit 1; }
printf '# E\n\n## What differs on purpose\n\n| name | Cairn | reason |\n|---|---|---|\n| `one` | b | c. d |\n| `four` | b | c |\n| `two` | b | |\n' >docs/etcd.md
printf '3 mutants. [other](README.md)\n' >README.zh-CN.md
printf '3 mutants. [other](README.zh-CN.md) [gone](#gone)\n' >README.md
printf '1. It runs (`core/core.c`: `core_stop`, `core_turn`; `core/core.h`: `core_run`; `core/gone.c`: `f`).\n' >docs/architecture.md
printf '%15001s' '' >docs/long.md
: >core/alone.c && : >core/new.h
printf 'In prose: `new.h`.\n\n| file | what |\n|---|---|\n| `core.c` | it |\n| `alone.[ch]` | more |\n| `part/` | parts |\n' >core/README.md
cat >../want <<'END'
README.md: README.md has no heading for #gone
README.md: 3 mutants; base/mutant.def has 2
core/README.md: a table names alone.[ch], but there is no alone.h
core/README.md: no table names core.h
core/README.md: no table names new.h
docs/architecture.md: core/core.c does not define core_stop
docs/architecture.md: core/core.c does not define core_turn
docs/architecture.md: core/core.h does not define core_run
docs/architecture.md: there is no core/gone.c
docs/etcd.md: "What differs on purpose" does not name three of tests/interop/DEVIATIONS.md
docs/etcd.md: four is not in tests/interop/DEVIATIONS.md
docs/etcd.md: one has no reason of one sentence
docs/etcd.md: two has no reason of one sentence
docs/long.md has 15001 bytes; at most 15000
README.md and README.zh-CN.md differ in their links: ['#gone']
END
python3 -B "$here/pages.py" >../got && { echo "pages.py: exit 0"; exit 1; }
cd .. || exit 1
diff want got || { echo "pages.py does not say what it should"; exit 1; }

# prose.py reads what git tracks; a file of each kind with one mistake, and texts that are none.
mkdir prose && cd prose || exit 1
git init -q .
printf 'Who reads this page finds a mistake.\n\nWho is it? "What" is a word.\n\n    What is code is not read.\n' >README.md
printf '/* SPDX-License-Identifier: Apache-2.0\n * A source. */\n/* What is left of it is freed. */\nint a; // Whoever calls it frees it.\nconst char *b = "// What is a string";\n' >a.c
printf 'int no_first_line;\n' >b.c
printf '/* SPDX-License-Identifier: Apache-2.0\n * A header. */\n\n/* Opens it. */\nMUST_CHECK int open_it(void);\n\n/* ERR_IO. */\nMUST_CHECK int close_it(void);\n' >b.h
printf '"""The first line.\n\nWhat follows is a docstring."""\na = "# What is a string"  # What is behind code.\n' >c.py
printf '# Whoever calls it waits, and\n# a guest too.\necho "a # What is a string"\n' >d.sh
printf "// Whatever arrives is kept.\nconst s = '// What is a string';\n/* A comment.\n * What follows it is read. */\n" >e.mjs
printf '# The last one.\n# What is built last.\n' >Makefile
git add .
cat >want <<'END_OF_WANT'
Makefile:1: a sentence begins with "What": What is built last.
README.md:1: a sentence begins with "Who": Who reads this page finds a mistake.
a.c:3: a sentence begins with "What": What is left of it is freed.
a.c:4: a sentence begins with "Whoever": Whoever calls it frees it.
b.c:1: the file does not begin with what it is
b.h:5: open_it may fail, and its comment names no error
c.py:4: a sentence begins with "What": What is behind code.
c.py:3: a sentence begins with "What": What follows is a docstring.
d.sh:1: a sentence begins with "Whoever": Whoever calls it waits, and a guest too.
e.mjs:1: a sentence begins with "Whatever": Whatever arrives is kept.
e.mjs:3: a sentence begins with "What": What follows it is read.
README.md:3: "Who is": begin with the subject
d.sh:2: "guest": unauthenticated connection
END_OF_WANT
python3 -B "$here/prose.py" >got && { echo "prose.py: exit 0"; exit 1; }
diff want <(grep -v '^prose: ' got) || { echo "prose.py does not say what it should"; exit 1; }
grep -q '^prose: .* 9 begin with Who or What; 2 retired words' got || { echo "prose.py counts wrongly"; exit 1; }
git rm -qf a.c b.c b.h c.py d.sh e.mjs Makefile && printf 'This page has one sentence.\n' >README.md
python3 -B "$here/prose.py" >got || { cat got; echo "prose.py: exit 1 on a good page"; exit 1; }
