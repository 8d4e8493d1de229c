/*
 * conf.c: govfs.conf and STATE/identity.
 */
#include "config.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../tap.h"
#include "base/conf.h"
#include "base/hex.h"
#include "base/identity.h"

static char dir[] = "/tmp/govfs-conf-XXXXXX";
static char path[64];
static struct conf conf;
static char why[512];

static void
write_file(const char *file, const void *text, size_t len)
{
	FILE *f = fopen(file, "w");

	if (f == NULL || fwrite(text, 1, len, f) != len || fclose(f) != 0)
		bail_out("%s: %s", file, strerror(errno));
}

static int
load(const char *text)
{
	write_file(path, text, strlen(text));
	why[0] = '\0';
	return conf_load(path, &conf, why, sizeof(why));
}

static void
refused(const char *text, const char *sentence)
{
	struct conf before;
	int err;

	memset(&conf, 0x5a, sizeof(conf));
	before = conf;
	err = load(text);
	ok(err == -EINVAL && strncmp(why, path, strlen(path)) == 0 &&
		strcmp(why + strlen(path), sentence) == 0,
	    "refused:%s", sentence);
	if (strcmp(why + strlen(path), sentence) != 0)
		diag("got %s", why);
	if (memcmp(&before, &conf, sizeof(conf)) != 0)
		fail("what is refused changes nothing");
}

static void
test_defaults(void)
{
	is_int(load(""), 0, "an empty file is a configuration");
	is_str(conf.listen, "127.0.0.1:7440", "loopback is the default");
	is_str(conf.state, "/var/lib/govfs", "state has a default");
	is_str(conf.mountpoint, "/gov", "so has the mountpoint");
	is_int(conf.log, LOG_LEVEL_INFO, "and the log level");
	is_int(conf.election_ms, 500, "election_ms");
	is_int(conf.heartbeat_ms, 50, "heartbeat_ms");
	is_int(conf.write_timeout_ms, 5000, "write_timeout_ms");
	is_int(conf.max_file, LIMIT_FILE_DEFAULT, "max_file");
	is_int(conf.n_members, 0, "no member listed");
	ok(!conf.has_cluster, "no cluster named");
	ok(conf.name[0] != '\0', "a host has a name");
	is_int(conf_load("/nonsense/govfs.conf", &conf, why, sizeof(why)),
	    -ENOENT, "a file that was asked for must be there");
	is_str(why, "/nonsense/govfs.conf: No such file or directory",
	    "and the sentence names it");
}

static void
test_full(void)
{
	int err = load("# a comment\n"
		       "[host]\n"
		       "name = a.example-1\r\n"
		       "listen=[::1]:1\n"
		       "state = /srv/with ; semicolon\n"
		       "mountpoint = /mnt/gov\n"
		       "labels =  zone=eu\tcanary rack=a/3 \n"
		       "  log = debug\n"
		       "\n"
		       "; another\n"
		       "[cluster]\n"
		       "id = 000102030405060708090a0b0c0d0eFF\n"
		       "election_ms = 300\n"
		       "heartbeat_ms = 100\n"
		       "write_timeout_ms = 100\n"
		       "max_file = 4M\n"
		       "[members]\n"
		       "a.example-1 = 1 127.0.0.1:7440\n"
		       "b = ffffffffffffffff host.example:7441\n"
		       "c = 00000000000000ab [fe80::1]:7442");

	is_int(err, 0, "every key at once");
	if (err != 0)
		diag("%s", why);
	is_str(conf.name, "a.example-1", "name, before a CR LF");
	is_str(conf.listen, "[::1]:1", "listen");
	is_str(conf.state, "/srv/with ; semicolon", "values have no comments");
	is_str(conf.mountpoint, "/mnt/gov", "mountpoint");
	is_str(conf.labels, "zone=eu\ncanary\nrack=a/3\n", "labels, as lines");
	is_int(conf.log, LOG_LEVEL_DEBUG, "an indented key is a key");
	ok(conf.has_cluster && conf.cluster[1] == 1 && conf.cluster[15] == 255,
	    "cluster id");
	is_int(conf.max_file, 4 << 20, "suffixes multiply");
	is_int(conf.n_members, 3, "all members");
	ok(conf_member(&conf, UINT64_MAX) == &conf.members[1],
	    "found by id");
	ok(conf_member(&conf, 2) == NULL, "or not");
	is_str(conf.members[1].address, "host.example:7441", "address");
	is_int(conf.members[2].id, 0xab, "id");
}

