#!/usr/bin/env bash
# Plants one violation of each kind in a folder of its own and compares what the checkers say with what they
# should: a checker that lets everything pass is worse than none.
set -u
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
sdk/cairn.c:2: sdk may not include a stranger (kv.h)
odd/x.c:1: no module of the table
END
awk -f "$here/layers.awk" "$here/layers" registry/bad.c base/worker.c consensus/raft/raft.c consensus/wal/wal.c \
    server/http/http.c tests/unit/x_test.c sdk/cairn.c odd/x.c >got && { echo "layers.awk: exit 0"; exit 1; }
diff want got || { echo "layers.awk does not say what it should"; exit 1; }
printf '#include "base/buf.h"\n#include "registry/private.h"\n#include "consensus/kv.h"\n' >registry/good.c
awk -f "$here/layers.awk" "$here/layers" registry/good.c || { echo "layers.awk: exit 1 on good code"; exit 1; }

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

printf 'int kept_%s(void);\n' {1..9} >order.c
{ echo '# a comment'; printf 'kept_%s\n' {1..9}; echo gone_1; echo made__by_a_tool; } >order
bash "$here/start_order.sh" order order.c || { echo "start_order.sh: exit 1 on a good list"; exit 1; }
echo gone_2 >>order
echo 'order: 2 of 11 functions are gone: make start-order' >want
bash "$here/start_order.sh" order order.c >got && { echo "start_order.sh: exit 0"; exit 1; }
diff want got || { echo "start_order.sh does not say what it should"; exit 1; }
