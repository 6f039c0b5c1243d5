# logs_agree.awk FILE...: reads the output of `cairnd waldump` for each member's log. Entries that a member knows
# to be committed are the same, byte for byte, in every log that holds them. Prints the first that differs, and
# the number of compared entries.
FNR == 1 { log_count++; name[log_count] = FILENAME }
/"type":"entry"/ {
    match($0, /"index":[0-9]+/)
    index_ = substr($0, RSTART + 8, RLENGTH - 8) + 0
    match($0, /"index":.*/)
    entry[log_count, index_] = substr($0, RSTART) # the last one of an index stands
    if (index_ > last[log_count]) last[log_count] = index_
}
/"type":"hard_state"/ { match($0, /"commit":[0-9]+/); commit[log_count] = substr($0, RSTART + 9, RLENGTH - 9) + 0 }
/"type":"damage"/ { print name[log_count] ": " $0; bad = 1; exit 1 }
END {
    if (bad) exit 1
    for (a = 1; a <= log_count; a++)
        for (b = a + 1; b <= log_count; b++) {
            upto = commit[a] < commit[b] ? commit[a] : commit[b]
            for (i = 1; i <= upto; i++) {
                if (!((a, i) in entry) || !((b, i) in entry)) continue
                compared++
                if (entry[a, i] != entry[b, i]) {
                    print "committed entry " i " differs: " name[a] ": " entry[a, i] "; " name[b] ": " entry[b, i]
                    exit 1
                }
            }
        }
    print compared + 0 " entries compared"
}
