"""What lifetimes.t measures: HOST1 HOST2 HOST3 TMP NAME [ARGUMENT...]"""
import errno, os, random, subprocess, sys, threading, time

HOST = sys.argv[1:4]
TMP = sys.argv[4]


def say(good, text, *more):
    print('%d\t%s' % (not good, text), flush=True)
    if not good:
        for line in more:
            print('#\t%s' % (line,), flush=True)


def note(text):
    print('#\t%s' % text, flush=True)


def pace():
    """Seconds that this machine got on; see pace.h."""
    with open(TMP + '/pace') as f:
        return int(f.read()) / 1000


def milliseconds(text):
    return float(text[:-2]) if text.endswith('ms') else \
        1000 * float(text[:-1])


def write(path, text):
    with open(path, 'w') as f:
        f.write(text)


def expiry(n, ttl):
    """T2: n files, refreshed for a while each; when does each host lose them?"""
    n, ttl = int(n), float(ttl)
    made = HOST[0] + '/status/t2/'
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
    start = time.monotonic()
    for at, name in plan:
        time.sleep(max(0, start + at - time.monotonic()))
        begun[name] = time.monotonic()
        random.choice(ways)(made + name, name)
        returned[name] = pace()
    gone = [{}, {}, {}]
    end = time.monotonic() + ttl + 60
    while time.monotonic() < end and any(len(g) < n for g in gone):
        for host, lost in zip(HOST, gone):
            there = set(os.listdir(host + '/status/t2'))
            now = time.monotonic(), pace()
            for name in names:
                if name not in there:
                    lost.setdefault(name, now)
        time.sleep(0.01)
    for i, lost in enumerate(gone):
        if len(lost) < n:
            say(False, 'T2: host %d loses every unrefreshed file' % (i + 1),
                sorted(set(names) - set(lost)))
            continue
        first = min(lost[x][0] - begun[x] for x in names) - ttl
        last = max(lost[x][1] - returned[x] for x in names) - ttl
        note('host %d: removed %.3f to %.3f s after the ttl' %
            (i + 1, first, last))
        say(first >= 0, 'T2: host %d: never before the ttl' % (i + 1), first)
        say(last <= 1.5, 'T2: host %d: at most 1.5 s after it' % (i + 1),
            last)


def fresh(seconds):
    """T6: stat, gov.age and gov.expires while the file is touched on host 1."""
    path = '/status/t6/f'
    ttl = 5000
    write(HOST[0] + path, 'x')
    time.sleep(1)
    end = time.time() + float(seconds)
    touched = []  # when it began; the pace when it was done

    def toucher():
        while time.time() < end:
            at = time.time()
            os.utime(HOST[0] + path)
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
        for host in HOST:
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
    say(not stale, 'T6: mtime, gov.age and gov.expires are fresh within 1 s '
        'on all hosts', stale[:5])
    say(not back, 'T6: ... and never go back', back[:5])


def present(host, path, seconds, stop):
    """Refreshes it on a host; is it there all the time, on the others too?"""
    host, seconds = int(host) - 1, float(seconds)
    failed = []
    missing = []
    n = 0
    others = [i for i in range(3) if str(i + 1) != stop]
    alive = True

    def toucher():
        nonlocal n
        while alive:
            try:
                os.utime(HOST[host] + path)
                n += 1
            except OSError as e:
                failed.append(errno.errorcode[e.errno])
            time.sleep(0.2)
    write(HOST[host] + path, 'x')
    thread = threading.Thread(target=toucher)
    thread.start()
    end = time.monotonic() + 60
    while not all(os.path.exists(h + path) for h in HOST) and \
            time.monotonic() < end:
        time.sleep(0.02)
    write(TMP + '/present', '')
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for i in others:
            if not os.path.exists(HOST[i] + path):
                missing.append(i + 1)
        time.sleep(0.02)
    alive = False
    thread.join()
    note('%d refreshes, %d refused' % (n, len(failed)))
    say(not missing, 'T7: what is refreshed elsewhere is there all the time',
        sorted(set(missing)))
    say(not failed, 'T7: ... and no refresh is refused', failed[:5])


globals()[sys.argv[5]](*sys.argv[6:])
print('done\t', flush=True)
