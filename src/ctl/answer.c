/*
 * answer.c: the requests of the control socket and their answers.
 *
 * An answer is {"ok":true, ...} or {"ok":false, "error":"EPERM", "text":"a
 * sentence"}.  64-bit ids are hexadecimal strings: JSON numbers lose bits.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/metric.h"
#include "base/reason.h"
#include "ctl/ctl_internal.h"
#include "tree/tree.h"

/* Fills reply, or answers 1: it will call ctl_reply() itself. */
typedef int	answer_fn(struct ctl_client *, json_t *request, json_t *reply);

static answer_fn answer_barrier, answer_digest, answer_dump, answer_fault,
    answer_metrics, answer_status, answer_why;

static const struct answer {
	const char *name;
	bool privileged;
	answer_fn *run;
} answers[] = {
	{ "barrier", true, answer_barrier },
	{ "digest", true, answer_digest },
	{ "dump", true, answer_dump },
	{ "fault", true, answer_fault },
	{ "metrics", true, answer_metrics },
	{ "status", false, answer_status },
	{ "why", false, answer_why },
};

static void	set_error(json_t *, int err, const char *text);
static void	set_id(json_t *, const char *key, uint64_t id);
static void	set_text(json_t *, const char *key, const char *bytes, size_t);
static json_t  *members(struct ctl *, uint64_t replayed);

void
ctl_answer(struct ctl_client *c, const char *line, size_t len)
{
	const struct answer *a = NULL;
	json_t *request, *reply;
	const char *name;
	int err;

	reply = json_pack("{s:b}", "ok", 1);
	request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	name = json_string_value(json_object_get(request, "request"));
	for (size_t i = 0; name != NULL && i < sizeof(answers) / sizeof(*a);
	    i++)
		if (strcmp(answers[i].name, name) == 0)
			a = &answers[i];
	if (a == NULL) {
		err = -EINVAL;
		set_error(reply, err, "this is no request that I know");
	} else if (a->privileged && !c->privileged) {
		err = -EPERM;
		set_error(reply, err, "only root may ask for that");
	} else {
		err = a->run(c, request, reply);
		if (err < 0)
			set_error(reply, err, NULL);
	}
	json_decref(request);
	if (err == 1)
		json_decref(reply);
	else
		ctl_reply(c, reply);
}

/* text NULL: keep what the answer has said already, or say the errno's. */
static void
set_error(json_t *reply, int err, const char *text)
{
	const char *name = strerrorname_np(-err);

	json_object_set_new(reply, "ok", json_false());
	json_object_set_new(reply, "error",
	    json_string(name != NULL ? name : "EIO"));
	if (text == NULL && json_object_get(reply, "text") != NULL)
		return;
	json_object_set_new(reply, "text",
	    json_string(text != NULL ? text : strerror(-err)));
}

static void
set_id(json_t *obj, const char *key, uint64_t id)
{
	char hex[17];

	snprintf(hex, sizeof(hex), "%016" PRIx64, id);
	json_object_set_new(obj, key, json_string(hex));
}

/* Bytes that may not be UTF-8 (names, other rooms' text) are shown with ?. */
static void
set_text(json_t *obj, const char *key, const char *bytes, size_t len)
{
	json_t *text = json_stringn(bytes, len);
	char *copy;

	if (text == NULL && (copy = strndup(bytes, len)) != NULL) {
		for (char *p = copy; *p != '\0'; p++)
			if ((unsigned char)*p >= 0x80)
				*p = '?';
		text = json_string(copy);
		free(copy);
	}
	json_object_set_new(obj, key, text);
}

static const char *
health_word(const struct engine_status *st)
{
	switch (st->health) {
	case ENGINE_OK:
		return "ok";
	case ENGINE_SUSPENDED:
		return "suspended";
	case ENGINE_READONLY:
		return "readonly";
	case ENGINE_LOST:
		return "lost";
	}
	return "lost";
}

