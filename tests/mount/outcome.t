#!/bin/bash
# O5, O6: what an errno says about a change, when leaders die and majorities go.
# shellcheck disable=SC2016,SC2317
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need python3 getfattr
need_mounts
cluster_up 3
A=$(host 1) B=$(host 2) C=$(host 3)
export A B C
mkdir "$A/config/o"
for h in "$A" "$B" "$C"; do
	sync_host "$h"
done

# ---- O5: changes of all kinds, on all hosts, while leaders die ----

cat > "$tmp/work.py" <<'EOP'
import errno, os, sys, time
host, who = sys.argv[1:3]
d = f"{host}/config/o"
def close_of(path, flags, text):
    f = os.open(path, flags, 0o644)
    try:
        os.write(f, text)
    finally:
        os.close(f)
def pace():
    with open(sys.argv[5]) as f:
        return int(f.read())
W, C = os.O_WRONLY, os.O_CREAT
kinds = {
    "excl": lambda n: os.close(os.open(f"{d}/excl.{n}", W | C | os.O_EXCL)),
    "mkdir": lambda n: os.mkdir(f"{d}/mkdir.{n}"),
    "symlink": lambda n: os.symlink(n, f"{d}/symlink.{n}"),
    "birth": lambda n: close_of(f"{d}/birth.{n}", W | C, n.encode()),
    "append": lambda n: close_of(f"{d}/journal", W | os.O_APPEND,
        n.encode() + b"\n"),
    "xattr": lambda n: os.setxattr(f"{d}/journal", f"user.{who}", n.encode()),
}
out = open(sys.argv[3], "w")
i = 0
while not os.path.exists(sys.argv[4]):
    i += 1
    for kind, call in kinds.items():
        n, begin, err = f"{who}.{i}", pace(), 0
        try:
            call(n)
        except OSError as e:
            err = e.errno
        print(kind, n, errno.errorcode.get(err, err), pace() - begin,
            file=out, flush=True)
        if err in (errno.ENOTCONN, errno.ECONNABORTED):
            sys.exit()      # this host's daemon was killed
    time.sleep(0.01)
EOP
: > "$A/config/o/journal"

new_leader() { # OLD: another leads
	local l
	l=$(cluster leader) && [ -n "$l" ] && [ "$l" != "$1" ]
}

# It answers nothing while it is stopped: another host is asked who leads.
leads_instead() { # HOST, OLD: somebody else
	local l
	l=$(cat "$(host "$1")/.gov/leader") && [ -n "$l" ] && [ "$l" != "h$2" ]
}

round() { # NUMBER, how the leader goes
	local leader other pid i workers=()
	rm -f "$tmp/stop"
	for i in 1 2 3; do
		python3 "$tmp/work.py" "$(host $i)" "r$1h$i" \
		    "$tmp/results.$1.$i" "$tmp/stop" "$tmp/pace" &
		workers+=($!)
	done
	wait_for 10 eval '[ "$(cat "$tmp/results.'"$1"'".* | wc -l)" -gt 100 ]'
	wait_for 10 new_leader none
	leader=$(cluster leader)
	pid=$(cluster pid "$leader")
	if [ "$2" = killed ]; then
		cluster kill "$leader"
		ok "O6: round $1: another leads soon after one was killed" \
		    wait_for 5 new_leader "$leader"
	elif [ "$2" = stopped ]; then
		other=$((leader % 3 + 1))
		kill -STOP "$pid"
		ok "O6: round $1: another leads soon after one was stopped" \
		    wait_for 5 leads_instead $other "$leader"
		kill -CONT "$pid"
	else
		fault "$leader" net_drop_in -1
		fault "$leader" net_drop_out -1
		ok "O6: round $1: one cut off says so" wait_for 10 \
		    grep -q -v '^ok' "$(host "$leader")/.gov/health"
		ok "O6: and soon refuses changes" wait_for 12 \
		    grep -q 'EROFS\|ETIMEDOUT' "$tmp/results.$1.$leader"
		fault "$leader" net_drop_in 0
		fault "$leader" net_drop_out 0
	fi
	wait_for 10 eval '[ "$(cat "$tmp/results.'"$1"'".* | wc -l)" -gt 300 ]'
	: > "$tmp/stop"
	wait "${workers[@]}"
	[ "$2" != killed ] || cluster start "$leader"
	cluster ready
}
round 1 killed
round 2 stopped
round 3 killed
round 4 'cut off'
for h in "$A" "$B" "$C"; do
	sync_host "$h"
