/*
 * cmd_debug.c: fault points, metrics and digests of a running daemon.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gov/gov.h"

static int	debug_run(const struct gov_args *);
static json_t  *fault_request(const struct gov_args *);
static int	print_fault(const struct gov_args *, json_t *);
static int	print_digest(const struct gov_args *, json_t *);
static int	print_text(const struct gov_args *, json_t *);

/* PATH is the mount whose daemon is asked; the operands follow the name. */
static const struct topic {
	const char *name;
	int max_args;
	int (*print)(const struct gov_args *, json_t *);
} topics[] = {
	{ "digest", 0, print_digest },
	{ "dump", 0, print_text },
	{ "fault", 2, print_fault },
	{ "metrics", 0, print_text },
};

enum { OPT_MOUNT };

const struct cmd cmd_debug = {
	.name = "debug",
	.args = "fault [NAME VALUE] | metrics | digest | dump",
	.help = "look into a daemon, or make it fail (root only)",
	.min_args = 1,
	.max_args = 3,
	.options = { [OPT_MOUNT] = { 'm', "mount", "PATH",
	    "the mount whose daemon is meant" } },
	.run = debug_run,
};

static int
debug_run(const struct gov_args *args)
{
	const struct topic *t = NULL;
	struct gov_place place;
	json_t *request, *reply;

	for (size_t i = 0; i < sizeof(topics) / sizeof(*t); i++)
		if (strcmp(topics[i].name, args->argv[0]) == 0)
			t = &topics[i];
	if (t == NULL || args->argc - 1 > t->max_args || args->argc == 2)
		return gov_usage("debug %s", cmd_debug.args);
	request = fault_request(args);
	if (request == NULL)
		return gov_usage("%s: not a number", args->argv[2]);
	if (!gov_find(args, args->value[OPT_MOUNT], &place)) {
		json_decref(request);
		return EXIT_FAILED;
	}
	reply = gov_request(&place, request);
	gov_place_fini(&place);
	if (reply == NULL)
		return EXIT_FAILED;
	return t->print(args, reply);
}

static json_t *
fault_request(const struct gov_args *args)
{
	json_t *request = json_pack("{s:s}", "request", args->argv[0]);
	long long value;
	char *end;

	if (args->argc < 3)
		return request;
	errno = 0;
	value = strtoll(args->argv[2], &end, 10);
	if (errno != 0 || end == args->argv[2] || *end != '\0') {
		json_decref(request);
		return NULL;
	}
	json_object_set_new(request, "name", json_string(args->argv[1]));
	json_object_set_new(request, "value", json_integer(value));
	return request;
}

/* Setting one says nothing; listing shows all. */
static int
print_fault(const struct gov_args *args, json_t *reply)
{
	const char *name;
	json_t *value;

	if (args->json) {
		gov_print_json(reply);
		return EXIT_OK;
	}
	json_object_foreach(reply, name, value)
		printf("%s %lld\n", name,
		    (long long)json_integer_value(value));
	json_decref(reply);
	return EXIT_OK;
}

/* A tree that contradicts itself is a failure for scripts too. */
static int
print_digest(const struct gov_args *args, json_t *reply)
{
	int code = strcmp(gov_str(reply, "check"), "ok") == 0 ? EXIT_OK :
	    EXIT_FAILED;

	if (args->json) {
		gov_print_json(reply);
		return code;
	}
	printf("%lld %s %s\n", gov_int(reply, "rev"), gov_str(reply, "digest"),
	    gov_str(reply, "check"));
	json_decref(reply);
	return code;
}

static int
print_text(const struct gov_args *args, json_t *reply)
{
	if (args->json) {
		gov_print_json(reply);
		return EXIT_OK;
	}
	fputs(gov_str(reply, "text"), stdout);
	json_decref(reply);
	return EXIT_OK;
}
