/*
 * replay.c: kview, replay and reconcile against a simulated kernel, under a
 * seed.
 *
 * replay.t [FIRST_SEED [COUNT]]; TRACE in the environment shows each step.
 *
 * Users of this host and another host change a few names, three levels deep;
 * the helper re-enacts, and everybody may be overtaken by everybody wherever a
 * real kernel would let them.  Commits come several at a time, the queue is
 * short, dentries and inodes go under memory pressure, the helper and callers
 * are killed.  Then all changes stop, and within a bounded number of the
 * helper's calls K must be C, in kview and in the kernel: each name, each
 * attribute that is believed, and what watchers made of their events (W1).
 *
 * Left out: files not born yet and their aliases, parked opens, lifetimes, news
 * of .gov, extended attributes, the helper's own process, timers.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "replay/replay_internal.h"
#include "sim/replay_sim.h"
#include "tap.h"
#include "tree/tree.h"

enum { SEEDS_IN_CHECK = 200, STEPS = 4000, CPU_S = 20 };

/* What other seeds than check's have found. */
static const uint64_t once_red[] = {90455};

struct sim sim;

bool
chance(unsigned percent)
{
	return below(100) < percent;
}

unsigned
below(unsigned n)
{
	return random_below(&sim.random, n);
}

void
broken(const char *fmt, ...)
{
	va_list ap;

	if (sim.broken[0] != '\0')
		return;
	va_start(ap, fmt);
	vsnprintf(sim.broken, sizeof sim.broken, fmt, ap);
	va_end(ap);
	trace("BROKEN: %s", sim.broken);
}

