# awk -f comments.awk FILE...: comments that a formatter tore. Exit 1 if there is one.
#   the end of a comment does not stand alone behind a second star; the ruler of a section is one line,
#   /* --- name ----- */; and so is the ruler of a table.

function report(line, what)
{
    printf "%s:%d: %s\n", FILENAME, line, what
    bad = 1
}

FNR == 1 { is_open = was_dashes = 0 }

/^[ \t]*\*[ \t]*\*\/[ \t]*$/ {
    report(FNR, "the comment's end stands alone: put it behind the last word")
    is_open = 0
}

is_open && /^[ \t]*\*?[ \t-]*\*\/[ \t]*$/ { report(FNR, "the ruler of a section is one line: /* --- name ----- */") }

{
    is_dashes = /^[ \t]*\*[ \t]+-+[ \t]*$/
    is_open = !/\*\// && (/^[ \t]*\/\* --- / || is_open && is_dashes)
    if (is_dashes && was_dashes)
        report(FNR, "the ruler of a table is one line")
    was_dashes = is_dashes
}

END { exit bad }
