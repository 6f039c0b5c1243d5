# awk -f layers.awk TABLE FILE...: prints every #include that the table does not allow; exit 1 if there is one.

# Does a word of the table name this path? "base/" names what lies right in the folder, not in folders below.
function names(word, path, folder)
{
    folder = path
    sub(/[^\/]*$/, "", folder)
    return word == path || word == folder
}

function module_of(path,   best, m)
{
    best = ""
    for (m in allowed)
        if ((path == m || index(path, m "/") == 1) && length(m) > length(best))
            best = m
    return best
}

function is_allowed(words, path,   list, n, i, yes)
{
    n = split(words, list, /[ \t]+/)
    for (i = 1; i <= n; i++)
        if (list[i] == "")
            continue
        else if (names(list[i], path))
            yes = 1
        else if (substr(list[i], 1, 1) == "-" && names(substr(list[i], 2), path))
            return 0
    return yes
}

function report(what, target)
{
    printf "%s:%d: %s may not include %s (%s)\n", FILENAME, FNR, from, what, target
    bad = 1
}

FNR == NR {
    colon = index($0, ":")
    if (/^#/ || !colon)
        next
    name = substr($0, 1, colon - 1)
    if (name ~ /^</)
        users[substr(name, 2)] = substr($0, colon + 1)
    else
        allowed[name] = substr($0, colon + 1)
    next
}

FNR == 1 {
    from = module_of(FILENAME)
    if (from == "" && FILENAME !~ /^tests\//) {
        printf "%s:1: no module of the table\n", FILENAME
        bad = 1
    }
}

from == "" { next }

/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, part, "\"")
    target = part[2]
    own = from ~ /\.[ch]$/ ? from : from "/"
    if (!names(own, target) && !is_allowed(allowed[from], target)) {
        what = module_of(target)
        report(what == "" ? "an unknown header" : what, target)
    }
}

/^[ \t]*#[ \t]*include[ \t]*</ {
    split($0, part, /[<>]/)
    target = part[2] ">"
    for (library in users)
        if (index(target, library) == 1 && !is_allowed(users[library], FILENAME))
            report("the library", part[2])
}

END { exit bad }
