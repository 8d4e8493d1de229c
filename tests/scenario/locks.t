#!/usr/bin/env bash
# L1, L2, L3, L5, L6, O3: locks of unmodified programs over three hosts, and
# the stories U9 and U10.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need flock python3 getfattr
cluster_up 3
run_actors locks.py "$@"
done_testing
