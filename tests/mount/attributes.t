#!/bin/bash
# F7: what stat(2) shows is what is committed, on all hosts, whatever kernels
# remembered while writers of several hosts were at the same files.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need_mounts
need python3 getfattr
patient_up 2
mkdir "$(host 1)/config/a"
wait_for 10 test -d "$(host 2)/config/a" || bail_out "no directory"
cat > "$tmp/attributes.py" <<'PY'
import os, random, sys, time

where, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
R = random.Random(seed)
names = [f"{where}/f{n}" for n in range(3)]

def content():
    return bytes([97 + R.randrange(26)]) * R.randrange(1, 5000)

def written(flags, *calls):
    f = os.open(R.choice(names), flags | os.O_CREAT, 0o666)
    try:
        for call in calls:
            call(f)
    finally:
        os.close(f)

def write(f):
    os.write(f, content())

def looked_at(f):
    os.fstat(f)

def as_others():
    """Drops set-user-ID, which no other call than this write tells of."""
    if os.fork() == 0:
        try:
            os.setuid(12345)
            written(os.O_WRONLY, write)
        except OSError:
            pass
        os._exit(0)
    os.wait()

def killed():
    if os.fork() == 0:
        written(os.O_WRONLY, write, lambda f: os.kill(os.getpid(), 9))
    os.wait()

W, RW = os.O_WRONLY, os.O_RDWR
calls = [
    lambda: written(W | os.O_TRUNC, write),
    lambda: written(W | os.O_TRUNC, write, looked_at),
    lambda: written(W | os.O_TRUNC, looked_at, write),
    lambda: written(W, write, looked_at, write),
    lambda: written(W | os.O_TRUNC),
    lambda: written(W | os.O_APPEND, write),
    lambda: written(W | os.O_APPEND, looked_at, write),
    lambda: written(RW, lambda f: os.read(f, 10), write),
    lambda: written(W, write, os.fsync, looked_at, write),
    lambda: written(W | os.O_DSYNC, write),
    lambda: written(W, lambda f: os.ftruncate(f, R.randrange(5000))),
    lambda: written(W, lambda f: os.posix_fallocate(f, 0, 3000)),
    lambda: written(W, write, lambda f: os.utime(f, (1, R.randrange(999)))),
    lambda: os.truncate(R.choice(names), R.randrange(5000)),
    lambda: os.chmod(R.choice(names), R.choice([0o666, 0o777, 0o4777])),
    lambda: os.utime(R.choice(names), (2, R.randrange(999))),
    as_others, killed,
]
end = time.time() + seconds
while time.time() < end:
    try:
        if R.random() < 0.3:
            os.lstat(R.choice(names))
        else:
            R.choice(calls)()
    except OSError:
        pass            # ESTALE: refused, as it should be
PY
cat > "$tmp/shown.py" <<'PY'
import os, sys
for n in range(3):
    f = f"{sys.argv[1]}/f{n}"
    s = os.lstat(f)
    with open(f, "rb") as content:
        true = len(content.read())
    print(n, s.st_ino, oct(s.st_mode), s.st_uid, s.st_mtime_ns, s.st_ctime_ns,
          s.st_size, "" if s.st_size == true else f"but it has {true}")
PY
sync_all() {
	sync_host "$(host 1)" && sync_host "$(host 2)"
}

for round in 1 2 3; do
	writers=()
	for i in 1 1 2 2; do
		python3 "$tmp/attributes.py" "$(host $i)/config/a" \
		    "$((round * 10 + ${#writers[@]}))" 1.5 {tap_out}>&- &
		writers+=($!)
	done
	wait "${writers[@]}"
	sync_all > "$tmp/out"
	one=$(python3 "$tmp/shown.py" "$(host 1)/config/a")
	is "$(python3 "$tmp/shown.py" "$(host 2)/config/a")" "$one" \
	    "F7: both hosts show the same (round $round)"
	nok "F7: and the size that is read" grep but <<< "$one"
done
ok "F7: and have the same tree" wait_for 5 same 1 2
done_testing
