#!/usr/bin/env bash
# Every command of cairnctl for services, configurations, namespaces and the audit trail, with -o json, yaml and table: the
# output is what the form says, and has no colours where no terminal is. A command of command.def without a line here fails.
. "$(dirname "$0")/lib.sh"
CTL=$(realpath "$(dirname "$CAIRND")/cairnctl")
port=$(free_port)
(umask 077 && echo "first $(openssl rand -base64 32)" >"$work/keys")
check "a server starts" start_server "$work/d" "$port" --bcrypt-cost 4 --encryption-key-file "$work/keys"
export CAIRN_ENDPOINTS=127.0.0.1:$port
for user in root rita; do
    echo secret | etcdctl --endpoints "$CAIRN_ENDPOINTS" user add $user --interactive=false && etcdctl --endpoints "$CAIRN_ENDPOINTS" user grant-role $user root
done >"$work/users" 2>&1
check "authentication is enabled" etcdctl --endpoints "$CAIRN_ENDPOINTS" auth enable >>"$work/users"
export CAIRN_USER=root CAIRN_PASSWORD=secret XDG_CONFIG_HOME=$work

# COMMAND-ID KIND COMMAND: run once for each form, in this order; W is the form.
#   doc      a document in the form; exit 0
#   text     the same text in every form; exit 0, or 1 of a difference
#   stream   does not end by itself: one line of a document in the json form, any line in the others
cat >"$work/commands" <<'END'
service_register doc $C service register web$W w1 10.0.0.1:80 --once --zone a --ttl 10m
service_register doc $C service register web$W w2 10.0.0.2:80 --once --tag x --meta k=v --ttl 10m
service_register doc $C service register web$W w3 10.0.0.3:80 --check-ttl 1h
service_report doc $C service report web$W w3 --state warn --note busy
service_register_list doc $C service register-list - --once --ttl 10m <<<'[{"service":"list'$W'","id":"a","host":"h"}]'
service_ls doc $C service ls
service_get doc $C service get web$W
service_get doc $C service get web$W w1
service_override doc $C service override web$W w1 --weight 5 --reason why
service_undrain doc $C service undrain web$W w1
service_drain doc $C service drain web$W w1 --no-wait
service_set doc $C service set web$W --meta team=shop --protect-threshold 0.3
service_unset doc $C service unset web$W
service_subscribers doc $C service subscribers web$W
service_watch stream $C service watch web$W
service_events doc $C service events web$W
service_deregister doc $C service deregister web$W w2
config_set doc $C config set app$W.yaml <<<'a: 1'
config_set doc $C config set app$W.yaml --title second <<<'a: 2'
config_set doc $C config set app$W.yaml --check <<<'a: 2'
config_get text $C config get app$W.yaml
config_edit doc EDITOR='sed -i s/2/3/' $C config edit app$W.yaml --yes
config_diff text $C config diff app$W.yaml
config_history doc $C config history app$W.yaml
config_rollback doc $C config rollback app$W.yaml 1
config_ls doc $C config ls --deleted
config_listeners doc $C config listeners app$W.yaml
config_encrypt doc $C config encrypt
config_schema_set doc $C config schema-set shape$W.yaml <<<'{"type":"object"}'
config_schema_get text $C config schema-get shape$W.yaml
config_schema_ls doc $C config schema-ls
config_schema_rm doc $C config schema-rm shape$W.yaml
config_watch stream $C config watch app$W.yaml
config_policy_set doc $C config policy-set 'app*' 'web*'
config_policy_get doc $C config policy-get
config_draft doc $C config draft app$W.yaml --title draft <<<'a: 4'
config_submit doc $C config submit app$W.yaml --note please
config_reviews doc $C config reviews
config_reviews doc $C config reviews app$W.yaml
config_reject doc $C --user rita config reject app$W.yaml --note no
config_submit doc $C config submit app$W.yaml
config_approve doc $C --user rita config approve app$W.yaml --note yes
config_publish doc $C config publish app$W.yaml
config_policy_rm doc $C config policy-rm
config_draft doc $C config draft app$W.yaml <<<'a: 5'
config_schedule doc $C config schedule app$W.yaml 2099-01-31T12:00:00Z
config_schedules doc $C config schedules
config_schedules doc $C config schedules app$W.yaml
config_unschedule doc $C config unschedule app$W.yaml
config_gray_start doc $C config gray-start app$W.yaml --step 5:1h --step 100:1h <<<'a: 6'
config_gray_ls doc $C config gray-ls
config_gray_ls doc $C config gray-ls app$W.yaml
config_gray_pause doc $C config gray-pause app$W.yaml --note wait
config_gray_resume doc $C config gray-resume app$W.yaml
config_gray_abort doc $C config gray-abort app$W.yaml
config_gray_start doc $C config gray-start app$W.yaml --step 5:1h <<<'a: 7'
config_gray_promote doc $C config gray-promote app$W.yaml
config_promote doc $C -n from$W config set a.yaml <<<'a: 1'
config_promote doc $C config promote from$W to$W --dry-run
config_promote doc $C config promote from$W to$W
config_compare doc $C config compare from$W to$W
config_export text $C config export $work/$W.tar.gz
config_import doc $C config import $work/$W.tar.gz --policy overwrite --dry-run
config_import doc $C config import $work/$W.tar.gz --policy skip
config_rm doc $C config rm app$W.yaml --note over
namespace_put doc $C namespace put ns$W --title T --owner o --label k=v --quota services=5
namespace_get doc $C namespace get ns$W
namespace_list doc $C namespace list
namespace_delete doc $C -n ns$W config set a.yaml <<<'a: 1'
namespace_delete doc $C namespace delete ns$W --cascade --dry-run
namespace_delete doc $C namespace delete ns$W --cascade
namespace_get doc $C namespace get ns$W --deletion
audit doc $C audit
END

