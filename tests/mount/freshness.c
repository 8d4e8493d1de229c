/*
 * freshness.c: who takes a lock finds everything that was done before (O3).
 *
 * Two processes here and a remote host keep one counter in five places (a file
 * replaced by rename, a link's target, a file's name, a directory's name, a
 * file's size) under a lock that is a name: O_EXCL, mkdir, link, or a rename
 * that must not replace.  Whoever has the lock must find the counter in all
 * places, by calls that the kernel may answer from its caches, however slow the
 * replay is.  With the parking switched off the same test must see old data.
 *
 * freshness.t [SECONDS [SEED]] per configuration.
 * freshness.t hosts KIND SECONDS DIR...: the same between real hosts, of which
 * each DIR is one, by two processes each; KIND is 0 to 3.  tests/mount/fresh.t
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/player.h"
#include "pace.h"
#include "tap.h"
#include "tree/tree.h"

enum kind { EXCL, MKDIR, LINK, NOREPLACE };
static const char *const kinds[] = {"O_EXCL", "mkdir", "link",
	"rename NOREPLACE"};

/* Places in stage->user. */
enum { TRUTH, QUIT, SLOWEST_US, HERE, THERE, WRONG, STALE_SIZE, STALE_LINK,
	STALE_NAME, STALE_OLD_NAME, STALE_DIR, STALE_DATA, LOST, BROKEN };

enum { N_USERS = 2, SIZE_MOD = 1000 };

static struct stage *stage;
static enum kind kind;
static unsigned gap_us;

static uint64_t
stale(void)
{
	uint64_t n = 0;

	for (int i = STALE_SIZE; i <= LOST; i++)
		n += stage->user[i];
	return n;
}

/* ---- the remote host ---- */

static struct {
	enum { IDLE, ASKED, HOLDING, FREEING } state;
	uint64_t waiting_for; /* seq */
	uint64_t next_us;
	uint64_t dir, token; /* directory; what LINK and NOREPLACE move */
} rem;

static uint64_t
node(struct remote *r, uint64_t dir, const char *name)
{
	struct store_txn *t = store_begin(engine_store(r->engine), STORE_READ);
	struct tree_name n;
	uint64_t ino = tree_name_get(t, dir, slice_str(name), &n) ? n.ino : 0;

	store_abort(t);
	return ino;
}

static uint64_t
make(struct remote *r, enum command_kind what, const char *name, uint32_t mode,
    const char *data)
{
	struct command c = {.kind = what, .dir = rem.dir,
	    .name = slice_str(name), .ino = remote_ino(r), .mode = mode,
	    .data = slice_str(data)};

	if (what == COMMAND_create)
		c.flags = CREATE_EXCL;
	rem.waiting_for = remote_submit(r, &c);
	return c.ino;
}

static void
move(struct remote *r, uint64_t ino, const char *from, const char *to,
    uint32_t flags)
{
	struct command c = {.kind = COMMAND_rename, .dir = rem.dir,
	    .name = slice_str(from), .node = ino, .dir2 = rem.dir,
	    .name2 = slice_str(to), .node2 = node(r, rem.dir, to),
	    .flags = flags};

	rem.waiting_for = remote_submit(r, &c);
}

static void
remote_acquire(struct remote *r)
{
	struct command c = {.kind = COMMAND_link, .dir = rem.dir,
	    .name = slice_str("lock"), .node = rem.token};

	rem.state = ASKED;
	switch (kind) {
	case EXCL:
		make(r, COMMAND_create, "lock", S_IFREG | 0644, "");
		break;
	case MKDIR:
		make(r, COMMAND_mkdir, "lock", S_IFDIR | 0755, "");
		break;
	case LINK:
		rem.waiting_for = remote_submit(r, &c);
		break;
	case NOREPLACE:
		move(r, rem.token, "token", "lock", RENAME_FLAG_NOREPLACE);
		break;
	}
}