done
cat "$tmp"/results.* > "$tmp/results"
cut -d' ' -f3 "$tmp/results" | sort | uniq -c | while read -r l; do
	diag "$l"
done

judge() {
	python3 - "$1" "$tmp/results" <<'EOP'
import os, sys
from collections import Counter
d, unknown = f"{sys.argv[1]}/config/o", {"ETIMEDOUT", "ENOTCONN",
    "ECONNABORTED"}
names = set(os.listdir(d))
journal = Counter(open(f"{d}/journal").read().split())
bad, last = [], {}
for line in open(sys.argv[2]):
    kind, n, err, took = line.split()
    if kind == "xattr":
        continue
    there = journal[n] if kind == "append" else f"{kind}.{n}" in names
    if kind == "birth" and there:
        there = open(f"{d}/birth.{n}").read() == n or "torn"
    if err == "0" and there != 1 or there not in (0, 1) or \
            err != "0" and err not in unknown and there:
        bad.append((line.strip(), there))
if bad:
    print(bad[:5], len(bad), file=sys.stderr)
sys.exit(bool(bad))
EOP
}
ok "O1, O5: success is there, failure is not, nothing is twice: host 1" \
    judge "$A"
ok "O1, O5: host 2" judge "$B"
ok "O1, O5: host 3" judge "$C"
diag "the longest call: $(sort -k4n "$tmp/results" | tail -n 1)"
is "$(awk '$4 > 3000' "$tmp"/results.2.*)" "" \
    "O7: where a majority stays, calls wait for the next leader only"
is "$(awk '$4 > 8000' "$tmp/results")" "" \
    "O6: no call lasts longer than write_timeout and a bit"
is "$(awk '$3 !~ /^(0|ETIMEDOUT|EROFS|ENOTCONN|ECONNABORTED|EIO)$/' \
    "$tmp/results")" "" "O5: the errno is one that says so"

# ---- O6: a draft that was refused is not lost ----

wait_for 10 new_leader none
leader=$(cluster leader)
alone=$((leader % 3 + 1)) third=$((6 - leader - alone))
S=$(host $alone) T=$(host $third)
echo old > "$S/config/o/draft"
exec 3<>"$S/config/o/draft"
exec 4>"$S/config/o/new-draft"
echo new >&3
echo birth >&4
# First who could elect it: a command that a leader has may yet be committed.
cluster kill $third
cluster kill "$leader"
# And what is on its way to a dead leader may be with it.
ok "O6: who is left says so" wait_for 10 \
    grep -q '^\(suspended\|readonly\|lost\)' "$S/.gov/health"
begin=$(pace_ms)
nok "O6: without a majority fsync fails" \
    python3 -c 'import os; os.fsync(3)' 2>"$tmp/err"
diag "$(tail -n 1 "$tmp/err") after $(($(pace_ms) - begin)) ms"
like "$(tail -n 1 "$tmp/err")" '*Read-only file system*' "O6: with EROFS"
held_once() { [ "$(metric $alone govfs_held_bytes)" = 10 ]; }
ok "S3: both drafts are held once" wait_for 5 held_once
ok "O6: within write_timeout" test $(($(pace_ms) - begin)) -lt 8000
begin=$(pace_ms)
nok "O6: then writing fails" bash -c 'echo x >&3' 2>/dev/null
ok "O6: at once" test $(($(pace_ms) - begin)) -lt 1000
is "$(cat "$S/config/o/draft")" old "O6: others here see the old content"
ok "O6: reading goes on" timeout 30 grep -q old "$S/config/o/draft"
cluster start $third
ok "O6: writing resumes by itself" wait_for 10 touch "$S/config/o/resumed"
ok "O6: the draft is still there: fsync commits it" \
    python3 -c 'import os; os.fsync(3); os.fsync(4)'
sync_host "$T"
is "$(cat "$T/config/o/draft" "$T/config/o/new-draft")" $'new\nbirth' \
    "O6: the other host has it"
exec 3>&- 4>&-
cluster start "$leader"
ok "O2: all hosts end in the same state" wait_for 15 same 1 2 3
done_testing
