/*
 * sim.c: 3 to 7 hosts, guards, the machine and a seed.
 *
 * sim.t [first_seed [count]]
 *
 * Messages are lost, late, out of order and doubled; links are cut one way or
 * both; hosts pause, their clocks differ, their disks fail (which ends them);
 * some or all of them crash, with part of their writes, and start again;
 * leadership is handed over, voters become standbys and back; snapshots are
 * taken and installed all the time.  Then everything heals, and all hosts must
 * come to one state, with every acknowledged command in it exactly once.
 *
 * A seed that failed once is kept in tests/sim/seeds.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "group/compat.h"
#include "sim/sim.h"
#include "tap.h"

#define SEEDS_IN_CHECK 50
#define PHASES 20
#define SETTLE_MS 60000
#define ELECTION_MS 400

struct late {
	struct late *next;
	int64_t due_ms;
	unsigned from, to;
	struct raft_message msg; /* owned */
};

static struct sim *the_sim; /* one per process */

static void phase(struct sim *);

uint64_t
sim_random(struct sim *sim, uint64_t below)
{
	uint64_t z;

	assert(below > 0);
	z = sim->random += 0x9e3779b97f4a7c15; /* splitmix64 */
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (z ^ (z >> 31)) % below;
}

int64_t
sim_now(const struct sim *sim)
{
	return (int64_t)sim->c->f.time;
}

void
sim_broken(struct sim *sim, const char *fmt, ...)
{
	va_list ap;

	if (sim->broken[0] != '\0')
		return;
	va_start(ap, fmt);
	vsnprintf(sim->broken, sizeof(sim->broken), fmt, ap);
	va_end(ap);
}

/* ---- the network ---- */

static void
late_copy(struct sim *sim, unsigned from, unsigned to,
    const struct raft_message *msg)
{
	const struct raft_append_entries *args = &msg->append_entries;
	struct raft_append_entries *copy;
	struct late *late;
	size_t len = 8;
	uint8_t *batch;
	unsigned i;

	if (msg->type == RAFT_IO_INSTALL_SNAPSHOT)
		return;
	late = calloc(1, sizeof(*late));
	assert(late != NULL);
	late->from = from;
	late->to = to;
	late->msg = *msg;
	late->due_ms = sim_now(sim) + (int64_t)sim_random(sim, 3000);
	late->next = sim->late;
	sim->late = late;
	if (msg->type != RAFT_IO_APPEND_ENTRIES || args->n_entries == 0)
		return;
	copy = &late->msg.append_entries;
	copy->entries = raft_calloc(args->n_entries, sizeof(*copy->entries));
	for (i = 0; i < args->n_entries; i++)
		len += args->entries[i].buf.len;
	batch = raft_malloc(len);
	for (i = 0, len = 0; i < args->n_entries; i++) {
		copy->entries[i] = args->entries[i];
		copy->entries[i].buf.base = batch + len;
		copy->entries[i].batch = batch;
		memcpy(batch + len, args->entries[i].buf.base,
		    args->entries[i].buf.len);
		len += args->entries[i].buf.len;
	}
}

static void
late_deliver(struct sim *sim, bool all)
{
	struct late **at = &sim->late, *late;

	while ((late = *at) != NULL) {
		if (!all && late->due_ms > sim_now(sim)) {
			at = &late->next;
			continue;
		}
		*at = late->next;
		if (all && late->msg.type == RAFT_IO_APPEND_ENTRIES &&
		    late->msg.append_entries.n_entries > 0) {
			raft_free(late->msg.append_entries.entries[0].batch);
			raft_free(late->msg.append_entries.entries);
		} else if (!all) {
			cluster_inject(sim->c, late->from, late->to,
			    &late->msg);
		}
		free(late);
		at = &sim->late; /* delivery may have made more */
	}
}

static bool
filter(struct cluster *c, unsigned from, unsigned to,
    const struct raft_message *msg)
{
	struct sim *sim = the_sim;

	(void)c;
	if (sim->again > 0 && sim_random(sim, 1000) < sim->again)
		late_copy(sim, from, to, msg);
	return sim->drop == 0 || sim_random(sim, 1000) >= sim->drop;
}

/* ---- faults ---- */

static void
heal(struct sim *sim)
{
	struct cluster *c = sim->c;
	unsigned i, j;

	for (i = 0; i < c->n; i++) {
		if (c->hosts[i].dead)
			continue;
		c->f.servers[i].alive = true;
		sim->hosts[i].paused = false;
		for (j = 0; j < c->n; j++)
			if (j != i && !c->hosts[j].dead)
				raft_fixture_desaturate(&c->f, i, j);
	}
	sim->drop = sim->again = 0;
}

