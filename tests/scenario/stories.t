#!/usr/bin/env bash
# The operators' stories U2, U3, U4, U7, U8, U21 and U22, as typed.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need inotifywait python3
patient_up 3
A=$(host 1) B=$(host 2) C=$(host 3)

# ---- U2: write here, read there ----
mkdir -p "$A/config/app" && echo 'max=10' > "$A/config/app/limits"
is "$(gov cat --strict "$B/config/app/limits")" "max=10" \
    "U2 O4: gov cat --strict shows it at once"
ok "U2: plain cat shows it within the lag" \
    wait_for 2 grep -q max=10 "$C/config/app/limits"

# ---- U3: remote inotify, exact events ----
echo 'max=10' > "$A/config/app/limits"
inotifywait -m -r --format '%e %w%f' "$B/config" > "$tmp/events" \
    2> "$tmp/watching" &
watcher=$!
wait_for 5 grep -q established "$tmp/watching"
echo max=20 > "$A/config/app/limits"
printf 'max=30\n' > "$A/config/app/.l.new" &&
    mv "$A/config/app/.l.new" "$A/config/app/limits"
mv "$A/config/app/limits" "$A/config/app/lim"
rm "$A/config/app/lim"
mkdir "$A/config/x"
wait_for 5 grep -q 'CREATE,ISDIR.*/x$' "$tmp/events"
kill "$watcher"
got=$(grep -vE '^(OPEN|ACCESS|CLOSE_NOWRITE)' "$tmp/events" |
    sed "s,$B/config/,,; s/CLOSE_WRITE,CLOSE/CLOSE_WRITE/")
is "$got" "MODIFY app/limits
CLOSE_WRITE app/limits
CREATE app/.l.new
MODIFY app/.l.new
CLOSE_WRITE app/.l.new
MOVED_FROM app/.l.new
MOVED_TO app/limits
MOVED_FROM app/limits
MOVED_TO app/lim
DELETE app/lim
CREATE,ISDIR x" "U3 W1: the watcher on another host sees exactly these events"

# ---- U4: never an empty or torn config ----
head -c 300000 /dev/zero | tr '\0' 0 > "$A/config/app/big"
wait_for 5 test -s "$B/config/app/big"
reader() {
	while [ ! -e "$tmp/u4" ]; do
		python3 - "$1/config/app/big" <<-'PY'
		import sys
		for _ in range(20):
		    d = open(sys.argv[1], 'rb').read()
		    if len(d) != 300000 or d.count(d[:1]) != len(d):
		        print('BAD', len(d), set(d))
		PY
	done
}
reader "$A" > "$tmp/bad.a" & readers=$!
reader "$B" > "$tmp/bad.b" & readers="$readers $!"
for i in $(seq "${U4_WRITES:-100}"); do
	head -c 300000 /dev/zero | tr '\0' $((i % 10)) > "$A/config/app/big"
done
: > "$tmp/u4"
# shellcheck disable=SC2086
wait $readers
is "$(cat "$tmp/bad.a")" "" "U4 F1: no reader of the writer's host saw a mix"
is "$(cat "$tmp/bad.b")" "" "U4 F1: no reader of another host saw a mix"

# ---- U7: lost update protection for scripts ----
echo 5 > "$A/config/app/count"
wait_for 2 grep -q 5 "$B/config/app/count"
exec 5<> "$A/config/app/count"
read -r n <&5
echo 7 > "$B/config/app/count"
echo $((n + 1)) >&5
nok "U7 F4: fsync of a read-modify-write after another's change: ESTALE" \
    python3 -c 'import os; os.fsync(5)' 2> "$tmp/u7"
like "$(cat "$tmp/u7")" "*Stale file handle*" "U7 F4: ... by that name"
exec 5>&-
is "$(gov cat --strict "$A/config/app/count")" 7 "U7: the other's value stays"
current=$(getfattr --only-values --absolute-names -n gov.rev \
    "$A/config/app/count")