wanted=$(grep -oE '^CTL_COMMAND\((service|config|namespace)_[a-z_]+|^CTL_COMMAND\(audit,' sdk/ctl/command.def | sed 's/CTL_COMMAND(//; s/,//' | sort -u)
expect "each command of the table is here" "" "$(comm -3 <(echo "$wanted") <(cut -d' ' -f1 "$work/commands" | sort -u) | xargs)"

is_form() { # FORM FILE
    ! grep -q $'\033' "$2" || return 1
    case $1 in
        json) jq -es 'length == 1 and (.[0] | type == "object" or type == "array")' "$2" >"$work/judged" 2>&1 && [ "$(wc -l <"$2")" = 1 ] ;;
        yaml) python3 -c 'import sys, yaml; sys.exit(not isinstance(yaml.safe_load(open(sys.argv[1])), (dict, list)))' "$2" 2>"$work/judged" ;;
        table) [ -s "$2" ] ;;
    esac
}
for W in json yaml table; do
    wrong=0
    C="$CTL -o $W"
    while read -r id kind command; do
        if [ "$kind" = stream ]; then
            eval "hear '$work/out' 1 . $command" 2>"$work/err"
            status=0
            head -1 "$work/out" >"$work/first"
        else
            eval "$command" >"$work/out" 2>"$work/err"
            status=$?
        fi
        case $kind in
            doc) [ $status = 0 ] && is_form $W "$work/out" ;;
            text) [ $status -le 1 ] && ! grep -q $'\033' "$work/out" ;;
            stream) [ -s "$work/out" ] && if [ $W = json ]; then is_form json "$work/first"; fi ;;
        esac && ! grep -q $'\033' "$work/err" && continue
        wrong=$((wrong + 1))
        printf '    -o %s: %s (exit %s)\n' $W "$command" "$status"
        sed 's/^/      /' "$work/out" "$work/err" | head -5
    done <"$work/commands"
    expect "-o $W: $(wc -l <"$work/commands") commands" 0 $wrong
done

# Colours: at a terminal, unless NO_COLOR is set; never in a pipe.
if command -v script >/dev/null; then
    "$CTL" config set colour.yaml <<<'a: 1' >"$work/out" && "$CTL" config set colour.yaml <<<'a: 2' >"$work/out"
    at_terminal() { TERM=xterm script -qec "$1" /dev/null </dev/null | grep -c $'\033\['; }
    expect "colours at a terminal" yes "$([ "$(at_terminal "$CTL config diff colour.yaml")" -gt 0 ] && echo yes)"
    expect "none with NO_COLOR" 0 "$(NO_COLOR=1 at_terminal "$CTL config diff colour.yaml")"
    expect "none in a pipe" 0 "$(TERM=xterm "$CTL" config diff colour.yaml | grep -c $'\033')"
else
    echo "  --   colours   script(1) is missing"
fi
finish
