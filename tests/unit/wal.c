/* The log on disk: what was acknowledged stays, and damage is named. */
#include "config.h"

#include "group/wal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../random.h"
#include "../tap.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metric.h"
#include "group/wal_format.h"

enum { MAX_ENTRIES = 20000, SMALL_SEGMENT = 32768, MAX_FILES = 64 };

/* What the log should hold: entry i has term terms[i]; the rest follows. */
struct model {
	uint64_t first, last;
	uint64_t terms[MAX_ENTRIES];
};

struct answer {
	struct wal_req req;
	bool done;
	int status;
	uint64_t order; /* of its completion */
};

static uv_loop_t loop;
static struct wal *wal;
static struct wal_recovery info;
static struct model model;
static struct wal_conf conf;
static char base_dir[256], dir[300], image[300];
static uint64_t completions;
static bool stopped;

static void
on_done(struct wal_req *req, int status)
{
	struct answer *a = req->ctx;

	a->done = true;
	a->status = status;
	a->order = ++completions;
}

static void
on_stopped(void *ctx)
{
	stopped = true;
}

static struct wal_req *
request(struct answer *a)
{
	*a = (struct answer){.req = {.done = on_done, .ctx = a}};
	return &a->req;
}

static void
wake(uv_timer_t *t)
{
}

/* Runs the loop until the condition holds, at most 10 s. */
#define until(cond) \
	({ \
		uint64_t end_ns_ = clock_now_ns() + 60 * NS_PER_S; \
		uv_timer_t t_; \
		uv_timer_init(&loop, &t_); \
		uv_timer_start(&t_, wake, 20, 20); \
		while (!(cond) && clock_now_ns() < end_ns_) \
			uv_run(&loop, UV_RUN_ONCE); \
		uv_close((uv_handle_t *)&t_, NULL); \
		uv_run(&loop, UV_RUN_NOWAIT); \
		(cond); \
	})

static struct slice
payload_of(uint64_t index, uint64_t term, uint8_t *space)
{
	size_t len = (index * 37 + term * 11) % 300;

	for (size_t i = 0; i < len; i++)
		space[i] = (uint8_t)(index * 31 + term * 17 + i * 7);
	return slice_of(space, len);
}

static void
run(const char *command)
{
	if (system(command) != 0)
		bail_out("failed: %s", command);
}

static void
fresh_dir(const char *name)
{
	char command[2000];

	snprintf(dir, sizeof(dir), "%s/%s", base_dir, name);
	snprintf(image, sizeof(image), "%s/%s.image", base_dir, name);
	snprintf(command, sizeof(command), "rm -rf '%s' '%s'", dir, image);
	run(command);
	model = (struct model){.first = 1};
	conf = (struct wal_conf){.dir = dir, .cluster = "cluster", .member = 77,
		.segment_bytes = SMALL_SEGMENT, .idle_note_ms = 3600 * 1000};
}

static int
try_open(const char *where)
{
	conf.dir = where;
	return wal_open(&loop, &conf, &wal, &info);
}

static void
must_open(void)
{
	int err = try_open(dir);

	if (err != 0)
		bail_out("wal_open: %s: %s", strerror(-err), info.text);
}

static void
stop(void)
{
	stopped = false;
	wal_stop(wal, on_stopped, NULL);
	if (!until(stopped))
		bail_out("the log doesn't stop");
	wal = NULL;
}

/* Appends n entries of a term in one request; returns its status. */
static int
append(uint64_t term, size_t n)
{
	struct wal_entry *entries = calloc(n, sizeof(*entries));
	uint8_t *space = calloc(n, 300);
	struct answer a;

	for (size_t i = 0; i < n; i++) {
		entries[i].term = term;
		entries[i].type = (uint8_t)(term % 5);
		entries[i].payload = payload_of(model.last + 1 + i, term,
		    space + i * 300);
	}
	wal_append(wal, request(&a), entries, n);
	until(a.done);
	for (size_t i = 0; a.status == 0 && i < n; i++)
		model.terms[++model.last] = term;
	free(entries);
	free(space);
	return a.done ? a.status : -ETIMEDOUT;
}

static int
truncate_from(uint64_t from)
{
	struct answer a;

	wal_truncate(wal, request(&a), from);
	until(a.done);
	model.last = from - 1;
	return a.done ? a.status : -ETIMEDOUT;
}

static int
compare_entry(void *ctx, uint64_t index, const struct wal_entry *e)
{
	uint64_t *next = ctx;
	uint8_t space[300];

	if (index != (*next)++ || e->term != model.terms[index] ||
	    e->type != e->term % 5 ||
	    !slice_eq(e->payload, payload_of(index, e->term, space)))
		return -EINVAL;
	return 0;
}

