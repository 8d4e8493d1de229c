#!/usr/bin/env bash
# W1, W3: what a system call on one host raises on two others, against what it
# raises on another file system, call by call.  See events.c.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
patient_up 3
d=config/events
mkdir "$(host 1)/$d"
for h in 2 3; do wait_for 5 test -d "$(host $h)/$d"; done
while read -r line; do
	case $line in
	ok\ *) result 0 "${line#* - }" ;;
	not\ ok\ *) result 1 "${line#* - }" ;;
	1..*) over=1 ;;
	*) diag "$line" ;;
	esac
done < <("$GOV_BUILD/tests/mount/events.t" hosts "$(host 1)/$d" \
    "$(host 2)/$d" "$(host 3)/$d" {tap_out}>&- {tap_err}>&-)
is "${over:-0}" 1 "every call had its turn"
ok "the hosts agree at the end" wait_for 15 same 1 2 3
done_testing
