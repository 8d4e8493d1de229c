/*
 * player.c: see player.h.
 */
#include "config.h"

#include "mount/player.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/metric.h"
#include "mount/mount.h"
#include "pace.h"
#include "replay/protocol.h"
#include "tree/tree.h"

#define REMOTE_SESSION 77

static struct {
	uv_loop_t loop;
	uv_timer_t timer;
	uv_signal_t term;
	struct engine *engine;
	struct session *session;
	struct mount *mount;
	struct engine_subscriber subscriber;
	struct remote remote;
	struct stage *stage;
} d;

uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

unsigned
rnd(unsigned *rng, unsigned below)
{
	*rng = *rng * 1664525 + 1013904223;
	return (unsigned)((uint64_t)(*rng >> 4) * below >> 28);
}

void
player_helper(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--replay-helper") == 0)
		exit(replay_child());
}

struct stage *
player_stage(const char *name)
{
	const char *tmp = getenv("TMPDIR");
	struct stage *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (s == MAP_FAILED)
		abort();
	snprintf(s->dir, sizeof s->dir, "%s/govfs-%s-XXXXXX",
	    tmp != NULL ? tmp : "/tmp", name);
	if (mkdtemp(s->dir) == NULL)
		abort();
	snprintf(s->mnt, sizeof s->mnt, "%s/mnt", s->dir);
	mkdir(s->mnt, 0755);
	s->remote_per_s = 1000;
	return s;
}

uint64_t
remote_ino(struct remote *r)
{
	return r->range + ++r->n_inos;
}

uint64_t
remote_submit(struct remote *r, struct command *c)
{
	c->stamp.session = REMOTE_SESSION;
	c->stamp.seq = c->stamp.done_below = ++r->seq;
	c->stamp.host = 9;
	c->stamp.privileged = true;
	if (c->stamp.seen == 0)
		c->stamp.seen = UINT64_MAX;
	engine_local_remote(r->engine, c);
	r->stage->n_remote++;
	return r->seq;
}

unsigned
remote_due(struct remote *r)
{
	uint64_t now = now_us();
	unsigned n;

	if (r->last_ns == 0)
		r->last_ns = now;
	r->due += (double)(now - r->last_ns) * r->stage->remote_per_s / 1e6;
	r->last_ns = now;
	n = (unsigned)r->due;
	r->due -= n;
	return n > 200 ? 200 : n;
}

static void
on_applied(struct engine_subscriber *sub, const struct engine_applied *a)
{
	struct remote *r = &d.remote;

	if (a->command->kind == COMMAND_session_open &&
	    a->command->node == REMOTE_SESSION)
		r->range = a->outcome->value;
	if (a->command->stamp.session != REMOTE_SESSION)
		return;
	if (a->outcome->err != 0)
		d.stage->n_refused++;
	if (r->outcome != NULL)
		r->outcome(r, a->command, a->outcome);
}

static void
dump_dir(FILE *f, struct store_txn *t, uint64_t dir, const char *path)
{
	struct slice name = SLICE_EMPTY, data;
	struct tree_name e;
	struct attr a;
	char child[4096], copy[LIMIT_NAME + 1];

	while (tree_name_next(t, dir, name, &name, &e)) {
		memcpy(copy, name.ptr, name.len);
		copy[name.len] = '\0';
		name = slice_str(copy);
		if (!tree_node_get(t, e.ino, &a))
			continue;
		snprintf(child, sizeof child, "%s/%s", path, copy);
		data = tree_content(t, e.ino);
		fprintf(f, "%s %llu %o %u %llu %llu %llu %.*s\n", child,
		    (unsigned long long)e.ino, a.mode, a.nlink,
		    S_ISDIR(a.mode) ? 0ULL : (unsigned long long)a.size,
		    (unsigned long long)a.mtime_ns,
		    (unsigned long long)a.ctime_ns,
		    (int)data.len, data.len > 0 ? (const char *)data.ptr : "");
		if (S_ISDIR(a.mode))
			dump_dir(f, t, e.ino, child);
	}
}

