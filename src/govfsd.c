/*
 * govfsd.c: the daemon, which wires the rooms and runs the loop.
 *
 * Start: configuration, identity, engine (log and store), session, control
 * socket, mount: nothing can fail that would leave a dead one.  Stop, on SIGTERM
 * and SIGINT and when the file system is unmounted: mount, control socket,
 * session, engine; leadership is handed over on the way.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/conf.h"
#include "base/identity.h"
#include "base/log.h"
#include "ctl/ctl.h"
#include "engine/engine_group.h"
#include "mount/mount.h"
#include "replay/protocol.h"
#include "session/session.h"

struct options {
	const char *conf_path; /* NULL: the default */
	const char *state;     /* NULL: the configuration's */
	const char *mountpoint; /* NULL: the configuration's */
	bool strict;
};

struct daemon {
	uv_loop_t loop;
	struct conf conf;
	char state[PATH_MAX];	   /* absolute */
	char mountpoint[PATH_MAX]; /* absolute */
	struct engine *engine;
	struct session *session;
	struct mount *mount;
	struct ctl *ctl;
	uv_signal_t term, intr;
	bool stopping;
	int status; /* what main returns */
};

static void stop(struct daemon *);

static void
notify(const char *state)
{
#ifdef HAVE_LIBSYSTEMD
	sd_notify(0, state);
#endif
}

/* Who stands for a file is watched by a descriptor, and each peer needs some. */
static void
take_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int
usage(FILE *to)
{
	fputs("usage: govfsd [-c FILE] [--state DIR] [-o strict] "
	      "[MOUNTPOINT]\n", to);
	return to == stdout ? 0 : 2;
}

static int
parse_options(int argc, char **argv, struct options *ret)
{
	static const struct option longs[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"state", required_argument, NULL, 's'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:o:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			ret->conf_path = optarg;
			break;
		case 's':
			ret->state = optarg;
			break;
		case 'o':
			if (strcmp(optarg, "strict") != 0) {
				fprintf(stderr, "govfsd: -o %s: there is no "
					"such option\n", optarg);
				return 2;
			}
			ret->strict = true;
			break;
		case 'h':
			exit(usage(stdout));
		case 'V':
			puts("govfsd " PACKAGE_VERSION);
			exit(0);
		default:
			return usage(stderr);
		}
	}
	if (argc - optind > 1)
		return usage(stderr);
	ret->mountpoint = argv[optind]; /* NULL at the end */
	return 0;
}

/* Paths are fixed at the start: the daemon never looks at its own mount. */
static int
resolve(const char *what, const char *path, char ret[PATH_MAX])
{
	if (realpath(path, ret) != NULL)
		return 0;
	log_error("govfsd: %s %s: %s", what, path, strerror(errno));
	return -errno;
}

static int
configure(struct daemon *d, const struct options *opt)
{
	char why[512];
	const char *mountpoint;
	int err = conf_load(opt->conf_path, &d->conf, why, sizeof why);

	if (err != 0) {
		log_error("govfsd: %s", why);
		return err;
	}
	log_set_level(d->conf.log);
	err = resolve("state directory",
	    opt->state != NULL ? opt->state : d->conf.state, d->state);
	if (err != 0) {
		log_error("govfsd: `gov init` makes it");
		return err;
	}
	mountpoint = opt->mountpoint != NULL ? opt->mountpoint
					     : d->conf.mountpoint;
	/* A dead daemon's mount answers no realpath(3). */
	if (mountpoint[0] == '/') {
		err = mount_clear_dead(mountpoint);
		if (err == -EBUSY)
			log_error("govfsd: %s: another govfsd is mounted "
				  "there", mountpoint);
		if (err != 0)
			return err;
	}
	return resolve("mountpoint", mountpoint, d->mountpoint);
}

static int
open_engine(struct daemon *d)
{
	struct conf *c = &d->conf;
	struct group_conf gc = {
	    .loop = &d->loop,
	    .dir = d->state,
	    .listen = c->listen,
	    .election_ms = c->election_ms,
	    .heartbeat_ms = c->heartbeat_ms,
	    .write_timeout_ms = c->write_timeout_ms,
	};
	struct identity id;
	int err = identity_load(d->state, &id);

	if (err != 0) {
		log_error("govfsd: %s: %s; `gov init --state %s` makes this "
			  "host's identity", d->state, strerror(-err),
		    d->state);
		return err;
	}
	if (c->has_cluster && memcmp(c->cluster, id.cluster, 16) != 0) {
		log_error("govfsd: the configuration names another cluster "
			  "than %s/identity", d->state);
		return -EINVAL;
	}
	memcpy(gc.cluster, id.cluster, sizeof gc.cluster);
	gc.self = id.member;
	if (c->n_members > 0 && conf_member(c, id.member) == NULL) {
		log_error("govfsd: this host's id %016" PRIx64 " is not in "
			  "[members] of the configuration", id.member);
		return -EINVAL;
	}
	for (unsigned i = 0; i < c->n_members; i++) {
		struct group_member_conf *m = &gc.members[gc.n_members++];

		m->id = c->members[i].id;
		snprintf(m->name, sizeof m->name, "%s", c->members[i].name);
		snprintf(m->address, sizeof m->address, "%s",
		    c->members[i].address);
	}
	if (c->n_members == 0) {
		gc.n_members = 1;
		gc.members[0].id = id.member;
		snprintf(gc.members[0].name, sizeof gc.members[0].name, "%s",
		    c->name);
		snprintf(gc.members[0].address, sizeof gc.members[0].address,
		    "%s", c->listen);
	}
	return engine_group_open(&gc, &d->engine);
}

