#!/bin/bash
# No user takes all that a host has for open files: what everybody has together
# is bounded, what one user has is half of it, and the last part is root's (S3).
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need_mounts
need python3
cluster_up 1
chmod 711 "$tmp"
a=$(host 1)
mkdir -m 777 "$a/config/all"
before=$(metric 1 govfs_handles) # the replay helper has one, as root
held() { echo "$(metric 1 govfs_handles)/$(metric 1 govfs_held_bytes)"; }
idle() { [ "$(held)" = "$before/0" ]; }

# act: what is defined here, then the test's own lines
act() {
	cat - <(echo "sys.stdout.flush()") > "$tmp/act.py"
	python3 - "$a" "$tmp/act.py" <<-'PY'
	import atexit, contextlib, errno, os, resource, signal, sys, time
	root, dir = sys.argv[1], sys.argv[1] + '/config/all/'
	MIB, A, B = 1 << 20, 65534, 65533
	hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
	resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

	@contextlib.contextmanager
	def user(uid):
	    groups = os.getgroups()
	    os.setgroups([])
	    os.seteuid(uid)
	    yield
	    os.seteuid(0)
	    os.setgroups(groups)

	def refused(step, *args, most=300):
	    "How often it went well, and how it failed then."
	    for n in range(most):
	        try:
	            step(n, *args)
	        except OSError as e:
	            return n, errno.errorcode[e.errno]
	    return most, None

	def at_last(step):
	    "When the kernel has told of the last closes."
	    until = time.monotonic() + 50
	    while True:
	        try:
	            return step()
	        except OSError:
	            if time.monotonic() > until:
	                raise
	            time.sleep(0.02)

	exec(open(sys.argv[2]).read())
	PY
}

# ---- how many ----

is "$(act <<-'PY'
	# A process has not enough descriptors.
	class Opener:
	    def __init__(self, uid, most):
	        answer, tell = os.pipe()
	        self.pid = os.fork()
	        if self.pid == 0:
	            os.setgroups([])
	            os.setuid(uid)
	            n, err = refused(lambda n: os.open(root, os.O_RDONLY), most=most)
	            os.write(tell, b'%d %s' % (n, str(err).encode()))
	            signal.pause()
	        os.close(tell)
	        n, self.err = os.read(answer, 100).decode().split()
	        self.n = int(n)
	        os.close(answer)
	    def close(self):
	        os.kill(self.pid, signal.SIGKILL)
	        os.waitpid(self.pid, 0)

	openers = []
	@atexit.register
	def end():
	    for opener in openers:
	        opener.close()
	def open_all(uid):
	    n, err = 0, 'None'
	    while err == 'None':
	        openers.append(Opener(uid, hard - 100))
	        n, err = n + openers[-1].n, openers[-1].err
	    return n, err

	print('one:', *open_all(A))
	with user(A):
	    try:
	        os.open(dir + 'name', os.O_WRONLY | os.O_CREAT | os.O_EXCL)
	    except OSError as e:
	        print('a name:', errno.errorcode[e.errno])
	print('is there:', os.path.exists(dir + 'name'))
	print('another:', *open_all(B))
	with open(dir + 'root', 'x') as f: # root's are left
	    f.write('x')
	openers.pop(0).close()
	with user(A):
	    at_last(lambda: os.open(dir + 'name',
	        os.O_WRONLY | os.O_CREAT | os.O_EXCL))
	print('less:', os.path.exists(dir + 'name'))
	PY
)" "one: 32768 ENFILE
a name: ENFILE
is there: False
another: $((28672 - before)) ENFILE
less: True" "S3: one user opens half of what there is, all but root open the rest"
like "$(gov why "$a")" *"by uid 65533"*"close some first"* "gov why: whose"
like "$(gov why "$a/config/all/name")" *"by uid 65534"*"close some first"* \
    "gov why: of a name that was not made"
ok "nothing is counted any more" wait_for 5 idle

