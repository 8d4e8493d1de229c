#!/usr/bin/env bash
# L5: tokens and guards over three hosts, and a holder that stood still.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need python3
export TTL_MS=3000
export CLUSTER_CONF="session_ttl_ms = $TTL_MS"
cluster_up 3
run_actors fence.py "$@"
ok "the hosts agree at the end" wait_for 15 same 1 2 3
done_testing
