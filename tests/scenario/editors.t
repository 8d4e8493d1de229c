#!/usr/bin/env bash
# U6, F4: two editors on two hosts, one file.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need vim ed python3 inotifywait
# A machine that stalls ends no session, and refuses no change.
export CLUSTER_CONF="session_ttl_ms = 30000
write_timeout_ms = 30000"
cluster_up 3
run_actors editors.py "$@"
ok "the hosts agree at the end" wait_for 15 same 1 2 3
done_testing
