/*
 * conf.c: the parser of govfs.conf, driven by conf.def.
 */
#include "config.h"

#include "base/conf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hex.h"

enum { FILE_BYTES = 65536 }; /* a configuration, not data */

enum type {
	NAME,
	ADDRESS,
	PATH,
	LABELS,
	LEVEL,
	CLUSTER,
	NUMBER,
	SIZE,
	N_TYPES
};

struct key {
	const char *section, *name, *value; /* value: the default */
	enum type type;
	size_t offset; /* of the field in struct conf */
	uint32_t min, max;
};

static const struct key keys[] = {
#define CONF(section, key, field, type, value, min, max, text) \
	{#section, #key, value, type, offsetof(struct conf, field), min, max},
#include "base/conf.def"
#undef CONF
};

enum { N_KEYS = sizeof(keys) / sizeof(keys[0]) };

struct parse {
	struct conf conf;
	const char *path;
	const char *next;  /* the text not yet read */
	unsigned line;	   /* that the parser is at */
	bool seen[N_KEYS]; /* given in the file */
	char why[256];	   /* "": nothing wrong so far */
	int err;
};

static int read_file(const char *path, char *ret, size_t len);
static int parse_text(struct parse *, char *ret_why, size_t why_len);
static char *next_line(char *ret, int len, void *parse);
static int take(void *parse, const char *section, const char *name,
    const char *value);
static void take_member(struct parse *, const char *name, const char *value);
static const struct key *find_key(const char *section, const char *name);
static bool known_section(const char *);
static void check_whole(struct parse *);
static int set(struct conf *, const struct key *, const char *value);
static const char *expectation(const struct key *);
static int parse_name(const char *, char *ret);
static int parse_labels(const char *, char *ret);
static int parse_number(const char *, bool suffixes, uint32_t *ret);
static void complain(struct parse *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* name is "" if this host's own would not do. */
static void
defaults(struct conf *ret)
{
	char host[256] = "";
	int err;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < N_KEYS; i++) {
		if (keys[i].value[0] == '\0')
			continue;
		err = set(ret, &keys[i], keys[i].value);
		assert(err == 0);
	}
	if (gethostname(host, sizeof(host) - 1) == 0)
		(void)parse_name(host, ret->name);
}

int
conf_load(const char *path, struct conf *ret, char *ret_why, size_t why_len)
{
	bool must = path != NULL;
	struct parse *p;
	char *text;
	int err;

	text = malloc(FILE_BYTES);
	p = calloc(1, sizeof(*p));
	if (text == NULL || p == NULL) {
		(void)snprintf(ret_why, why_len, "no memory");
		err = -ENOMEM;
		goto out;
	}
	text[0] = '\0';
	p->path = must ? path : CONF_DEFAULT_PATH;
	p->next = text;
	defaults(&p->conf);
	err = read_file(p->path, text, FILE_BYTES);
	if (err == -ENOENT && !must)
		err = 0;
	if (err != 0) {
		(void)snprintf(ret_why, why_len, "%s: %s", p->path,
		    strerror(-err));
		goto out;
	}
	err = parse_text(p, ret_why, why_len);
	if (err == 0)
		*ret = p->conf;
out:
	free(p);
	free(text);
	return err;
}

const struct conf_member *
conf_member(const struct conf *conf, uint64_t id)
{
	for (unsigned i = 0; i < conf->n_members; i++) {
		if (conf->members[i].id == id)
			return &conf->members[i];
	}
	return NULL;
}

int
conf_split_address(const char *address, char *ret_host, size_t host_len,
    uint16_t *ret_port)
{
	const char *colon = strrchr(address, ':');
	size_t len;
	char *end;
	unsigned long port;

	if (colon == NULL || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	port = strtoul(colon + 1, &end, 10);
	if (*end != '\0' || end - colon > 6 || port > UINT16_MAX)
		return -EINVAL;
	len = (size_t)(colon - address);
	if (len > 2 && address[0] == '[' && address[len - 1] == ']') {
		address++;
		len -= 2;
	} else if (memchr(address, ':', len) != NULL) {
		return -EINVAL; /* IPv6 without brackets: which colon? */
	}
	if (len == 0 || strcspn(address, " \t[]") < len)
		return -EINVAL;
	if (ret_host != NULL) {
		if (len >= host_len)
			return -EINVAL;
		memcpy(ret_host, address, len);
		ret_host[len] = '\0';
	}
	*ret_port = (uint16_t)port;
	return 0;
}

static int
read_file(const char *path, char *ret, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n = 0;
	int err = 0;

	if (fd < 0)
		return -errno;
	while (used < len && (n = read(fd, ret + used, len - used)) > 0)
		used += (size_t)n;
	if (n < 0)
		err = -errno;
	else if (used == len)
		err = -EFBIG;
	else if (memchr(ret, '\0', used) != NULL)
		err = -EINVAL;
	else
		ret[used] = '\0';
	(void)close(fd);
	return err;
}

/*
 * The parser answers with the first line that it could not read or that we
 * refused; what it could not read has no sentence from us.
 */
static int
parse_text(struct parse *p, char *ret_why, size_t why_len)
{
	int line;

	ini_max_line = LIMIT_PATH + 64;
	ini_allow_multiline = false;
	ini_inline_comment_prefixes = (char *)(uintptr_t) "";
	line = ini_parse_stream(next_line, p, take, p);
	if (p->err != 0) {
		(void)snprintf(ret_why, why_len, "%s", p->why);
		return p->err;
	}
	if (line != 0) {
		(void)snprintf(ret_why, why_len,
		    "%s:%d: neither [section] nor key = value", p->path, line);
		return -EINVAL;
	}
	check_whole(p);
	if (p->err != 0)
		(void)snprintf(ret_why, why_len, "%s", p->why);
	return p->err;
}

/* fgets(3) over the text, counting lines; stops at the first complaint. */
static char *
next_line(char *ret, int len, void *parse)
{
	struct parse *p = parse;
	size_t n = strcspn(p->next, "\n");

	if (p->next[0] == '\0' || p->err != 0)
		return NULL;
	p->line++;
	if (n + 2 > (size_t)len) {
		complain(p, "the line is too long");
		return NULL;
	}
	memcpy(ret, p->next, n);
	ret[n] = '\0';
	p->next += p->next[n] == '\n' ? n + 1 : n;
	return ret;
}

static int
take(void *parse, const char *section, const char *name, const char *value)
{
	struct parse *p = parse;
	const struct key *key = find_key(section, name);

	if (strcmp(section, "members") == 0)
		take_member(p, name, value);
	else if (!known_section(section))
		complain(p, "there is no section [%s]", section);
	else if (key == NULL)
		complain(p, "[%s] has no key %s", section, name);
	else if (p->seen[key - keys])
		complain(p, "%s is given twice", name);
	else if (set(&p->conf, key, value) != 0)
		complain(p, "%s must be %s, not `%s'", name, expectation(key),
		    value);
	else
		p->seen[key - keys] = true;
	return p->err == 0;
}

static void
take_member(struct parse *p, const char *name, const char *value)
{
	struct conf_member m = {0};
	char id[17] = "", address[CONF_ADDRESS_BYTES] = "", more;
	uint16_t port;

	if (parse_name(name, m.name) != 0) {
		complain(p, "`%s' cannot be a host's name", name);
		return;
	}
	if (sscanf(value, "%16s %63s %c", id, address, &more) != 2 ||
	    hex_parse_u64(id, &m.id) != 0 || m.id == 0 ||
	    conf_split_address(address, NULL, 0, &port) != 0 || port == 0) {
		complain(p, "a member is NAME = HEXID ADDRESS:PORT");
		return;
	}
	if (p->conf.n_members == LIMIT_MEMBERS) {
		complain(p, "a group has at most %d members", LIMIT_MEMBERS);
		return;
	}
	if (conf_member(&p->conf, m.id) != NULL) {
		complain(p, "two members cannot have one id");
		return;
	}
	for (unsigned i = 0; i < p->conf.n_members; i++) {
		if (strcmp(p->conf.members[i].name, m.name) == 0) {
			complain(p, "two members cannot be called %s", m.name);
			return;
		}
	}
	memcpy(m.address, address, sizeof(m.address));
	p->conf.members[p->conf.n_members++] = m;
}

static const struct key *
find_key(const char *section, const char *name)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		if (strcmp(keys[i].section, section) == 0 &&
		    strcmp(keys[i].name, name) == 0)
			return &keys[i];
	}
	return NULL;
}

