"""What lifetimes.t measures: HOST1 HOST2 HOST3 TMP NAME [ARGUMENT...]"""
import os, random, signal, sys, threading, time
from actors import *

T7_TTL = 3.5
STOPPED = []


def milliseconds(text):
    return float(text[:-2]) if text.endswith('ms') else \
        1000 * float(text[:-1])


def write(path, text):
    with open(path, 'w') as f:
        f.write(text)


def expiry(n, ttl):
    """T2: n files, refreshed for a while each; when does each host lose them?"""
    n, ttl = int(n), float(ttl)
    made = HOST[1] + '/status/t2/'
    names = ['f%d' % i for i in range(n)]
    for name in names:
        write(made + name, name)
    begun, returned = {}, {}
    random.seed(7)
    ways = [lambda p, s: os.utime(p), lambda p, s: write(p, s),
        lambda p, s: os.utime(p, (1, 1))]
    # Never 2 s apart; the ttl leaves a slow machine room.
    plan = sorted((random.uniform(i, i + 1), name)
        for name in names for i in range(3))
    start, watch = time.monotonic(), Watch()
    for at, name in plan:
        time.sleep(max(0, start + at - time.monotonic()))
        begun[name] = time.monotonic()
        random.choice(ways)(made + name, name)
        returned[name] = pace()
    gone = [{}, {}, {}]
    end = time.monotonic() + ttl + 60
    while time.monotonic() < end and any(len(g) < n for g in gone):
        for host, lost in zip(HOST[1:], gone):
            there = set(os.listdir(host + '/status/t2'))
            now = time.monotonic(), pace()
            for name in names:
                if name not in there:
                    lost.setdefault(name, now)
        time.sleep(0.01)
    for i, lost in enumerate(gone):
        if len(lost) < n:
            ok(False, 'T2: host %d loses every unrefreshed file' % (i + 1),
                sorted(set(names) - set(lost)))
            continue
        first = min(lost[x][0] - begun[x] for x in names) - ttl
        last = max(lost[x][1] - returned[x] for x in names) - ttl
        print('#\thost %d: removed %.3f to %.3f s after the ttl' % (i + 1,
            first, last))
        ok(first >= 0, 'T2: host %d: never before the ttl' % (i + 1), first)
        ok(last <= 1.5 + ttl * watch.leaders(), 'T2: host %d: at most 1.5 s '
            'after it' % (i + 1), last)


@rounds(lambda: None)
def fresh(seconds):
    """T6: stat, gov.age and gov.expires while the file is touched on host 1."""
    path = '/status/t6/f'
    ttl = 5000
    write(HOST[1] + path, 'x')
    for host in (1, 2, 3):
        synced(host)
    time.sleep(1)
    end = time.time() + float(seconds)
    touched = []  # when it began; the pace when it was done

    def toucher():
        while time.time() < end:
            at = time.time()
            os.utime(HOST[1] + path)
            touched.append((at, pace()))
            time.sleep(0.35)

    def mtime(host):
        return os.stat(host + path).st_mtime

    def age(host):
        return time.time() - milliseconds(os.getxattr(host + path,
            'gov.age').decode()) / 1000

    def expires(host):
        return time.time() - (ttl - milliseconds(os.getxattr(host + path,
            'gov.expires').decode())) / 1000

    thread = threading.Thread(target=toucher)
    thread.start()
    latest = {}
    back, stale = [], []
    while time.time() < end:
        for host in HOST[1:]:
            for what in (mtime, age, expires):
                asked = pace()
                must = max([at for at, p in touched if p <= asked - 1],
                    default=0)
                begun = time.time()
                low = what(host)
                # The answer is of a moment between the two.
                high = low if what == mtime else low + time.time() - begun
                if high < must - 0.01:
                    stale.append((host, what.__name__, must - high))
                # A millisecond is lost in rounding.
                if high < latest.get((host, what), 0) - 0.005:
                    back.append((host, what.__name__,
                        latest[host, what] - high))
                latest[host, what] = max(low, latest.get((host, what), 0))
        time.sleep(0.02)
    thread.join()
    ok(not stale, 'T6: mtime, gov.age and gov.expires are fresh within 1 s '
        'on all hosts', stale[:5])
    ok(not back, 'T6: ... and never go back', back[:5])


def restore():
    while STOPPED:
        os.kill(STOPPED.pop(), signal.SIGCONT)
    all_well()


@rounds(restore)
def present(how):
    """A file is refreshed while a leader is stopped for two ttls, or killed."""
    leader = int(cluster('leader'))
    host = leader % 3 + 1
    rest, path = (host, host % 3 + 1), '/status/t7/f'
    failed, missing, pauses = [], [], []
    over = threading.Event()

    def toucher():
        touched = time.monotonic()
        while not over.wait(0.2):
            begun = time.monotonic()
            try:
                os.utime(HOST[host] + path)
            except OSError as e:
                failed.append(errno_name(e))
            pauses.append(time.monotonic() - touched)
            touched = begun

    write(HOST[host] + path, 'x')
    thread = threading.Thread(target=toucher)
    thread.start()
    try:
        need(until(lambda: all(os.path.exists(h + path) for h in HOST[1:])),
            'T7: all hosts see a file')
        print('#\thost %d is %s' % (leader, how), flush=True)
        keep(*rest)
        began = time.monotonic()
        if how == 'stopped':
            STOPPED.append(daemon(leader))
            os.kill(STOPPED[-1], signal.SIGSTOP)
        else:
            cluster('kill', str(leader))
        while time.monotonic() < began + 3 * T7_TTL:
            if STOPPED and time.monotonic() > began + 2 * T7_TTL:
                os.kill(STOPPED.pop(), signal.SIGCONT)
            missing += [h for h in rest if not os.path.exists(HOST[h] + path)]
            time.sleep(0.02)
    finally:
        over.set()
        thread.join()
    if missing and max(pauses) > T7_TTL / 2:
        raise Spoiled('nothing was refreshed for %.1f s' % max(pauses))
    ok(not missing, 'T7: the leader %s, what is refreshed elsewhere is there '
        'all the time' % how, sorted(set(missing)))
    ok(not failed, 'T7: ... and no refresh is refused', failed[:5],
        '%d refreshes' % len(pauses))


try:
    globals()[sys.argv[5]](*sys.argv[6:])
    print('done', flush=True)
finally:
    restore()
