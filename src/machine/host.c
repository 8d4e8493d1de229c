/*
 * host.c: nodes/<host>/, what the cluster knows of each host, as files.
 *
 * Written by the commands that make it so, in their own commit: the begin of a
 * session tells the facts of its host, whatever happens to it the state.  The
 * quotas don't count here: a full tree must not hide that a host is lost.  What
 * an operator has put in the way is left alone, and hinders no session.
 */
#include "config.h"

#include <sys/stat.h>

#include <inttypes.h>
#include <stdio.h>

#include "base/hex.h"
#include "machine/step.h"

/* Roomier than any time: the compiler knows no year's bound. */
enum { ID_DIGITS = 16, TIME_TEXT = 72 };

/* A host's directory, and the numbers for what is made in it. */
struct place {
	struct step *step;
	struct attr dir;
	uint64_t next_ino;
};

static bool facts_valid(struct slice facts);
static const char *obstacle(struct step *, const struct machine_session *);
static const char *no_file(struct step *, uint64_t dir, struct slice name);
static bool find(struct step *, uint64_t dir, struct slice name,
    struct attr *ret);
static bool find_place(struct step *, struct slice name, struct attr *ret);
static uint64_t owner_of(struct step *, uint64_t dir);
static void enter(struct place *, struct slice name);
static void put(struct place *, struct slice name, struct slice text);
static void update(struct step *, uint64_t dir, const char *name,
    const char *text);
static void print_time(uint64_t ns, char ret[TIME_TEXT]);

/* Whoever sees `state` finds the rest: it comes last. */
void
host_begin(struct step *s, const struct machine_session *session)
{
	struct place p = {.step = s, .next_ino = (session->range << 32) +
	    UINT32_MAX - LIMIT_HOST_NODES + 1};
	char id[ID_DIGITS + 2], since[TIME_TEXT];
	struct slice name;
	struct reader r;

	if (s->c->data.len == 0)
		return; /* of a proposer without a tree to tell it in */
	s->out->reason = obstacle(s, session);
	if (s->out->reason != NULL) {
		host_state(s, session, "online\n"); /* if it can be told */
		return;
	}
	if (!tree_node_get(s->txn, TREE_ROOT, &p.dir))
		return;
	s->aside = true;
	enter(&p, slice_str("nodes"));
	enter(&p, session->name);
	snprintf(id, sizeof(id), "%0*" PRIx64 "\n", ID_DIGITS, session->host);
	put(&p, slice_str("id"), slice_str(id));
	for (reader_init(&r, s->c->data); reader_left(&r) != 0;) {
		name = reader_slice16(&r, LIMIT_NAME);
		put(&p, name, reader_slice16(&r, LIMIT_HOST_FACTS_BYTES));
	}
	print_time(s->now_ns, since);
	put(&p, slice_str("since"), slice_str(since));
	put(&p, slice_str("state"), slice_str("online\n"));
	s->aside = false;
}

void
host_state(struct step *s, const struct machine_session *session,
    const char *state)
{
	struct attr dir, file;
	char since[TIME_TEXT];

	if (!find_place(s, session->name, &dir) ||
	    owner_of(s, dir.ino) != session->host ||
	    !find(s, dir.ino, slice_str("state"), &file) ||
	    !S_ISREG(file.mode) ||
	    slice_eq(tree_content(s->txn, file.ino), slice_str(state)))
		return;
	print_time(s->now_ns, since);
	s->aside = true;
	update(s, dir.ino, "since", since);
	update(s, dir.ino, "state", state);
	s->aside = false;
}

/* ---- what is there ---- */

static bool
facts_valid(struct slice facts)
{
	unsigned n = 0;
	struct reader r;

	for (reader_init(&r, facts); reader_left(&r) != 0; n++) {
		struct slice name = reader_slice16(&r, LIMIT_NAME);

		(void)reader_slice16(&r, LIMIT_HOST_FACTS_BYTES);
		if (name.len == 0 || memchr(name.ptr, '/', name.len) != NULL ||
		    memchr(name.ptr, '\0', name.len) != NULL ||
		    ((const char *)name.ptr)[0] == '.')
			return false;
	}
	return reader_done(&r) && n <= LIMIT_HOST_FACTS;
}