static void
local_get(struct ctl *ctl, struct ctl_local *ret)
{
	struct engine_status st;

	engine_status(ctl->engine, &st);
	*ret = (struct ctl_local){ .replayed = st.rev,
	    .health = health_word(&st),
	    .since_ns = st.since_ns };
	if (ctl->hooks.local != NULL)
		ctl->hooks.local(ctl->hooks.arg, ret);
}

static int
answer_status(struct ctl_client *c, json_t *request, json_t *reply)
{
	struct engine *engine = c->ctl->engine;
	struct engine_status st;
	struct ctl_local local;

	engine_status(engine, &st);
	local_get(c->ctl, &local);
	json_object_set_new(reply, "name", json_string(engine_name(engine)));
	set_id(reply, "id", engine_self(engine));
	json_object_set_new(reply, "health", json_string(local.health));
	json_object_set_new(reply, "since_s",
	    json_integer((clock_now_ns() - local.since_ns) / NS_PER_S));
	json_object_set_new(reply, "role", json_string(st.role));
	json_object_set_new(reply, "leader", json_string(st.leader_name));
	set_id(reply, "leader_id", st.leader);
	json_object_set_new(reply, "term", json_integer(st.term));
	json_object_set_new(reply, "commit", json_integer(st.commit));
	json_object_set_new(reply, "applied", json_integer(st.applied));
	json_object_set_new(reply, "rev", json_integer(st.rev));
	json_object_set_new(reply, "replayed", json_integer(local.replayed));
	json_object_set_new(reply, "voters", json_integer(st.n_voters));
	json_object_set_new(reply, "alive", json_integer(st.n_alive));
	json_object_set_new(reply, "lag_us", json_integer(local.lag_ns / 1000));
	json_object_set_new(reply, "lag_p50_us", json_integer(
	    metric_quantile(METRIC_replay_lag_time, 500) / 1000));
	json_object_set_new(reply, "lag_p99_us", json_integer(
	    metric_quantile(METRIC_replay_lag_time, 990) / 1000));
	if (st.disk != NULL)
		json_object_set_new(reply, "disk", json_string(st.disk));
	if (local.mountpoint != NULL)
		set_text(reply, "mountpoint", local.mountpoint,
		    strlen(local.mountpoint));
	json_object_set_new(reply, "members", members(c->ctl, local.replayed));
	return 0;
}

/* What nodes/ says of a host; its lines are shown as words. */
static void
set_told(json_t *obj, struct store_txn *txn, const char *host,
    const char *file)
{
	char path[128], text[LIMIT_HOST_FACTS_BYTES];
	struct slice content = SLICE_EMPTY;
	uint64_t node;
	size_t len = 0;

	snprintf(path, sizeof(path), "nodes/%s/%s", host, file);
	node = tree_lookup_path(txn, slice_str(path));
	if (node != 0)
		content = tree_content(txn, node);
	while (len < content.len && len < sizeof(text)) {
		text[len] = ((const char *)content.ptr)[len];
		if (text[len] == '\n')
			text[len] = ' ';
		len++;
	}
	while (len > 0 && text[len - 1] == ' ')
		len--;
	set_text(obj, file, text, len);
}

static json_t *
members(struct ctl *ctl, uint64_t replayed)
{
	struct engine_member m[LIMIT_MEMBERS];
	unsigned n = engine_members(ctl->engine, m, LIMIT_MEMBERS);
	uint64_t self = engine_self(ctl->engine);
	struct store_txn *txn = store_begin(engine_store(ctl->engine),
	    STORE_READ);
	json_t *list = json_array(), *o;

	assert(n <= LIMIT_MEMBERS);
	for (unsigned i = 0; i < n; i++) {
		o = json_object();
		json_object_set_new(o, "host", json_string(m[i].name));
		set_id(o, "id", m[i].id);
		json_object_set_new(o, "address", json_string(m[i].address));
		json_object_set_new(o, "role", json_string(m[i].role));
		json_object_set_new(o, "alive", json_boolean(m[i].alive));
		json_object_set_new(o, "applied", json_integer(m[i].applied));
		json_object_set_new(o, "rev", json_integer(m[i].rev));
		json_object_set_new(o, "replayed", json_integer(
		    m[i].id == self ? replayed : m[i].replayed));
		set_told(o, txn, m[i].name, "state");
		set_told(o, txn, m[i].name, "labels");
		json_array_append_new(list, o);
	}
	store_abort(txn);
	return list;
}