static void
on_gone(void *arg)
{
	stop(arg);
}

static void
local_status(void *arg, struct ctl_local *ret)
{
	struct daemon *d = arg;
	struct mount_status st;

	mount_status(d->mount, &st);
	ret->mountpoint = d->mountpoint;
	ret->replayed = st.cursor;
	ret->lag_ns = st.lag_ns;
	ret->health = st.health;
	ret->since_ns = st.since_ns;
}

/* What stands between the kernel's view and the committed tree. */
static void
dump(void *arg, struct buf *ret)
{
	struct daemon *d = arg;
	struct mount_status st;
	char text[256];
	int len;

	mount_status(d->mount, &st);
	len = snprintf(text, sizeof text, "rev %" PRIu64 "\ncursor %" PRIu64
	    "\nqueued %u\nparked %u\nlate %" PRIu64 "\nhandles %u\n"
	    "differences %u\n", engine_rev(d->engine), st.cursor,
	    st.n_queued, st.n_parked, st.n_late, st.n_handles,
	    st.n_differences);
	buf_raw(ret, text, (size_t)len);
}

/* The rest of what nodes/ says of a host the cluster knows itself.  The role is
 * the member's in the group, whoever leads: an election makes no commit. */
static int
open_session(struct daemon *d)
{
	const struct conf_member *m = conf_member(&d->conf,
	    engine_self(d->engine));
	char address[CONF_ADDRESS_BYTES + 1];
	const struct session_fact facts[] = {
	    {"address", address},
	    {"role", "voter\n"},
	    {"version", PACKAGE_VERSION "\n"},
	    {"labels", d->conf.labels},
	};
	struct session_conf sc = {.loop = &d->loop,
	    .engine = d->engine,
	    .max_file = d->conf.max_file,
	    .ttl_ms = d->conf.session_ttl_ms,
	    .facts = facts,
	    .n_facts = sizeof facts / sizeof facts[0]};

	snprintf(address, sizeof address, "%s\n",
	    m != NULL ? m->address : d->conf.listen);
	return session_open(&sc, &d->session);
}

static int
open_faces(struct daemon *d, const struct options *opt)
{
	struct mount_conf mc = {
	    .loop = &d->loop,
	    .engine = d->engine,
	    .mountpoint = d->mountpoint,
	    .state_dir = d->state,
	    .strict = opt->strict,
	    .gone = on_gone,
	    .arg = d,
	};
	struct ctl_hooks hooks = {.arg = d, .local = local_status,
	    .dump = dump};
	char path[PATH_MAX + 16];
	int err = open_session(d);

	if (err != 0)
		return err;
	/* Asked once the loop runs: there is a mount to tell of then. */
	snprintf(path, sizeof path, "%s/control", d->state);
	err = ctl_open(&d->loop, path, d->engine, &hooks, &d->ctl);
	if (err != 0) {
		log_error("govfsd: %s: %s", path, strerror(-err));
		return err;
	}
	mc.session = d->session;
	err = mount_open(&mc, &d->mount);
	if (err != 0)
		log_error("govfsd: cannot mount %s: %s", d->mountpoint,
		    strerror(-err));
	return err;
}

static void
on_engine_stopped(void *arg)
{
	struct daemon *d = arg;

	session_close(d->session);
	uv_close((uv_handle_t *)&d->term, NULL);
	uv_close((uv_handle_t *)&d->intr, NULL);
}

static void
on_session_stopped(void *arg)
{
	struct daemon *d = arg;

	engine_stop(d->engine, on_engine_stopped, d);
}

static void
on_ctl_stopped(void *arg)
{
	struct daemon *d = arg;

	session_stop(d->session, on_session_stopped, d);
}

static void
on_mount_stopped(void *arg)
{
	struct daemon *d = arg;

	ctl_stop(d->ctl, on_ctl_stopped, d);
}

static void
stop(struct daemon *d)
{
	if (d->stopping)
		return;
	d->stopping = true;
	notify("STOPPING=1");
	mount_stop(d->mount, on_mount_stopped, d);
}

static void
on_signal(uv_signal_t *handle, int number)
{
	stop(handle->data);
}

int
main(int argc, char **argv)
{
	static struct daemon d;
	struct options opt = {0};
	int err;

	if (argc > 1 && strcmp(argv[1], "--replay-helper") == 0)
		return replay_child();
	err = parse_options(argc, argv, &opt);
	if (err != 0)
		return err;
	if (geteuid() != 0) {
		log_error("govfsd: mounting for all users needs root");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	take_descriptors();
	uv_loop_init(&d.loop);
	uv_signal_init(&d.loop, &d.term);
	uv_signal_init(&d.loop, &d.intr);
	d.term.data = d.intr.data = &d;
	if (configure(&d, &opt) != 0 || open_engine(&d) != 0 ||
	    open_faces(&d, &opt) != 0)
		return 1;
	uv_signal_start(&d.term, on_signal, SIGTERM);
	uv_signal_start(&d.intr, on_signal, SIGINT);
	log_info("govfsd: %s is mounted", d.mountpoint);
	notify("READY=1");
	uv_run(&d.loop, UV_RUN_DEFAULT);
	mount_free(d.mount);
	engine_free(d.engine);
	return d.status;
}