static void
partition(struct sim *sim)
{
	struct cluster *c = sim->c;
	unsigned i, j, side[CLUSTER_MAX];

	for (i = 0; i < c->n; i++)
		side[i] = (unsigned)sim_random(sim, 2);
	for (i = 0; i < c->n; i++)
		for (j = 0; j < c->n; j++)
			if (side[i] != side[j])
				raft_fixture_saturate(&c->f, i, j);
}

static void
pause_host(struct sim *sim, unsigned i)
{
	cluster_isolate(sim->c, i);
	sim->c->f.servers[i].alive = false;
	sim->hosts[i].paused = true;
}

static void
transfer_done(struct raft_transfer *req)
{
	free(req);
}

static void
transfer(struct sim *sim)
{
	struct cluster *c = sim->c;
	unsigned leader = cluster_leader(c);
	struct raft_transfer *req;

	if (leader == c->n)
		return;
	req = calloc(1, sizeof(*req));
	if (raft_transfer(c->hosts[leader].raft, req,
	    1 + sim_random(sim, c->n), transfer_done) != 0)
		free(req);
}

static void
change_done(struct raft_change *req, int status)
{
	(void)status;
	free(req);
}

/* A voter becomes a standby or a standby a voter; three voters stay. */
static void
assign(struct sim *sim)
{
	struct cluster *c = sim->c;
	unsigned leader = cluster_leader(c), i, n_voters = 0;
	const struct raft_configuration *conf;
	struct raft_change *req;
	int role;

	if (leader == c->n || !guard_leader_ready(&c->hosts[leader].guard))
		return;
	conf = &c->hosts[leader].raft->configuration;
	for (i = 0; i < conf->n; i++)
		n_voters += conf->servers[i].role == RAFT_VOTER;
	i = (unsigned)sim_random(sim, conf->n);
	role = conf->servers[i].role == RAFT_VOTER ? RAFT_STANDBY : RAFT_VOTER;
	if (role == RAFT_STANDBY && n_voters <= 3)
		return;
	req = calloc(1, sizeof(*req));
	if (raft_assign(c->hosts[leader].raft, req, conf->servers[i].id, role,
	    change_done) != 0)
		free(req);
}

/* Its next start has what the disk kept of the writes under way. */
static void
crash(struct sim *sim, unsigned i)
{
	struct host *h = &sim->c->hosts[i];
	unsigned n_kept = (unsigned)sim_random(sim,
	    disk_pending(&h->disk) + 1);

	sim->hosts[i].paused = false;
	sim->n_crashes += cluster_restart(sim->c, i, n_kept,
	    sim_random(sim, 2) == 0);
}

static void
crash_some(struct sim *sim)
{
	bool all = sim_random(sim, 4) == 0;
	unsigned i;

	for (i = 0; i < sim->c->n; i++)
		if (all || sim_random(sim, 3) == 0)
			crash(sim, i);
}

static void
break_disk(struct sim *sim)
{
	struct cluster *c = sim->c;
	unsigned i = (unsigned)sim_random(sim, c->n);

	if (sim_random(sim, 2) == 0)
		c->hosts[i].append_status = RAFT_NOSPACE;
	else
		raft_fixture_io_fault(&c->f, i, (int)sim_random(sim, 20), 1);
}

static void
phase(struct sim *sim)
{
	struct cluster *c = sim->c;
	unsigned i;

	for (i = 0; i < c->n; i++)
		if (c->hosts[i].dead && sim_random(sim, 2) == 0)
			crash(sim, i);
	heal(sim);
	for (i = 0; i < c->n; i++) {
		raft_fixture_set_randomized_election_timeout(&c->f, i,
		    ELECTION_MS + (unsigned)sim_random(sim, ELECTION_MS));
		raft_fixture_set_network_latency(&c->f, i,
		    1 + (unsigned)sim_random(sim, sim_random(sim, 5) == 0 ?
		    900 : 40));
		raft_fixture_set_disk_latency(&c->f, i,
		    1 + (unsigned)sim_random(sim, sim_random(sim, 5) == 0 ?
		    1500 : 30));
	}
	if (sim_random(sim, 2) == 0)
		sim->drop = (unsigned)sim_random(sim, 300);
	if (sim_random(sim, 2) == 0)
		sim->again = (unsigned)sim_random(sim, 200);
	if (sim_random(sim, 3) == 0)
		crash_some(sim);
	switch (sim_random(sim, 10)) {
	case 0:
	case 1:
	case 2:
		partition(sim);
		break;
	case 3:
		cluster_isolate(c, (unsigned)sim_random(sim, c->n));
		break;
	case 4:
		if (cluster_leader(c) < c->n)
			cluster_isolate(c, cluster_leader(c));
		break;
	case 5: /* one way */
		i = (unsigned)sim_random(sim, c->n);
		raft_fixture_saturate(&c->f, i,
		    (i + 1 + (unsigned)sim_random(sim, c->n - 1)) % c->n);
		break;
	case 6:
		pause_host(sim, (unsigned)sim_random(sim, c->n));
		break;
	case 7:
		transfer(sim);
		break;
	case 8:
		assign(sim);
		break;
	default:
		break_disk(sim);
	}
}

