/*
 * gov.c: the table of commands, their options and their help.
 */
#include "config.h"

#include "gov/gov.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

static const struct cmd *const cmds[] = {
	&cmd_cat, &cmd_debug, &cmd_elect, &cmd_init, &cmd_lock, &cmd_put,
	&cmd_status, &cmd_sync, &cmd_ttl, &cmd_watch, &cmd_why,
};
#define N_CMDS (sizeof(cmds) / sizeof(cmds[0]))

enum { OPT_FIRST = 256, OPT_STATE = 512, OPT_JSON, OPT_HELP };

static void	print_help(FILE *);
static void	print_cmd_help(FILE *, const struct cmd *);
static int	parse(const struct cmd *, int, char **, struct gov_args *);

int
main(int argc, char **argv)
{
	struct gov_args args = { 0 };
	int code;

	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts(PACKAGE_STRING);
		return EXIT_OK;
	}
	for (size_t i = 0; i < N_CMDS; i++) {
		if (strcmp(cmds[i]->name, argv[1]) != 0)
			continue;
		code = parse(cmds[i], argc - 1, argv + 1, &args);
		if (code >= 0)
			return code;
		code = cmds[i]->run(&args);
		/* What was lost earlier is not in the buffer any more. */
		errno = EIO;
		if ((fflush(stdout) == EOF || ferror(stdout)) &&
		    code == EXIT_OK)
			code = gov_fail("standard output: %s", strerror(errno));
		return code;
	}
	return gov_usage("there is no command '%s', see gov --help", argv[1]);
}

/* Turns the command's own options into getopt's; -1: go on and run it. */
static int
parse(const struct cmd *cmd, int argc, char **argv, struct gov_args *ret)
{
	struct option longs[GOV_OPTIONS_MAX + 4] = { 0 };
	char shorts[2 * GOV_OPTIONS_MAX + 4] = "h";
	const struct gov_option *o;
	size_t n = 0, len = strlen(shorts);
	int c;

	for (; n < GOV_OPTIONS_MAX && cmd->options[n].name != NULL; n++) {
		o = &cmd->options[n];
		longs[n] = (struct option){ o->name,
			o->arg != NULL ? required_argument : no_argument, NULL,
			OPT_FIRST + n };
		if (o->letter != 0)
			shorts[len++] = o->letter;
		if (o->letter != 0 && o->arg != NULL)
			shorts[len++] = ':';
	}
	longs[n] = (struct option){ "json", no_argument, NULL, OPT_JSON };
	longs[n + 1] = (struct option){ "help", no_argument, NULL, OPT_HELP };
	longs[n + 2] =
	    (struct option){ "state", required_argument, NULL, OPT_STATE };

	argv[0] = (char *)(uintptr_t) "gov"; /* who complains */
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		for (size_t i = 0; c < OPT_FIRST && i < n; i++)
			if (cmd->options[i].letter == c)
				c = OPT_FIRST + i;
		if (c >= OPT_FIRST && c < OPT_FIRST + (int)n) {
			ret->value[c - OPT_FIRST] = optarg ? optarg : "";
		} else if (c == OPT_JSON) {
			ret->json = true;
		} else if (c == OPT_STATE) {
			ret->state = optarg;
		} else if (c == OPT_HELP || c == 'h') {
			print_cmd_help(stdout, cmd);
			return EXIT_OK;
		} else {
			print_cmd_help(stderr, cmd);
			return EXIT_USAGE;
		}
	}
	ret->argc = argc - optind;
	ret->argv = argv + optind;
	if (ret->argc < cmd->min_args ||
	    (cmd->max_args >= 0 && ret->argc > cmd->max_args)) {
		print_cmd_help(stderr, cmd);
		return EXIT_USAGE;
	}
	return -1;
}

static void
print_help(FILE *f)
{
	fputs("usage: gov COMMAND [OPTIONS] [ARGUMENTS]\n\n", f);
	for (size_t i = 0; i < N_CMDS; i++)
		fprintf(f, "  %-8s %s\n", cmds[i]->name, cmds[i]->help);
	fputs("\ngov COMMAND --help shows its options; gov(1) has it all.\n",
	    f);
}

static void
print_option(FILE *f, char letter, const char *name, const char *arg,
    const char *help)
{
	char left[64], brief[5] = "    ";

	if (letter != 0)
		snprintf(brief, sizeof(brief), "-%c, ", letter);
	snprintf(left, sizeof(left), "%s--%s%s%s", brief, name,
	    arg != NULL ? " " : "", arg != NULL ? arg : "");
	fprintf(f, "  %-24s %s\n", left, help);
}

static void
print_cmd_help(FILE *f, const struct cmd *cmd)
{
	const struct gov_option *o = cmd->options;

	fprintf(f, "usage: gov %s [OPTIONS]%s%s\n%s\n\n", cmd->name,
	    *cmd->args != '\0' ? " " : "", cmd->args, cmd->help);
	for (int i = 0; i < GOV_OPTIONS_MAX && o[i].name != NULL; i++)
		print_option(f, o[i].letter, o[i].name, o[i].arg, o[i].help);
	print_option(f, 0, "state", "DIR", "the daemon's state directory");
	print_option(f, 0, "json", NULL, "print JSON");
	print_option(f, 'h', "help", NULL, "print this");
}

static void
vcomplain(const char *fmt, va_list ap)
{
	fflush(stdout);
	fputs("gov: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

int
gov_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
	return EXIT_FAILED;
}

int
gov_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
	return EXIT_USAGE;
}

int
gov_fail_errno(const char *what, int err)
{
	assert(err < 0);
	gov_fail("%s: %s", what, strerror(-err));
	switch (-err) {
	case EEXIST:
	case ESTALE:
		return EXIT_CONFLICT;
	case ETIMEDOUT: /* the one errno for "can't be known", CONTRACT O5 */
		return EXIT_UNKNOWN;
	default:
		return EXIT_FAILED;
	}
}

int
gov_no_answer(const char *what)
{
	return gov_fail("%s: no answer for %d s: the daemon is stopped or "
	    "stuck; see its log, or restart it", what, LIMIT_CTL_ANSWER_S);
}

bool
gov_parse_rev(const char *text, uint64_t *ret)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-')
		return false;
	*ret = n;
	return true;
}
