/*
 * cmd_init.c: make a host: its state directory, identity and configuration.
 */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/hex.h"
#include "base/identity.h"
#include "gov/gov.h"

static int	init_run(const struct gov_args *);
static bool	wants_conf(const struct gov_args *);
static const char *conf_path(const struct gov_args *);
static int	identity_from(const struct gov_args *, struct identity *);
static int	conf_write(const struct gov_args *, const char *,
		    struct identity *, bool *);
static int	conf_check(const char *, struct identity *);
static int	report(const struct gov_args *, const struct identity *,
		    const char *state);

enum { OPT_CONF, OPT_NAME, OPT_LISTEN, OPT_CLUSTER, OPT_MEMBERS, OPT_ID };

const struct cmd cmd_init = {
	.name = "init",
	.args = "",
	.help = "make this host: its identity, state and configuration",
	.max_args = 0,
	.options = {
		[OPT_CONF] = { 'c', "config", "FILE",
		    "also write this configuration, unless it is there" },
		[OPT_NAME] = { 0, "name", "NAME", "the host's name" },
		[OPT_LISTEN] = { 0, "listen", "ADDR:PORT",
		    "where the others find it" },
		[OPT_CLUSTER] = { 0, "cluster", "HEX",
		    "an existing cluster's id, 32 digits" },
		[OPT_MEMBERS] = { 0, "members", "NAME=ID@ADDR:PORT,...",
		    "all members, this host among them" },
		[OPT_ID] = { 0, "id", "HEX",
		    "this host's member id, up to 16 digits" },
	},
	.run = init_run,
};

static int
init_run(const struct gov_args *args)
{
	const char *state = args->state ? args->state : GOV_STATE_DEFAULT;
	const char *path = conf_path(args);
	struct identity id;
	bool made = false;
	int err, code;

	code = identity_from(args, &id);
	if (code != EXIT_OK)
		return code;
	if (path != NULL)
		code = conf_write(args, path, &id, &made);
	if (code == EXIT_OK) {
		err = identity_create(state, &id);
		if (err == -EEXIST)
			code = gov_fail("%s: this host has been initialised "
			    "before", state);
		else if (err != 0)
			code = gov_fail("%s: %s", state, strerror(-err));
	}
	if (code == EXIT_OK)
		return report(args, &id, state);
	if (made)
		unlink(path);
	return code;
}

static bool
wants_conf(const struct gov_args *args)
{
	return args->value[OPT_NAME] != NULL ||
	    args->value[OPT_LISTEN] != NULL || args->value[OPT_MEMBERS] != NULL;
}

/* The host of this machine is configured where its daemon looks; one that
 * lives elsewhere is not. */
static const char *
conf_path(const struct gov_args *args)
{
	if (args->value[OPT_CONF] == NULL && args->state == NULL &&
	    wants_conf(args))
		return CONF_DEFAULT_PATH;
	return args->value[OPT_CONF];
}

/* What is left zero will be chosen at random. */
static int
identity_from(const struct gov_args *args, struct identity *ret)
{
	const char *cluster = args->value[OPT_CLUSTER];
	const char *member = args->value[OPT_ID];

	*ret = (struct identity){ 0 };
	if (conf_path(args) == NULL && wants_conf(args))
		return gov_usage("--name, --listen and --members go into a "
		    "configuration: say -c FILE");
	if (cluster != NULL &&
	    hex_parse(cluster, ret->cluster, sizeof(ret->cluster)) != 0)
		return gov_usage("--cluster %s: not 32 hexadecimal digits",
		    cluster);
	if (member != NULL && (hex_parse_u64(member, &ret->member) != 0 ||
	    ret->member == 0))
		return gov_usage("--id %s: not a hexadecimal number above 0",
		    member);
	return EXIT_OK;
}

/* "a=1f@10.0.0.1:7440,b=..." as the lines of [members]. */
static void
print_members(FILE *f, const char *list)
{
	size_t n, name, id;

	fputs("\n[members]\n", f);
	for (; *list != '\0'; list += n + (list[n] == ',')) {
		n = strcspn(list, ",");
		name = strcspn(list, "=,");
		id = strcspn(list, "@,");
		if (id < name + 1 || id >= n) /* conf_load() will complain */
			fprintf(f, "%.*s\n", (int)n, list);
		else
			fprintf(f, "%.*s = %.*s %.*s\n", (int)name, list,
			    (int)(id - name - 1), list + name + 1,
			    (int)(n - id - 1), list + id + 1);
	}
}

/* What was not said stays a default, and is not written. */
static int
print_conf(const struct gov_args *args, const struct identity *id, FILE *f)
{
	char hex[2 * sizeof(id->cluster) + 1];

	fputs("# govfs.conf(5) explains every key.\n[host]\n", f);
	if (args->value[OPT_NAME] != NULL)
		fprintf(f, "name = %s\n", args->value[OPT_NAME]);
	if (args->value[OPT_LISTEN] != NULL)
		fprintf(f, "listen = %s\n", args->value[OPT_LISTEN]);
	if (args->state != NULL)
		fprintf(f, "state = %s\n", args->state);
	if (args->value[OPT_CLUSTER] != NULL) {
		hex_print(id->cluster, sizeof(id->cluster), hex);
		fprintf(f, "\n[cluster]\nid = %s\n", hex);
	}
	if (args->value[OPT_MEMBERS] != NULL)
		print_members(f, args->value[OPT_MEMBERS]);
	return fflush(f) == EOF || fsync(fileno(f)) == -1 ? -errno : 0;
}

/* A file that is there is somebody's work: it stays. */
static int
conf_write(const struct gov_args *args, const char *path, struct identity *id,
    bool *ret_made)
{
	int fd, err;
	FILE *f;

	if (strcmp(path, CONF_DEFAULT_PATH) == 0)
		mkdir("/etc/govfs", 0755);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd == -1 && errno == EEXIST) {
		fprintf(stderr, "gov: %s is kept as it is\n", path);
		return conf_check(path, id);
	}
	if (fd == -1 || (f = fdopen(fd, "w")) == NULL)
		return gov_fail("%s: %s", path, strerror(errno));
	*ret_made = true;
	err = print_conf(args, id, f);
	fclose(f);
	if (err != 0)
		return gov_fail("%s: %s", path, strerror(-err));
	return conf_check(path, id);
}

/* The daemon will accept it, and finds itself among the members. */
static int
conf_check(const char *path, struct identity *id)
{
	static struct conf conf;
	char why[512];

	if (conf_load(path, &conf, why, sizeof(why)) != 0)
		return gov_fail("%s", why);
	for (unsigned i = 0; i < conf.n_members && id->member == 0; i++)
		if (strcmp(conf.members[i].name, conf.name) == 0)
			id->member = conf.members[i].id;
	if (conf.has_cluster)
		memcpy(id->cluster, conf.cluster, sizeof(id->cluster));
	if (conf.n_members > 0 && conf_member(&conf, id->member) == NULL)
		return gov_fail("%s: this host, %s, is not among the members",
		    path, conf.name);
	return EXIT_OK;
}

static int
report(const struct gov_args *args, const struct identity *id,
    const char *state)
{
	char cluster[2 * sizeof(id->cluster) + 1], member[17];

	hex_print(id->cluster, sizeof(id->cluster), cluster);
	snprintf(member, sizeof(member), "%016" PRIx64, id->member);
	if (args->json)
		gov_print_json(json_pack("{s:s, s:s, s:s}", "cluster", cluster,
		    "id", member, "state", state));
	else
		printf("cluster %s\nmember %s\nstate %s\n", cluster, member,
		    state);
	return EXIT_OK;
}