/* Everything is asked before anything is changed: NULL, or why not. */
static const char *
obstacle(struct step *s, const struct machine_session *session)
{
	static const char *const own[] = {"id", "since", "state"};
	const char *why = NULL;
	struct attr nodes, dir;
	struct reader r;
	uint64_t owner;

	if (!facts_valid(s->c->data))
		return "the host's facts are no files";
	if (!find(s, TREE_ROOT, slice_str("nodes"), &nodes))
		return NULL;
	s->out->ino = nodes.ino;
	if (!S_ISDIR(nodes.mode))
		return "nodes is no directory";
	if (!find(s, nodes.ino, session->name, &dir))
		return NULL;
	s->out->ino = dir.ino;
	if (!S_ISDIR(dir.mode))
		return "what has the host's name there is no directory";
	owner = owner_of(s, dir.ino);
	if (owner != 0 && owner != session->host && session_of_host(s, owner))
		return "another host of that name is in the cluster";
	for (size_t i = 0; why == NULL && i < sizeof(own) / sizeof(*own); i++)
		why = no_file(s, dir.ino, slice_str(own[i]));
	for (reader_init(&r, s->c->data); why == NULL && reader_left(&r) != 0;) {
		why = no_file(s, dir.ino, reader_slice16(&r, LIMIT_NAME));
		(void)reader_slice16(&r, LIMIT_HOST_FACTS_BYTES);
	}
	return why;
}

static const char *
no_file(struct step *s, uint64_t dir, struct slice name)
{
	struct attr a;

	if (!find(s, dir, name, &a) || S_ISREG(a.mode))
		return NULL;
	s->out->ino = a.ino;
	return "one of the names that it needs there is no regular file's";
}

static bool
find(struct step *s, uint64_t dir, struct slice name, struct attr *ret)
{
	struct tree_name n;

	return tree_name_get(s->txn, dir, name, &n) &&
	    tree_node_get(s->txn, n.ino, ret);
}

static bool
find_place(struct step *s, struct slice name, struct attr *ret)
{
	struct attr nodes;

	return find(s, TREE_ROOT, slice_str("nodes"), &nodes) &&
	    find(s, nodes.ino, name, ret);
}

/* The member id that was written there; 0: none, anybody's. */
static uint64_t
owner_of(struct step *s, uint64_t dir)
{
	char digits[ID_DIGITS + 1] = "";
	struct slice text;
	struct attr file;
	uint64_t id;

	if (!find(s, dir, slice_str("id"), &file) || !S_ISREG(file.mode))
		return 0;
	text = tree_content(s->txn, file.ino);
	if (text.len < ID_DIGITS)
		return 0;
	memcpy(digits, text.ptr, ID_DIGITS);
	return hex_parse_u64(digits, &id) == 0 ? id : 0;
}

/* ---- what changes ---- */

/* Down into a directory, made if absent. */
static void
enter(struct place *p, struct slice name)
{
	struct attr dir;

	if (!find(p->step, p->dir.ino, name, &dir)) {
		dir = step_new_node(p->step, &p->dir, S_IFDIR | 0755,
		    p->next_ino++);
		dir_make(p->step, &p->dir, name, &dir);
	}
	p->dir = dir;
}

static void
put(struct place *p, struct slice name, struct slice text)
{
	struct step *s = p->step;
	struct attr a;

	if (!find(s, p->dir.ino, name, &a)) {
		a = step_new_node(s, &p->dir, S_IFREG | 0644, p->next_ino++);
		file_make(s, &p->dir, name, &a, text);
	} else if (!slice_eq(tree_content(s->txn, a.ino), text)) {
		file_replace(s, &a, text, false, &a);
	}
}

/* A file that somebody has taken away stays away until the next session. */
static void
update(struct step *s, uint64_t dir, const char *name, const char *text)
{
	struct attr a;

	if (find(s, dir, slice_str(name), &a) && S_ISREG(a.mode))
		file_replace(s, &a, slice_str(text), false, &a);
}

/* The entry's time as ISO 8601, in UTC: gmtime(3) would ask the host's TZ about
 * leap seconds.  Days are counted in years that begin with March. */
static void
print_time(uint64_t ns, char ret[TIME_TEXT])
{
	uint64_t s = ns / UINT64_C(1000000000), days = s / 86400 + 719468;
	unsigned era = (unsigned)(days / 146097), day = days % 146097;
	unsigned year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	unsigned month;

	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	year += era * 400 + (month >= 10);
	month = month < 10 ? month + 3 : month - 9;
	snprintf(ret, TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02uZ\n", year,
	    month, day + 1, (unsigned)(s / 3600 % 24),
	    (unsigned)(s / 60 % 60), (unsigned)(s % 60));
}