/* The open log holds entries first..last of the model, no more. */
static bool
holds(uint64_t first, uint64_t last)
{
	uint64_t next = first;

	if (wal_first_index(wal) != first || wal_last_index(wal) != last ||
	    info.first_index != first || info.last_index != last)
		return false;
	for (uint64_t i = first; i <= last; i++) {
		if (wal_term_of(wal, i) != model.terms[i])
			return false;
	}
	return wal_read_all(wal, compare_entry, &next) == 0 &&
	    next == last + 1 && wal_term_of(wal, last + 1) == 0;
}

/* As the disk is at this moment, for a process that dies now. */
static void
take_image(void)
{
	char command[2000];

	snprintf(command, sizeof(command),
	    "rm -rf '%s'; cp -r '%s' '%s'; rm -f '%s'/spare-* '%s'/tmp-*",
	    image, dir, image, image, image);
	run(command);
}

/* A small file of an image, and the image put back. */
struct file {
	char name[64];
	uint8_t *bytes;
	size_t len;
};

static struct file files[MAX_FILES];
static int n_files;

static void
image_load(void)
{
	DIR *d = opendir(image);
	struct dirent *de;

	for (int i = 0; i < n_files; i++)
		free(files[i].bytes);
	n_files = 0;
	while (d != NULL && (de = readdir(d)) != NULL && n_files < MAX_FILES) {
		struct file *f = &files[n_files];
		char path[600];
		struct stat st;
		int fd;

		if (de->d_name[0] == '.')
			continue;
		snprintf(f->name, sizeof(f->name), "%.60s", de->d_name);
		snprintf(path, sizeof(path), "%s/%s", image, f->name);
		fd = open(path, O_RDONLY);
		if (fd < 0 || fstat(fd, &st) != 0)
			bail_out("%s", path);
		f->len = (size_t)st.st_size;
		f->bytes = malloc(f->len + 1);
		if (read(fd, f->bytes, f->len) != (ssize_t)f->len)
			bail_out("%s", path);
		close(fd);
		n_files++;
	}
	if (d != NULL)
		closedir(d);
}

/* Writes the image to `dir`, without file number `without` (-1: all). */
static void
image_restore(int without)
{
	char path[600];
	DIR *d;
	struct dirent *de;
	int fd;

	mkdir(dir, 0700);
	d = opendir(dir);
	while (d != NULL && (de = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		if (de->d_name[0] != '.')
			unlink(path);
	}
	closedir(d);
	for (int i = 0; i < n_files; i++) {
		if (i == without)
			continue;
		snprintf(path, sizeof(path), "%s/%.63s", dir, files[i].name);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || write(fd, files[i].bytes, files[i].len) !=
			(ssize_t)files[i].len)
			bail_out("%s", path);
		close(fd);
	}
}

static struct file *
image_file(const char *name)
{
	for (int i = 0; i < n_files; i++) {
		if (strcmp(files[i].name, name) == 0)
			return &files[i];
	}
	bail_out("no %s", name);
}

static struct file *
image_last_segment(void)
{
	struct file *last = NULL;

	for (int i = 0; i < n_files; i++) {
		if (strncmp(files[i].name, "wal-", 4) == 0 &&
		    (last == NULL || strcmp(files[i].name, last->name) > 0))
			last = &files[i];
	}
	return last;
}

/* Where the chain of a segment ends, and where its last entry begins. */
static size_t
segment_end(const struct file *f, size_t *ret_last)
{
	uint64_t seq = strtoul(f->name + 4, NULL, 16);
	struct wal_record rec;
	size_t at = WAL_BLOCK;

	while (wal_record_read(slice_of(f->bytes, f->len), seq, at, &rec)) {
		if (rec.kind == WAL_ENTRY)
			*ret_last = at;
		at += wal_record_size(rec.payload.len);
	}
	return at;
}

/* The commit index that a process dying now would leave. */
static uint64_t
disk_commit(void)
{
	struct wal_record rec;
	struct file *f;
	uint64_t commit = 0;
	size_t at = WAL_BLOCK;

	take_image();
	image_load();
	f = image_last_segment();
	while (wal_record_read(slice_of(f->bytes, f->len),
	    strtoul(f->name + 4, NULL, 16), at, &rec)) {
		commit = rec.commit;
		at += wal_record_size(rec.payload.len);
	}
	return commit;
}

