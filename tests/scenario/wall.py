"""What wall.t asks while the wall clocks of hosts jump.  CONTRACT O8, F7."""
import os, signal, subprocess, sys, threading, time
from actors import *

FILE_TTL = 3.0
DAY, YEAR = 86400, 365 * 86400


def jump(host, seconds):
    subprocess.run([GOV, 'debug', '--state', '%s/c/%d/state' % (TMP, host),
        '--', 'fault', 'wall_jump_s', str(seconds)], check=True,
        stdout=subprocess.DEVNULL)


class Kept(threading.Thread):
    """A ttl file that is touched again and again: is it always there?"""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.path = host, '/status/wall/kept'
        with open(HOST[host] + self.path, 'w') as f:
            f.write('x')
        until(lambda: all(os.path.exists(h + self.path) for h in HOST[1:]))
        self.watched, self.over, self.bad, self.n = [1, 2, 3], False, [], 0

    def run(self):
        touched = 0
        while not self.over:
            if time.monotonic() - touched > 0.3:
                touched = time.monotonic()
                try:
                    os.utime(HOST[self.host] + self.path)
                    self.n += 1
                except OSError as e:
                    self.bad.append(e)
            self.bad += [h for h in self.watched if not
                os.path.exists(HOST[h] + self.path)]
            time.sleep(0.02)


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
    made.within(1000 * (FILE_TTL + 2), 'T2: ... and soon after')


def jumped(what, jumps, kept):
    """What holds before, while and after those hosts' clocks jump."""
    file = expires(what)
    for host, seconds in jumps.items():
        jump(host, seconds)
    stamp(5)
    kept_bad = len(kept.bad)
    expired(what, file)
    stamp(2)
    increasing(what)
    ok(len(kept.bad) == kept_bad, 'T2 T7: %s: what is refreshed stays' % what,
        kept.bad[-3:])


def main():
    signal.alarm(800)
    leader = int(cluster('leader'))
    follower = leader % 3 + 1
    third = follower % 3 + 1
    os.mkdir(HOST[1] + '/status/wall')
    os.setxattr(HOST[1] + '/status/wall', 'gov.lifetime',
        b'ttl=%dms' % (FILE_TTL * 1000))
    os.mkdir(HOST[follower] + '/locks/mine')
    holder, waiter = Actor(HOST[follower]), Actor(HOST[third])
    for actor in (holder, waiter):
        actor.open('locks/wall')
    holder('flock(fd, LOCK_EX)')
    waiter.start('flock(fd, LOCK_EX)')
    waiting('locks/wall', 1)
    before = token(1, 'locks/wall')
    kept = Kept(follower)
    kept.start()
    stamp(5)
    ok(off_s() < 60, 'F7: stamps are those of the clock', off_s())

    jumped('the leader is ten years back', {leader: -10 * YEAR}, kept)
    ok(off_s() < 60, 'F7: ... and stamps stay where they were', off_s())
    jumped('and on time again', {leader: 0}, kept)
    ok(off_s() < 60, 'F7: stamps are those of the clock again', off_s())
    jumped('before 1970', {leader: -100 * YEAR, follower: DAY}, kept)
    jumped('all on time', {leader: 0, follower: 0}, kept)
    ok(off_s() < 60, 'F7: stamps are those of the clock again', off_s())
    jumped('a follower is a day ahead, another back',
        {follower: DAY, third: -DAY}, kept)
    ok(off_s() < 60, 'F7: a follower\'s clock stamps nothing', off_s())
    jumped('the leader is a day ahead', {leader: DAY, follower: 0, third: 0},
        kept)
    ok(abs(off_s() - DAY) < 60, 'F7: stamps are the leader\'s', off_s())
    newest = STAMPS[-1][0]
    jumped('the leader is back from a day ahead', {leader: 0}, kept)
    ok(STAMPS[-1][0] - newest < 1e9, 'F7: stamps wait there for the clock, '
        'growing as little as they can', STAMPS[-1][0] - newest)
    eq(token(1, 'locks/wall'), before, 'L4: the lock was held all the time')
    ok(not waiter.done(), 'L4: ... and given to nobody else')
    eq(holder('os.pwrite(fd, b"x", 0)'), 1, 'L4: ... and can be used')
    ok(os.path.isdir(HOST[third] + '/locks/mine'), 'T3: so was a directory')

    kept.watched = [h for h in (1, 2, 3) if h != leader]
    jump(leader, -DAY)
    cluster('kill', str(leader))
    ok(until(lambda: cluster('leader') not in ('', str(leader)), 15),
        'another leads')
    cluster('start', str(leader))
    cluster('ready', '30')
    stamp(3)
    increasing('another leader, whose clock is a day behind the stamps')
    holder('flock(fd, LOCK_UN)')
    eq(waiter.wait(10), None, 'L2: freed, the lock is the waiter\'s')
    ok(token(1, 'locks/wall') > before, 'L5: with a greater token')
    kept.over = True
    kept.join()
    ok(not kept.bad, 'T2 T7: %d refreshes, and the file was always there' %
        kept.n, kept.bad[:3])
    end_all()
    print('done', flush=True)


main()
