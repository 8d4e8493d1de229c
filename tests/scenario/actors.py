"""Processes on the hosts of a test cluster, which do what they are told.

    p = Actor(HOST[1])              its working directory is that mount
    p.open('locks/f')               -> 'fd'
    p('flock(fd, LOCK_EX)')         -> the value, or the name of an errno
    p.start('flock(fd, LOCK_EX)')   goes on without waiting
    p.wait(5)                       -> the value; TIMEOUT

What is not there in time on a machine at rest is waited for ten times as long.
Upper bounds are judged by a Watch, which doesn't count what the machine lost.
A host that can't renew its session for as long as that lasts loses it, rightly
(L4), and without a leader changes are refused (O6).  A test that needs what it
held is done in `rounds': see there.

ok() and the like print a line that locks.t turns into TAP.
"""
import ctypes, errno, functools, json, os, re, select, signal, subprocess, sys
import time

PATIENCE = 10
ROUNDS = 10
STALL_NS = 1e8  # as much is lost by a machine that stands still

# Who runs us in the background ignores it, and so would all that we start.
signal.signal(signal.SIGINT, signal.SIG_DFL)

HOST = [None] + sys.argv[1:4]
TMP = sys.argv[4]
GOV = os.environ['GOV']
TIMEOUT = 'TIMEOUT'
CLUSTER = [os.environ['GOV_SRC'] + '/examples/cluster', TMP + '/c']

PRELUDE = '''
import errno, os, signal, struct, time
from fcntl import *
LEASE = 2 << 30 | 8 << 16 | ord('g') << 8 | 3  # GOVFS_IOC_LEASE
OFD_GETLK, OFD_SETLK, OFD_SETLKW = 36, 37, 38
def opened(path, flags=os.O_RDWR | os.O_CREAT):
    return os.open(path, flags, 0o644)
def ranged(cmd, kind, start=0, length=0, at=None):
    """fcntl(2) with a struct flock; what came back."""
    got = fcntl(fd if at is None else at, cmd,
        struct.pack('hhqqi4x', kind, 0, start, length, 0))
    return list(struct.unpack('hhqqi', got[:28]))
def posix(kind, start=0, length=0, at=None, wait=False):
    ranged(F_SETLKW if wait else F_SETLK, kind, start, length, at)
def ofd(kind, start=0, length=0, at=None, wait=False):
    ranged(OFD_SETLKW if wait else OFD_SETLK, kind, start, length, at)
def lease():
    """Until when the locks taken through fd surely last; by monotonic()."""
    now = time.monotonic()
    return now + struct.unpack('Q', ioctl(fd, LEASE, bytes(8)))[0] / 1e9
def note(path, text):
    with open(path, 'a') as f:
        f.write(text + chr(10))
def child():
    """One that keeps all descriptors until it is killed."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            signal.pause()
    return pid
class Interrupted(Exception):
    pass
def interrupt(number, frame):
    raise Interrupted(number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
    signal.signal(number, interrupt)
'''


def errno_name(e):
    if e.errno == errno.EDEADLK:  # Linux knows it by two names
        return 'EDEADLK'
    return errno.errorcode.get(e.errno, str(e.errno))


class Actor:
    all = []

    def __init__(self, directory):
        self.busy = False
        down, self.orders = os.pipe()
        self.answers, up = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.orders)
            os.close(self.answers)
            try:
                serve(directory, os.fdopen(down), os.fdopen(up, 'w'))
            finally:
                os._exit(1)
        os.close(down)
        os.close(up)
        Actor.all.append(self)

    def start(self, text):
        assert not self.busy
        self.busy = True
        os.write(self.orders, (json.dumps(text) + '\n').encode())
        return self

    def done(self, seconds=0):
        ready, _, _ = select.select([self.answers], [], [], seconds)
        return bool(ready)

    def wait(self, seconds=20):
        """The answer; TIMEOUT; DEAD."""
        if not until(lambda: self.done(0.1), seconds):
            return TIMEOUT
        got = b''
        while not got.endswith(b'\n'):
            more = os.read(self.answers, 65536)
            if not more:
                return 'DEAD'
            got += more
        self.busy = False
        return json.loads(got)

    def __call__(self, text, seconds=20):
        return self.start(text).wait(seconds)

    def open(self, path, flags='os.O_RDWR | os.O_CREAT'):
        return self('fd = opened(%r, %s)' % (path, flags))

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)

    def end(self):
        try:
            self.kill()
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)
        os.close(self.orders)
        os.close(self.answers)
        Actor.all.remove(self)