static void
remote_update(struct remote *r)
{
	uint64_t n = stage->user[TRUTH];
	char value[32], old[64], new[64];
	struct command c = {.kind = COMMAND_truncate};

	snprintf(old, sizeof old, "name.%llu", (unsigned long long)n);
	if (node(r, rem.dir, old) == 0)
		stage->user[BROKEN]++;
	n++;
	snprintf(value, sizeof value, "%llu", (unsigned long long)n);
	move(r, make(r, COMMAND_birth, "rt", S_IFREG | 0644, value), "rt",
	    "data", 0);
	move(r, make(r, COMMAND_symlink, "rs", S_IFLNK | 0777, value), "rs",
	    "link", 0);
	snprintf(new, sizeof new, "name.%llu", (unsigned long long)n);
	move(r, node(r, rem.dir, old), old, new, 0);
	snprintf(old, sizeof old, "dir.%llu", (unsigned long long)n - 1);
	snprintf(new, sizeof new, "dir.%llu", (unsigned long long)n);
	move(r, node(r, rem.dir, old), old, new, 0);
	c.node = node(r, rem.dir, "size");
	c.size = n % SIZE_MOD;
	rem.waiting_for = remote_submit(r, &c);
	stage->user[TRUTH] = n;
	stage->user[THERE]++;
}

static void
remote_release(struct remote *r)
{
	struct command c = {.kind = kind == MKDIR ? COMMAND_rmdir
						  : COMMAND_unlink,
	    .dir = rem.dir, .name = slice_str("lock"),
	    .node = node(r, rem.dir, "lock")};

	rem.state = FREEING;
	if (kind == NOREPLACE)
		move(r, rem.token, "lock", "token", 0);
	else
		rem.waiting_for = remote_submit(r, &c);
}

static void
remote_tick(struct remote *r)
{
	if (rem.dir == 0) {
		rem.dir = node(r, TREE_ROOT, "l");
		if (rem.dir != 0)
			rem.token = make(r, COMMAND_create, "token",
			    S_IFREG | 0644, "");
		return;
	}
	if (now_us() < rem.next_us)
		return;
	if (rem.state == IDLE)
		remote_acquire(r);
	else if (rem.state == HOLDING)
		remote_release(r);
}

static void
remote_outcome(struct remote *r, const struct command *c,
    const struct outcome *outcome)
{
	if (c->stamp.seq != rem.waiting_for)
		return;
	if (rem.state == ASKED && outcome->err == 0) {
		rem.state = HOLDING;
		remote_update(r);
		/* Freed at once, it is taken while the updates are still to
		 * be replayed. */
		if (rnd(&r->rng, 4) > 0)
			remote_release(r);
		rem.next_us = now_us() + 1000;
	} else if (rem.state == ASKED) {
		rem.state = IDLE;
		rem.next_us = now_us() + 500;
	} else if (rem.state == FREEING) {
		if (outcome->err != 0)
			stage->user[BROKEN]++;
		rem.state = IDLE;
		rem.next_us = now_us() + 1000 + rnd(&r->rng, gap_us);
	}
}

/* ---- processes of this host ---- */

static uint64_t slow_at;

static int
timed(int result)
{
	uint64_t took = pace_us() - slow_at;
	int err = errno;

	if (took > stage->user[SLOWEST_US])
		stage->user[SLOWEST_US] = took;
	errno = err;
	return result;
}
#define CALL(call) (slow_at = pace_us(), timed((int)(call)))

static bool
acquire(const char *mine)
{
	int fd;

	switch (kind) {
	case EXCL:
		fd = CALL(open("lock", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		    0644));
		if (fd >= 0)
			close(fd);
		return fd >= 0;
	case MKDIR:
		return CALL(mkdir("lock", 0755)) == 0;
	case LINK:
		return CALL(link(mine, "lock")) == 0;
	case NOREPLACE:
		return CALL(renameat2(AT_FDCWD, mine, AT_FDCWD, "lock",
		    RENAME_NOREPLACE)) == 0;
	}
	return false;
}