static bool
known_section(const char *section)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		if (strcmp(keys[i].section, section) == 0)
			return true;
	}
	return false;
}

static void
check_whole(struct parse *p)
{
	p->line = 0;
	if (p->conf.name[0] == '\0')
		complain(p, "this host's name will not do: set name in [host]");
	/* Two lost heartbeats are no reason for an election. */
	else if (p->conf.heartbeat_ms > p->conf.election_ms / 3)
		complain(p, "heartbeat_ms must be at most a third of "
			    "election_ms");
}

static int
set(struct conf *conf, const struct key *key, const char *value)
{
	void *field = (char *)conf + key->offset;
	uint32_t number;
	uint16_t port;

	switch (key->type) {
	case NAME:
		return parse_name(value, field);
	case ADDRESS:
		if (strlen(value) >= CONF_ADDRESS_BYTES)
			return -EINVAL;
		strcpy(field, value);
		return conf_split_address(value, NULL, 0, &port);
	case PATH:
		if (value[0] != '/' || strlen(value) >= LIMIT_PATH)
			return -EINVAL;
		strcpy(field, value);
		return 0;
	case LABELS:
		return parse_labels(value, field);
	case LEVEL:
		return log_level_parse(value, field);
	case CLUSTER:
		conf->has_cluster = true;
		return hex_parse(value, field, sizeof(conf->cluster));
	case NUMBER:
	case SIZE:
		if (parse_number(value, key->type == SIZE, &number) != 0 ||
		    number < key->min || number > key->max)
			return -EINVAL;
		*(uint32_t *)field = number;
		return 0;
	case N_TYPES:
		break;
	}
	assert(false);
	return -EINVAL;
}

