#!/bin/bash
# O3 between three real hosts, two processes on each: whoever takes a lock that
# is a name finds everything that was done before.  See freshness.c.
#
# SECONDS_EACH is how long for each kind of lock and delay of the replay.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need_mounts
patient_up 3
play=$GOV_BUILD/tests/mount/freshness.t
seconds=${SECONDS_EACH:-2}
kinds=(O_EXCL mkdir link "rename NOREPLACE")
n=0

# freshness KIND: in a directory of its own; 2: something old was seen
freshness() {
	n=$((n + 1))
	mkdir "$(host 1)/config/$n" &&
	    wait_for 5 test -d "$(host 2)/config/$n" -a -d "$(host 3)/config/$n" ||
		bail_out "there is no directory $n on all hosts"
	"$play" hosts "$1" "$seconds" "$(host 1)/config/$n" \
	    "$(host 2)/config/$n" "$(host 3)/config/$n"
}
# An open that has waited 2 s for a stuck replay goes on with what is there (O3),
# and is counted: where that was so, it is made again.
late() {
	local h n=0
	for h in 1 2 3; do n=$((n + $(metric "$h" govfs_parked_late))); done
	echo $n
}
fresh() { # KIND
	local _ before
	for _ in 1 2 3 4 5; do
		before=$(late)
		freshness "$1" && return 0
		[ "$(late)" != "$before" ] || return 1
		diag "replay was stuck for 2 s: once more"
	done
	return 1
}
delay() { for h in 1 2 3; do fault "$h" replay_delay_ms "$1"; done; }

for ms in 0 1 20; do
	delay "$ms"
	for kind in 0 1 2 3; do
		ok "O3: nothing old under a lock by ${kinds[kind]}, replay $ms ms late" \
		    fresh "$kind"
	done
done
for h in 1 2 3; do fault "$h" parking_off 1; done
delay 300 # more than a commit takes on a slow machine: all of it is old then
blind() { # more than once: what is old is so by chance
	local _ status
	for _ in 1 2 3 4 5 6 7 8; do
		status=0
		freshness 0 > "$tmp/out" || status=$?
		diag "$(grep -o 'O_EXCL.*' "$tmp/out")"
		[ "$status" != 2 ] || return 0
	done
	return 1
}
ok "without parking old data is seen: the test can tell" blind
done_testing
