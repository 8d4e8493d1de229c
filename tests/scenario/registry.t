#!/usr/bin/env bash
# registry.t: U36, what registries do, as files; the same script on one host and
# on three.
# shellcheck source=tests/lib.sh
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need flock getfattr inotifywait setfattr

# How often a host of this cluster has lost its session, rightly or not.
n_lost() { cat "$DIR"/*/log | grep -c 'was not renewed for'; }

# Its lines are ours, numbered on.
conforms() { # HOSTS...
	local mounts=() i line plan=0 lost status
	for i; do
		mounts+=("$(host "$i")")
	done
	for _ in 1 2 3; do
		lost=$(n_lost)
		PACE=$tmp/pace "$GOV_SRC/examples/registry-conformance.sh" \
		    "${mounts[@]}" > "$tmp/said" 2> "$tmp/err" \
		    {tap_out}>&- {tap_err}>&-
		status=$?
		if [ $status = 0 ] || [ "$(n_lost)" = "$lost" ]; then break; fi
		diag "a host lost its session, what it held is free; once more"
		cluster ready 60
	done
	is $status 0 "U36: registry-conformance.sh passes on $# hosts"
	while IFS= read -r line; do
		case $line in
		ok\ *) result 0 "$# hosts: ${line#* - }" ;;
		not\ ok\ *) result 1 "$# hosts: ${line#* - }" ;;
		1..*) plan=${line#1..} ;;
		*) diag "${line#\# }" ;;
		esac
	done < "$tmp/said"
	is "$(grep -c '^\(not \)\?ok ' "$tmp/said")" "$plan" \
	    'and has not ended early'
	is "$(cat "$tmp/err")" '' 'and says nothing else'
	is "$(ls "$(host 1)/config" "$(host 1)/locks")" \
	    "$(printf '%s:\n\n%s:\nelect' "$(host 1)/config" "$(host 1)/locks")" \
	    'and leaves nothing behind'
}

export CLUSTER_CONF="write_timeout_ms = 30000" # for a machine that stalls
cluster_up 1
conforms 1
cluster down

DIR=$tmp/three
cluster up 3 ||
	bail_out "the cluster does not come up"
conforms 1 2 3

# What the script can't do: a host dies.
mkdir "$(host 1)/config/alive"
setfattr -n gov.lifetime -v session "$(host 1)/config/alive"
mark() { : > "$(host 1)/config/alive/$1" && rm "$(host 1)/config/alive/$1"; }
holder=''
alive() { # what lives as long as host 3, in the file NAME; until when, in $lease
	gov sync "$(host 3)" >/dev/null
	(set -C; echo three > "$(host 3)/config/alive/$1") # O_EXCL claims it
	gov sync "$(host 2)" >/dev/null
	[ -z "$holder" ] || kill "$holder" 2>/dev/null
	(flock 9 && exec sleep 600) 9> "$(host 3)/locks/$1" >/dev/null 2>&1 \
	    {tap_out}>&- {tap_err}>&- &
	holder=$!
	wait_for 10 grep -q '^held' "$(host 1)/.gov/locks/locks/$1"
	lease=$(($(now_ms) + $(lease_ms 3)))
}
for i in 1 2; do
	inotifywait -m -e delete --format '%e %f' "$(host $i)/config/alive" \
	    > "$tmp/seen.$i" 2> "$tmp/seen.$i.err" &
	wait_for 10 grep -q established "$tmp/seen.$i.err"
done
for name in one two three; do
	lost=$(n_lost)
	alive $name
	cluster kill 3
	test -e "$(host 1)/config/alive/$name"
	there=$?
	flock -n -E 9 "$(host 1)/locks/$name" true
	refused=$?
	[ "$(now_ms)" -ge "$lease" ] || [ "$(n_lost)" != "$lost" ] || break
	diag "$name: the session may have ended before we looked; once more"
	cluster start 3
done
is "$there" 0 'R9: a file with lifetime session stays while its host may live'
is "$refused" 9 'R15: so does its lock'
absent() { ! test -e "$1"; }
ok "R9: it goes with the host" wait_for 10 \
    absent "$(host 1)/config/alive/$name"
ok 'R9: not before its last renewal is a ttl ago' test "$(now_ms)" -ge "$lease"
ok 'R15: its lock is free' flock -w 100 "$(host 2)/locks/$name" true
mark end # after all other events
for i in 1 2; do
	wait_for 5 grep -q end "$tmp/seen.$i"
	is "$(grep -cx "DELETE $name" "$tmp/seen.$i")" 1 \
	    "R9: one delete event on host $i (not so: rows purged without one)"
done
kill $holder 2>/dev/null
cluster start 3
ok 'R9: nor is it there for the host when that comes back' \
    wait_for 10 sh -c "[ -d '$(host 3)/config/alive' ] &&
	! test -e '$(host 3)/config/alive/$name'"
ok 'the hosts have the same tree' wait_for 10 same 1 2 3
done_testing