static void
test_refused(void)
{
	char text[8192];

	refused("[hosts]\nname = a\n", ":2: there is no section [hosts]");
	refused("name = a\n", ":1: there is no section []");
	refused("[host]\n\nnmae = a\n", ":3: [host] has no key nmae");
	refused("[host]\nid = a\n", ":2: [host] has no key id");
	refused("[host]\nlog = info\nlog = info\n", ":3: log is given twice");
	refused("[host]\nlog = loud\n",
	    ":2: log must be error, warn, info or debug, not `loud'");
	refused("[host]\nlabels = a \"b\"\n",
	    ":2: labels must be words of letters, digits, `.', `_', `-', `/', "
	    "`=', 510 bytes of them, not `a \"b\"'");
	(void)snprintf(text, sizeof(text), "[host]\nlabels = %0510d\n", 0);
	ok(load(text) == 0 && strlen(conf.labels) == 511, "many labels");
	(void)snprintf(text, sizeof(text), "[host]\nlabels = %0511d\n", 0);
	is_int(load(text), -EINVAL, "but not more");
	refused("[host]\nname = a/b\n",
	    ":2: name must be up to 63 letters, digits, `.', `_', `-', "
	    "not `a/b'");
	refused("[host]\nname = ..\n",
	    ":2: name must be up to 63 letters, digits, `.', `_', `-', "
	    "not `..'");
	refused("[host]\nstate = here\n",
	    ":2: state must be an absolute path, not `here'");
	refused("[host]\nlisten = ::1:80\n",
	    ":2: listen must be ADDRESS:PORT, not `::1:80'");
	refused("[host]\nlisten = a:65536\n",
	    ":2: listen must be ADDRESS:PORT, not `a:65536'");
	refused("[cluster]\nid = 0001\n",
	    ":2: id must be 32 hexadecimal digits, not `0001'");
	refused("[cluster]\nmax_file = 5M\n",
	    ":2: max_file must be a number from 4096 to 4194304, not `5M'");
	refused("[cluster]\nelection_ms = 1K\n",
	    ":2: election_ms must be a number from 50 to 60000, not `1K'");
	refused("[cluster]\nelection_ms = -1\n",
	    ":2: election_ms must be a number from 50 to 60000, not `-1'");
	refused("[cluster]\nelection_ms = 100\n",
	    ": heartbeat_ms must be at most a third of election_ms");
	refused("[host]\nname\n", ":2: neither [section] nor key = value");
	refused("[host\n", ":1: neither [section] nor key = value");
	refused("[members]\na = 1\n",
	    ":2: a member is NAME = HEXID ADDRESS:PORT");
	refused("[members]\na = 0 h:1\n",
	    ":2: a member is NAME = HEXID ADDRESS:PORT");
	refused("[members]\na = 1 h:1 x\n",
	    ":2: a member is NAME = HEXID ADDRESS:PORT");
	refused("[members]\na = 11112222333344445 h:1\n",
	    ":2: a member is NAME = HEXID ADDRESS:PORT");
	refused("[members]\na = 1 h:1\nb = 01 h:2\n",
	    ":3: two members cannot have one id");
	refused("[members]\na = 1 h:1\na = 2 h:2\n",
	    ":3: two members cannot be called a");
	refused("[members]\na = 1 h:1\nb = 2 h:1\nc = 3 h:1\nd = 4 h:1\n"
		"e = 5 h:1\nf = 6 h:1\ng = 7 h:1\nh = 8 h:1\ni = 9 h:1\n"
		"j = a h:1\n",
	    ":11: a group has at most 9 members");
	memset(text, 'x', sizeof(text));
	memcpy(text, "[host]\nstate = /", 16);
	text[sizeof(text) - 1] = '\0';
	refused(text, ":2: the line is too long");
	text[4500] = '\0';
	text[4090] = '\n';
	text[4091] = '#';
	is_int(load(text), 0, "a path may be long, a comment longer");
	write_file(path, "[host]\0\n", 8);
	is_int(conf_load(path, &conf, why, sizeof(why)), -EINVAL,
	    "NUL bytes are refused");
}

