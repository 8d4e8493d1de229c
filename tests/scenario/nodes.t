#!/usr/bin/env bash
# nodes/: what the daemons say of their hosts, as hosts come, go, die and stand
# still.
# shellcheck source=tests/lib.sh
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need getfattr inotifywait setpriv
export CLUSTER_CONF="session_ttl_ms = 2000"
cluster_up 3
A=$(host 1)

# What is called through ok and wait_for looks unreachable to shellcheck.
# shellcheck disable=SC2317
{
node() { cat "$(host "$1")/nodes/h$2/$3"; } # AT-HOST HOST FILE
shows() { [ "$(node "$1" "$2" "$3")" = "$4" ]; }
# state_is HOST STATE WITNESS...: they all see it
state_is() {
	local i
	for i in "${@:3}"; do
		shows "$i" "$1" state "$2" || return 1
	done
}
is_suspended_for_a_while() { # if it is seen, on a busy machine
	local seen
	kill -STOP "$pid"
	wait_for 10 silent
	seen=$(node $y $x state)
	kill -CONT "$pid"
	wait_for 15 state_is $x online 1 2 3 && [ "$seen" = suspended ]
}
silent() { ! state_is $x online $y; }
quiet() { # there is a while without a commit
	local before
	before=$(rev 1) && sleep 3 && [ "$(rev 1)" = "$before" ]
}
tries() { # N COMMAND...
	local n
	for ((n = 0; n < $1; n++)); do
		"${@:2}" && return
	done
	return 1
}
stop() { # I: by SIGTERM, and its supervisor doesn't know
	kill "$1" && wait_for 15 not_running "$1"
}
not_running() { [ ! -e "/proc/$1/exe" ]; }
logged() { grep -q "$2" "$DIR/$1/log"; }
}
revs() { # of a host's files, but for state and since
	getfattr --absolute-names -n gov.rev \
	    "$A/nodes/h$1"/{address,id,labels,role,version}
}

# ---- there they are ----
for i in 1 2 3; do
	ok "all are online on host $i" wait_for 10 eval "state_is 1 online $i &&
	    state_is 2 online $i && state_is 3 online $i"
done
conf=$(cluster conf 2)
is "$(node 3 2 address)" "$(sed -n 's/^listen = //p' "$conf")" \
    "address is where the others find it"
is "$(node 3 2 id)" "$(sed -n 's/^h2 = \([0-9a-f]*\) .*/\1/p' "$conf")" \
    "id is the member's"
is "$(node 3 2 version)" "$("$GOVFSD" --version | cut -d' ' -f2)" \
    "version is the daemon's"
leader=$(cluster leader)
is "$(node 1 "$leader" role)" voter "role is the member's, whoever leads"
is "$(node 1 2 labels)" '' "no labels are an empty file"
like "$(node 1 2 since)" '20??-??-??T??:??:??Z' "since is a time"
ok "nothing is written while nothing changes" tries 8 quiet
nok "S2: users write no state" setpriv --reuid 65534 --clear-groups \
    sh -c 'echo left > "$1"' _ "$A/nodes/h2/state" 2> /dev/null

# ---- kill -9 ----
x=$((leader % 3 + 1)) y=$((x % 3 + 1))
inotifywait -m -q -e close_write --format %f "$(host $y)/nodes/h$x" \
    > "$tmp/events" 2> /dev/null &
watcher=$!
wait_for 5 eval 'grep -q inotify "/proc/$watcher/fdinfo"/*'
before=$(revs $x) since=$(node $y $x since)
killed=$(pace_ms)
cluster kill $x
ok "a host that is killed is lost, to all others" \
    wait_for 15 state_is $x lost "$leader" $y
diag "after $(($(pace_ms) - killed)) ms, session_ttl 2000 ms"
ok "a watcher is told" wait_for 5 grep -qx state "$tmp/events"
nok "since tells since when" shows $y $x since "$since"
cluster start $x
ok "it is online when it is back" wait_for 10 state_is $x online 1 2 3
is "$(revs $x)" "$before" "F5: what is as it was is not written again"

# ---- a clean stop, and labels ----
stop "$(cluster pid $x)"
ok "a host that is stopped has left" wait_for 5 state_is $x left "$leader" $y
sed -i 's/^\[host\]/&\nlabels = zone=eu  canary/' "$(cluster conf $x)"
cluster start $x
ok "it is online when it is started" wait_for 10 state_is $x online 1 2 3
ok "labels are told at the start" \
    wait_for 5 shows $y $x labels $'zone=eu\ncanary'
gov sync "$A" > /dev/null
is "$(GOV=$A "$GOV_SRC/examples/hosts-with" canary zone=eu)" h$x \
    "hosts-with finds it by label"
is "$(GOV=$A "$GOV_SRC/examples/hosts-with" | tr '\n' ' ')" "h1 h2 h3 " \
    "hosts-with: without labels all that are online"
is "$(GOV=$A "$GOV_SRC/examples/hosts-with" zone)" '' \
    "hosts-with takes labels as they are"
like "$(gov status "$A")" "*h$x *online *zone=eu canary*" \
    "gov status shows states and labels"

# ---- a host that stands still ----
pid=$(cluster pid $x)
kill -STOP "$pid"
ok "a host that stands still for long is lost" \
    wait_for 15 state_is $x lost "$leader" $y
nok "hosts-with lists it no more" grep -qx "h$x" \
    <<< "$(GOV=$(host $y) "$GOV_SRC/examples/hosts-with")"
kill -CONT "$pid"
ok "it is online when it goes on" wait_for 15 state_is $x online 1 2 3
ok "before that it is suspended, and online as soon as it is heard of" \
    tries 5 is_suspended_for_a_while

# ---- the leader ----
leader=$(cluster leader) x=$((leader % 3 + 1)) y=$((x % 3 + 1))
cluster kill "$leader"
ok "a leader that is killed is lost" wait_for 15 state_is "$leader" lost $x $y
ok "the others are not" wait_for 5 state_is $x online $x $y
cluster start "$leader"
ok "it is back" wait_for 10 state_is "$leader" online 1 2 3

# ---- what stands in the way ----
stop "$(cluster pid $x)"
wait_for 5 state_is $x left $y
gov sync "$(host $y)" > /dev/null
rm -r "$(host $y)/nodes/h$x"
ok "whom it concerned may be forgotten" wait_for 5 test ! -e \
    "$(host "$leader")/nodes/h$x"
echo mine > "$(host $y)/nodes/h$x"
cluster start $x
ok "a file of its name hinders no host" wait_for 10 touch "$(host $x)/config/t"
is "$(cat "$(host $x)/nodes/h$x")" mine "the file is left alone"
ok "the log says it in a sentence" logged $x \
    "nodes/h$x doesn't tell of this host: what has the host's name"
like "$(gov why "$(host $x)/nodes/h$x")" "*no directory*restart govfsd*" \
    "gov why, too"
stop "$(cluster pid $x)"
rm "$(host $y)/nodes/h$x"
cluster start $x
ok "it is told of again" wait_for 10 state_is $x online 1 2 3
ok "all are equal" wait_for 10 same 1 2 3
kill $watcher
cluster down

# ---- one host ----
DIR=$tmp/one
cluster up 1
ok "a single host is online" state_is 1 online 1
like "$(rev 1)" 2 "in one revision"
stop "$(cluster pid 1)"
cluster start 1
ok "it is when it is started again" wait_for 10 state_is 1 online 1
cluster kill 1
cluster start 1
ok "and after a kill" wait_for 10 state_is 1 online 1
ok "its tree is sound" same 1
cluster down
done_testing