# ---- how much ----

# Drafts; then root's part.
is "$(act <<-'PY'
	fds = []
	def draft(n, name):
	    fds.append(os.open(dir + name + str(n), os.O_WRONLY | os.O_CREAT))
	    os.write(fds[-1], bytes(MIB))
	for uid in A, B, 0:
	    with user(uid):
	        print(*refused(draft, 'draft%d.' % uid))
	os.kill(os.getpid(), 9) # so that nothing of it is committed
	PY
)" "128 ENOSPC
112 ENOSPC
16 ENOSPC" "S3: one user's drafts have half, all but root's the rest"
ok "nothing is counted any more" wait_for 5 idle

# Content that handles show, one copy for all of a user's; it may be replaced
# behind their backs, and is theirs to the last close, committed or not.
for n in {0..129}; do
	truncate -s 1M "$a/config/all/file$n"
done
is "$(act <<-'PY'
	fds = {A: [], B: []}
	def show(n, uid, name='file%d'):
	    fds[uid].append(os.open(dir + (name % n), os.O_RDONLY))
	for n in range(130):
	    os.truncate(dir + 'file%d' % n, MIB)
	with user(A):
	    print('one:', *refused(show, A))
	    print('again:', *refused(lambda n: show(n % 128, A)))
	for n in range(128):
	    os.truncate(dir + 'file%d' % n, 1)
	with user(A):
	    print('replaced:', *refused(show, A))
	    print(os.pread(fds[A][0], MIB, MIB - 1))
	with user(B):
	    show(128, B)
	    print('another:', *refused(lambda n: show(129, B)))
	print('of both:', len(os.pread(fds[B][0], MIB, 0)))
	with user(A):
	    for fd in fds[A][:128]:
	        os.close(fd)
	    print('not the last:', *refused(lambda n: show(129, A)))
	    for fd in fds[A][128:]:
	        os.close(fd)
	    at_last(lambda: show(129, A))
	    print('less:', *refused(lambda n: show(129, A)))
	PY
)" "one: 128 ENFILE
again: 300 None
replaced: 0 ENFILE
b'\x00'
another: 300 None
of both: 1048576
not the last: 0 ENFILE
less: 300 None" "S3: what one user's open files show has a bound, too"
like "$(gov why "$a/config/all/file129")" *"by uid 65534"*"close some first"* \
    "gov why: whose"
ok "nothing is counted any more" wait_for 5 idle

# Listings, which begin again with each rewind, and texts of .gov.
is "$(act <<-'PY'
	many, fds = dir + 'many', []
	os.mkdir(many)
	os.chmod(many, 0o777)
	for n in range(1000):
	    os.symlink('to', many + '/' + str(n).zfill(240))
	def listing(n):
	    # What the kernel remembers is old.
	    new = os.open(many + '/new', os.O_WRONLY | os.O_CREAT)
	    os.unlink(many + '/new')
	    os.close(new)
	    fds.append(os.open(many, os.O_RDONLY))
	    os.listdir(fds[-1])
	    os.listdir(fds[-1])
	with user(A):
	    n, err = refused(listing, most=1000)
	    print(200 < n < 600, err)
	    for fd in fds[:4]:
	        os.close(fd)
	    at_last(lambda: listing(0))
	    print('less:', refused(lambda n: os.listdir(fds[-1]))[0])
	PY
)" "True ENOMEM
less: 300" "S3: listings have a bound"
like "$(gov why "$a/config/all/many")" *"by uid 65534"*"close some first"* \
    "gov why: whose"
ok "nothing is counted any more" wait_for 5 idle
exec 3< "$a/.gov/metrics"
read -r _ <&3
holds() { [ "$(metric 1 govfs_held_bytes)" -gt 1000 ]; }
ok "S3: a text of .gov counts" wait_for 5 holds
exec 3<&-
ok "until it is closed" wait_for 5 idle
done_testing
