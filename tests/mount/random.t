#!/bin/bash
# Random calls on a mount and on another file system answer the same.
#
# GOV_SEED is the first seed, GOV_SEEDS how many, GOV_STEPS how long each.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need python3 getfattr
need_mounts
patient_up 2
cat > "$tmp/random.py" <<'EOP'
import ctypes, errno, os, random, stat, sys

gov, ref, seed, steps = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
libc = ctypes.CDLL(None, use_errno=True)
R = random.Random(seed)
names = "abcde"
fds = {gov: {}, ref: {}}
C, T, A, X = os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_EXCL
RD, W, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR

def path():
    p = R.choice(names)
    while R.random() < 0.4:
        p += "/" + R.choice(names)
    return p

def put(at, p, text, flags):
    f = os.open(at(p), flags, 0o644)
    try:
        os.write(f, text)
    finally:
        os.close(f)

def get(at, p):
    with open(at(p), "rb") as f:
        return f.read()

def rename(at, p, q, flags):
    if libc.renameat2(-100, at(p).encode(), -100, at(q).encode(), flags):
        raise OSError(ctypes.get_errno(), "renameat2")

def attr(at, p):
    s = os.lstat(at(p))
    return s.st_mode, s.st_nlink, 0 if stat.S_ISDIR(s.st_mode) else s.st_size

def opened(at, p, slot, flags):
    mine = fds[at("")[:-1]]
    if slot in mine:
        os.close(mine.pop(slot))
    mine[slot] = os.open(at(p), flags, 0o600)

def on_handle(call):
    def run(at, slot, *args):
        f = fds[at("")[:-1]].get(slot)
        return None if f is None else call(f, *args)
    return run

def closed(at, slot):
    f = fds[at("")[:-1]].pop(slot, None)
    if f is not None:
        os.close(f)

slot = lambda: R.randrange(3)
mode = lambda: R.choice([0o644, 0o600, 0o755, 0o777])
calls = [    # weight, call, its arguments
    (6, put, lambda: (path(), bytes([R.randrange(97, 123)]) *
        R.randrange(3000), R.choice([W | C | T, W | C, W | A, W | C | A,
        W | C | X, RW, W | T]))),
    (4, get, lambda: (path(),)),
    (2, lambda at, p, n: os.truncate(at(p), n),
        lambda: (path(), R.randrange(5000))),
    (4, lambda at, p: os.mkdir(at(p)), lambda: (path(),)),
    (2, lambda at, p: os.rmdir(at(p)), lambda: (path(),)),
    (4, lambda at, p: os.unlink(at(p)), lambda: (path(),)),
    (2, lambda at, p, q: os.link(at(p), at(q), follow_symlinks=False),
        lambda: (path(), path())),
    (2, lambda at, p, to: os.symlink(to, at(p)),
        lambda: (path(), R.choice(["a", "c", "../a", "b/c", "a/../b"]))),
    (2, lambda at, p: os.readlink(at(p)), lambda: (path(),)),
    (6, rename, lambda: (path(), path(), R.choice([0, 0, 0, 1, 2]))),
    (2, lambda at, p, m: os.chmod(at(p), m), lambda: (path(), mode())),
    (6, attr, lambda: (path(),)),
    (2, lambda at, p: sorted(os.listdir(at(p))), lambda: (path(),)),
    (4, opened, lambda: (path(), slot(),
        R.choice([RD, RD | C, W | C, RW | C, W, RW, W | C | X]))),
    (4, closed, lambda: (slot(),)),
    (2, on_handle(lambda f: os.fstat(f).st_nlink), lambda: (slot(),)),
    (2, on_handle(os.fchmod), lambda: (slot(), mode())),
    (2, on_handle(os.fsync), lambda: (slot(),)),
]
weights = [c[0] for c in calls]

def run(root, call, args):
    try:
        return call(lambda p: f"{root}/{p}", *args)
    except OSError as e:
        return errno.errorcode[e.errno]

log = []
for step in range(steps):
    n = R.choices(range(len(calls)), weights)[0]
    args = calls[n][2]()
    a, b = (run(root, calls[n][1], args) for root in (gov, ref))
    log.append((n, args, a, b))
    if a != b:
        print("seed", seed, "step", step, file=sys.stderr)
        for entry in log[-12:]:
            print(str(entry)[:200], file=sys.stderr)
        sys.exit(1)
EOP

first=${GOV_SEED:-$((RANDOM * 32768 + RANDOM))}
for seed in $(seq "$first" $((first + ${GOV_SEEDS:-4} - 1))); do
	for i in 1 2; do
		# One deeper: links to ../a stay in a directory of their own.
		mkdir -p "$(host $i)/r$i.$seed/in" "$tmp/r$i.$seed/in"
		python3 "$tmp/random.py" "$(host $i)/r$i.$seed/in" \
		    "$tmp/r$i.$seed/in" "$seed$i" "${GOV_STEPS:-1000}" &
	done
	for i in 1 2; do
		wait -n
		result $? "seed $seed: each call answers as it does elsewhere"
	done
	for i in 1 2; do
		sync_host "$(host $i)"
	done
	for i in 1 2; do
		ok "seed $seed: host $((3 - i)) shows what host $i made" \
		    diff -r --no-dereference "$(host $((3 - i)))/r$i.$seed" \
		    "$tmp/r$i.$seed"
	done
done
ok "both hosts end in the same state" wait_for 10 same 1 2
done_testing
