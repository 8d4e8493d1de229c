#!/bin/bash
# F2: a new file and another host's file of the same name, made meanwhile.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need_mounts
patient_up 2
a=$(host 1)/config b=$(host 2)/config

# holds FILE TEXT: both hosts show it, and have the same tree
holds() {
	[ "$(cat "$a/$1")" = "$2" ] && [ "$(cat "$b/$1")" = "$2" ] && same 1 2
}

exec 3<>"$a/touched"
nok "F2: a file without its first commit is nowhere else" test -e "$b/touched"
echo precious > "$b/touched"
exec 3>&-
ok "F2: one that nothing was written to leaves the other's content" \
	wait_for 5 holds touched precious

exec 3>>"$a/added"
echo one > "$b/added"
echo two >&3
exec 3>&-
ok "F2, F3: one opened for appending adds to the other's" \
	wait_for 5 holds added $'one\ntwo'

exec 3>"$a/replaced"
echo one > "$b/replaced"
echo two >&3
exec 3>&-
ok "F2: one opened with O_TRUNC replaces it" wait_for 5 holds replaced two

exec 3>"$a/emptied"
echo one > "$b/emptied"
exec 3>&-
ok "F2: even by nothing" wait_for 5 holds emptied ''

done_testing
