/*
 * tap.h: a test program's voice (Test Anything Protocol, for prove(1)).
 *
 * Each ok() names a promise.  End main() with `return done_testing();`.
 */
#ifndef TESTS_TAP_H
#define TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_run, tap_failed;

__attribute__((unused, format(printf, 4, 5))) static bool
tap_ok(bool good, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %d - ", good ? "" : "not ", ++tap_run);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (!good) {
		tap_failed++;
		printf("# failed at %s:%d\n", file, line);
		/* prove(1) shows no more than this. */
		fprintf(stderr, "# failed at %s:%d: ", file, line);
		va_start(ap, fmt);
		vfprintf(stderr, fmt, ap);
		va_end(ap);
		fputc('\n', stderr);
	}
	fflush(stdout);
	return good;
}

/* Each answers whether the test passed, for `if (!ok(...)) diag(...)`. */
#define ok(good, ...) tap_ok((good), __FILE__, __LINE__, __VA_ARGS__)
#define pass(...) ok(true, __VA_ARGS__)
#define fail(...) ok(false, __VA_ARGS__)

#define diag(...) (printf("# " __VA_ARGS__), putchar('\n'), fflush(stdout))

#define is_int(got, want, ...) \
	({ \
		long long got_ = (long long)(got), want_ = (long long)(want); \
		bool good_ = ok(got_ == want_, __VA_ARGS__); \
		if (!good_) \
			diag("got %lld, expected %lld", got_, want_); \
		good_; \
	})

#define is_str(got, want, ...) \
	({ \
		const char *got_ = (got), *want_ = (want); \
		bool good_ = ok(strcmp(got_, want_) == 0, __VA_ARGS__); \
		if (!good_) \
			diag("got \"%s\", expected \"%s\"", got_, want_); \
		good_; \
	})

#define is_mem(got, want, len, ...) ok(memcmp(got, want, len) == 0, __VA_ARGS__)

/* What the machine lacks is said aloud, n tests at a time. */
#define skip(n, why) \
	do { \
		for (int i_ = 0; i_ < (n); i_++) \
			printf("ok %d # SKIP %s\n", ++tap_run, (why)); \
	} while (0)

#define skip_all(why) (printf("1..0 # SKIP %s\n", (why)), exit(0))
#define bail_out(...) (printf("Bail out! " __VA_ARGS__), putchar('\n'), exit(1))

__attribute__((unused)) static int
done_testing(void)
{
	printf("1..%d\n", tap_run);
	return tap_failed == 0 ? 0 : 1;
}

#endif
