#!/usr/bin/env bash
# pace.t: the clock for upper bounds stands still while the machine does.
# shellcheck source=tests/lib.sh
. "${GOV_SRC:-$(dirname "$0")/..}/tests/lib.sh"

make_tmp
pace_up
grown() { [ "$(pace_ms)" -gt "$1" ]; }
later() { [ "$(now_ms)" -ge "$1" ]; }

before=$(pace_ms)
ok 'it goes' wait_for 5 grown $((before + 50))

# For the clock that is a machine whose processors are somebody else's.
kill -STOP "$pace"
before=$(pace_ms)
wait_for 5 later $(($(now_ms) + 3000))
kill -CONT "$pace"
wait_for 5 grown "$before"
took=$(($(pace_ms) - before))
ok "three seconds without a processor are not counted ($took ms)" \
    test "$took" -lt 1500
ok 'then it goes on' wait_for 5 grown $((before + took + 50))
done_testing