static void
test_basics(void)
{
	struct wal *other;
	struct wal_recovery other_info;
	uint64_t last;

	fresh_dir("basics");
	must_open();
	ok(holds(1, 0) && info.term == 0 && info.vote == 0,
	    "a new log is empty");
	is_int(wal_open(&loop, &conf, &other, &other_info), -EBUSY,
	    "a log is opened by one process at a time");
	for (uint64_t i = 0; i < 20; i++)
		append(1 + i / 7, 1 + i % 4);
	last = model.last;
	is_int(wal_set_term_vote(wal, 9, 4711), 0, "term and vote are stored");
	wal_note_commit(wal, 13);
	stop();

	must_open();
	ok(holds(1, last), "O1: every entry is there after a clean stop");
	ok(info.term == 9 && info.vote == 4711, "with term and vote");
	is_int(info.commit_index, 13, "O2: and the commit index");
	is_int(info.cut_bytes, 0, "nothing was cut");
	is_int(truncate_from(11), 0, "a suffix is dropped");
	append(8, 3);
	append(9, 5);
	stop();
	must_open();
	ok(holds(1, 18), "what was dropped stays dropped, what followed stays");
	truncate_from(1);
	append(10, 2);
	stop();
	must_open();
	ok(holds(1, 2), "all may be dropped");
	stop();
	conf.member = 78;
	is_int(try_open(dir), -EMEDIUMTYPE, "another member's log is refused");
	conf.member = 77;
	conf.cluster[0] = 'x';
	is_int(try_open(dir), -EMEDIUMTYPE, "another cluster's log as well");
}

static void
test_segments(void)
{
	uint8_t *big = malloc(100000);
	struct wal_entry e = {.term = 3, .type = 3};
	struct answer a;
	char path[400];

	fresh_dir("segments");
	must_open();
	for (uint64_t i = 0; i < 300; i++)
		append(1 + i / 90, 1 + i % 5);
	stop();
	must_open();
	ok(holds(1, model.last), "entries over many segments are all there");
	truncate_from(model.last - 200);
	append(7, 50);
	stop();
	must_open();
	ok(holds(1, model.last), "a drop reaches back over segments");

	memset(big, 0xab, 100000);
	e.payload = slice_of(big, 100000);
	wal_append(wal, request(&a), &e, 1);
	ok(until(a.done) && a.status == 0,
	    "an entry larger than a segment gets a larger one");
	truncate_from(model.last + 1);
	append(8, 1);
	stop();
	must_open();
	ok(holds(1, model.last), "and the log goes on behind it");

	wal_release(wal, model.last - 20);
	ok(wal_first_index(wal) > 1 &&
	    wal_first_index(wal) <= model.last - 19,
	    "segments behind a checkpoint are released");
	snprintf(path, sizeof(path), "%s/wal-00000001", dir);
	ok(access(path, F_OK) != 0, "their files are gone, or in use again");
	model.first = wal_first_index(wal);
	append(9, 400);
	stop();
	must_open();
	ok(holds(model.first, model.last),
	    "recycled files are written over and read back");
	wal_reset(wal, request(&a), 5000);
	ok(until(a.done) && a.status == 0 && wal_last_index(wal) == 4999,
	    "a log goes on at a checkpoint's index");
	model.first = 5000;
	model.last = 4999;
	append(12, 10);
	wal_release(wal, 4999);
	stop();
	must_open();
	ok(holds(5000, 5009), "and is there after a restart");
	stop();
	free(big);
}

static void
test_torn(void)
{
	struct file *f;
	size_t last = 0, end, wrong = 0;
	uint8_t *copy, seed = 1;

	fresh_dir("torn");
	must_open();
	append(1, 5);
	append(2, 3);
	append(3, 1);
	take_image();
	stop();
	image_load();
	f = image_last_segment();
	end = segment_end(f, &last);
	copy = malloc(f->len);
	memcpy(copy, f->bytes, f->len);
	for (int garbage = 0; garbage < 2; garbage++) {
		for (size_t at = last; at < end; at++) {
			memcpy(f->bytes, copy, f->len);
			for (size_t i = at; i < end + 64; i++)
				f->bytes[i] = garbage ?
				    (seed = (uint8_t)(seed * 5 + 3)) : 0;
			/* Payloads here end in bytes that aren't 0. */
			image_restore(-1);
			must_open();
			if (!holds(1, 8) && !(holds(1, 9) &&
				memcmp(f->bytes, copy, end) == 0))
				wrong++;
			if (at == last + 40 && !garbage) {
				ok(info.cut_bytes > 0 &&
				    strcmp(info.file, f->name) == 0 &&
				    info.offset == last,
				    "a torn tail is named");
				model.last = 8;
				append(4, 2);
				stop();
				must_open();
				ok(holds(1, 10), "O1: and the log goes on");
				model.terms[9] = 3;
			}
			stop();
		}
	}
	is_int(wrong, 0, "O1: a last write torn at any of %zu bytes is cut, "
			 "the rest stays", end - last);
	free(copy);
}

