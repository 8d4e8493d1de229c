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
    # Never two thirds of the ttl apart.
    plan = sorted((random.uniform(i, i + 1) * ttl / 3, name)
        for name in names for i in range(3))
    start = time.monotonic()
    for at, name in plan:
        time.sleep(max(0, start + at - time.monotonic()))
        begun[name] = time.monotonic()
        random.choice(ways)(made + name, name)
        returned[name] = time.monotonic()
    gone = [{}, {}, {}]
    end = time.monotonic() + ttl + 4
    while time.monotonic() < end and any(len(g) < n for g in gone):
        for host, lost in zip(HOST, gone):
            there = set(os.listdir(host + '/status/t2'))
            now = time.monotonic()
            for name in names:
                if name not in there:
                    lost.setdefault(name, now)
        time.sleep(0.01)
    for i, lost in enumerate(gone):
        if len(lost) < n:
            say(False, 'T2: host %d loses every unrefreshed file' % (i + 1),
                sorted(set(names) - set(lost)))
            continue
        first = min(lost[x] - returned[x] for x in names) - ttl
        last = max(lost[x] - begun[x] for x in names) - ttl
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
    touched = []

    def toucher():
        while time.time() < end:
            os.utime(HOST[0] + path)
            touched.append(time.time())
            time.sleep(0.35)
    thread = threading.Thread(target=toucher)
    thread.start()
    latest = [[0, 0, 0] for _ in HOST]
    back, stale = [], []
    worst = 0
    while time.time() < end:
        for i, host in enumerate(HOST):
            asked = time.time()
            shown = [os.stat(host + path).st_mtime]
            now = time.time()
            shown.append(now - milliseconds(os.getxattr(host + path,
                'gov.age').decode()) / 1000)
            now = time.time()
            shown.append(now - (ttl - milliseconds(os.getxattr(host + path,
                'gov.expires').decode())) / 1000)
            must = max([t for t in touched if t <= asked - 1], default=0)
            for what, at in enumerate(shown):
                done = [t for t in touched if t <= asked]
                later = [t for t in done if t > at + 0.005]
                if later:
                    worst = max(worst, asked - later[0])
                if at < must - 0.01:
                    stale.append((i + 1, what, must - at))
                # A millisecond is lost in rounding, some by being slow.
                if at < latest[i][what] - (0 if what == 0 else 0.03):
                    back.append((i + 1, what, latest[i][what] - at))
                latest[i][what] = max(at, latest[i][what])
        time.sleep(0.02)
    thread.join()
    note('a refresh is seen everywhere after %.3f s at most' % worst)
    say(not stale, 'T6: mtime, gov.age and gov.expires are fresh within 1 s '
        'on all hosts', stale[:5])
    say(not back, 'T6: ... and never go back', back[:5])


def present(host, path, seconds, stop):
    """Refreshes it on a host; is it there all the time, on the others too?"""
    host, seconds = int(host) - 1, float(seconds)
    end = time.monotonic() + seconds
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
    thread = threading.Thread(target=toucher)
    thread.start()
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