void
trace(const char *fmt, ...)
{
	va_list ap;

	if (!sim.trace)
		return;
	fprintf(stderr, "%7.3f ", (double)sim.now_ns / 1e6);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* ---- in the place of base/clock.c and replay_helper.c ---- */

uint64_t
clock_now_ns(void)
{
	return sim.now_ns;
}

uint64_t
clock_wall_ns(void)
{
	return sim.now_ns;
}

int
helper_start(struct replay *r)
{
	sim.helper_alive = sim.helper_ready = true;
	return 0;
}

bool
helper_ready(const struct replay *r)
{
	return sim.helper_ready;
}

pid_t
helper_pid(const struct replay *r)
{
	return sim.helper_alive ? 1 : 0;
}

void
helper_send(struct replay *r, const struct helper_request *q)
{
	sim.job = *q;
	sim.n_sent++;
	trace("helper: op %u, %s in %llu, %s in %llu", q->op, q->name,
	    (unsigned long long)q->dir, q->name2,
	    (unsigned long long)q->dir2);
	if (sim.helper_alive)
		task_start(&sim.tasks[HELPER], kernel_helper);
}

void
helper_idle(struct replay *r)
{
}

void
helper_stop(struct replay *r, void (*cb)(struct replay *))
{
}

/* ---- what must be true ---- */

struct census {
	struct store_txn *t;
	uint64_t dir;
	unsigned n, depth;
	uint64_t dirs[256];
};

static void
count_dir(void *arg, const char *name, uint64_t ino)
{
	struct census *s = arg;
	struct attr attr;
	uint64_t dir = s->dir;

	if (!kview_attr(sim.kview, s->t, ino, &attr)) {
		broken("K has %s in %llu as %llu, which is nothing", name,
		    (unsigned long long)dir, (unsigned long long)ino);
		return;
	}
	if (!S_ISDIR(attr.mode))
		return;
	for (unsigned i = 0; i < s->n; i++)
		if (s->dirs[i] == ino) {
			broken("K has directory %llu twice, as %s in %llu, too",
			    (unsigned long long)ino, name,
			    (unsigned long long)dir);
			return;
		}
	assert(s->n < 256);
	s->dirs[s->n++] = ino;
	if (++s->depth > 64)
		abort();
	s->dir = ino;
	kview_each(sim.kview, s->t, ino, count_dir, s);
	s->dir = dir;
	s->depth--;
}

struct comparison {
	struct store_txn *t;
	uint64_t dir;
	unsigned n;
};

static void
compare_name(void *arg, const char *name, uint64_t ino)
{
	struct comparison *s = arg;
	struct knode *node = kview_find(sim.kview, ino);
	struct attr a, c = {0};
	uint64_t is = mount_committed(s->t, s->dir, name, &c), dir = s->dir;

	s->n++;
	if (is != ino)
		broken("K has %s in %llu as %llu, committed is %llu", name,
		    (unsigned long long)dir, (unsigned long long)ino,
		    (unsigned long long)is);
	else if (!kview_attr(sim.kview, s->t, ino, &a) ||
	    (node != NULL && node->own_attr) || a.attr_rev != c.attr_rev ||
	    a.nlink != c.nlink || a.mode != c.mode || a.size != c.size)
		broken("K has node %llu as of revision %llu, committed is "
		       "%llu", (unsigned long long)ino,
		    (unsigned long long)a.attr_rev,
		    (unsigned long long)c.attr_rev);
	else if (S_ISDIR(a.mode)) {
		s->dir = ino;
		kview_each(sim.kview, s->t, ino, compare_name, s);
		s->dir = dir;
	}
}

static unsigned
count_committed(struct store_txn *t, uint64_t dir)
{
	struct slice name = SLICE_EMPTY;
	struct tree_name entry;
	struct attr attr;
	char copy[LIMIT_NAME + 1];
	unsigned n = 0;

	while (tree_name_next(t, dir, name, &name, &entry)) {
		memcpy(copy, name.ptr, name.len);
		copy[name.len] = '\0';
		n++;
		if (tree_node_get(t, entry.ino, &attr) && S_ISDIR(attr.mode))
			n += count_committed(t, entry.ino);
		name = slice_str(copy);
	}
	return n;
}

static void
check(bool calm)
{
	struct store_txn *t = mount_view();
	struct census census = {.t = t, .dir = TREE_ROOT};
	struct comparison same = {.t = t, .dir = TREE_ROOT};

	kview_each(sim.kview, t, TREE_ROOT, count_dir, &census);
	if (calm) {
		kview_each(sim.kview, t, TREE_ROOT, compare_name, &same);
		if (same.n != count_committed(t, TREE_ROOT))
			broken("K has %u names, committed are %u", same.n,
			    count_committed(t, TREE_ROOT));
		if (kview_differences(sim.kview) != 0)
			broken("K keeps %u differences",
			    kview_differences(sim.kview));
		if (replay_cursor(sim.replay) != engine_rev(sim.engine) ||
		    sim.cursor != engine_rev(sim.engine))
			broken("the cursor is %llu, the revision %llu",
			    (unsigned long long)sim.cursor,
			    (unsigned long long)engine_rev(sim.engine));
	}
	store_abort(t);
}

/* ---- who goes on ---- */

enum action { ACT_TASK, ACT_REQUESTS, ACT_COMMIT, ACT_ANSWER, ACT_HELPER,
	ACT_FORGET, ACT_CALL, ACT_REMOTE, ACT_TICK, ACT_SHRINK,
	ACT_KILL_HELPER, ACT_KILL_USER, N_ACTIONS };

static unsigned weights[N_ACTIONS];
static bool changes; /* not over yet */

static void
pump(void)
{
	sim.n_pumped++;
	replay_pump(sim.replay);
	check(false);
}

static bool
run_some_task(void)
{
	unsigned first = below(N_TASKS);
	struct task *t;

	for (unsigned i = 0; i < N_TASKS; i++) {
		t = &sim.tasks[(first + i) % N_TASKS];
		if (!task_can_run(t))
			continue;
		task_run(t);
		if (t->id != HELPER || t->busy)
			return true;
		if (t->killed)
			sim.helper_alive = false;
		else
			sim.helper_answers = true;
		return true;
	}
	return false;
}

/* on_requests() of mount.c */
static bool
requests(void)
{
	struct request *r;
	unsigned n = 1 + below(4);

	if (kernel_queue() == NULL)
		return false;
	for (; n > 0 && (r = kernel_queue()) != NULL; n--) {
		kernel_take(r);
		mount_request(r);
	}
	pump();
	return true;
}

/* drain() and on_readable() of replay_helper.c */
static bool
helper_answer(void)
{
	if (!sim.helper_answers)
		return false;
	sim.helper_answers = false;
	trace("helper: %s", strerror(-sim.tasks[HELPER].err));
	if (sim.replay->in_flight)
		replay_answered(sim.replay, sim.tasks[HELPER].err, 0);
	pump();
	return true;
}

/* on_exit_of_helper(), on_restart() */
static bool
helper_restart(void)
{
	if (!sim.helper_alive && sim.helper_ready) {
		sim.helper_ready = false;
	} else if (!sim.helper_alive) {
		trace("helper: starts again");
		if (sim.replay->in_flight)
			replay_answered(sim.replay, -EINTR, 0);
		sim.helper_alive = true;
	} else if (!sim.helper_ready) {
		sim.helper_ready = true;
		pump();
	} else {
		return false;
	}
	return true;
}

static bool
kill_helper(void)
{
	if (!changes || !sim.helper_alive || !sim.helper_ready ||
	    sim.tasks[HELPER].killed || sim.helper_answers)
		return false;
	sim.n_killed++;
	trace("helper: killed");
	if (sim.tasks[HELPER].busy)
		kernel_kill(&sim.tasks[HELPER]);
	else
		sim.helper_alive = false;
	return true;
}

static bool
kill_user(void)
{
	struct task *t = &sim.tasks[below(N_USERS)];

	if (!t->busy || t->killed || t->request == NULL)
		return false;
	trace("task %u: killed", t->id);
	kernel_kill(t);
	mount_abandon(t);
	return true;
}

static bool
begin_call(void)
{
	struct task *t = &sim.tasks[below(N_USERS)];

	if (!changes || t->busy)
		return false;
	task_start(t, kernel_user);
	return true;
}

static bool
act(enum action a)
{
	switch (a) {
	case ACT_TASK:
		return run_some_task();
	case ACT_REQUESTS:
		return requests();
	case ACT_COMMIT:
		if (!mount_commit())
			return false;
		pump();
		return true;
	case ACT_ANSWER:
		return helper_answer();
	case ACT_HELPER:
		return helper_restart();
	case ACT_FORGET:
		return kernel_forget();
	case ACT_CALL:
		return begin_call();
	case ACT_REMOTE:
		if (changes) {
			sim.n_remote++;
			mount_remote();
		}
		return changes;
	case ACT_TICK:
		sim.now_ns += below(6) * NS_PER_MS;
		pump();
		return true;
	case ACT_SHRINK:
		kernel_shrink(chance(10) ? 100 : below(60));
		return true;
	case ACT_KILL_HELPER:
		return kill_helper();
	default:
		return kill_user();
	}
}

/* false: nothing is left that could go on by itself. */
static bool
step(void)
{
	bool tried[N_ACTIONS] = {false};
	unsigned sum = 0, n_left = ACT_CALL, a, x;

	for (unsigned i = 0; i < N_ACTIONS; i++)
		sum += weights[i];
	while (n_left > 0) {
		x = below(sum);
		for (a = 0; x >= weights[a]; a++)
			x -= weights[a];
		if (act((enum action)a)) {
			sim.now_ns += below(100) * 1000;
			return true;
		}
		if (!tried[a] && a < ACT_CALL)
			n_left--;
		tried[a] = true;
	}
	return false;
}

static void
choose(uint64_t seed)
{
	random_init(&sim.random, seed);
	sim.seed = seed;
	sim.now_ns = NS_PER_S;
	sim.queue = chance(60) ? 2 + below(40) : 16384;
	for (unsigned i = 0; i < ACT_CALL; i++)
		weights[i] = 20 + below(200);
	weights[ACT_TASK] += 200;
	weights[ACT_REQUESTS] += 100;
	weights[ACT_CALL] = chance(10) ? 1 : 10 + below(100);
	weights[ACT_REMOTE] = chance(10) ? 1 : 5 + below(100);
	weights[ACT_TICK] = below(10);
	weights[ACT_SHRINK] = chance(50) ? 0 : below(8);
	weights[ACT_KILL_HELPER] = chance(60) ? 0 : 1 + below(10);
	weights[ACT_KILL_USER] = chance(60) ? 0 : 1 + below(10);
	for (unsigned i = 0; i < N_TASKS; i++)
		sim.tasks[i].id = i;
}

static bool
busy(void)
{
	for (unsigned i = 0; i < N_TASKS; i++)
		if (sim.tasks[i].busy)
			return true;
	return false;
}

/* Changes have stopped: how long until all is calm? */
static void
settle(void)
{
	unsigned sent = sim.n_sent, may_send = 200 +
	    20 * replay_length(sim.replay), waits = 0, steps = 0;

	changes = false;
	weights[ACT_TICK] = weights[ACT_SHRINK] = 0;
	weights[ACT_KILL_USER] = 0;
	while (sim.broken[0] == '\0') {
		if (step()) {
			if (++steps > 2000000)
				broken("it never becomes calm");
			if (sim.n_sent - sent > may_send)
				broken("the helper goes on and on: %u calls",
				    sim.n_sent - sent);
			continue;
		}
		if (busy()) {
			broken("a call hangs");
		} else if (replay_length(sim.replay) == 0 &&
		    !sim.replay->in_flight && sim.replay->behind_rev == 0) {
			return;
		} else if (++waits > 1000) {
			broken("the cursor never comes on, %u wait",
			    replay_length(sim.replay));
		} else {
			sim.now_ns += 5 * NS_PER_MS;
			pump();
		}
	}
}

/* One seed, in a process of its own. */
static int
play(uint64_t seed)
{
	struct rlimit cpu = {CPU_S, CPU_S};

	setrlimit(RLIMIT_CPU, &cpu);
	sim.trace = getenv("TRACE") != NULL;
	log_set_level(sim.trace ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	choose(seed);
	kernel_init();
	mount_init();
	changes = true;
	for (unsigned i = 0; i < STEPS && sim.broken[0] == '\0'; i++)
		step();
	settle();
	check(true);
	kernel_check();
	if (getenv("FIGURES") != NULL)
		printf("# %llu: %u remote, %u requests, %u sent, %u events\n",
		    (unsigned long long)seed, sim.n_remote, sim.n_calls,
		    sim.n_sent, sim.n_events);
	if (sim.broken[0] != '\0')
		printf("# seed %llu: %s\n", (unsigned long long)seed,
		    sim.broken);
	fflush(stdout);
	return sim.broken[0] != '\0';
}

static bool
seed_is_good(uint64_t seed)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(play(seed));
	if (waitpid(pid, &status, 0) != pid)
		return false;
	if (WIFSIGNALED(status))
		printf("# seed %llu: %s\n", (unsigned long long)seed,
		    strsignal(WTERMSIG(status)));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int
main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned count = argc > 2 ? (unsigned)atoi(argv[2])
	    : argc > 1		   ? 1
				   : SEEDS_IN_CHECK, bad = 0;

	if (argc == 1)
		for (unsigned i = 0; i < sizeof once_red / sizeof *once_red; i++)
			ok(seed_is_good(once_red[i]), "seed %llu, once red",
			    (unsigned long long)once_red[i]);
	for (unsigned i = 0; i < count; i++)
		bad += !seed_is_good(first + i);
	is_int(bad, 0, "W1, O3: seeds %llu to %llu: the kernel has what is "
	    "committed, and was told so by events",
	    (unsigned long long)first, (unsigned long long)first + count - 1);
	return done_testing();
}