/* Blocks of one write reach the disk in any order. */
static void
test_torn_blocks(void)
{
	struct file *f;
	size_t wrong = 0, cut = 0, end, last;

	fresh_dir("blocks");
	must_open();
	append(1, 5);
	append(2, 60);
	take_image();
	stop();
	image_load();
	f = image_last_segment();
	end = segment_end(f, &last);
	for (size_t at = 2 * WAL_BLOCK; at < end; at += WAL_BLOCK) {
		uint8_t copy[WAL_BLOCK];

		memcpy(copy, f->bytes + at, WAL_BLOCK);
		memset(f->bytes + at, 0, WAL_BLOCK);
		image_restore(-1);
		if (try_open(dir) != 0) {
			wrong++;
			diag("%s", info.text);
		} else {
			if (info.last_index < 5 || info.last_index >= 65 ||
			    !holds(1, info.last_index))
				wrong++;
			cut += info.cut_bytes > 0;
			stop();
		}
		memcpy(f->bytes + at, copy, WAL_BLOCK);
	}
	is_int(wrong, 0, "a write whose middle is missing is a torn one, "
			 "though its end is whole");
	ok(cut > 0, "and the cut is told");
}

struct tally {
	int named, healed, unused, cut, wrong;
};

/* Flips one bit and opens.  vouched: nothing may be lost without being named;
 * else entries above `last_vouched` may be. */
static void
flip_one(struct file *f, size_t at, unsigned bit, uint64_t last_vouched,
    struct tally *t)
{
	int err;

	f->bytes[at] ^= (uint8_t)(1u << bit);
	image_restore(-1);
	err = try_open(dir);
	f->bytes[at] ^= (uint8_t)(1u << bit);
	if (err == -EUCLEAN) {
		if (strcmp(info.file, f->name) == 0 && info.offset <= at &&
		    at < info.offset + 1024)
			t->named++;
		else if (t->wrong++ < 5)
			diag("flip at %s:%zu is named as %s", f->name, at,
			    info.text);
		return;
	}
	if (err != 0) {
		t->wrong++;
		return;
	}
	if (info.term != 9 || info.vote != 4711) {
		t->wrong++;
	} else if (holds(1, model.last)) {
		if (strcmp(f->name, "vote") == 0)
			t->healed++;
		else
			t->unused++;
	} else if (info.last_index >= last_vouched &&
	    info.last_index < model.last) {
		t->cut++;
	} else if (t->wrong++ < 5) {
		diag("flip at %s:%zu went unnoticed: %llu entries", f->name,
		    at, (unsigned long long)info.last_index);
	}
	stop();
}

static void
flip_files(uint64_t last_vouched, size_t step, struct tally *t)
{
	size_t used, last;
	uint32_t seed = 12345;

	for (int i = 0; i < n_files; i++) {
		struct file *f = &files[i];

		used = f->len;
		if (strncmp(f->name, "wal-", 4) == 0)
			used = segment_end(f, &last);
		for (size_t at = 0; at < used; at += 1 + (seed >> 16) % step) {
			seed = seed * 1664525 + 1013904223;
			if (at > 100 && at % WAL_BLOCK > 100 &&
			    (strcmp(f->name, "vote") == 0 || at < WAL_BLOCK))
				at = (at / WAL_BLOCK + 1) * WAL_BLOCK;
			if (at < used)
				flip_one(f, at, (seed >> 8) % 8, last_vouched,
				    t);
		}
	}
}

static void
write_flip_log(void)
{
	must_open();
	wal_set_term_vote(wal, 9, 4711);
	append(1, 20);
	append(2, 40);
	truncate_from(50);
	append(3, 60);
	append(4, 120);
	append(5, 1);
	append(6, 4);
}

static void
test_flips(void)
{
	struct tally t = {0};
	int n;

	fresh_dir("flips");
	write_flip_log();
	stop();
	conf.dir = dir;
	take_image();
	image_load();
	n = n_files;
	ok(n >= 3, "the log to damage has several files");
	flip_files(model.last, 60, &t);
	diag("flips after a clean stop: %d named, %d healed, %d where nothing "
	     "is", t.named, t.healed, t.unused);
	ok(t.wrong == 0 && t.cut == 0 && t.named > 100,
	    "S4: after a clean stop every flipped bit is named or healed");
	for (int i = 0; i < n_files; i++) {
		image_restore(i);
		is_int(try_open(dir), -EUCLEAN, "S4: %s missing is noticed",
		    files[i].name);
		is_str(info.file, files[i].name, "S4: and named");
		is_int(try_open(dir), -EUCLEAN, "S4: at the next try as well");
	}
}

