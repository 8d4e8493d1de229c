#!/bin/bash
# What the everyday calls cost: requests of the kernel, counted.
#
# Each is a round trip to the daemon.  A bound, not a number: a newer kernel
# may do with fewer.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need_mounts
need python3
cluster_up 1
cd "$(host 1)/config" || bail_out "no mount"

N=50 # calls that share what happens once: looking the file up

# at_most WANT DESCRIPTION PYTHON: N times that, in WANT requests each
at_most() {
	local before after each
	before=$(metric 1 govfs_fuse_requests)
	python3 - <<PY || diag "it failed: $3"
import os
for n in range($N):
    $3
PY
	after=$(metric 1 govfs_fuse_requests)
	each=$(((after - before) / N))
	[ "$each" -gt "$1" ] && diag "$each requests each"
	result $((each > $1)) "$2: $1 requests"
}

write='os.write(f, b"content %3d" % n); os.close(f)'
echo old > f
# OPEN, GETXATTR (of O_TRUNC: has it capabilities?), WRITE, FLUSH, RELEASE
at_most 5 "a file is replaced" \
    "f = os.open('f', os.O_WRONLY | os.O_TRUNC); $write"
at_most 4 "written in place" "f = os.open('f', os.O_WRONLY); $write"
at_most 4 "appended to" "f = os.open('f', os.O_WRONLY | os.O_APPEND); $write"
# OPEN, READ, RELEASE
at_most 3 "read" "f = os.open('f', os.O_RDONLY); os.read(f, 4096); os.close(f)"
at_most 0 "looked at" "os.lstat('f'); os.access('f', os.R_OK)"
# LOOKUP, GETATTR (of the directory), CREATE, WRITE, FLUSH, RELEASE
at_most 6 "a file is made" \
    "f = os.open('new%d' % n, os.O_WRONLY | os.O_CREAT); $write"
is "$(metric 1 govfs_parked_total)" 0 "none has to wait where nothing lags"
cd /
done_testing
