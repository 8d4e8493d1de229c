/*
 * dotgov_text.c: what the files of .gov say.
 */
#include "config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/metric.h"
#include "mount/dotgov.h"
#include "tree/tree.h"

void
gov_print(struct buf *b, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	buf_raw(b, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

static void
print_version(struct mount *m, struct buf *b)
{
	gov_print(b, "%" PRIu64 "\n", engine_rev(m->conf.engine));
}

static void
print_health(struct mount *m, struct buf *b)
{
	struct engine_status st;
	struct mount_status ms;

	engine_status(m->conf.engine, &st);
	mount_status(m, &ms);
	gov_print(b, "%s\n", ms.health);
	gov_print(b, "role=%s\n", st.role);
	gov_print(b, "leader=%s\n", st.leader_name);
	gov_print(b, "quorum=%u/%u\n", st.n_alive, st.n_voters);
	gov_print(b, "term=%" PRIu64 "\n", st.term);
	gov_print(b, "rev=%" PRIu64 "\n", st.rev);
	gov_print(b, "replayed=%" PRIu64 "\n", ms.cursor);
	gov_print(b, "lag_ms=%" PRIu64 "\n", ms.lag_ns / NS_PER_MS);
	gov_print(b, "queued=%u\n", ms.n_queued);
	gov_print(b, "parked=%u\n", ms.n_parked);
	gov_print(b, "late=%" PRIu64 "\n", ms.n_late);
	gov_print(b, "since_ms=%" PRIu64 "\n",
	    (clock_now_ns() - ms.since_ns) / NS_PER_MS);
	if (st.disk != NULL)
		gov_print(b, "stale=%s\n", st.disk);
}

static void
print_leader(struct mount *m, struct buf *b)
{
	struct engine_status st;

	engine_status(m->conf.engine, &st);
	gov_print(b, "%s\n", st.leader_name);
}

static void
print_members(struct mount *m, struct buf *b)
{
	struct engine_member members[LIMIT_MEMBERS];
	unsigned n = engine_members(m->conf.engine, members, LIMIT_MEMBERS);

	for (unsigned i = 0; i < n; i++)
		gov_print(b, "%s %016" PRIx64 " %s %s %s\n", members[i].name,
		    members[i].id, members[i].address, members[i].role,
		    members[i].alive ? "alive" : "dead");
}

static void
print_metrics(struct mount *m, struct buf *b)
{
	metric_print(b);
}

/*
 * What is known here of a session's host: the leader is told of each renewal,
 * the others hear of it now and then, this one knows its own.
 */
static const char *
state_of(struct mount *m, const struct tree_session *s, uint64_t *ret_at)
{
	struct engine_member members[LIMIT_MEMBERS];
	unsigned n = engine_members(m->conf.engine, members, LIMIT_MEMBERS);

	*ret_at = 0;
	if (s->host == engine_self(m->conf.engine)) {
		if (s->id != session_id(m->conf.session))
			return "lost";
		*ret_at = session_renewed_ns(m->conf.session);
		return session_lost(m->conf.session) ? "lost" : "alive";
	}
	*ret_at = engine_renewed_ns(m->conf.engine, s->id);
	for (unsigned i = 0; i < n; i++) {
		if (members[i].id != s->host)
			continue;
		if (*ret_at == 0)
			*ret_at = members[i].heard_ns;
		return members[i].alive ? "alive" : "silent";
	}
	return "silent";
}

static void
print_sessions(struct mount *m, struct buf *b)
{
	struct store_txn *t = mount_view(m);
	struct tree_session s = {0};
	uint64_t now = clock_now_ns(), at;
	const char *state;

	while (tree_session_next(t, s.id, &s)) {
		state = state_of(m, &s, &at);
		gov_print(b, "%016" PRIx64 " host=%s state=%s", s.id, s.name,
		    state);
		if (at != 0)
			gov_print(b, " age_ms=%" PRIu64,
			    (now - at) / NS_PER_MS);
		gov_print(b, " ttl_ms=%" PRIu64 " member=%016" PRIx64 "\n",
		    s.ttl_ms, s.host);
	}
	store_abort(t);
}

void
gov_text(struct mount *m, enum gov_fixed i, struct buf *b)
{
	static void (*const prints[N_GOV_FIXED])(struct mount *,
	    struct buf *) = {
	    [GOV_VERSION] = print_version,
	    [GOV_HEALTH] = print_health,
	    [GOV_LEADER] = print_leader,
	    [GOV_MEMBERS] = print_members,
	    [GOV_METRICS] = print_metrics,
	    [GOV_SESSIONS] = print_sessions,
	};

	if (prints[i] != NULL)
		prints[i](m, b);
}
