/*
 * pace.c: the clock of pace.h for scripts.
 *
 * pace FILE keeps the clock's milliseconds in FILE, until its parent ends.
 */
#include "pace.h"

#include <stdio.h>

static int file;

static void
tell(void)
{
	char text[32];
	int n = snprintf(text, sizeof text, "%llu\n",
	    (unsigned long long)pace->us / 1000);

	if (pwrite(file, text, (size_t)n, 0) != n)
		exit(1);
}

int
main(int argc, char **argv)
{
	char path[4096];

	if (argc != 2)
		return 2;
	file = open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		return 1;
	snprintf(path, sizeof path, "%s.disk", argv[1]);
	pace_map();
	pace->us = 1000000; /* the text only grows, so it is never torn */
	tell();
	pace_keep(path, tell);
}