static void
test_flips_crashed(void)
{
	struct tally t = {0};

	fresh_dir("crashed");
	write_flip_log();
	take_image();
	stop();
	image_load();
	flip_files(model.last - 4, 90, &t);
	diag("flips after a crash: %d named, %d healed, %d where nothing is, "
	     "%d taken for a torn last write", t.named, t.healed, t.unused,
	    t.cut);
	ok(t.wrong == 0 && t.named > 50,
	    "S4: after a crash only the very last write may look torn");

	t = (struct tally){0};
	fresh_dir("idle");
	conf.idle_note_ms = 10;
	write_flip_log();
	wal_note_commit(wal, 150);
	ok(until(disk_commit() == 150), "a note follows when nothing else does");
	stop();
	conf.idle_note_ms = 3600 * 1000;
	image_restore(-1);
	must_open();
	is_int(info.commit_index, 150,
	    "O2: an idle host has its commit index on disk");
	stop();
	flip_files(model.last, 200, &t);
	ok(t.wrong == 0 && t.cut == 0,
	    "S4: once idle, no flip of an entry looks like a torn write");
}

static void
test_vote(void)
{
	struct file *f;
	int wrong = 0;

	fresh_dir("vote");
	must_open();
	for (uint64_t term = 1; term < 9; term++)
		wal_set_term_vote(wal, term, term * 3);
	wal_set_term_vote(wal, 9, 4711);
	take_image();
	stop();
	image_load();
	f = image_file("vote");
	/* A crash in the middle of writing the other pair. */
	for (size_t at = 0; at < 4 * WAL_BLOCK; at += 2 * WAL_BLOCK) {
		uint8_t copy[2 * WAL_BLOCK];

		memcpy(copy, f->bytes + at, sizeof(copy));
		memset(f->bytes + at, 0x55, sizeof(copy));
		image_restore(-1);
		must_open();
		wrong += !(info.term == 9 && info.vote == 4711) &&
		    !(info.term == 8 && info.vote == 24);
		stop();
		memcpy(f->bytes + at, copy, sizeof(copy));
	}
	is_int(wrong, 0, "O1: a vote never finished leaves the one before");
	memset(f->bytes, 0, f->len);
	image_restore(-1);
	is_int(try_open(dir), -EUCLEAN, "a vote file without any vote is named");
	is_str(info.file, "vote", "as damaged");
}

static void
test_group_commit(void)
{
	enum { N = 200 };
	static struct answer a[N];
	struct wal_entry e[N];
	uint8_t space[N][300];
	int64_t writes;
	bool in_order = true;

	fresh_dir("group");
	must_open();
	append(1, 1);
	writes = metric_get(METRIC_wal_writes);
	fault_set(FAULT_wal_sync_delay_ms, 20);
	for (int i = 0; i < N; i++) {
		e[i].term = 2;
		e[i].type = 2;
		e[i].payload = payload_of(model.last + 1, 2, space[i]);
		wal_append(wal, request(&a[i]), &e[i], 1);
		model.terms[++model.last] = 2;
	}
	ok(until(a[N - 1].done), "200 appends during slow writes are answered");
	fault_set(FAULT_wal_sync_delay_ms, 0);
	writes = metric_get(METRIC_wal_writes) - writes;
	ok(writes <= 5, "they share few writes (%lld)", (long long)writes);
	for (int i = 1; i < N; i++)
		in_order = in_order && a[i].order == a[i - 1].order + 1;
	ok(in_order, "and are answered in order");
	stop();
	must_open();
	ok(holds(1, model.last), "and are all there");
	stop();
}

/* A write is begun before the turn ends, and still answered from the loop. */
static void
test_flush(void)
{
	struct wal_entry e = {.term = 1};
	uint8_t space[300];
	struct answer a;
	int64_t writes;

	fresh_dir("flush");
	must_open();
	e.type = 1;
	e.payload = payload_of(1, 1, space);
	writes = metric_get(METRIC_wal_writes);
	wal_append(wal, request(&a), &e, 1);
	wal_flush(wal);
	usleep(50000); /* it may well be durable by now */
	wal_flush(wal);
	ok(!a.done, "nothing is answered from inside a call");
	ok(until(a.done) && a.status == 0, "but from the loop");
	is_int(metric_get(METRIC_wal_writes) - writes, 1,
	    "and flushing again wrote nothing");
	model.terms[++model.last] = 1;
	stop();
	must_open();
	ok(holds(1, 1), "the entry is there");
	stop();
}

static void
append_here(struct answer *a, struct wal_entry *e, uint8_t *space)
{
	*e = (struct wal_entry){.term = 1, .type = 1,
	    .payload = payload_of(model.last + 1, 1, space)};
	wal_append(wal, request(a), e, 1);
	model.terms[++model.last] = 1;
	wal_write_here(wal);
}

