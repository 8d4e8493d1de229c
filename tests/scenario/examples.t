#!/usr/bin/env bash
# examples.t: what the programs of examples/ promise at their head.
# shellcheck source=tests/lib.sh
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need flock getfattr inotifywait setfattr

# on HOST EXAMPLE ARGS...: there; as a job, $! is its process group
on() {
	local i=$1 example=$2
	shift 2
	GOV=$(host "$i") NAME=h$i PATH=$path exec setsid \
	    "$GOV_SRC/examples/$example" "$@" {tap_out}>&- {tap_err}>&-
}
run() (on "$@")
# shellcheck disable=SC2317,SC2012
{
readable() { [ "$(cat "$1")" = "$2" ]; }
matches() { grep -q "$2" "$1"; }
empty() { [ -z "$(ls "$1")" ]; }
lines() { [ "$(wc -l < "$1")" -ge "$2" ]; }
free() { [ "$(ls "$(host 2)/ids/shards" | wc -l)" = 4 ]; }
}
export LC_ALL=C
path=$PATH

patient_up 3

# ---- cron-once ----

period=1000000000 # which does not end while we look

for round in 1 2 3; do
	jobs=''
	for i in 1 2 3; do
		on $i cron-once "job$round" $period sh -c "echo $i >> $tmp/ran.$round" &
		jobs="$jobs $!"
	done
	failed=0
	for job in $jobs; do
		wait "$job" || failed=1
	done
	is "$failed" 0 'cron-once: exits 0 on all hosts'
	is "$(wc -l < "$tmp/ran.$round")" 1 'cron-once: one of three hosts does the work'
	run 1 cron-once "job$round" $period touch "$tmp/again"
	run 2 cron-once "job$round" $period touch "$tmp/again"
done
nok 'cron-once: a host that comes later in the period does not' \
    test -e "$tmp/again"
echo '1 h1' > "$(host 1)/locks/cron.job1"
run 3 cron-once job1 $period touch "$tmp/again"
ok 'cron-once: in the next period it is done again' test -e "$tmp/again"

# ---- gov elect, the first of its kind ----

fault 2 replay_delay_ms 300
mkdir "$(host 1)/locks/elect"
ok 'O3, R17: gov elect where its directory is not shown yet' \
    gov elect --mount "$(host 2)" first -- true
fault 2 replay_delay_ms 0

# ---- elect-primary ----

primary=$(host 3)/config/primary/db
on 1 elect-primary db sh -c "echo \$\$ > $tmp/first; exec sleep 600" &
first=$!
ok 'elect-primary: the others read who is' wait_for 10 matches "$primary" '^h1 '
token=$(cut -d' ' -f2 "$primary")
on 2 elect-primary db sleep 600 &
second=$!
wait_for 10 matches "$(host 1)/.gov/locks/locks/primary.db" '^waits.*host=h2'
ok 'elect-primary: while it runs it stays' matches "$primary" '^h1 '
kill -9 "$(cat "$tmp/first")"
ok 'elect-primary: when it dies the next one takes over' \
    wait_for 10 matches "$primary" '^h2 '
ok 'elect-primary: with a greater token' \
    test "$(cut -d' ' -f2 "$primary")" -gt "$token"
wait "$first" 2>/dev/null
kill "$second" 2>/dev/null
wait "$second" 2>/dev/null

# ---- register-by-descriptor ----

entry=$(host 2)/status/web/a:8080
on 1 register-by-descriptor web a:8080 10.0.0.1:8080 \
    sh -c "echo \$\$ > $tmp/service; exec sleep 600" &
disown # whose end bash would tell
ok 'register-by-descriptor: other hosts find the service' \
    wait_for 10 readable "$entry" 10.0.0.1:8080
wait_for 10 test -s "$tmp/service"
run 2 register-by-descriptor web a:8080 10.0.0.2:8080 true 2> "$tmp/err"
is $? 1 'register-by-descriptor: a second of that name is refused'
ok 'register-by-descriptor: and told whose it is' \
    matches "$tmp/err" 'taken by host h1'
kill -9 "$(cat "$tmp/service")"
ok 'register-by-descriptor: after kill -9 the list is empty' \
    wait_for 5 empty "$(host 3)/status/web"

# ---- worker-id ----

mkfifo "$tmp/end"
exec {end}<> "$tmp/end"
jobs=''
for i in 1 2 3 1 2; do
	# shellcheck disable=SC2016
	on $i worker-id shards 5 bash -c \
	    'echo "$WORKER_ID" >> "$1/ids"; read -r < "$1/end"' _ "$tmp" &
	jobs="$jobs $!"
done
ok 'worker-id: five workers on three hosts' wait_for 10 lines "$tmp/ids" 5
is "$(sort "$tmp/ids" | tr -d '\n')" 01234 'worker-id: have the five lowest numbers'
run 3 worker-id shards 5 true 2>/dev/null
is $? 4 'worker-id: a full pool is exit code 4'
printf '\n' >&"$end"
ok 'worker-id: when one ends its number is free' wait_for 5 free
# shellcheck disable=SC2016
run 2 worker-id shards 5 sh -c 'echo "$WORKER_ID" > "$1/next"' _ "$tmp"
wait_for 5 free
is "$( (ls "$(host 2)/ids/shards" && cat "$tmp/next") | sort | tr -d '\n')" \
    01234 'worker-id: and given to the next'
printf '\n\n\n\n' >&"$end"
for job in $jobs; do
	wait "$job"
done
ok 'worker-id: in the end the pool is empty' \
    wait_for 5 empty "$(host 1)/ids/shards"

# ---- mailbox ----

on 2 mailbox serve b sh -c "cat >> $tmp/served" &
serving=$!
for n in 1 2 3; do
	echo "request $n" | run 1 mailbox send b 100
	is $? 0 'mailbox: who sends learns that it is done'
	ok 'mailbox: when it is' matches "$tmp/served" "request $n"
done
kill -- "-$serving"
wait "$serving" 2>/dev/null
ok 'mailbox: the box is empty' wait_for 5 empty "$(host 3)/config/mailbox/b"
echo late | run 3 mailbox send nobody 1
is $? 1 'mailbox: nobody serves: exit 1'
ok 'mailbox: and the request is taken back' \
    wait_for 5 empty "$(host 1)/config/mailbox/nobody"
done_testing