static void
dump(void)
{
	struct store_txn *t = store_begin(engine_store(d.engine), STORE_READ);
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/tree", d.stage->dir);
	f = fopen(path, "w");
	dump_dir(f, t, TREE_ROOT, "");
	fclose(f);
	store_abort(t);
}

static pid_t
helper_of(pid_t daemon)
{
	char path[64], text[64] = "";
	int fd, n;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", daemon,
	    daemon);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = (int)read(fd, text, sizeof text - 1);
	close(fd);
	return n > 0 ? (pid_t)atoi(text) : 0;
}

static void
on_stopped(void *arg)
{
	_exit(0);
}

static void
on_gone(void *arg)
{
	_exit(0);
}

static void
on_tick(uv_timer_t *timer)
{
	struct stage *s = d.stage;
	struct mount_status st;

	fault_set(FAULT_replay_delay_ms, s->delay_ms);
	fault_set(FAULT_parking_off, s->parking_off);
	mount_status(d.mount, &st);
	s->n_queued = st.n_queued;
	s->n_parked = st.n_parked;
	s->n_late = st.n_late;
	s->n_reconciled = (uint64_t)metric_get(METRIC_replay_reconciled);
	s->n_replayed = (uint64_t)metric_get(METRIC_replay_ops);
	s->replay_us = metric_quantile(METRIC_replay_time, 500) / 1000;
	s->lag_us = metric_quantile(METRIC_replay_lag_time, 500) / 1000;
	if (s->n_ticks++ % 16 == 0)
		s->helper = helper_of(getpid());
	s->up = session_ready(d.session) && d.remote.range != 0;
	if (s->up && s->remote_on)
		d.remote.tick(&d.remote);
	else
		d.remote.last_ns = 0;
	if (s->dump && !s->dumped) {
		dump();
		s->dumped = true;
	}
	if (s->stop) {
		uv_timer_stop(timer);
		mount_stop(d.mount, on_stopped, NULL);
	}
}

