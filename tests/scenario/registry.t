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
	"$GOV_SRC/examples/registry-conformance.sh" "${mounts[@]}" \
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
cluster up 3 || bail_out "the cluster does not come up"
conforms 1 2 3
ok 'the hosts have the same tree' wait_for 10 same 1 2 3
done_testing
