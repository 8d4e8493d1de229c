#!/usr/bin/env bash
# O8, F7: the wall clocks of hosts jump, back and forth, while locks are held,
# files are refreshed and others expire.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need python3
export TTL_MS=3000
export CLUSTER_CONF="session_ttl_ms = $TTL_MS"
cluster_up 3
run_actors wall.py "$@"
ok "F7: the hosts agree at the end" wait_for 15 same 1 2 3
done_testing