static void
release(const char *mine)
{
	int err;

	if (kind == MKDIR)
		err = CALL(rmdir("lock"));
	else if (kind == NOREPLACE)
		err = CALL(rename("lock", mine));
	else
		err = CALL(unlink("lock"));
	if (err != 0) {
		stage->user[BROKEN]++;
		printf("# release: %s\n", strerror(errno));
	}
}

static void
put_file(const char *path, const char *text)
{
	int fd = CALL(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
	    0644));

	if (fd < 0 || write(fd, text, strlen(text)) < 0 ||
	    CALL(close(fd)) != 0)
		stage->user[BROKEN]++;
}

static void
must(int result, const char *what)
{
	if (result == 0)
		return;
	stage->user[BROKEN]++;
	if (!stage->parking_off)
		printf("# %s: %s\n", what, strerror(errno));
}

/* What the kernel may have cached first: an open would refresh it. */
static void
check(uint64_t n)
{
	char text[64] = "", path[64];
	struct stat st;
	int fd;

	if (CALL(stat("size", &st)) != 0 ||
	    (uint64_t)st.st_size != n % SIZE_MOD)
		stage->user[STALE_SIZE]++;
	if (CALL(readlink("link", text, sizeof text - 1)) <= 0 ||
	    strtoull(text, NULL, 10) != n)
		stage->user[STALE_LINK]++;
	snprintf(path, sizeof path, "name.%llu", (unsigned long long)n);
	if (CALL(access(path, F_OK)) != 0)
		stage->user[STALE_NAME]++;
	snprintf(path, sizeof path, "name.%llu", (unsigned long long)n - 1);
	if (CALL(access(path, F_OK)) == 0)
		stage->user[STALE_OLD_NAME]++;
	snprintf(path, sizeof path, "dir.%llu/in", (unsigned long long)n);
	if (CALL(access(path, F_OK)) != 0)
		stage->user[STALE_DIR]++;
	memset(text, 0, sizeof text);
	fd = CALL(open("data", O_RDONLY | O_CLOEXEC));
	if (fd < 0 || read(fd, text, sizeof text - 1) <= 0 ||
	    strtoull(text, NULL, 10) != n)
		stage->user[STALE_DATA]++;
	if (fd >= 0)
		close(fd);
}

static void
update(uint64_t n, const char *tmp)
{
	char value[32], old[64], new[64];

	snprintf(value, sizeof value, "%llu", (unsigned long long)n);
	put_file(tmp, value);
	must(CALL(rename(tmp, "data")), "rename over data");
	must(CALL(symlink(value, tmp)), "symlink");
	must(CALL(rename(tmp, "link")), "rename over link");
	snprintf(old, sizeof old, "name.%llu", (unsigned long long)n - 1);
	snprintf(new, sizeof new, "name.%llu", (unsigned long long)n);
	must(CALL(rename(old, new)), "rename a name");
	snprintf(old, sizeof old, "dir.%llu", (unsigned long long)n - 1);
	snprintf(new, sizeof new, "dir.%llu", (unsigned long long)n);
	must(CALL(rename(old, new)), "rename a directory");
	must(CALL(truncate("size", (off_t)(n % SIZE_MOD))), "truncate");
}