/* The loop writes itself, but waits for no slow disk. */
static void
test_write_here(void)
{
	struct wal_entry e, e2;
	uint8_t space[300], space2[300];
	struct answer a, a2;
	int n = 0;

	fresh_dir("here");
	must_open();
	append(1, 1);
	do { /* until the disk is quick for once */
		append_here(&a, &e, space);
		if (!a.done)
			until(a.done);
		else
			n++;
	} while (n == 0 && model.last < 1000);
	ok(n == 1 && a.status == 0, "a quick disk is written at once");
	fault_set(FAULT_wal_sync_delay_ms, 20);
	append_here(&a, &e, space);
	ok(!a.done, "a slow one is not waited for");
	append_here(&a2, &e2, space2);
	ok(!a2.done && until(a2.done) && a.done && a.order < a2.order,
	    "nor overtaken");
	fault_set(FAULT_wal_sync_delay_ms, 0);
	append_here(&a, &e, space);
	ok(!a.done && until(a.done), "nor one that was slow just now");
	while (append(1, 1) == 0 && model.last < 2000)
		; /* over several segments */
	do {
		append_here(&a, &e, space);
		until(a.done);
	} while (a.status == 0 && model.last < 3000);
	fault_set(FAULT_wal_write_eio, 1);
	append_here(&a, &e, space);
	ok(until(a.done) && a.status == -EIO, "an error is told");
	model.last--;
	stop();
	must_open();
	ok(holds(1, model.last), "O1: all is there");
	stop();
}

/* Each start writes a record, and may need a new segment for that. */
static void
test_openings(void)
{
	char next[400];
	bool all = true;

	fresh_dir("openings");
	must_open();
	append(1, 3);
	stop();
	for (int i = 0; i < 400; i++) {
		must_open();
		all = all && holds(1, 3);
		stop();
	}
	ok(all, "a log that is only opened and closed stays what it is");
	snprintf(next, sizeof(next), "%s/wal-00000002", dir);
	ok(access(next, F_OK) == 0, "though it goes on to new segments");
}

/* On a full disk: a drop queued behind a refused append is refused with it,
 * and the view of the log is put back, terms too. */
static void
test_refused_drop(void)
{
	static uint8_t big[20000];
	struct wal_entry e = {.term = 8, .payload = slice_of(big, sizeof(big))};
	struct wal_entry e2 = {.term = 9};
	struct answer a[3];
	bool good = true;

	wal_append(wal, request(&a[0]), &e, 1);
	wal_truncate(wal, request(&a[1]), 3);
	wal_append(wal, request(&a[2]), &e2, 1);
	is_int(wal_term_of(wal, 3), 9, "the view counts what is queued");
	until(a[2].done);
	ok(a[0].status == -ENOSPC && a[1].status == -ENOSPC &&
	    a[2].status == -ENOSPC, "a drop behind a refused append is refused");
	for (uint64_t i = 1; i <= model.last; i++)
		good = good && wal_term_of(wal, i) == model.terms[i];
	ok(good && wal_last_index(wal) == model.last,
	    "and the view is what it was");
}

static void
test_no_space(void)
{
	struct answer a[3];
	struct wal_entry e[3] = {{.term = 5}, {.term = 5}, {.term = 5}};
	static uint8_t big[20000];
	uint64_t last;
	int err = 0, n = 0;

	fresh_dir("space");
	must_open();
	append(1, 10);
	until(!wal_space_low(wal));
	fault_set(FAULT_wal_write_enospc, 1);
	while (!wal_space_low(wal) && n++ < 1000)
		err = append(2, 1);
	ok(err == 0 && wal_space_low(wal),
	    "a full disk is told of while entries still find room");
	while ((err = append(2, 5)) == 0 && n++ < 1000)
		;
	is_int(err, -ENOSPC, "in the end an append is refused");
	last = model.last;
	ok(wal_last_index(wal) == last, "the log is as before it");
	for (int i = 0; i < 3; i++) {
		e[i].payload = slice_of(big, i == 0 ? sizeof(big) : 8);
		wal_append(wal, request(&a[i]), &e[i], 1);
	}
	until(a[2].done);
	ok(a[0].status == -ENOSPC && a[1].status == -ENOSPC &&
	    a[2].status == -ENOSPC && wal_last_index(wal) == last,
	    "what is queued behind a refused append is refused too");
	test_refused_drop();
	is_int(truncate_from(last), 0, "entries can still be dropped");
	is_int(wal_set_term_vote(wal, 9, 9), 0, "and votes given");
	append(6, 1);
	fault_set(FAULT_wal_write_enospc, 0);
	until(!wal_space_low(wal));
	ok(!wal_space_low(wal), "space that comes back is noticed");
	is_int(append(7, 30), 0, "and entries are taken again");
	stop();
	must_open();
	ok(holds(1, model.last), "O1: all acknowledged entries are there");
	stop();
}

static void
test_io_error(void)
{
	fresh_dir("eio");
	must_open();
	append(1, 10);
	fault_set(FAULT_wal_write_eio, 1);
	is_int(append(2, 1), -EIO, "a write that fails is answered with EIO");
	is_int(append(2, 1), -EIO, "and so is every later one");
	stop();
	must_open();
	ok(holds(1, 10), "O1: what was acknowledged before is there");
	stop();
}

