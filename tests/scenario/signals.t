#!/usr/bin/env bash
# O5, O7: signals, at any rate, lose no change; the killed don't wait.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need python3
interrupted=$GOV_BUILD/tests/scenario/interrupted
[ -x "$interrupted" ] || skip_all "there is no $interrupted"
patient_up 3 # changes wait for longer than it takes to see them waiting
leader=$(cluster leader)
other=$((leader % 3 + 1))

for i in "$leader" "$other"; do
	ok "O5: open(O_EXCL) under 1,000 signals/s loses no file of its own" \
	    "$interrupted" "$(host "$i")/locks" "${SIGNAL_OPENS:-300}"
	ok "O5: ... nor with SA_RESTART" \
	    "$interrupted" "$(host "$i")/locks" "${SIGNAL_OPENS:-300}" restart
done
nothing_left() { [ -z "$(ls "$(host "$leader")/locks")" ]; }
ok "O5: nothing is left behind" wait_for 5 nothing_left

# Without a majority a change waits up to write_timeout; its caller may be
# killed meanwhile and must be gone at once.
third=$((other % 3 + 1))
for call in 'mkdir "$0/d"' 'echo x > "$0/f"' 'rm "$0/there"' \
    'mv "$0/there" "$0/else"' 'chmod 600 "$0/there"' 'ln -s x "$0/s"'; do
	echo x > "$(host "$other")/config/there"
	cluster kill "$leader"
	cluster kill "$third"
	sh -c "exec sh -c '$call' \"\$0\"" "$(host "$other")/config" \
	    2>/dev/null &
	pid=$!
	# It is under way when it sleeps in a request to the daemon.
	waits() { grep -q request_wait "/proc/$1/stack" 2>/dev/null; }
	under_way() {
		local p
		kill -0 "$pid" || return 0
		for p in $pid $(cat /proc/$pid/task/*/children 2>/dev/null); do
			waits "$p" && return 0
		done
		return 1
	}
	wait_for 4 under_way || diag "$call: was not seen waiting"
	begin=$(pace_ms)
	for p in $(cat /proc/$pid/task/*/children 2>/dev/null) $pid; do
		kill -9 "$p" 2>/dev/null || :
	done
	wait "$pid" 2>/dev/null || :
	took=$(($(pace_ms) - begin))
	ok "O7: killed while it waits, '$call' is gone at once ($took ms)" \
	    test "$took" -lt 1000
	cluster start "$leader"
	cluster start "$third"
	cluster ready 30
	leader=$(cluster leader)
	other=$((leader % 3 + 1)) third=$((other % 3 + 1))
	rm -rf "$(host "$leader")"/config/*
done

# First a signal that has a handler: the caller goes on waiting.
kill -STOP "$(cluster pid "$leader")" "$(cluster pid "$third")"
python3 -c 'import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(fd, b"x")
os.close(fd)' "$(host "$other")/config/new" 2>/dev/null &
pid=$!
wait_for 4 waits "$pid" || diag "close: was not seen waiting"
kill -ALRM "$pid"
# The daemon has looked at it when its clock has ticked; nothing tells so.
begin=$(now_ms)
ticked() { [ "$(now_ms)" -ge $((begin + 300)) ]; }
wait_for 2 ticked
begin=$(pace_ms)
kill -KILL "$pid" 2>/dev/null || diag "close: has ended already"
wait "$pid" 2>/dev/null || :
took=$(($(pace_ms) - begin))
ok "O7: killed after another signal, close(2) is gone at once ($took ms)" \
    test "$took" -lt 1000
kill -CONT "$(cluster pid "$leader")" "$(cluster pid "$third")"
cluster ready 30
ok "all hosts end in the same state" wait_for 15 same 1 2 3
done_testing