/* pause_us: between two times with the lock, at most. */
static void
user(const char *dir, unsigned seed, unsigned pause_us)
{
	char mine[32], tmp[32], path[512];
	unsigned rng = seed * 7919 + 3;
	uint64_t n;

	snprintf(mine, sizeof mine, "mine.%u", seed);
	snprintf(tmp, sizeof tmp, "tmp.%u", seed);
	snprintf(path, sizeof path, "%s/l", dir);
	if (chdir(path) != 0)
		_exit(1);
	put_file(mine, "");
	while (stage->user[QUIT] == 0) {
		if (!acquire(mine)) {
			if (errno != EEXIST && errno != ESTALE) {
				stage->user[WRONG]++;
				printf("# acquire: %s\n", strerror(errno));
			}
			usleep(200 + rnd(&rng, 1500));
			continue;
		}
		n = stage->user[TRUTH];
		check(n);
		update(n + 1, tmp);
		if (stage->user[TRUTH] != n)
			stage->user[LOST]++;
		stage->user[TRUTH] = n + 1;
		stage->user[HERE]++;
		release(mine);
		usleep(200 + rnd(&rng, pause_us));
	}
	_exit(0);
}

static bool
prepare(const char *dir)
{
	char path[512];

	snprintf(path, sizeof path, "%s/l", dir);
	if (mkdir(path, 0755) != 0 || chdir(path) != 0)
		return false;
	stage->user[TRUTH] = 1;
	put_file("data", "1");
	put_file("name.1", "");
	put_file("size", "1");
	return symlink("1", "link") == 0 && mkdir("dir.1", 0755) == 0 &&
	    mkdir("dir.1/in", 0755) == 0 && chdir("/") == 0;
}

/* So long, and longer on a machine where nothing has happened by then. */
static void
wait_ms(unsigned ms, bool (*enough)(void))
{
	usleep(ms * 1000);
	for (unsigned i = 0; i < PATIENCE * ms && !enough(); i++)
		usleep(1000);
}

static bool
both_have(void)
{
	return stage->user[HERE] > 5 && stage->user[THERE] > 5;
}

static bool
here_have(void)
{
	return stage->user[HERE] > 5;
}

static bool
is_stale(void)
{
	return stale() > 0;
}

static void
play(enum kind how, unsigned delay_ms, bool parking_off, unsigned ms,
    unsigned seed)
{
	pid_t users[N_USERS];
	bool hang = false;

	kind = how;
	/* Of names made without waiting (rule P) a greedy rival gets all. */
	gap_us = how == EXCL ? 3000 : 20000 + delay_ms * 4000;
	memset(&rem, 0, sizeof rem);
	stage = player_stage("fresh");
	if (!player_start(stage, 1, seed, remote_tick, remote_outcome)) {
		fail("the file system is mounted");
		return;
	}
	if (!prepare(stage->mnt))
		stage->user[BROKEN]++;
	stage->delay_ms = delay_ms;
	stage->parking_off = parking_off;
	for (unsigned i = 0; i < N_USERS; i++) {
		users[i] = fork();
		if (users[i] == 0)
			user(stage->mnt, seed * 10 + i, 1500);
	}
	stage->remote_on = true;
	wait_ms(ms, parking_off ? is_stale : both_have);
	stage->user[QUIT] = 1;
	for (unsigned i = 0; i < N_USERS; i++) {
		for (unsigned n = 0; waitpid(users[i], NULL, WNOHANG) == 0; n++) {
			if (n > PATIENCE * 5000) {
				hang = true;
				kill(users[i], SIGKILL);
				break;
			}
			usleep(1000);
		}
	}
	diag("%s, replay delayed %u ms%s: %llu times here, %llu there; stale: "
	     "size %llu, link %llu, name %llu, old name %llu, directory %llu, "
	     "data %llu; slowest %llu us",
	    kinds[how], delay_ms, parking_off ? ", parking off" : "",
	    (unsigned long long)stage->user[HERE],
	    (unsigned long long)stage->user[THERE],
	    (unsigned long long)stage->user[STALE_SIZE],
	    (unsigned long long)stage->user[STALE_LINK],
	    (unsigned long long)stage->user[STALE_NAME],
	    (unsigned long long)stage->user[STALE_OLD_NAME],
	    (unsigned long long)stage->user[STALE_DIR],
	    (unsigned long long)stage->user[STALE_DATA],
	    (unsigned long long)stage->user[SLOWEST_US]);
	if (parking_off) {
		ok(stale() > 0, "without parking old data is seen under "
		   "a lock: the test can tell");
	} else {
		ok(both_have(),
		    "both hosts have taken the %s lock", kinds[how]);
		is_int(stale(), 0, "O3: nothing old under the %s lock, replay "
		    "delayed %u ms", kinds[how], delay_ms);
		is_int(stage->user[BROKEN] + stage->user[WRONG], 0,
		    "every call under the lock succeeds");
		ok(!hang && stage->user[SLOWEST_US] < 2000000 &&
		    stage->n_late == 0, "O7: no call took 2 s");
	}
	stage->delay_ms = 0;
	player_stop(stage);
}