/* Appends as fast as it can and tells each durable index, until killed. */
static void
child_main(int fd)
{
	struct wal_entry e;
	uint8_t space[300];
	uint64_t term = 1;

	uv_loop_init(&loop); /* the parent's has its own descriptors */
	must_open();
	for (uint64_t i = wal_last_index(wal) + 1; i < MAX_ENTRIES; i++) {
		struct answer a;

		e.term = term;
		e.type = (uint8_t)(term % 5);
		e.payload = payload_of(i, term, space);
		wal_append(wal, request(&a), &e, 1);
		while (!a.done)
			uv_run(&loop, UV_RUN_ONCE);
		if (a.status != 0 || write(fd, &i, sizeof(i)) != sizeof(i))
			_exit(1);
	}
	_exit(0);
}

static void
test_kill(void)
{
	uint64_t acked = 0, index, wrong = 0;
	int pipes[2], status;
	pid_t pid;

	fresh_dir("kill");
	for (int round = 0; round < 6; round++) {
		if (pipe(pipes) != 0)
			bail_out("pipe");
		pid = fork();
		if (pid == 0) {
			close(pipes[0]);
			child_main(pipes[1]);
		}
		close(pipes[1]);
		for (int i = 0; i < 50 + round * 37; i++) {
			if (read(pipes[0], &index, sizeof(index)) !=
			    sizeof(index))
				bail_out("the writing child ended");
			acked = index;
		}
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		while (read(pipes[0], &index, sizeof(index)) == sizeof(index))
			acked = index;
		close(pipes[0]);
		for (uint64_t i = 1; i <= acked + 1; i++)
			model.terms[i] = 1;
		must_open();
		if (info.last_index < acked || info.last_index > acked + 1 ||
		    !holds(1, info.last_index))
			wrong++;
		stop();
	}
	is_int(wrong, 0, "O1: kill -9 of the writer loses nothing acknowledged "
			 "(%llu entries)", (unsigned long long)acked);
}

static int
cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void
test_speed(void)
{
	enum { N = 10000, ROUNDS = 1000 };
	static struct answer a[N];
	static struct wal_entry e[N];
	static uint8_t bytes[256];
	static uint64_t took[ROUNDS];
	uint64_t t, writes;

	fresh_dir("speed");
	conf.segment_bytes = 0;
	t = clock_now_ns();
	must_open();
	diag("a new log opens in %.1f ms", (double)(clock_now_ns() - t) / 1e6);
	writes = (uint64_t)metric_get(METRIC_wal_writes);
	for (int i = 0; i < ROUNDS; i++) {
		e[0] = (struct wal_entry){.term = 1,
			.payload = slice_of(bytes, sizeof(bytes))};
		t = clock_now_ns();
		wal_append(wal, request(&a[0]), e, 1);
		while (!a[0].done)
			uv_run(&loop, UV_RUN_ONCE);
		took[i] = clock_now_ns() - t;
	}
	qsort(took, ROUNDS, sizeof(took[0]), cmp_u64);
	diag("append of 256 bytes, one in flight: p50 %.0f us, p99 %.0f us; "
	     "the write itself p50 %.0f us", (double)took[ROUNDS / 2] / 1e3,
	    (double)took[ROUNDS * 99 / 100] / 1e3,
	    (double)metric_quantile(METRIC_wal_write_time, 500) / 1e3);
	writes = (uint64_t)metric_get(METRIC_wal_writes);
	t = clock_now_ns();
	for (int i = 0; i < N; i++) {
		e[i] = (struct wal_entry){.term = 2,
			.payload = slice_of(bytes, sizeof(bytes))};
		wal_append(wal, request(&a[i]), &e[i], 1);
		if (i >= 64) {
			while (!a[i - 64].done)
				uv_run(&loop, UV_RUN_ONCE);
		}
	}
	while (!a[N - 1].done)
		uv_run(&loop, UV_RUN_ONCE);
	t = clock_now_ns() - t;
	ok(a[N - 1].status == 0, "10000 appends, 64 in flight");
	diag("%.0f appends/s in %llu writes", N / ((double)t / 1e9),
	    (unsigned long long)metric_get(METRIC_wal_writes) - writes);
	stop();
	t = clock_now_ns();
	must_open();
	diag("11000 entries are recovered in %.1f ms",
	    (double)(clock_now_ns() - t) / 1e6);
	is_int(wal_last_index(wal), ROUNDS + N, "all are there");
	stop();
}

/* Goes on from a crash: what the disk had at this moment. */
static void
crash(void)
{
	take_image();
	stop();
	image_load();
	image_restore(-1);
	must_open();
}