static void
daemon_main(struct stage *s, unsigned commit_ms, unsigned seed,
    void (*tick)(struct remote *),
    void (*outcome)(struct remote *, const struct command *,
	const struct outcome *))
{
	struct store *store;
	struct command c = {.kind = COMMAND_session_open,
	    .node = REMOTE_SESSION, .name = slice_str("remote")};
	struct mount_conf mc = {.mountpoint = s->mnt, .state_dir = s->dir,
	    .gone = on_gone};
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	log_set_level(getenv("DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	d.stage = s;
	uv_loop_init(&d.loop);
	store_open_mem(&store);
	engine_local_open(&d.loop, store, commit_ms, &d.engine);
	session_open(&(struct session_conf){.loop = &d.loop,
	    .engine = d.engine}, &d.session);
	mc.loop = &d.loop;
	mc.engine = d.engine;
	mc.session = d.session;
	err = mount_open(&mc, &d.mount);
	if (err != 0) {
		fprintf(stderr, "# mount: %s\n", strerror(-err));
		_exit(1);
	}
	d.subscriber.applied = on_applied;
	engine_subscribe(d.engine, &d.subscriber);
	d.remote = (struct remote){.engine = d.engine, .stage = s,
	    .rng = seed * 2654435761u + 1, .tick = tick, .outcome = outcome};
	remote_submit(&d.remote, &c);
	uv_timer_init(&d.loop, &d.timer);
	uv_timer_start(&d.timer, on_tick, 1, 1);
	uv_run(&d.loop, UV_RUN_DEFAULT);
	_exit(0);
}

bool
player_start(struct stage *s, unsigned commit_ms, unsigned seed,
    void (*tick)(struct remote *),
    void (*outcome)(struct remote *, const struct command *,
	const struct outcome *))
{
	int status;
	pid_t pid;

	s->up = s->stop = s->dump = s->dumped = false;
	fflush(stdout);
	pid = fork(); /* the stage is shared: its daemon is set here alone */
	if (pid == 0)
		daemon_main(s, commit_ms, seed, tick, outcome);
	s->daemon = pid;
	for (int i = 0; i < PATIENCE * 5000 && !s->up; i++) {
		if (waitpid(s->daemon, &status, WNOHANG) == s->daemon) {
			printf("# the daemon ended, status %x\n",
			    (unsigned)status);
			umount2(s->mnt, MNT_DETACH);
			return false;
		}
		usleep(1000);
	}
	return s->up;
}

bool
player_drain(struct stage *s, unsigned ms)
{
	uint64_t t, until = now_us() + PATIENCE * ms * 1000ULL;
	unsigned calm = 0;

	while (now_us() < until) {
		t = s->n_ticks;
		while (s->n_ticks < t + 2 && now_us() < until)
			usleep(500);
		calm = s->n_queued == 0 ? calm + 1 : 0;
		if (calm == 3)
			return true;
	}
	return false;
}

static unsigned long long
ns_of(const struct timespec *ts)
{
	return (unsigned long long)ts->tv_sec * 1000000000 +
	    (unsigned long long)ts->tv_nsec;
}

static void
walk(FILE *f, const char *mnt, const char *path)
{
	char child[4096], full[4200], data[65536];
	struct dirent **list;
	struct stat st;
	int n, fd;
	ssize_t len;

	snprintf(full, sizeof full, "%s%s", mnt, path);
	n = scandir(full, &list, NULL, NULL);
	if (n < 0) {
		fprintf(f, "%s scandir: %s\n", path, strerror(errno));
		return;
	}
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		snprintf(child, sizeof child, "%s/%s", path, name);
		snprintf(full, sizeof full, "%s%s", mnt, child);
		if (lstat(full, &st) != 0) {
			fprintf(f, "%s lstat: %s\n", child, strerror(errno));
			continue;
		}
		len = 0;
		if (S_ISLNK(st.st_mode)) {
			len = readlink(full, data, sizeof data);
		} else if (S_ISREG(st.st_mode)) {
			fd = open(full, O_RDONLY | O_CLOEXEC);
			len = fd < 0 ? -1 : read(fd, data, sizeof data);
			if (fd >= 0)
				close(fd);
		}
		if (len < 0)
			len = sprintf(data, "error: %s", strerror(errno));
		fprintf(f, "%s %llu %o %u %llu %llu %llu %.*s\n", child,
		    (unsigned long long)list[i]->d_ino == st.st_ino
			? (unsigned long long)st.st_ino
			: 0ULL,
		    st.st_mode, (unsigned)st.st_nlink,
		    S_ISDIR(st.st_mode) ? 0ULL
					: (unsigned long long)st.st_size,
		    ns_of(&st.st_mtim), ns_of(&st.st_ctim),
		    (int)len, data);
		if (S_ISDIR(st.st_mode))
			walk(f, mnt, child);
	}
	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

bool
player_compare(struct stage *s)
{
	char cmd[512], path[128];
	FILE *f;

	s->dumped = false;
	s->dump = true;
	for (int i = 0; i < PATIENCE * 3000 && !s->dumped; i++)
		usleep(1000);
	s->dump = false;
	if (!s->dumped)
		return false;
	snprintf(path, sizeof path, "%s/walk", s->dir);
	f = fopen(path, "w");
	walk(f, s->mnt, "");
	fclose(f);
	snprintf(cmd, sizeof cmd, "cd %s && LC_ALL=C sort tree >tree.s; "
	    "LC_ALL=C sort walk >walk.s; "
	    "diff tree.s walk.s | head -20 | sed 's/^/# /'; "
	    "cmp -s tree.s walk.s", s->dir);
	return system(cmd) == 0;
}

void
player_stop(struct stage *s)
{
	s->stop = true;
	for (int i = 0; i < PATIENCE * 3000; i++) {
		if (waitpid(s->daemon, NULL, WNOHANG) != 0)
			break;
		usleep(1000);
		if (i == PATIENCE * 3000 - 1) {
			kill(s->daemon, SIGKILL);
			waitpid(s->daemon, NULL, 0);
		}
	}
	umount2(s->mnt, MNT_DETACH);
	for (int i = 0; i < 4; i++) {
		static const char *const files[] = {"tree", "walk", "tree.s",
		    "walk.s"};
		char path[128];

		snprintf(path, sizeof path, "%s/%s", s->dir, files[i]);
		unlink(path);
	}
	rmdir(s->mnt);
	rmdir(s->dir);
}