echo 8 > "$tmp/new"
put_old() { gov put --if-rev 1 "$1" < "$tmp/new" > "$tmp/u7" 2>&1; }
exits 4 "U7: gov put --if-rev with an old revision: exit 4" \
    put_old "$A/config/app/count"
like "$(cat "$tmp/u7")" "*conflict*$current*" \
    "U7: ... and it prints the current revision"
exits 0 "U7: with the current one it commits" \
    gov put --if-rev "$current" "$A/config/app/count" < "$tmp/new"
ok "U37: gov why has a sentence about it" gov why "$A/config/app/count"

# ---- U8: exclusive create race ----
mkdir "$A/ids"
wait_for 5 test -d "$B/ids"
wait_for 5 test -d "$C/ids"
race() { # HOST: fresh names, one after the other, all hosts at once
	local i
	for i in $(seq "$2"); do
		(set -C; : > "$1/ids/e$i") 2>/dev/null && echo "e$i"
		mkdir "$1/ids/d$i" 2>/dev/null && echo "d$i"
	done
}
rounds=${U8_ROUNDS:-100}
race "$A" "$rounds" > "$tmp/won.a" & racers=$!
race "$B" "$rounds" > "$tmp/won.b" & racers="$racers $!"
race "$C" "$rounds" > "$tmp/won.c" & racers="$racers $!"
# shellcheck disable=SC2086
wait $racers
is "$(cat "$tmp"/won.? | wc -l)" $((rounds * 2)) \
    "U8 F6: every name was won"
is "$(cat "$tmp"/won.? | sort | uniq -d)" "" "U8 F6: ... by one host alone"

# ---- U21: quorum lost; changes wait for 5 s, as by default ----
cluster down
sed -i '/^write_timeout_ms/d' "$DIR"/*/govfs.conf
cluster up 3 || bail_out "the cluster does not come up again"
leader=$(cluster leader)
one=$((leader % 3 + 1)) two=$((one % 3 + 1))
H=$(host "$one")
: > "$H/locks/x"
cluster kill "$leader"
cluster kill "$two"
begin=$(pace_ms)
is "$(cat "$H/config/app/count")" 8 "U21 O6: without a majority reads go on"
nok "U21 O6: a write fails" \
    python3 -c 'with open(__import__("sys").argv[1], "w") as f: f.write("1")' \
    "$H/config/app/z" 2> "$tmp/u21"
# A host that led for a moment may have proposed it: nobody knows (O5).
ok "U21 O5: ... with EROFS, or ETIMEDOUT if it may have been proposed" \
    grep -qE 'Read-only file system|timed out' "$tmp/u21"
ok "U21: ... within write_timeout" test $(($(pace_ms) - begin)) -lt 8000
begin=$(pace_ms)
nok "U21 O6: from then on at once" sh -c ': > "$0"' "$H/config/app/z" \
    2>/dev/null
ok "U21: ... (in less than a second)" test $(($(pace_ms) - begin)) -lt 1000
like "$(cat "$H/.gov/health")" "readonly*quorum=1/3*" "U21: health says so"
ok "U21: a lock is refused, not waited for" \
    timeout 30 sh -c 'test -f "$0" && ! flock -n "$0" true' "$H/locks/x" \
    2> "$tmp/u21"
ok "U21 O7: ls never hangs" timeout 30 ls -ld "$H/config"/.
ok "U21: nor does df" timeout 30 df --output=target "$H"
cluster start "$two"
ok "U21 O6: when one returns, writes resume without remount" wait_for 10 \
    sh -c 'echo 1 > "$0"' "$H/config/app/z"
cluster start "$leader"
ok "... and the third catches up" wait_for 15 same 1 2 3

# ---- U22: cold start without network ----
for i in 1 2 3; do cluster kill "$i"; done
begin=$(now_ms)
cluster start "$one"
is "$(cat "$H/config/app/limits" 2>&1; cat "$H/config/app/count")" \
    "cat: $H/config/app/limits: No such file or directory
8" "U22 O2: alone after a start it shows the last known content"
diag "mounted and read after $(($(now_ms) - begin)) ms"
nok "U22: health is not ok" grep -qx ok "$H/.gov/health"
done_testing
