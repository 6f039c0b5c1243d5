# awk -f kv_parts.awk ALLOWED consensus/kv/*.c: a part of struct kv is touched by its own file alone. Prints every use of
# another part's field that ALLOWED does not list, and every line of ALLOWED that is not needed any more; exit 1 if
# there is one.
#
# The part's name is its file's, but for those of `owner`. The fields before the parts in struct kv
# (consensus/kv/kv_impl.h) are shared and not checked. open.c may pass a whole part (`&kv->part`) to its init and
# done.

BEGIN {
    owner["lifecycle"] = "open"
    owner["member_rpcs"] = "member_rpc"
    owner["scans"] = "scan"
    split("io member_id cluster_id settings node state store leases hub peers members alarms arena", list, " ")
    for (i in list)
        common[list[i]] = 1
}

FNR == NR {
    if (!/^#/ && NF)
        allowed[$1] = FNR
    next
}

{
    file = FILENAME
    sub(/^.*\//, "", file)
    sub(/\.c$/, "", file)
    line = $0
    while (match(line, /(kv|\*\)arg\))->[a-z_]+(\.[a-z_]+)?/)) {
        use = substr(line, RSTART, RLENGTH)
        before = substr(line, 1, RSTART - 1)
        line = substr(line, RSTART + RLENGTH)
        sub(/^.*->/, "", use)
        part = use
        sub(/\..*/, "", part)
        if (part in common || (part in owner ? owner[part] : part) == file)
            continue
        if (file == "open" && use == part && before ~ /&$/)
            continue
        key = file ":" use
        if (key in allowed) {
            used[key] = 1
            continue
        }
        printf "%s:%d: kv->%s is of another part (consensus/kv/%s.h): call a function of that part\n", FILENAME, FNR, use, part
        bad = 1
    }
}

END {
    for (key in allowed)
        if (!(key in used)) {
            printf "%s:%d: %s is not needed any more\n", ARGV[1], allowed[key], key
            bad = 1
        }
    exit bad
}