/* The search permission that the peer would need for the name itself. */
static bool
may_search(const struct ctl_client *c, const struct attr *dir)
{
	if (c->privileged)
		return true;
	if (dir->uid == c->uid)
		return dir->mode & S_IXUSR;
	return dir->mode & (dir->gid == c->gid ? S_IXGRP : S_IXOTH);
}

/*
 * Walks to the last name of path, which need not exist.  0: *ret_dir and
 * *ret_name are set, *ret_node is 0 if absent.  The name points into path.
 */
static int
walk(struct ctl_client *c, struct store_txn *txn, const char *path,
    uint64_t *ret_dir, struct slice *ret_name, uint64_t *ret_node)
{
	struct tree_name entry = { .ino = TREE_ROOT };
	uint64_t dir = 0, node = TREE_ROOT;
	struct slice name = SLICE_EMPTY;
	struct attr attr;

	for (path += strspn(path, "/"); *path != '\0';
	    path += strspn(path, "/")) {
		if (!tree_node_get(txn, node, &attr) || !S_ISDIR(attr.mode))
			return -ENOENT;
		if (!may_search(c, &attr))
			return -EACCES;
		name = slice_of(path, strcspn(path, "/"));
		path += name.len;
		if (name.len > LIMIT_NAME)
			return -ENAMETOOLONG;
		dir = node;
		node = tree_name_get(txn, dir, name, &entry) ? entry.ino : 0;
	}
	*ret_dir = dir;
	*ret_name = name;
	*ret_node = node;
	return 0;
}

/* Nothing failed at the path itself; what keeps this host from changing? */
static bool
general_reason(struct ctl *ctl, struct reason *ret)
{
	struct engine_status st;

	engine_status(ctl->engine, &st);
	*ret = (struct reason){ .at_ns = clock_wall_ns() -
		(clock_now_ns() - st.since_ns) };
	if (st.disk != NULL) {
		ret->err = -EROFS;
		snprintf(ret->text, sizeof(ret->text), "%s", st.disk);
		return true;
	}
	if (st.health == ENGINE_OK)
		return false;
	ret->err = -EROFS;
	snprintf(ret->text, sizeof(ret->text), "there is no leader with a "
	    "majority: %u of %u voters are heard from; changes %s",
	    st.n_alive, st.n_voters, st.health == ENGINE_SUSPENDED ?
	    "wait" : "are refused until it is back");
	return true;
}

static int
answer_why(struct ctl_client *c, json_t *request, json_t *reply)
{
	const char *path = json_string_value(json_object_get(request, "path"));
	struct slice name;
	struct store_txn *txn;
	struct reason r;
	uint64_t dir, node;
	bool known;
	int err;

	if (path == NULL || strlen(path) >= LIMIT_PATH)
		return -EINVAL;
	txn = store_begin(engine_store(c->ctl->engine), STORE_READ);
	err = walk(c, txn, path, &dir, &name, &node);
	store_abort(txn);
	if (err != 0 && err != -ENOENT)
		return err;
	known = (err == 0 && reason_find(dir, name, node, &r)) ||
	    general_reason(c->ctl, &r);
	json_object_set_new(reply, "known", json_boolean(known));
	if (!known)
		return 0;
	json_object_set_new(reply, "error",
	    json_string(strerrorname_np(-r.err)));
	json_object_set_new(reply, "meaning", json_string(strerror(-r.err)));
	json_object_set_new(reply, "at_ns", json_integer(r.at_ns));
	set_text(reply, "text", r.text, strlen(r.text));
	return 0;
}

