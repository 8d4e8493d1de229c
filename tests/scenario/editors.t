#!/usr/bin/env bash
# U6, F4: two editors on two hosts, one file.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need vim ed python3 inotifywait
patient_up 3
run_actors editors.py "$@"
ok "the hosts agree at the end" wait_for 15 same 1 2 3
done_testing
