"""What fence.t asks of tokens and guards, on three hosts.  CONTRACT L5."""
import os, signal, subprocess, sys, time
from actors import *

TTL = float(os.environ['TTL_MS']) / 1000
LOCK, GUARDED = 'locks/db', 'config/db'


def put(host, path, text, tok=None):
    """gov put's exit code."""
    args = [GOV, 'put'] + ([] if tok is None else ['--token', str(tok)])
    with open(TMP + '/says', 'w') as says:
        heed(host, says.name)
        return subprocess.run(args + [HOST[host] + '/' + path],
            input=text.encode(), stdout=subprocess.DEVNULL,
            stderr=says).returncode


def text_of(path, host=3):
    return subprocess.run([GOV, 'cat', '--strict', HOST[host] + '/' + path],
        stdout=subprocess.PIPE).stdout.decode()


def token_now():
    synced(1)
    return token(1, LOCK)


WRITE = '''
def write(path, text):
    f = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(f, text)
        os.fsync(f)
    finally:
        os.close(f)
def tried(text):
    try:
        exec(text)
    except OSError as e:
        return errno.errorcode[e.errno]
'''


def actors(*hosts):
    for host in hosts:
        actor = Actor(HOST[host])
        actor(WRITE)
        actor.open(LOCK)
        yield actor


@rounds(restore)
def prepare():
    synced(1)
    os.makedirs(HOST[1] + '/' + GUARDED + '/below/deep/empty', exist_ok=True)
    os.close(os.open(HOST[1] + '/' + LOCK, os.O_CREAT | os.O_RDWR))
    if not os.path.exists(HOST[1] + '/' + GUARDED + '/below/f'):
        with open(HOST[1] + '/' + GUARDED + '/below/f', 'w') as f:
            f.write('first')
    os.setxattr(HOST[1] + '/' + GUARDED, 'gov.guard', b'/' + LOCK.encode())
    for host in (1, 2, 3):
        synced(host)


@rounds(restore)
def test_tokens():
    f = GUARDED + '/below/f'
    p, q = actors(1, 2)
    eq(put(1, f, 'x', 1), 4, 'L5: put --token: 4 while nobody has the lock')
    q('flock(fd, LOCK_EX)\nflock(fd, LOCK_UN)')
    p('flock(fd, LOCK_EX)')
    old = token_now()
    for host in (1, 2, 3):
        text = 'by the token on host %d' % host
        eq(put(host, f, text, old), 0,
            'L5: put --token with the newest one: 0, on host %d' % host)
        eq(text_of(f), text, 'L5: ... and it is written')
        for tok, what in ((old - 1, 'an older'), (old + 1, 'a later')):
            eq(put(host, f, 'y', tok), 4, 'L5: with %s one: 4' % what)
        eq(put(host, f, 'y', 'one'), 2, 'L5: with none: 2')
        eq(text_of(f), text, 'L5: ... and nothing is written')
    q.start('flock(fd, LOCK_EX)')
    waiting(LOCK, 1)
    eq(put(2, f, 'still', old), 0, 'L5: somebody waiting changes nothing')
    p('flock(fd, LOCK_UN)')
    eq(q.wait(5), None, 'L5: the lock is granted anew')
    new = token_now()
    ok(new > old, 'L5: ... with a greater token', (old, new))
    for host in (1, 2, 3):
        eq(put(host, f, 'late', old), 4,
            'L5: the older token is worth nothing on host %d' % host)
    eq(text_of(f), 'still', 'L5: ... and changes nothing')
    for host in (1, 2, 3):
        eq(put(host, f, 'new %d' % host, new), 0, 'L5: the newer one is')
    eq(text_of(f), 'new 3', 'L5: ... and writes')
    eq(put(3, GUARDED + '/below/deep/made', 'x', new), 0,
        'L5: a token makes files below, too')
    end_all()


@rounds(restore)
def test_own_lock():
    """Without a guard the token is that of the file's own lock."""
    name = 'config/own'
    with open(HOST[1] + '/' + name, 'w') as f:
        f.write('x')
    synced(2)
    holder = Actor(HOST[2])
    holder('fd = opened(%r)\nflock(fd, LOCK_EX)' % name)
    synced(3)
    tok = token(3, name)
    eq(put(3, name, 'y', tok), 0, 'L5: a file without a guard has its own')
    eq(put(3, name, 'z', tok + 1), 4, 'L5: ... and no other')
    eq(text_of(name), 'y', 'L5: ... so it stays')
    end_all()