/* Completes "must be ...". */
static const char *
expectation(const struct key *key)
{
	static const char *const texts[N_TYPES] = {
	    [NAME] = "up to 63 letters, digits, `.', `_', `-'",
	    [ADDRESS] = "ADDRESS:PORT",
	    [PATH] = "an absolute path",
	    [LABELS] = "words of letters, digits, `.', `_', `-', `/', `=', "
		       "510 bytes of them",
	    [LEVEL] = "error, warn, info or debug",
	    [CLUSTER] = "32 hexadecimal digits",
	};
	static char range[64];

	if (texts[key->type] != NULL)
		return texts[key->type];
	(void)snprintf(range, sizeof(range), "a number from %u to %u",
	    key->min, key->max);
	return range;
}

#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyz" \
		     "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* A name becomes a file name below /gov/nodes: no `.' first, no slash. */
static int
parse_name(const char *text, char *ret)
{
	static const char letters[] = NAME_LETTERS;
	size_t len = strlen(text);

	if (len == 0 || len >= CONF_NAME_BYTES ||
	    strspn(text, letters) != len || text[0] == '.' || text[0] == '-')
		return -EINVAL;
	memcpy(ret, text, len + 1);
	return 0;
}

/* One a line in the file of nodes/, for grep -x: so no blanks inside. */
static int
parse_labels(const char *text, char *ret)
{
	static const char letters[] = NAME_LETTERS "/=", blanks[] = " \t";
	char lines[CONF_LABELS_BYTES] = "";
	size_t len, used = 0;

	for (text += strspn(text, blanks); *text != '\0';
	    text += strspn(text, blanks)) {
		len = strcspn(text, blanks);
		if (strspn(text, letters) < len ||
		    len + 2 > sizeof(lines) - used)
			return -EINVAL;
		memcpy(lines + used, text, len);
		lines[used + len] = '\n';
		used += len + 1;
		text += len;
	}
	memcpy(ret, lines, sizeof(lines));
	return 0;
}

static int
parse_number(const char *text, bool suffixes, uint32_t *ret)
{
	unsigned long long value;
	unsigned shift = 0;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno != 0 || value > UINT32_MAX)
		return -EINVAL;
	if (suffixes && (*end == 'K' || *end == 'k'))
		shift = 10;
	else if (suffixes && (*end == 'M' || *end == 'm'))
		shift = 20;
	if (shift != 0)
		end++;
	value <<= shift;
	if (*end != '\0' || value > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

/* The first complaint is the one to tell; line 0 is the file as a whole. */
static void
complain(struct parse *p, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (p->err != 0)
		return;
	p->err = -EINVAL;
	if (p->line != 0)
		n = snprintf(p->why, sizeof(p->why), "%s:%u: ", p->path,
		    p->line);
	else
		n = snprintf(p->why, sizeof(p->why), "%s: ", p->path);
	if (n < 0 || (size_t)n >= sizeof(p->why))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(p->why + n, sizeof(p->why) - (size_t)n, fmt, ap);
	va_end(ap);
}
