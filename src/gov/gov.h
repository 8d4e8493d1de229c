/*
 * gov.h: the operator's command, one file per subcommand.
 *
 * Each cmd_NAME.c exports one const struct cmd; gov.c has the table, parses
 * the options and prints the help from it.  Exit codes are the contract with
 * scripts: gov(1) lists them.
 */
#ifndef GOV_GOV_H
#define GOV_GOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_TRIMMED = 3,  /* a revision that is no longer kept */
	EXIT_CONFLICT = 4, /* somebody else was first */
	EXIT_UNKNOWN = 5,  /* it may or may not have happened */
};

enum { GOV_OPTIONS_MAX = 10 };

struct gov_option {
	char letter;	   /* 0: long only; unique within a command */
	const char *name;  /* without the dashes; NULL ends the list */
	const char *arg;   /* what --help calls its value; NULL: none */
	const char *help;
};

struct gov_args {
	const char *value[GOV_OPTIONS_MAX]; /* by index; "" for a given flag,
					     * NULL: not given */
	bool json;	  /* --json */
	const char *state; /* --state DIR, NULL: not given */
	int argc;	  /* operands */
	char **argv;
};

struct cmd {
	const char *name;
	const char *args; /* for the usage line */
	const char *help; /* one line */
	int min_args, max_args; /* operands; max -1: any number */
	struct gov_option options[GOV_OPTIONS_MAX];
	int (*run)(const struct gov_args *); /* returns EXIT_* */
};

extern const struct cmd cmd_cat, cmd_debug, cmd_elect, cmd_init, cmd_lock,
    cmd_put, cmd_status, cmd_sync, cmd_ttl, cmd_watch, cmd_why;

/* "gov: ..." on stderr; returns EXIT_FAILED, to be returned. */
int gov_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Likewise, for the errno of a call on path: says what exit code it means. */
int gov_fail_errno(const char *what, int err);
int gov_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Likewise, when a daemon has not answered for LIMIT_CTL_ANSWER_S. */
int gov_no_answer(const char *what);
/* A decimal revision; false: it isn't one. */
bool gov_parse_rev(const char *, uint64_t *ret);

/* find.c: which daemon a path belongs to. */
#define GOV_MOUNT_DEFAULT "/gov"
#define GOV_STATE_DEFAULT "/var/lib/govfs"
struct gov_place {
	char *mount;	/* mount point; NULL: --state was given, or no mount */
	char *rel;	/* path below it, "" for the root; NULL without path */
	char *control;	/* its control socket */
	bool attended;	/* gov_attend() looks after its daemon */
};
/* path may be NULL.  Prints what is wrong and returns false; ends the program
 * where the daemon of a mount does not answer. */
bool gov_find(const struct gov_args *, const char *path, struct gov_place *);
void gov_place_fini(struct gov_place *);

/* client.c: one request and its answer.  Prints what is wrong: NULL. */
json_t *gov_request(const struct gov_place *, json_t * /* takes */);
/* Forks.  False in the child: what that asks of the daemon may take as long as
 * the daemon answers other questions.  True in the parent, with what to exit
 * with, when the child has ended, or when the daemon answers nothing. */
bool gov_attend(struct gov_place *, int *ret_code);
const char *gov_str(const json_t *, const char *key);	 /* "" if absent */
long long gov_int(const json_t *, const char *key);	 /* 0 if absent */
/* A path as a JSON string: bytes that are no UTF-8 are shown with ?. */
json_t *gov_json_path(const char *);
/* Prints one JSON object on a line and frees it; the answer's "ok" is left out. */
void gov_print_json(json_t * /* takes */);

/* cmd_why.c: gov_fail_errno(), and what the daemon says of that failure. */
int gov_fail_why(const struct gov_args *, const char *path, int err);

/* file.c: what files of /gov say of themselves. */
int gov_file_rev(const char *path, uint64_t *ret);	/* xattr gov.rev */
int gov_barrier(const char *path, uint64_t *ret_rev);	/* xattr gov.sync */
int gov_fail_barrier(const char *path, int err); /* as gov_fail_errno() */

#endif