@rounds(restore)
def test_guard():
    """By another session, at any depth, in any way."""
    p, q, r = actors(1, 2, 3)
    f, deep = GUARDED + '/below/f', GUARDED + '/below/deep'
    p('flock(fd, LOCK_EX)')
    eq(p('write(%r, b"holder")' % f), None, 'L5: who has the lock may write')
    other = Actor(HOST[1])
    other(WRITE)
    eq(other('write(%r, b"same host")' % f), None,
        'L5: ... and his whole host')
    tries = ['write(%r, b"no")' % f, 'write(%r, b"no")' % (deep + '/new'),
        'os.mkdir(%r)' % (deep + '/dir'), 'os.unlink(%r)' % f,
        'os.rename(%r, "config/out")' % f, 'os.link(%r, "config/out")' % f,
        'os.rename("config/in", %r)' % (deep + '/in'),
        'os.symlink("x", %r)' % (deep + '/link'), 'os.rmdir(%r)' % (deep + '/empty'),
        'os.truncate(%r, 0)' % f, 'os.utime(%r, (1, 1))' % f,
        'os.chmod(%r, 0o600)' % f, 'os.setxattr(%r, "user.a", b"b")' % f]
    with open(HOST[1] + '/config/in', 'w') as out:
        out.write('x')
    synced(2)
    before = text_of(f)
    got = [(t, q(t)) for t in tries]
    # A further name of a guarded file changes nothing of it.
    allowed = [t for t in tries if t.startswith('os.link')]
    eq([(t, g) for t, g in got if g != 'ESTALE' and t not in allowed], [],
        'L5: others are told ESTALE, whatever they change below')
    synced(3)
    eq(text_of(f), before, 'L5: ... and change nothing')
    eq(sorted(os.listdir(HOST[3] + '/' + GUARDED + '/below')), ['deep', 'f'],
        'L5: ... no name either')
    eq(q('write("config/out", b"no")'), 'ESTALE',
        'L5: ... nor by another name of the file')
    ok('new' not in os.listdir(HOST[3] + '/' + deep), 'L5: ... at any depth')
    eq(q('os.read(os.open(%r, os.O_RDONLY), 99).decode()' % f), before,
        'L5: they may read')
    eq(q('write("config/beside", b"x")'), None, 'L5: ... and write elsewhere')
    p('flock(fd, LOCK_UN)')
    eq(q('flock(fd, LOCK_SH)'), None, 'L1: a shared lock')
    eq(q('write(%r, b"no")' % f), 'ESTALE', 'L5: ... is not the guard\'s')
    q('flock(fd, LOCK_UN)')
    eq(r('flock(fd, LOCK_EX)', 5), None, 'L1: the next holder')
    eq(r('write(%r, b"next")' % f), None, 'L5: ... may write')
    eq(p('write(%r, b"no")' % f), 'ESTALE', 'L5: ... and the last may not')
    end_all()


@rounds(restore)
def test_stands_still():
    """A holder's host stands still, all of it, for longer than its session."""
    leader = int(cluster('leader'))
    host = leader % 3 + 1
    here = host % 3 + 1
    f = GUARDED + '/below/f'
    p, q = (Actor(HOST[h]) for h in (host, here))
    for actor in (p, q):
        actor(WRITE)
        actor.open(LOCK)
    p('flock(fd, LOCK_EX)')
    eq(p('write(%r, b"before")' % f), None, 'L5: the holder writes')
    p('w = os.open(%r, os.O_WRONLY)\nos.write(w, b"draft")' % f)
    old = token_now()
    everything = [p.pid, daemon(host)]
    everything += [int(n) for n in subprocess.run(['pgrep', '-P',
        str(everything[1])], stdout=subprocess.PIPE).stdout.split()]
    keep(*(h for h in (1, 2, 3) if h != host))
    for pid in everything:
        suspend(pid)
    q.start('flock(fd, LOCK_EX)')
    eq(q.wait(TTL * 2 + 8), None, 'L4: the next gets the lock')
    eq(q('write(%r, b"next")' % f), None, 'L5: ... and writes')
    new = token_now() if host != 1 else token(here, LOCK)
    ok(new > old, 'L5: ... with a greater token', (old, new))
    # What it does first: its handle, of which only commits count; a fresh one.
    p.start('[tried("os.write(w, b\'late\')"), tried("os.fsync(w)"), '
        'tried("os.close(w)"), tried("write(%r, b\'late\')"), '
        'tried("os.unlink(%r)")]' % (f, f))
    for pid in reversed(everything):
        os.kill(pid, signal.SIGCONT)
    got = p.wait(20)
    ok(isinstance(got, list) and None not in got[1:],
        'L5: run on, all it writes is refused', got)
    ok(until(lambda: put(host, f, 'late', old) == 4, 10),
        'L5: ... by its token, too')
    ok(until(lambda: p('tried("write(%r, b\'late\')")' % f) == 'ESTALE', 10),
        'L5: ... with ESTALE as soon as it has a session again')
    keep(1, 2, 3)
    eq(text_of(f, here), 'next', 'L5: ... and nothing is written')
    eq(put(host, f, 'handed over', new), 0,
        'L5: with the newest token it may')
    end_all()


try:
    prepare()
    run_tests(globals(), 800, restore)
    print('done', flush=True)
finally:
    restore()
