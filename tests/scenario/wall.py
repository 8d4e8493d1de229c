"""What wall.t asks while the wall clocks of hosts jump.  CONTRACT O8, F7."""
import os, signal, subprocess, sys, threading, time
from actors import *

FILE_TTL = 3.0
DAY, YEAR = 86400, 365 * 86400


def jump(host, seconds):
    subprocess.run([GOV, 'debug', '--state', '%s/c/%d/state' % (TMP, host),
        '--', 'fault', 'wall_jump_s', str(seconds)], check=True,
        stdout=subprocess.DEVNULL)


class Touched(threading.Thread):
    """A ttl file that is touched again and again: is it always there?"""
    running = []

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.path = host, '/status/wall/kept'
        with open(HOST[host] + self.path, 'w') as f:
            f.write('x')
        until(lambda: all(os.path.exists(h + self.path) for h in HOST[1:]))
        self.watched, self.over, self.bad, self.n = [1, 2, 3], False, [], 0
        self.pause = 0  # the longest without a touch, in seconds
        Touched.running.append(self)
        self.start()

    def run(self):
        touched = time.monotonic()
        while not self.over:
            if time.monotonic() - touched > 0.3:
                begun = time.monotonic()
                try:
                    os.utime(HOST[self.host] + self.path)
                    self.n += 1
                except OSError as e:
                    self.bad.append(e)
                self.pause = max(self.pause, time.monotonic() - touched)
                touched = begun
            self.bad += [h for h in self.watched if not
                os.path.exists(HOST[h] + self.path)]
            time.sleep(0.02)

    def end(self):
        self.over = True
        self.join()
        Touched.running.remove(self)
        if os.path.exists(HOST[self.host] + self.path):
            os.unlink(HOST[self.host] + self.path)

    def stayed(self, what):
        if self.bad and self.pause > FILE_TTL / 2:
            raise Spoiled('it was not touched for %.1f s' % self.pause)
        ok(not self.bad, 'T2 T7: %s: %d refreshes, and the file was always '
            'there' % (what, self.n), self.bad[:3])


STAMPS = []


def stamp(n):
    """Writes on each host in turn: the times of the commits."""
    for i in range(n):
        for host in (1, 2, 3):
            path = HOST[host] + '/config/stamp%d' % host
            with open(path, 'w') as f:
                f.write(str(len(STAMPS)))
            st = os.stat(path)
            STAMPS.append((st.st_mtime_ns, st.st_ctime_ns))


def increasing(what):
    bad = [(i, a, b) for i, (a, b) in enumerate(zip(STAMPS, STAMPS[1:]))
        if not (a[0] < b[0] and a[1] < b[1])]
    ok(not bad, 'F7: %s: mtime and ctime go on growing' % what, bad[:3])


def off_s():
    """How far the newest stamp is from the clock of this test."""
    return abs(STAMPS[-1][0] / 1e9 - time.time())


def expires(what):
    path = '/status/wall/left'
    made = Watch()
    with open(HOST[3] + path, 'w') as f:
        f.write('x')
    ok(until(lambda: os.path.exists(HOST[1] + path)), 'T2: made: ' + what)
    def gone():
        return not os.path.exists(HOST[1] + path)
    return path, made, gone


def expired(what, file):
    path, made, gone = file
    ok(until(gone, FILE_TTL + 6), 'T2: %s: what is not refreshed goes' % what)
    made.not_before(1000 * FILE_TTL, 'T2: ... not before its ttl')
    made.within(1000 * (FILE_TTL * (1 + made.leaders()) + 2),
        'T2: ... and soon after')


def roles():
    leader = int(cluster('leader'))
    return {'leader': leader, 'follower': leader % 3 + 1,
        'third': (leader + 1) % 3 + 1}


def queue(holder, waiter):
    """Of a lock, on those hosts; they are actors."""
    pair = Actor(HOST[holder]), Actor(HOST[waiter])
    for actor in pair:
        actor.open('locks/wall')
    pair[0]('flock(fd, LOCK_EX)')
    pair[1].start('flock(fd, LOCK_EX)')
    waiting('locks/wall', 1)
    return pair


