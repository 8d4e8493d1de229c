#!/usr/bin/env bash
# registry.t: U36, what registries do, as files; the same script on one host and
# on three.
# shellcheck source=tests/lib.sh
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need flock getfattr inotifywait setfattr

# Its lines are ours, numbered on.
conforms() { # HOSTS...
	local mounts=() i line plan=0
	for i; do
		mounts+=("$(host "$i")")
	done
	PACE=$tmp/pace "$GOV_SRC/examples/registry-conformance.sh" "${mounts[@]}" \
	    > "$tmp/said" 2> "$tmp/err" {tap_out}>&- {tap_err}>&-
	is $? 0 "U36: registry-conformance.sh passes on $# hosts"
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

cluster_up 1
conforms 1
cluster down

DIR=$tmp/three
CLUSTER_CONF="session_ttl_ms = 5000" cluster up 3 ||
	bail_out "the cluster does not come up"
conforms 1 2 3

# What the script can't do: a host dies.
mkdir "$(host 1)/config/alive"
setfattr -n gov.lifetime -v session "$(host 1)/config/alive"
gov sync "$(host 3)" >/dev/null
(set -C; echo three > "$(host 3)/config/alive/three") # O_EXCL claims it
gov sync "$(host 2)" >/dev/null
for i in 1 2; do
	inotifywait -m -e delete --format '%e %f' "$(host $i)/config/alive" \
	    > "$tmp/seen.$i" 2> "$tmp/seen.$i.err" &
	wait_for 10 grep -q established "$tmp/seen.$i.err"
done
(flock 9 && exec sleep 600) 9> "$(host 3)/locks/l" >/dev/null 2>&1 \
    {tap_out}>&- {tap_err}>&- &
holder=$!
wait_for 10 grep -q '^held' "$(host 1)/.gov/locks/locks/l"
lease=$(($(now_ms) + $(lease_ms 3)))
cluster kill 3
ok 'R9: a file with lifetime session stays while its host may live' \
    test -e "$(host 1)/config/alive/three"
nok 'R15: so does its lock' flock -n "$(host 1)/locks/l" true
ok "R9: it goes with the host" wait_for 10 \
    sh -c "! test -e '$(host 1)/config/alive/three'"
ok 'R9: not before its last renewal is a ttl ago' test "$(now_ms)" -ge "$lease"
ok 'R15: its lock is free' flock -w 20 "$(host 2)/locks/l" true
for i in 1 2; do
	wait_for 5 grep -q three "$tmp/seen.$i"
	sleep 0.2 # for one too many
	is "$(cat "$tmp/seen.$i")" 'DELETE three' \
	    "R9: one delete event on host $i (not so: rows purged without one)"
done
kill $holder 2>/dev/null
cluster start 3
ok 'R9: nor is it there for the host when that comes back' \
    wait_for 10 sh -c "[ -d '$(host 3)/config/alive' ] &&
	! test -e '$(host 3)/config/alive/three'"
ok 'the hosts have the same tree' wait_for 10 same 1 2 3
done_testing