/* ---- one seed ---- */

static void
made(struct host *h)
{
	sim_fsm_init(the_sim, h);
}

static void
configure(struct host *h)
{
	struct sim *sim = the_sim;

	raft_set_pre_vote(h->raft, sim->seed % 4 != 0);
	raft_set_snapshot_threshold(h->raft,
	    10 + (unsigned)sim_random(sim, 50));
	raft_set_snapshot_trailing(h->raft, 1 + (unsigned)sim_random(sim, 20));
	raft_set_election_timeout(h->raft, ELECTION_MS);
	raft_set_heartbeat_timeout(h->raft, ELECTION_MS / 8);
	raft_set_install_snapshot_timeout(h->raft, 2000);
}

static void
restarted(struct host *h)
{
	configure(h);
	sim_fsm_reset(the_sim, h->i);
}

static void
turn(struct sim *sim, bool make_new)
{
	unsigned i;

	cluster_step(sim->c);
	late_deliver(sim, false);
	for (i = 0; i < sim->c->n; i++)
		guard_turn(&sim->c->hosts[i].guard);
	sim_clients_turn(sim, make_new);
}

static bool
settled(const struct sim *sim)
{
	const struct cluster *c = sim->c;
	unsigned leader = cluster_leader(sim->c), i;
	const struct raft *r;

	if (leader == c->n || !sim_clients_idle(sim))
		return false;
	r = c->hosts[leader].raft;
	if (!guard_leader_ready(&c->hosts[leader].guard) ||
	    r->commit_index != c->hosts[leader].guard.last_index)
		return false;
	for (i = 0; i < c->n; i++)
		if (c->hosts[i].dead ||
		    c->hosts[i].raft->last_applied != r->commit_index)
			return false;
	return true;
}

static void
settle(struct sim *sim)
{
	struct cluster *c = sim->c;
	bool again[CLUSTER_MAX] = {false};
	int64_t end;
	unsigned i;

	for (i = 0; i < c->n; i++) {
		raft_fixture_set_network_latency(&c->f, i, 10);
		raft_fixture_set_disk_latency(&c->f, i, 5);
		raft_fixture_io_fault(&c->f, i, -1, 0);
		c->hosts[i].append_status = 0;
	}
	heal(sim);
	end = sim_now(sim) + SETTLE_MS;
	while (!settled(sim) && sim_now(sim) < end && sim->broken[0] == '\0') {
		turn(sim, false);
		/* The fixture's timers are random only if we are. */
		i = (unsigned)sim_random(sim, c->n);
		raft_fixture_set_randomized_election_timeout(&c->f, i,
		    ELECTION_MS + (unsigned)sim_random(sim, ELECTION_MS));
		/* Once more for a write that had failed before the healing. */
		for (i = 0; i < c->n; i++)
			if (c->hosts[i].dead && !again[i]) {
				again[i] = true;
				crash(sim, i);
				heal(sim);
			}
	}
	if (!settled(sim))
		sim_broken(sim, "not settled %d s after the last fault",
		    SETTLE_MS / 1000);
}

static void
verify(struct sim *sim)
{
	struct cluster *c = sim->c;
	unsigned i;

	for (i = 0; i < c->n; i++) {
		sim_fsm_check(sim, &c->hosts[i]);
		sim_clients_check(sim, sim->hosts[i].store);
	}
}

static void
start(struct sim *sim, unsigned off)
{
	unsigned n = 3 + (unsigned)sim_random(sim, 5), n_voters = n, i;

	if (n > 3 && sim_random(sim, 3) == 0)
		n_voters = n - 1;
	sim->c = cluster_new(n, n_voters, off, made);
	sim->c->filter = filter;
	sim->c->restarted = restarted;
	for (i = 0; i < n; i++) {
		configure(&sim->c->hosts[i]);
		sim->skew_ns[i] = (int64_t)sim_random(sim, 2000000000);
	}
	sim_clients_init(sim);
	cluster_start(sim->c);
	phase(sim);
}

