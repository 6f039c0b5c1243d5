#!/usr/bin/env bash
# old.sh: builds the oldest supported version, once, and prints the path of its cairnd.
#
#   OLD=/path/to/cairnd   that program; OLD=REF: that tag or commit. Else the one that tests/upgrade/oldest names; when git does
#                         not have it, the parent of the commit that brought the file oldest.
#
# Exit 77, with one line on stderr, when there is nothing to build it from: no git, or a history that ends before it or has
# nothing between a build that this one cannot run beside and this one.
cd "$(dirname "$0")/../.." || exit 1
. tests/shell/environment.sh
oldest=tests/upgrade/oldest
wire=consensus/peer/peer_wire.h
peer_protocol() { sed -n 's/^ *WIRE_VERSION = \([0-9]*\),.*/\1/p'; }
skip() {
    echo "skip: $*" >&2
    exit 77
}
if [ -n "${OLD:-}" ] && [ -x "$OLD" ] && [ ! -d "$OLD" ]; then
    realpath "$OLD"
    exit
fi
git rev-parse --git-dir >/dev/null 2>&1 || skip "this is no git checkout, and OLD=/path/to/cairnd is not given"
named=${OLD:-$(grep -v '^#' $oldest | head -1)}
commit=$(git rev-parse -q --verify "$named^{commit}")
if [ -z "$commit" ] && [ -z "${OLD:-}" ]; then
    # On the first-parent history: a branch that was merged or squashed counts as one commit.
    came=$(git log --first-parent --diff-filter=A --format=%H -- $oldest | tail -1)
    [ -n "$came" ] && commit=$(git rev-parse -q --verify "$came^1^{commit}")
    # Then it may be older than the oldest that is supported: one with another peer protocol never ran in a cluster with this one.
    if [ -n "$commit" ] && [ "$(peer_protocol <<<"$(git show "$commit:$wire" 2>/dev/null)")" != "$(peer_protocol <$wire)" ]; then
        skip "history has no commit $named, and ${commit:0:12} before $oldest came speaks another peer protocol"
    fi
fi
[ -n "$commit" ] || skip "history has no commit $named, nor one before $oldest came (a shallow clone? git fetch --unshallow)"
at=build/upgrade/old-${commit:0:12}
if [ ! -x "$at/bin/cairnd" ]; then
    rm -rf "$at" && mkdir -p "$at"
    git archive "$commit" | tar -x -C "$at" || exit 1
    # Its own Makefile decides how it is built; ours must not reach into it.
    (cd "$at" && env -u MAKEFLAGS -u MAKELEVEL -u BUILD -u BIN make -j"${JOBS:-2}" bin/cairnd) >"$at.log" 2>&1 || {
        tail -5 "$at.log" >&2
        rm -rf "$at"
        exit 1
    }
    find "$at/build" -name '*.o' -delete
fi
realpath "$at/bin/cairnd"