/* {"name":..., "value":N} sets one; without a name all are listed. */
static int
answer_fault(struct ctl_client *c, json_t *request, json_t *reply)
{
	const json_t *value = json_object_get(request, "value");
	const char *name = json_string_value(json_object_get(request, "name"));
	enum fault f;
	int err;

	if (name == NULL) {
		for (f = 0; f < N_FAULTS; f++)
			json_object_set_new(reply, fault_name(f),
			    json_integer(fault_get(f)));
		return 0;
	}
	err = fault_parse(name, &f);
	if (err != 0) {
		json_object_set_new(reply, "text",
		    json_string("there is no fault point of that name"));
		return err;
	}
	if (!json_is_integer(value))
		return -EINVAL;
	fault_set(f, json_integer_value(value));
	return 0;
}

static int
set_buf(json_t *reply, struct buf *buf)
{
	int err = buf_error(buf);

	if (err == 0)
		set_text(reply, "text", (const char *)buf->ptr, buf->len);
	buf_fini(buf);
	return err;
}

static int
answer_metrics(struct ctl_client *c, json_t *request, json_t *reply)
{
	struct buf buf;

	buf_init(&buf, LIMIT_CTL_LINE * 16);
	metric_print(&buf);
	return set_buf(reply, &buf);
}

static int
answer_dump(struct ctl_client *c, json_t *request, json_t *reply)
{
	struct buf buf;

	if (c->ctl->hooks.dump == NULL)
		return -EOPNOTSUPP;
	buf_init(&buf, LIMIT_COMMAND);
	c->ctl->hooks.dump(c->ctl->hooks.arg, &buf);
	return set_buf(reply, &buf);
}

static void
set_digest(json_t *reply, const char *key, const uint8_t digest[])
{
	char hex[2 * STORE_DIGEST_LEN + 1];

	for (int i = 0; i < STORE_DIGEST_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	json_object_set_new(reply, key, json_string(hex));
}

/* Reads the whole tree: a debug request may take its time. */
static int
answer_digest(struct ctl_client *c, json_t *request, json_t *reply)
{
	uint8_t kept[STORE_DIGEST_LEN], scanned[STORE_DIGEST_LEN];
	struct store_txn *txn;
	struct tree_meta meta = { 0 };
	char why[256] = "";
	int err;

	txn = store_begin(engine_store(c->ctl->engine), STORE_READ);
	tree_meta_get(txn, &meta);
	store_digest(txn, kept);
	store_digest_scan(txn, scanned);
	err = tree_check(txn, why, sizeof(why));
	store_abort(txn);
	json_object_set_new(reply, "rev", json_integer(meta.rev));
	set_digest(reply, "digest", kept);
	if (err == 0 && memcmp(kept, scanned, sizeof(kept)) != 0) {
		snprintf(why, sizeof(why), "the kept digest is not that of the "
		    "keys");
		err = -EUCLEAN;
	}
	json_object_set_new(reply, "check",
	    json_string(err == 0 ? "ok" : why));
	return 0;
}

static void
barrier_done(struct engine_barrier *b, int err)
{
	struct ctl_client *c = (struct ctl_client *)((char *)b -
	    offsetof(struct ctl_client, barrier));
	json_t *reply = json_pack("{s:b}", "ok", 1);

	c->barrier_pending = false;
	if (err != 0)
		set_error(reply, err, NULL);
	else
		json_object_set_new(reply, "rev",
		    json_integer(engine_rev(c->ctl->engine)));
	ctl_reply(c, reply);
}

/* Everything committed anywhere before is in this host's store afterwards. */
static int
answer_barrier(struct ctl_client *c, json_t *request, json_t *reply)
{
	int err;

	c->barrier = (struct engine_barrier){ .done = barrier_done };
	c->barrier_pending = true;
	err = engine_barrier(c->ctl->engine, &c->barrier);
	if (err != 0)
		c->barrier_pending = false;
	return err != 0 ? err : 1;
}
