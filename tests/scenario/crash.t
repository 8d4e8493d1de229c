#!/usr/bin/env bash
# O1, O2, O5: daemons die at random moments under load; what was acknowledged
# stays, every host ends with the same tree, and mounts come back.
#
# CRASH_ROUNDS: how often (4; `make soak` takes 40).
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
rounds=${CRASH_ROUNDS:-4}

cluster_up 3

# writer I: notes in $tmp/acked.I each name and content that close(2) accepted.
# gov put tells a refused change from an unknown one; unknown ones aren't noted.
writer() {
	local i=$1 n=0
	while [ ! -e "$tmp/stop" ]; do
		n=$((n + 1))
		if printf '%s-%s\n' "$i" "$n" |
		    timeout 20 "$GOV" put "$(host "$i")/config/w$i.$((n % 50))" \
		    2>/dev/null; then
			printf '%s %s\n' "w$i.$((n % 50))" "$i-$n" \
			    >> "$tmp/acked.$i"
		else
			# It may have been made: what follows tells.
			printf '%s ?\n' "w$i.$((n % 50))" >> "$tmp/acked.$i"
			wait_for 5 test -d "$(host "$i")/config" || :
		fi
	done
}

# An acknowledged content is there, unless a later write of the same writer to
# the same name was acknowledged, or may have been made.
lost() {
	local i=$1 bad=0 name want got
	tac "$tmp/acked.$i" | awk '!seen[$1]++' > "$tmp/last.$i"
	while read -r name want; do
		[ "$want" != "?" ] || continue
		got=$(cat "$(host "$2")/config/$name" 2>/dev/null) || got=none
		if [ "$got" != "$want" ]; then
			diag "host $2: $name is '$got', acknowledged '$want'"
			bad=$((bad + 1))
		fi
	done < "$tmp/last.$i"
	[ "$bad" = 0 ]
}

grown() { [ "$(cat "$tmp"/acked.* 2>/dev/null | grep -vc '?')" -ge "$1" ]; }
acked() { cat "$tmp"/acked.* 2>/dev/null | grep -vc '?' || :; }

for i in 1 2 3; do writer "$i" & writers="${writers:-} $!"; done
for round in $(seq "$rounds"); do
	wait_for 30 grown $(($(acked) + 40)) ||
	    bail_out "round $round: no write is accepted any more"
	if [ $((round % 2)) = 0 ]; then
		for i in 1 2 3; do cluster kill "$i"; done
		for i in 1 2 3; do cluster start "$i" || break; done
	else
		victim=$((RANDOM % 3 + 1))
		cluster kill "$victim"
		wait_for 30 grown $(($(acked) + 20)) || :
		cluster start "$victim"
	fi
	ok "round $round: every mount comes back and takes writes" \
	    cluster ready 300
done
: > "$tmp/stop"
# shellcheck disable=SC2086
wait $writers
diag "$(acked) writes were acknowledged"

ok "O2: all hosts end in the same state" wait_for 15 same 1 2 3
for i in 1 2 3; do
	for h in 1 2 3; do
		ok "O1: host $h has what host $i was told is durable" lost "$i" "$h"
	done
done
done_testing
