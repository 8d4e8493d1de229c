#!/usr/bin/env bash
# L1, L4, L5: the locks of hosts that die, stand still or are cut off, and the
# stories U11, U12 and U30.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need python3
export TTL_MS=3000 # a renewal in time even while all tests run
export CLUSTER_CONF="session_ttl_ms = $TTL_MS"
cluster_up 3
run_actors leases.py "$@"
done_testing
