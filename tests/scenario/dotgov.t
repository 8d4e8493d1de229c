#!/usr/bin/env bash
# L6, O6: what .gov says, and who is woken when that changes; the stories U9,
# U21 and U30 as far as they look there.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need flock inotifywait python3 setpriv
# A host that is cut off goes through all the states: without a majority,
# refusing changes, its session lost.
export CLUSTER_CONF="session_ttl_ms = 5000
write_timeout_ms = 2000"
cluster_up 3
run_actors dotgov.py "$@"
done_testing