/* S3: bytes at random never crash, and never pass half read. */
static void
test_noise(void)
{
	static const char pieces[][12] = {"[host]\n", "[members]\n", "a", "=",
	    "\n", "[", "]", "name", "listen", " ", "1", ":", "\t", "#", ";",
	    "\r", "\xff", "max_file", "[cluster]", "K", "id"};
	char text[1024];
	unsigned rng = 12345, n_good = 0;

	for (int run = 0; run < 2000; run++) {
		text[0] = '\0';
		for (int i = 0; i < 40; i++) {
			rng = rng * 1664525 + 1013904223;
			strcat(text,
			    pieces[(rng >> 16) %
				(sizeof(pieces) / sizeof(pieces[0]))]);
		}
		if (load(text) == 0)
			n_good++;
		else if (why[0] == '\0')
			fail("no sentence for %s", text);
	}
	pass("noise is refused with a sentence (%u of 2000 passed)", n_good);
}

static void
test_address(void)
{
	char host[16];
	uint16_t port;

	ok(conf_split_address("[::1]:0", host, sizeof(host), &port) == 0 &&
		strcmp(host, "::1") == 0 && port == 0,
	    "an IPv6 address loses its brackets");
	ok(conf_split_address("10.0.0.1:65535", host, sizeof(host), &port) ==
		    0 &&
		strcmp(host, "10.0.0.1") == 0 && port == 65535,
	    "an IPv4 address");
	is_int(conf_split_address(":1", host, sizeof(host), &port), -EINVAL,
	    "an address has a host");
	is_int(conf_split_address("a:", host, sizeof(host), &port), -EINVAL,
	    "and a port");
	is_int(conf_split_address("a:1x", host, sizeof(host), &port), -EINVAL,
	    "which is a number");
	is_int(conf_split_address("[]:1", host, sizeof(host), &port), -EINVAL,
	    "brackets are not a host");
	is_int(conf_split_address("0123456789012345:1", host, sizeof(host),
		   &port),
	    -EINVAL, "a long host does not fit");
}

static void
test_identity(void)
{
	struct identity made = {0}, got = {0}, other = {.member = 7};
	char state[96], file[128];
	struct stat st;

	snprintf(state, sizeof(state), "%s/state", dir);
	snprintf(file, sizeof(file), "%s/identity", state);
	is_int(identity_load(state, &got), -ENOENT, "no identity yet");
	is_int(identity_create(state, &made), 0, "one is made");
	ok(made.member != 0, "with a member id");
	is_int(identity_load(state, &got), 0, "it can be read");
	is_mem(&got, &made, sizeof(got), "and says the same");
	is_int(identity_create(state, &other), -EEXIST, "it is made once");
	ok(identity_load(state, &got) == 0 && got.member == made.member,
	    "the first one stays");
	ok(stat(file, &st) == 0 && (st.st_mode & 07777) == 0600,
	    "nobody else reads it");

	write_file(file, "cluster = 00\n", 13);
	is_int(identity_load(state, &got), -EUCLEAN, "damage is seen");
	write_file(file, "", 0);
	is_int(identity_load(state, &got), -EUCLEAN, "emptiness too");
	(void)unlink(file);
	memset(other.cluster, 0xab, sizeof(other.cluster));
	is_int(identity_create(state, &other), 0, "one with given ids");
	ok(identity_load(state, &got) == 0 && got.member == 7 &&
		memcmp(got.cluster, other.cluster, 16) == 0,
	    "has them");
	(void)unlink(file);
	(void)rmdir(state);
}

int
main(void)
{
	if (mkdtemp(dir) == NULL)
		bail_out("mkdtemp: %s", strerror(errno));
	snprintf(path, sizeof(path), "%s/govfs.conf", dir);
	test_defaults();
	test_full();
	test_refused();
	test_noise();
	test_address();
	test_identity();
	(void)unlink(path);
	if (rmdir(dir) != 0)
		diag("%s is left over", dir);
	return done_testing();
}
