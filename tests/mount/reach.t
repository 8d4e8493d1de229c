#!/bin/bash
# What happens below a directory where nobody of a host has been is not enacted
# there; whoever comes later finds it all, and is woken from then on (W1, W2).
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need inotifywait getfattr
need_mounts
patient_up 2
a=$(host 1)/config b=$(host 2)/config

skipped() { metric 2 govfs_replay_skipped; }
replayed() { metric 2 govfs_replay_ops; }
# Where replay is stuck for 2 s, it is an EIO.
caught_up() { sync_host "$(host 2)"; }

mkdir "$a/far"
caught_up
before=$(replayed) skipped=$(skipped)
for i in 1 2 3 4 5; do
	echo "$i" > "$a/far/f$i"
done
mkdir "$a/far/deep"
echo x > "$a/far/deep/x"
mv "$a/far/f4" "$a/far/g4"
rm "$a/far/f5"
caught_up
is "$(replayed)" "$before" "nothing is enacted where nobody has been"
ok "it is counted as skipped" test "$(skipped)" -gt "$skipped"

# New contents and attributes there are nothing that waits for the replay.
fault 2 replay_delay_ms 60000
skipped=$(skipped)
echo 1 again > "$a/far/f1"
chmod 600 "$a/far/f2"
ok "nor does anybody wait for it" caught_up
is "$(metric 2 govfs_replay_queue)" 0 "it is not queued"
is "$(($(skipped) - skipped))" 2 "but counted"
fault 2 replay_delay_ms 0

is "$(ls "$b/far")" "$(ls "$a/far")" "who comes later sees the names"
is "$(cat "$b/far/f1")" "1 again" "and what was written last"
is "$(stat -c %a "$b/far/f2")" 600 "and its mode"
is "$(cat "$b/far/g4")" 4 "and the contents"
is "$(stat -c '%i %h %Y %Z' "$b/far" "$b/far/deep")" \
    "$(stat -c '%i %h %Y %Z' "$a/far" "$a/far/deep")" "and the attributes"
is "$(cat "$b/far/deep/x")" x "further down too"

# A walk through the directory, and no listing, before the watch.
mkdir "$a/near"
echo 1 > "$a/near/f"
caught_up
inotifywait -q -m -e close_write,create,delete,moved_to --format '%e %f' \
    "$b/near" > "$tmp/events" 2> "$tmp/err" &
watcher=$!
# The watch is there when fdinfo shows it.
# shellcheck disable=SC2317
watches() { grep -q '^inotify' "/proc/$watcher/fdinfo/"*; }
ok "a watch there" wait_for 5 watches
echo 2 > "$a/near/f"
echo 3 > "$a/near/g"
mv "$a/near/g" "$a/near/h"
rm "$a/near/h"
ok "W1: wakes" wait_for 5 grep -q 'DELETE h' "$tmp/events"
is "$(tr '\n' , < "$tmp/events")" \
    "CLOSE_WRITE,CLOSE f,CREATE g,CLOSE_WRITE,CLOSE g,MOVED_TO h,DELETE h," \
    "W1: of everything since"
kill "$watcher"

# A watch that comes before the replay of a name does is woken of all of it.
mkdir "$a/late"
caught_up
fault 2 replay_delay_ms 60000
(set -C && echo 1 > "$a/late/f") # O_EXCL: made first, then written
inotifywait -q -m -e close_write,create --format '%e %f' "$b/late" \
    > "$tmp/late" 2> "$tmp/err" &
watcher=$!
ok "a watch where changes wait" wait_for 5 watches
fault 2 replay_delay_ms 0
chmod 755 "$a/late" # the queue is looked at again
ok "W1: wakes of what waited" wait_for 5 grep -q 'CLOSE f' "$tmp/late"
is "$(tr '\n' , < "$tmp/late")" "CREATE f,CLOSE_WRITE,CLOSE f," "W1: all of it"
kill "$watcher"

# A name that the kernel once held below such a directory.
echo seen > "$b/file"
mkdir "$a/other"
caught_up
cat "$b/file" > /dev/null
mv "$a/file" "$a/other/file"
caught_up
rm "$a/other/file"
caught_up
echo again > "$a/other/file"
caught_up
is "$(cat "$b/other/file")" again \
    "a name removed below it is not missed when it comes again"

# The directory itself moves and goes.
mkdir "$a/one"
echo 1 > "$a/one/f"
mv "$a/one" "$a/two"
caught_up
is "$(cat "$b/two/f")" 1 "it is found where it was moved to"
nok "and not where it was" test -e "$b/one"
mkdir "$a/three"
echo 1 > "$a/three/f"
rm "$a/three/f"
rmdir "$a/three"
caught_up
nok "a directory that went is gone" test -e "$b/three"
ok "the hosts are equal" wait_for 5 same 1 2
done_testing