def serve(directory, orders, answers):
    names = {}
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    exec(PRELUDE, names)
    os.chdir(directory)
    for line in orders:
        text = json.loads(line)
        try:
            try:
                code = compile(text, '<order>', 'eval')
            except SyntaxError:
                code = compile(text, '<order>', 'exec')
            got = eval(code, names)
            json.dumps(got)
        except names['Interrupted']:
            got = 'EINTR'
        except OSError as e:
            got = errno_name(e)
        except Exception as e:
            got = repr(e)
        answers.write(json.dumps(got) + '\n')
        answers.flush()


def end_all():
    for actor in list(Actor.all):
        actor.end()


def result(good, text, *more):
    if not good:
        check()
    print('%d\t%s' % (not good, text), flush=True)
    if not good:
        for line in more:
            print('#\t%s' % (line,), flush=True)


def ok(good, text, *more):
    result(bool(good), text, *more)


def eq(got, want, text):
    result(got == want, text, 'got: %r' % (got,), 'want: %r' % (want,))


class Needed(Exception):
    """What has failed, and what follows is about it."""


def need(good, text, *more):
    ok(good, text, *more)
    if not good:
        raise Needed(text)


def run_tests(names, seconds, after=end_all):
    """Those of sys.argv, or all test_ functions among these names."""
    signal.alarm(seconds)
    for test in sys.argv[5:] or [n[5:] for n in names if
            n.startswith('test_')]:
        try:
            names['test_' + test]()
        except Needed:
            pass
        finally:
            after()


class Spoiled(Exception):
    """The round's host lost, rightly, what the round needs."""


KEPT = {}  # what rounds() is about: host: {file of its words: how many are old}
LATE = {}  # host: requests that its replay held up for too long
GIVES_UP = re.compile('.*(session: .*(was not renewed|has ended|was ended)|'
    'no leader for|the lock is being lost|%s).*' % os.strerror(errno.ETIMEDOUT))


def rounds(restore):
    """A decorator for what hosts do that keep their sessions.

    As soon as a host that keep() names says that it lost its session, or had no
    leader for so long that it refuses changes, the round is over; so it is when
    something was late.  If the machine did stand still another round begins, when
    restore() has set things right and ended all actors.
    """
    def decorate(test):
        @functools.wraps(test)
        def run(*args):
            for _ in range(ROUNDS):
                watch = Watch()
                try:
                    keep(1, 2, 3)
                    return test(*args)
                except Exception as e:
                    why, lost_ns = spoiled(e), watch.lost_ns()
                    if not why:
                        raise
                finally:
                    KEPT.clear()
                need(lost_ns > STALL_NS, 'on a machine at rest: %s' % why)
                print('#\tonce more, %.1f s were lost: %s' % (lost_ns / 1e9,
                    why), flush=True)
                restore()
            need(False, '%s: spoiled %d times' % (test.__name__, ROUNDS))
        return run
    return decorate


def keep(*hosts):
    """From now on these alone have no reason to lose their session."""
    check(False)
    for host in (1, 2, 3):
        if host not in hosts:
            KEPT.pop(host, None)
        elif host not in KEPT:
            path = '%s/c/%d/log' % (TMP, host)
            KEPT[host] = {path: os.path.getsize(path)}
            LATE[host] = late(host)


def heed(host, path):
    """What is told there is told by that host, too."""
    if host in KEPT:
        KEPT[host][path] = 0


def late(host):
    """How many requests have waited in vain for the replay; O3."""
    text = subprocess.run([GOV, 'debug', '--state', '%s/c/%d/state' % (TMP,
        host), 'metrics'], stdout=subprocess.PIPE,
        universal_newlines=True).stdout
    return int((re.findall(r'^govfs_parked_late (\d+)', text, re.M) + [0])[0])


def spoiled(error=None, thorough=True):
    """Why this round shows nothing; None: it does."""
    if isinstance(error, Spoiled):
        return error
    for host, files in KEPT.items():
        for path, old in files.items():
            if not os.path.exists(path):
                continue
            with open(path) as f:
                f.seek(old)
                words = GIVES_UP.search(f.read())
            if words:
                return 'host %d: %s' % (host, words.group())
        if thorough and late(host) > LATE[host]:
            return 'host %d: its replay took longer than 2 s' % host
    if KEPT and getattr(error, 'errno', None) == errno.ETIMEDOUT:
        return 'a change whose outcome was not known in time'
    return None


def check(thorough=True):
    why = spoiled(None, thorough)
    if why:
        raise Spoiled(why)


