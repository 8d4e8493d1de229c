/*
 * guard_member.c: configurations, the CONF guard and the only voter.
 *
 * libraft takes the newest configuration of its log for committed after a
 * restart, and goes back from one only to an entry that is still in its log.
 * So the guard keeps a copy of the last committed one and goes back itself,
 * before the core meets the conflicting entry.
 */
#include "config.h"

#include "group/guard_internal.h"

#include <endian.h>
#include <string.h>

#include "group/compat.h"

static int conf_copy(const struct raft_configuration *,
    struct raft_configuration *ret);
static int conf_decode(const struct raft_buffer *,
    struct raft_configuration *ret);
static void conf_keep(struct guard *, struct raft_configuration * /* takes */,
    raft_index);

/*
 * Finds the last configuration known to be committed.  At most one change is
 * uncommitted at a time, so all but the newest are.
 */
void
guard_member_load(struct guard *g, const struct raft_snapshot *snapshot,
    raft_index start_index, const struct raft_entry *entries, size_t n)
{
	struct raft_configuration conf;
	raft_index covered = 1; /* entry 1 is the same everywhere */
	const struct raft_entry *known = NULL;
	raft_index known_index = 0;
	size_t i;

	if (g->conf.commit > covered)
		covered = g->conf.commit;
	if (snapshot != NULL) {
		if (snapshot->index > covered)
			covered = snapshot->index;
		if (conf_copy(&snapshot->configuration, &conf) != 0)
			guard_fail(g, "out of memory");
		else
			conf_keep(g, &conf, snapshot->configuration_index);
	}
	g->newest_conf_index = 0;
	for (i = 0; i < n; i++) {
		if (entries[i].type != RAFT_CHANGE)
			continue;
		if (g->newest_conf_index != 0) {
			/* One that has a successor. */
			known = &entries[g->newest_conf_index - start_index];
			known_index = g->newest_conf_index;
		}
		g->newest_conf_index = start_index + i;
	}
	if (g->newest_conf_index != 0 && g->newest_conf_index <= covered) {
		known = &entries[g->newest_conf_index - start_index];
		known_index = g->newest_conf_index;
	}
	if (known == NULL)
		return;
	if (conf_decode(&known->buf, &conf) != 0)
		guard_fail(g, "a configuration in the log is malformed");
	else
		conf_keep(g, &conf, known_index);
}

/* The core has restored its log and believes in the newest configuration. */
void
guard_member_start(struct guard *g)
{
	struct raft *r = g->raft;

	if (!guard_on(g, GUARD_CONF) || g->newest_conf_index == 0 ||
	    g->newest_conf_index <= g->committed_conf_index ||
	    g->committed_conf.n == 0)
		return;
	r->configuration_uncommitted_index = g->newest_conf_index;
	*compat_conf_index(r) = g->committed_conf_index;
}

void
guard_member_save(struct guard *g)
{
	struct raft *r = g->raft;
	struct raft_configuration conf;

	if (r->configuration_uncommitted_index != 0 ||
	    r->configuration.n == 0 ||
	    *compat_conf_index(r) == g->committed_conf_index)
		return;
	if (conf_copy(&r->configuration, &conf) != 0) {
		guard_fail(g, "out of memory");
		return;
	}
	conf_keep(g, &conf, *compat_conf_index(r));
}

void
guard_member_conflict(struct guard *g, raft_index index)
{
	struct raft *r = g->raft;
	struct raft_configuration conf;

	if (!guard_on(g, GUARD_CONF) ||
	    r->configuration_uncommitted_index < index ||
	    g->committed_conf.n == 0)
		return;
	if (conf_copy(&g->committed_conf, &conf) != 0) {
		guard_fail(g, "out of memory");
		return;
	}
	raft_configuration_close(&r->configuration);
	r->configuration = conf;
	r->configuration_uncommitted_index = 0;
	*compat_conf_index(r) = g->committed_conf_index;
	g->stats.rolled_back++;
}

int
guard_member_snapshot(const struct guard *g, const struct raft_snapshot *s,
    struct raft_snapshot *ret)
{
	const struct raft *r = g->raft;
	const struct raft_configuration *conf = &s->configuration;

	*ret = *s;
	if (guard_on(g, GUARD_CONF) && g->committed_conf.n > 0 &&
	    r->configuration_uncommitted_index != 0) {
		conf = &g->committed_conf;
		ret->configuration_index = g->committed_conf_index;
	}
	return conf_copy(conf, &ret->configuration);
}

bool
guard_member_valid(const struct raft_buffer *buf)
{
	struct raft_configuration conf;

	if (conf_decode(buf, &conf) != 0)
		return false;
	raft_configuration_close(&conf);
	return true;
}

bool
guard_member_sole_voter(const struct guard *g)
{
	const struct raft *r = g->raft;
	unsigned i, n_voters = 0;
	bool self = false;

	for (i = 0; i < r->configuration.n; i++) {
		if (r->configuration.servers[i].role != RAFT_VOTER)
			continue;
		n_voters++;
		self = self || r->configuration.servers[i].id == r->id;
	}
	return self && n_voters == 1;
}

static void
conf_keep(struct guard *g, struct raft_configuration *conf, raft_index index)
{
	raft_configuration_close(&g->committed_conf);
	g->committed_conf = *conf;
	g->committed_conf_index = index;
}

static int
conf_copy(const struct raft_configuration *conf, struct raft_configuration *ret)
{
	const struct raft_server *s;
	unsigned i;
	int rv;

	raft_configuration_init(ret);
	for (i = 0; i < conf->n; i++) {
		s = &conf->servers[i];
		rv = raft_configuration_add(ret, s->id, s->address, s->role);
		if (rv != 0) {
			raft_configuration_close(ret);
			return rv;
		}
	}
	return 0;
}

/* libraft's layout: format 1, u64 count, then {u64 id, string, u8 role}. */
static int
conf_decode(const struct raft_buffer *buf, struct raft_configuration *ret)
{
	const char *at = buf->base, *end = at + buf->len, *nul;
	uint64_t id, n;
	int role;

	raft_configuration_init(ret);
	if (buf->len < 1 + sizeof(n) || at[0] != 1)
		return RAFT_MALFORMED;
	memcpy(&n, at + 1, sizeof(n));
	n = le64toh(n);
	at += 1 + sizeof(n);
	for (; n > 0; n--) {
		if ((size_t)(end - at) < sizeof(id))
			goto malformed;
		memcpy(&id, at, sizeof(id));
		id = le64toh(id);
		at += sizeof(id);
		nul = memchr(at, '\0', (size_t)(end - at));
		if (nul == NULL || nul + 1 == end || id == 0)
			goto malformed;
		role = (unsigned char)nul[1];
		if (raft_configuration_add(ret, id, at, role) != 0)
			goto malformed;
		at = nul + 2;
	}
	if (ret->n > 0)
		return 0;
malformed:
	raft_configuration_close(ret);
	return RAFT_MALFORMED;
}