static bool
run(uint64_t seed, unsigned off)
{
	struct sim *sim = the_sim = calloc(1, sizeof(*sim));
	int64_t end;
	unsigned i, j;
	bool good;

	sim->seed = sim->random = seed;
	start(sim, off);
	end = sim_now(sim) + 2000;
	while (sim_now(sim) < end)
		turn(sim, true);
	for (i = 0; i < PHASES && sim->broken[0] == '\0'; i++) {
		phase(sim);
		end = sim_now(sim) + 50 + (int64_t)sim_random(sim, 2000);
		while (sim_now(sim) < end && sim->broken[0] == '\0')
			turn(sim, true);
	}
	if (sim->broken[0] == '\0')
		settle(sim);
	if (sim->broken[0] == '\0')
		verify(sim);
	good = sim->broken[0] == '\0';
	if (!good)
		diag("seed %llu: %s", (unsigned long long)seed, sim->broken);
	if (getenv("SIM_VERBOSE") != NULL) {
		diag("seed %llu: n %u, %lld ms, index %llu, answered %u, "
		    "retried %u, restored %u, crashes %u",
		    (unsigned long long)seed, sim->c->n,
		    (long long)sim_now(sim), (unsigned long long)
		    raft_last_applied(sim->c->hosts[0].raft), sim->n_answered,
		    sim->n_retried, sim->n_restored, sim->n_crashes);
		for (j = 0; j < sim->c->n; j++) {
			const struct raft *r = sim->c->hosts[j].raft;

			diag("  host %u: %s state %u term %llu commit %llu "
			    "stored %llu last %llu applied %llu conf %u%s%s",
			    j, sim->c->hosts[j].dead ? "dead" : "alive",
			    r->state, r->current_term, r->commit_index,
			    r->last_stored,
			    sim->c->hosts[j].guard.last_index, r->last_applied,
			    r->configuration.n,
			    sim->c->hosts[j].why != NULL ? " " : "",
			    sim->c->hosts[j].why != NULL ?
			    sim->c->hosts[j].why : "");
		}
	}
	late_deliver(sim, true);
	cluster_free(sim->c);
	for (i = 0; i < CLUSTER_MAX; i++)
		sim_fsm_fini(sim, i);
	sim_clients_fini(sim);
	free(sim->history);
	free(sim);
	return good;
}

/* In a child: a crash, or the fixture's own check, is that seed's failure. */
static bool
survives(uint64_t seed, unsigned off)
{
	struct rlimit no_core = {0, 0}, minute = {60, 60}; /* of CPU */
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		setrlimit(RLIMIT_CPU, &minute);
		exit(run(seed, off) ? 0 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		bail_out("fork failed");
	if (WIFSIGNALED(status))
		diag("seed %llu: died of signal %d", (unsigned long long)seed,
		    WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static unsigned
range(uint64_t first, uint64_t n, unsigned off)
{
	unsigned failed = 0;
	uint64_t seed;

	for (seed = first; seed < first + n; seed++) {
		if (survives(seed, off))
			continue;
		failed++;
		diag("failed: sim.t %llu 1", (unsigned long long)seed);
	}
	return failed;
}

/* All at once: a child that ends would move the file's offset. */
static unsigned
kept_seeds(uint64_t *ret, unsigned max)
{
	const char *srcdir = getenv("srcdir");
	char path[512], line[80];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/sim/seeds",
	    srcdir == NULL ? "." : srcdir);
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	while (n < max && fgets(line, sizeof(line), f) != NULL)
		if (line[0] != '#' && line[0] != '\n')
			ret[n++] = strtoull(line, NULL, 0);
	fclose(f);
	return n;
}

int
main(int argc, char **argv)
{
	const char *off = getenv("SIM_OFF");
	uint64_t first = 1, n = SEEDS_IN_CHECK, kept[256];
	unsigned mask = off == NULL ? 0 : (unsigned)strtoul(off, NULL, 0);
	unsigned i, n_kept;

	if (argc > 1)
		first = strtoull(argv[1], NULL, 0);
	if (argc > 1)
		n = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	is_int(range(first, n, mask), 0, "O1 O2 O5: seeds %llu to %llu",
	    (unsigned long long)first, (unsigned long long)(first + n - 1));
	if (argc > 1)
		return done_testing();
	n_kept = kept_seeds(kept, 256);
	if (n_kept == 0)
		skip(1, "no kept seeds: srcdir is not set");
	for (i = 0; i < n_kept; i++)
		ok(survives(kept[i], mask), "seed %llu, which failed once",
		    (unsigned long long)kept[i]);
	return done_testing();
}