class Watch:
    """How long something takes."""

    def __init__(self):
        self.real, self.pace = time.monotonic(), pace()
        self.terms = terms()

    def ms(self):
        """So far, not counting what the machine lost."""
        return (pace() - self.pace) * 1000

    def lost_ns(self):
        """What the machine lost."""
        return max(0, (time.monotonic() - self.real - (pace() - self.pace)) *
            1e9)

    def leaders(self):
        """How many hosts began to lead."""
        return len(terms() - self.terms)

    def not_before(self, ms, text):
        took = (time.monotonic() - self.real) * 1000
        ok(took >= ms, '%s (%d ms)' % (text, took))

    def within(self, ms, text):
        took = self.ms()
        if KEPT and took >= ms and self.lost_ns() > STALL_NS:
            raise Spoiled('%s: %d ms, of %d' % (text, took,
                (time.monotonic() - self.real) * 1000))
        ok(took < ms, '%s (%d ms)' % (text, took), '%d ms in all' %
            ((time.monotonic() - self.real) * 1000))


def terms():
    """Of the leaders there were, as the hosts tell."""
    return set(re.findall(r'leads, term (\d+)', ''.join(
        read('%s/c/%d/log' % (TMP, host)) for host in (1, 2, 3))))


def pace():
    """Seconds that this machine got on; see pace.h."""
    return int(read(TMP + '/pace')) / 1000


def until(condition, seconds=5):
    end = time.monotonic() + seconds * PATIENCE
    looked = time.monotonic()
    while True:
        got = condition()
        if got or time.monotonic() > end:
            return got
        if time.monotonic() > looked + 0.2:
            check(False)
            looked = time.monotonic()
        time.sleep(0.01)


def cluster(*args):
    done = subprocess.run(CLUSTER + list(args), stdout=subprocess.PIPE,
        universal_newlines=True)
    return done.stdout.strip()


def read(path):
    with open(path) as f:
        return f.read()


def locks(host, name):
    """What .gov/locks says of a file: [(state, {key: value})]."""
    rows = []
    try:
        text = read(HOST[host] + '/.gov/locks/' + name)
    except FileNotFoundError:
        return rows  # that host has not heard of the file
    for line in text.splitlines():
        words = line.split()
        rows.append((words[0], dict(
            w.split('=', 1) for w in words[1:] if '=' in w)))
    return rows


def waiting(name, n, host=1):
    """n requests wait for the file, as that host shows it."""
    return until(lambda: sum(
        s == 'waits' for s, _ in locks(host, name)) == n)


def until_free(name, host=1):
    return until(lambda: not locks(host, name))


def synced(host):
    """What was committed anywhere before, that host shows from now on."""
    def sync():
        try:
            return os.getxattr(HOST[host], 'gov.sync')
        except OSError:  # the next leader is not there yet
            return None
    if not until(sync, 20):
        ok(False, 'O4: host %d catches up' % host)


def token(host, name):
    """The token of the last grant there was before; an errno's name."""
    synced(host)
    try:
        return int(os.getxattr(HOST[host] + '/' + name, 'gov.token'))
    except OSError as e:
        return errno_name(e)


def others(host):
    return [i for i in (1, 2, 3) if i != host]


def health(host):
    return read(HOST[host] + '/.gov/health').split()[0]


def daemon(host):
    return int(cluster('pid', str(host)))


def all_well():
    """Every host runs, is in touch with the others, and nobody has a lock."""
    for host in (1, 2, 3):
        if subprocess.run(CLUSTER + ['pid', str(host)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL).returncode != 0:
            cluster('start', str(host))
    cluster('ready', '30')
    until(lambda: all(health(h) == 'ok' for h in (1, 2, 3)), 30)
    until(lambda: not any(files for h in HOST[1:]
        for _, _, files in os.walk(h + '/.gov/locks')), 30)


STOPPED = []  # processes that stand still, as suspend() has it
CUT = []      # hosts that are cut off, as cut_off() has it
RUNNING = []  # programs that a test has started


def suspend(pid):
    STOPPED.append(pid)
    os.kill(pid, signal.SIGSTOP)


def cut_off(host):
    CUT.append(host)
    cut(host)


def restore():
    """As it was before the test."""
    while STOPPED:
        try:
            os.kill(STOPPED.pop(), signal.SIGCONT)
        except ProcessLookupError:
            pass
    while RUNNING:
        run = RUNNING.pop()
        run.kill()
        run.wait()
    end_all()
    while CUT:
        cut(CUT.pop(), False)
    all_well()


def fault(host, name, value):
    subprocess.run([GOV, 'debug', '--state', '%s/c/%d/state' % (TMP, host),
        '--', 'fault', name, str(value)], check=True,
        stdout=subprocess.DEVNULL)


def cut(host, on=True):
    for name in ('net_drop_in', 'net_drop_out'):
        fault(host, name, -1 if on else 0)