def restore():
    end_all()
    all_well()
    for touched in list(Touched.running):
        touched.end()
    if os.path.isdir(HOST[1] + '/locks/mine'):
        os.rmdir(HOST[1] + '/locks/mine')
    until(lambda: not any(os.path.exists(h + name) for h in HOST[1:]
        for name in ('/status/wall/left', '/status/wall/kept', '/locks/mine')),
        FILE_TTL + 2)


@rounds(restore)
def jumped(what, before, jumps, check):
    """What holds before, while and after clocks jump: {role: seconds}."""
    hosts = roles()
    for role, host in hosts.items():
        jump(host, before.get(role, 0))
    os.mkdir(HOST[hosts['follower']] + '/locks/mine')
    holder, waiter = queue(hosts['follower'], hosts['third'])
    last = token(1, 'locks/wall')
    touched = Touched(hosts['follower'])
    stamp(5)
    newest = STAMPS[-1][0]
    file = expires(what)
    for role, seconds in jumps.items():
        jump(hosts[role], seconds)
    stamp(5)
    expired(what, file)
    stamp(2)
    if roles() != hosts:
        raise Spoiled('host %d leads no more' % hosts['leader'])
    increasing(what)
    check(newest)
    touched.stayed(what)
    eq(token(1, 'locks/wall'), last, 'L4: the lock was held all the time')
    ok(not waiter.done(), 'L4: ... and given to nobody else')
    eq(holder('os.pwrite(fd, b"x", 0)'), 1, 'L4: ... and can be used')
    ok(os.path.isdir(HOST[hosts['third']] + '/locks/mine'),
        'T3: so was a directory')


@rounds(restore)
def test_another_leads():
    hosts = roles()
    holder, waiter = queue(hosts['follower'], hosts['third'])
    last = token(1, 'locks/wall')
    touched = Touched(hosts['follower'])
    touched.watched = [hosts['follower'], hosts['third']]
    jump(hosts['leader'], -DAY)
    keep(*touched.watched)
    cluster('kill', str(hosts['leader']))
    ok(until(lambda: cluster('leader') not in ('', str(hosts['leader'])), 15),
        'another leads')
    cluster('start', str(hosts['leader']))
    cluster('ready', '30')
    until(lambda: health(hosts['leader']) == 'ok', 10)
    keep(1, 2, 3)
    stamp(3)
    increasing('another leader, whose clock is a day behind the stamps')
    holder('flock(fd, LOCK_UN)')
    eq(waiter.wait(10), None, 'L2: freed, the lock is the waiter\'s')
    ok(token(1, 'locks/wall') > last, 'L5: with a greater token')
    touched.stayed('another leader')


def on_time(newest):
    ok(off_s() < 60, 'F7: stamps are those of the clock', off_s())


def stay(newest):
    ok(off_s() < 60, 'F7: ... and stamps stay where they were', off_s())


def the_leaders(newest):
    ok(abs(off_s() - DAY) < 60, 'F7: stamps are the leader\'s', off_s())


def wait(newest):
    ok(STAMPS[-1][0] - newest < 1e9, 'F7: stamps wait there for the clock, '
        'growing as little as they can', STAMPS[-1][0] - newest)


# What, whose clocks were off before, which are changed, where stamps are then.
STEPS = [
    ('the leader is ten years back', {}, {'leader': -10 * YEAR}, stay),
    ('and on time again', {'leader': -10 * YEAR}, {'leader': 0}, on_time),
    ('before 1970', {}, {'leader': -100 * YEAR, 'follower': DAY}, stay),
    ('all on time', {'leader': -100 * YEAR, 'follower': DAY},
        {'leader': 0, 'follower': 0}, on_time),
    ('a follower is a day ahead, another back', {},
        {'follower': DAY, 'third': -DAY}, on_time),
    ('the leader is a day ahead', {'follower': DAY, 'third': -DAY},
        {'leader': DAY, 'follower': 0, 'third': 0}, the_leaders),
    ('the leader is back from a day ahead', {'leader': DAY}, {'leader': 0},
        wait),
]


def test_jumps():
    for step in STEPS:
        jumped(*step)
        restore()


os.mkdir(HOST[1] + '/status/wall')
os.setxattr(HOST[1] + '/status/wall', 'gov.lifetime',
    b'ttl=%dms' % (FILE_TTL * 1000))
run_tests(globals(), 800, restore)
print('done', flush=True)