static void
random_step(struct random *r)
{
	struct answer a;
	uint64_t term = model.last == 0 ? 1 : model.terms[model.last], index;
	int err = 0;

	if (term < model.terms[0])
		term = model.terms[0]; /* the highest so far */
	switch (random_below(r, 8)) {
	case 0:
		index = model.first + random_below(r,
		    model.last + 2 - model.first);
		err = truncate_from(index);
		break;
	case 1:
		term = ++model.terms[0];
		/* FALLTHROUGH */
	case 2:
	case 3:
	case 4:
		err = append(term == 0 ? 1 : term, 1 + random_below(r, 30));
		break;
	case 5:
		if (model.last > model.first)
			wal_release(wal, model.first +
			    random_below(r, model.last - model.first));
		model.first = wal_first_index(wal);
		break;
	case 6:
		wal_note_commit(wal, model.last);
		break;
	default:
		if (random_below(r, 10) != 0)
			break;
		index = model.last + 1 + random_below(r, 100);
		wal_reset(wal, request(&a), index);
		until(a.done);
		err = a.status;
		model.first = index;
		model.last = index - 1;
	}
	if (err != 0)
		bail_out("a step failed: %s", strerror(-err));
}

static void
test_random(void)
{
	uint64_t seed = getenv("SEED") != NULL ?
	    strtoull(getenv("SEED"), NULL, 0) : 20;
	struct random r;
	bool good = true;

	fresh_dir("random");
	random_init(&r, seed);
	must_open();
	for (int step = 0; good && step < 400; step++) {
		random_step(&r);
		if (random_below(&r, 10) != 0)
			continue;
		if (random_below(&r, 2) == 0)
			crash();
		else {
			stop();
			must_open();
		}
		/* A segment kept may reach further back than was promised. */
		if (info.first_index < model.first)
			model.first = info.first_index;
		good = holds(model.first, model.last);
		if (!good)
			diag("step %d: %" PRIu64 "..%" PRIu64 ", expected %"
			    PRIu64 "..%" PRIu64, step, info.first_index,
			    info.last_index, model.first, model.last);
	}
	ok(good, "random appends, drops, releases, stops and crashes leave "
		 "what they should (SEED=%" PRIu64 ")", seed);
	stop();
}

/* S3: whatever the bytes are, opening ends with an answer. */
static void
test_mutated(void)
{
	uint32_t seed = 4242;
	int opened = 0, refused = 0;

	fresh_dir("mutated");
	write_flip_log();
	take_image();
	stop();
	image_load();
	for (int round = 0; round < 150; round++) {
		struct file *f = &files[round % n_files];
		uint8_t *copy = malloc(f->len);
		int n = 1 + round % 9;

		memcpy(copy, f->bytes, f->len);
		for (int i = 0; i < n; i++) {
			seed = seed * 1664525 + 1013904223;
			f->bytes[(seed >> 4) % f->len] = (uint8_t)seed;
			f->bytes[(seed >> 9) % 200] ^= (uint8_t)(seed >> 3);
		}
		image_restore(-1);
		if (try_open(dir) == 0) {
			opened++;
			stop();
		} else {
			refused++;
		}
		memcpy(f->bytes, copy, f->len);
		free(copy);
	}
	ok(opened + refused == 150, "S3: 150 mutated logs are survived "
	    "(%d refused)", refused);
}

static void
make_base(const char *where)
{
	snprintf(base_dir, sizeof(base_dir), "%s/govfs-wal-XXXXXX", where);
	if (mkdtemp(base_dir) == NULL)
		bail_out("mkdtemp");
}

static void
remove_base(void)
{
	char command[400];

	snprintf(command, sizeof(command), "rm -rf '%s'", base_dir);
	run(command);
}

int
main(void)
{
	const char *tmp = getenv("TMPDIR");

	log_set_level(LOG_LEVEL_ERROR);
	/* Refusals are logged, and asked for here. */
	if (getenv("V") == NULL && freopen("/dev/null", "w", stderr) == NULL)
		bail_out("/dev/null");
	tmp = tmp != NULL ? tmp : "/tmp";
	make_base(tmp);
	uv_loop_init(&loop);
	test_basics();
	test_segments();
	test_group_commit();
	test_flush();
	test_openings();
	test_write_here();
	test_no_space();
	test_io_error();
	test_kill();
	test_speed();
	/* Thousands of opens: they need no disk. */
	remove_base();
	make_base(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : tmp);
	test_vote();
	test_torn();
	test_torn_blocks();
	test_flips();
	test_flips_crashed();
	test_random();
	test_mutated();
	uv_run(&loop, UV_RUN_DEFAULT);
	is_int(uv_loop_close(&loop), 0, "no handle is left behind");
	remove_base();
	return done_testing();
}
