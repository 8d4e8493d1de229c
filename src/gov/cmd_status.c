/*
 * cmd_status.c: who leads, who is there, how far each host has come.
 */
#include "config.h"

#include <libsmartcols.h>
#include <stdio.h>
#include <string.h>

#include "gov/gov.h"

static int	status_run(const struct gov_args *);
static void	print_health(const json_t *);
static int	print_members(const json_t *);

const struct cmd cmd_status = {
	.name = "status",
	.args = "[PATH]",
	.help = "show the hosts, their roles and how far each has come",
	.max_args = 1,
	.run = status_run,
};

static int
status_run(const struct gov_args *args)
{
	struct gov_place place;
	json_t *st;
	int code = EXIT_OK;

	if (!gov_find(args, args->argc > 0 ? args->argv[0] : NULL, &place))
		return EXIT_FAILED;
	st = gov_request(&place, json_pack("{s:s}", "request", "status"));
	gov_place_fini(&place);
	if (st == NULL)
		return EXIT_FAILED;
	if (args->json) {
		gov_print_json(st);
		return EXIT_OK;
	}
	print_health(st);
	code = print_members(st);
	json_decref(st);
	return code;
}

static void
print_health(const json_t *st)
{
	const char *leader = gov_str(st, "leader");
	const char *sick = gov_str(st, "disk");

	printf("%s: %s is %s, leader %s, term %lld, revision %lld, "
	    "%lld of %lld voters alive\n", gov_str(st, "health"),
	    gov_str(st, "name"), gov_str(st, "role"),
	    *leader != '\0' ? leader : "unknown", gov_int(st, "term"),
	    gov_int(st, "rev"), gov_int(st, "alive"), gov_int(st, "voters"));
	if (*sick != '\0')
		printf("disk: %s\n", sick);
}

enum { COL_HOST, COL_ROLE, COL_STATE, COL_ADDRESS, COL_ALIVE, COL_APPLIED,
	COL_REV, COL_REPLAYED, COL_LAG, COL_LABELS, N_COLS };
static const char *const columns[N_COLS] = { "HOST", "ROLE", "STATE", "ADDRESS",
	"ALIVE", "APPLIED", "REVISION", "REPLAYED", "LAG", "LABELS" };

static void
set_number(struct libscols_line *line, int col, long long n)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", n);
	scols_line_set_data(line, col, text);
}

/* STATE is the cluster's word, ALIVE what this host hears right now.  LAG is in
 * revisions, behind the newest that this host knows of. */
static int
print_members(const json_t *st)
{
	long long rev = gov_int(st, "rev");
	struct libscols_table *table = scols_new_table();
	struct libscols_column *by;
	struct libscols_line *line;
	size_t i;
	json_t *m;

	if (table == NULL)
		return gov_fail("no memory");
	for (int c = 0; c < N_COLS; c++)
		scols_table_new_column(table, columns[c], 0,
		    c >= COL_APPLIED && c <= COL_LAG ? SCOLS_FL_RIGHT : 0);
	by = scols_table_get_column(table, COL_HOST);
	scols_column_set_cmpfunc(by, scols_cmpstr_cells, NULL);
	json_array_foreach(json_object_get(st, "members"), i, m)
	{
		long long shown = gov_int(m, "replayed");

		line = scols_table_new_line(table, NULL);
		if (line == NULL)
			break;
		scols_line_set_data(line, COL_HOST, gov_str(m, "host"));
		scols_line_set_data(line, COL_ROLE, gov_str(m, "role"));
		scols_line_set_data(line, COL_STATE, gov_str(m, "state"));
		scols_line_set_data(line, COL_LABELS, gov_str(m, "labels"));
		scols_line_set_data(line, COL_ADDRESS, gov_str(m, "address"));
		scols_line_set_data(line, COL_ALIVE,
		    json_is_true(json_object_get(m, "alive")) ? "yes" : "no");
		set_number(line, COL_APPLIED, gov_int(m, "applied"));
		set_number(line, COL_REV, gov_int(m, "rev"));
		set_number(line, COL_REPLAYED, shown);
		set_number(line, COL_LAG, shown < rev ? rev - shown : 0);
	}
	scols_sort_table(table, by);
	scols_print_table(table);
	scols_unref_table(table);
	return EXIT_OK;
}
