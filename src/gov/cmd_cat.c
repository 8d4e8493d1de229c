/*
 * cmd_cat.c: print files, as of now anywhere with --strict.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "gov/gov.h"

static int	cat_run(const struct gov_args *);
static int	cat_one(const struct gov_args *, const char *);
static int	barrier_for(const struct gov_args *, const char *);
static int	read_file(const char *, struct buf *);
static int	print_file_json(const char *, struct buf *);

enum { OPT_STRICT };

const struct cmd cmd_cat = {
	.name = "cat",
	.args = "PATH...",
	.help = "print files; with --strict nothing committed before is missed",
	.min_args = 1,
	.max_args = -1,
	.options = { [OPT_STRICT] = { 0, "strict", NULL,
	    "first wait for everything committed anywhere" } },
	.run = cat_run,
};

static int
cat_run(const struct gov_args *args)
{
	int code = EXIT_OK;

	for (int i = 0; i < args->argc; i++) {
		int one = cat_one(args, args->argv[i]);
		if (one != EXIT_OK)
			code = one;
	}
	return code;
}

static int
cat_one(const struct gov_args *args, const char *path)
{
	struct buf data;
	int err, code = EXIT_OK;

	if (args->value[OPT_STRICT] != NULL)
		code = barrier_for(args, path);
	if (code != EXIT_OK)
		return code;
	buf_init(&data, 64u << 20);
	err = read_file(path, &data);
	if (err != 0)
		code = gov_fail_errno(path, err);
	else if (args->json)
		code = print_file_json(path, &data);
	else if (fwrite(data.ptr, 1, data.len, stdout) != data.len)
		code = gov_fail("standard output: %s", strerror(errno));
	buf_fini(&data);
	return code;
}

/* The barrier is asked of a directory: the file itself may not be here yet,
 * nor its directory, so the nearest one that is. */
static int
barrier_for(const struct gov_args *args, const char *path)
{
	struct gov_place place;
	char *copy, *dir;
	uint64_t rev;
	int err;

	if (!gov_find(args, path, &place))
		return EXIT_FAILED;
	gov_place_fini(&place);
	dir = copy = strdup(path);
	if (copy == NULL)
		return gov_fail_errno(path, -ENOMEM);
	do {
		dir = dirname(dir);
		err = gov_barrier(dir, &rev);
	} while (err == -ENOENT && strcmp(dir, "/") != 0 &&
	    strcmp(dir, ".") != 0);
	free(copy);
	return err == 0 ? EXIT_OK : gov_fail_barrier(path, err);
}

/* To the end of file, whatever its size is said to be (CONTRACT F1). */
static int
read_file(const char *path, struct buf *ret)
{
	char block[65536];
	ssize_t n;
	int fd, err = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return -errno;
	while (err == 0 && (n = read(fd, block, sizeof(block))) != 0) {
		if (n > 0)
			buf_raw(ret, block, n);
		else if (errno != EINTR)
			err = -errno;
	}
	close(fd);
	return err != 0 ? err : buf_error(ret);
}

/* "content" when it is text, "base64" of it would need a library: hex. */
static int
print_file_json(const char *path, struct buf *data)
{
	json_t *obj, *text;
	uint64_t rev = 0;
	char *hex;

	gov_file_rev(path, &rev);
	obj = json_pack("{s:o, s:I}", "path", gov_json_path(path), "rev",
	    (json_int_t)rev);
	text = json_stringn((const char *)data->ptr, data->len);
	if (data->len == 0)
		text = json_string("");
	if (text != NULL) {
		json_object_set_new(obj, "content", text);
		gov_print_json(obj);
		return EXIT_OK;
	}
	hex = malloc(2 * data->len + 1);
	if (hex == NULL) {
		json_decref(obj);
		return gov_fail("no memory");
	}
	for (size_t i = 0; i < data->len; i++)
		sprintf(hex + 2 * i, "%02x", data->ptr[i]);
	json_object_set_new(obj, "content_hex", json_string(hex));
	free(hex);
	gov_print_json(obj);
	return EXIT_OK;
}
