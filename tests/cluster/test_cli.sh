#!/bin/bash
# What the vling command says to a command line that it cannot understand, and on a machine that is
# no host of a cloud: exit statuses, which stream, one line with a remedy. Needs no lab and takes
# seconds. Each command runs in namespaces of its own, where nothing of this machine's hosts and
# labs can be seen, so one that does more than it should finds nothing to harm.
. "$(dirname "$0")/lib.sh"
trap lab_end EXIT
cp "$vling" "$work/vling"

alone() {
    unshare --mount --net --pid --fork --mount-proc sh -c '
        mount -t tmpfs none /var/lib || exit 99
        [ ! -d /etc/vling ] || mount -t tmpfs none /etc/vling || exit 99
        "$@"' sh "$work/vling" "$@" >"$work/out" 2>"$work/err" </dev/null
}

wrong() {
    echo "FAILED: vling $command: $1" >&2
    sed 's/^/    out| /' "$work/out" >&2
    sed 's/^/    err| /' "$work/err" >&2
    exit 1
}

# run STATUS ARGUMENTS...
run() {
    expected=$1 got=0
    shift
    command=$*
    alone "$@" || got=$?
    [ "$got" = "$expected" ] || wrong "exit status $got, not $expected"
    echo "ok: vling $command: $expected"
}

# helps ARGUMENTS...: an explanation was asked for.
helps() {
    run 0 "$@"
    [ ! -s "$work/err" ] || wrong "something on standard error"
    head -n 1 "$work/out" | grep -q '^usage: vling' || wrong "no usage"
}

# lacks ARGUMENTS...: the explanation comes unasked, hence as an error.
lacks() {
    run 2 "$@"
    [ ! -s "$work/out" ] || wrong "something on standard output"
    head -n 1 "$work/err" | grep -q '^usage: vling' || wrong "no usage"
}

# fails STATUS TEXT ARGUMENTS...: one line, with TEXT in it.
fails() {
    text=$2
    run "$1" "${@:3}"
    [ ! -s "$work/out" ] || wrong "something on standard output"
    [ "$(wc -l <"$work/err")" = 1 ] || wrong "not one line"
    grep -q '^vling' "$work/err" || wrong "does not say who speaks"
    grep -qF -e "$text" "$work/err" || wrong "does not say: $text"
}

lacks
lacks host
lacks cabinet
lacks lab
lacks backup
lacks restore
lacks restore --config
lacks restore one two
for word in --help -h help; do
    helps "$word"
    for name in status events host cabinet lab backup restore; do
        helps "$name" "$word"
    done
done
helps status -f json --help
helps status --lab --help
for name in up down status power link partition heal exec openrc; do
    helps lab "$name" --help
done
run 0 --version
grep -qE '^vling [0-9]+\.[0-9]+\.[0-9]+$' "$work/out" || wrong "no version"

fails 2 'no command "nothing"' nothing
fails 2 'no command "--lab"' --lab
fails 2 'no command ""' ''
fails 2 'vling lab up' lab-init
for name in status cabinet host 'lab status'; do
    # shellcheck disable=SC2086
    fails 2 'not "yaml"' $name list -f yaml
    # shellcheck disable=SC2086
    fails 2 'table, json, value and tsv' $name list -f
done
fails 2 'vling status --help' status nothing
fails 2 'vling events --help' events nothing
for number in '' 0 -1 501 5x x 99999999999999999999; do
    fails 2 'vling events --help' events -n "$number"
done
fails 2 'vling events --help' events -n
for words in nothing show enable disable 'list c1h1' 'show c1h1 c1h2' 'disable c1h1 c1h2'; do
    # shellcheck disable=SC2086
    fails 2 'vling host --help' host $words
done
for words in nothing show 'list c1' 'show c1 c2'; do
    # shellcheck disable=SC2086
    fails 2 'vling cabinet --help' cabinet $words
done
for words in nothing 'up nothing' 'down c1' 'status c1' 'heal c1' 'openrc c1' power 'power off' \
    'power maybe all' link 'link down c1h1' 'link maybe c1h1 mgmt' 'link down c1h1 nothing' \
    partition 'partition c1' 'partition c1 c1' 'partition c1 c2 c3' exec 'exec c1h1'; do
    # shellcheck disable=SC2086
    fails 2 'vling lab --help' lab $words
done
for words in --cabinets '--cabinets 0' '--cabinets 10' '--hosts x' '--hosts 3x' '--hosts -1'; do
    # shellcheck disable=SC2086
    fails 2 'a number from 1 to 9' lab up $words
done

# A good command line, but there is no cloud: what to do about it.
for words in status 'status -f json' 'events -n 500' 'host list' 'host show c1h1' \
    'host disable c1h1' 'host drain c1h1' 'cabinet list' 'cabinet show c1' 'cabinet drain c1' \
    'controller list' 'token list' 'events -fjson' 'events --format=json'; do
    # shellcheck disable=SC2086
    fails 1 'start a lab: vling lab up' $words
done
for words in 'status --lab' 'lab status' 'lab power off c1' 'lab link down c1h1 mgmt' \
    'lab partition c1 c2' 'lab heal' 'lab exec c1h1 true' 'lab openrc'; do
    # shellcheck disable=SC2086
    fails 1 'vling lab up' $words
done