/* Between real hosts: no remote player, everybody is local somewhere. */
static int
play_hosts(enum kind how, unsigned ms, int n_dirs, char **dirs)
{
	pid_t users[32];
	int n_users = 0;
	char path[512];
	struct stat st;

	kind = how;
	stage = player_stage("fresh");
	if (!prepare(dirs[0]))
		stage->user[BROKEN]++;
	for (int i = 0; i < n_dirs; i++) {
		snprintf(path, sizeof path, "%s/l/dir.1/in", dirs[i]);
		for (int n = 0; n < PATIENCE * 5000 && stat(path, &st) != 0; n++)
			usleep(1000);
	}
	for (int i = 0; i < 2 * n_dirs && i < 32; i++) {
		users[n_users] = fork();
		if (users[n_users++] == 0)
			user(dirs[i / 2], (unsigned)i + 1,
			    how == EXCL ? 3000 : 30000);
	}
	wait_ms(ms, here_have);
	stage->user[QUIT] = 1;
	for (int i = 0; i < n_users; i++)
		waitpid(users[i], NULL, 0);
	printf("# %s: %llu times; stale: size %llu, link %llu, name %llu, old "
	       "name %llu, directory %llu, data %llu; lost %llu, failed %llu; "
	       "slowest %llu us\n",
	    kinds[how], (unsigned long long)stage->user[HERE],
	    (unsigned long long)stage->user[STALE_SIZE],
	    (unsigned long long)stage->user[STALE_LINK],
	    (unsigned long long)stage->user[STALE_NAME],
	    (unsigned long long)stage->user[STALE_OLD_NAME],
	    (unsigned long long)stage->user[STALE_DIR],
	    (unsigned long long)stage->user[STALE_DATA],
	    (unsigned long long)stage->user[LOST],
	    (unsigned long long)(stage->user[BROKEN] + stage->user[WRONG]),
	    (unsigned long long)stage->user[SLOWEST_US]);
	rmdir(stage->mnt);
	rmdir(stage->dir);
	if (stale() > 0)
		return 2;
	return here_have() && stage->user[BROKEN] + stage->user[WRONG] == 0 &&
		stage->user[SLOWEST_US] < 2000000
	    ? 0
	    : 1;
}

int
main(int argc, char **argv)
{
	static const unsigned delays[] = {0, 1, 50};
	unsigned ms = 1000, seed = 1;

	player_helper(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		puts("1..0 # SKIP needs root and /dev/fuse");
		return 0;
	}
	pace_start();
	if (argc > 4 && strcmp(argv[1], "hosts") == 0)
		return play_hosts((enum kind)atoi(argv[2]),
		    (unsigned)atoi(argv[3]) * 1000, argc - 4, argv + 4);
	if (argc > 1)
		ms = (unsigned)atoi(argv[1]) * 1000;
	if (argc > 2)
		seed = (unsigned)atoi(argv[2]);
	for (unsigned d = 0; d < 3; d++)
		for (enum kind k = EXCL; k <= NOREPLACE; k++)
			play(k, delays[d], false, delays[d] > 1 ? 2 * ms : ms,
			    seed);
	play(EXCL, 1, true, ms, seed);
	play(EXCL, 50, true, 2 * ms, seed);
	return done_testing();
}
