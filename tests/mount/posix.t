#!/bin/bash
# The calls of POSIX on a mount: what they do, and how they fail.
#
# GOV_TEST_DIR names a directory of another mount to test instead; with
# GOV_NATIVE=1 one of another file system, which tests the tests.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

if [ -n "${GOV_TEST_DIR:-}" ]; then
	root=$GOV_TEST_DIR
else
	need_mounts
	cluster_up 1
	root=$(host 1)
fi

# program NAME: its lines of TAP become ours
program() {
	local line planned=0
	mkdir "$root/posix-$1"
	while IFS= read -r line; do
		case $line in
		'ok '*) result 0 "${line#ok * - }" ;;
		'not ok '*) result 1 "${line#not ok * - }" ;;
		'1..'*) planned=1 ;;
		*) diag "$line" ;;
		esac
	done < <(timeout 600 "$GOV_BUILD/tests/mount/posix_$1" \
	    "$root/posix-$1" 2>&1)
	is "$planned" 1 "posix_$1 ran to its end"
}

program io
program name
program attr
done_testing
