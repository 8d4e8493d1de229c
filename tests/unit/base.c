/*
 * base.c: buffers, readers, faults, metrics, reasons.
 */
#include "config.h"

#include <errno.h>

#include "../tap.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/reader.h"
#include "base/reason.h"

static void
test_slice(void)
{
	struct slice a = slice_str("a"), ab = slice_str("ab");

	ok(slice_cmp(a, ab) < 0, "a prefix sorts before what it begins");
	ok(slice_cmp(SLICE_EMPTY, a) < 0, "empty sorts first");
	ok(slice_cmp(slice_of("\xff", 1), a) > 0, "bytes order unsigned");
	ok(slice_eq(SLICE_EMPTY, slice_str("")), "all empty slices are equal");
}

static void
test_codec(void)
{
	struct buf b;
	struct reader r;

	buf_init(&b, 4096);
	buf_u8(&b, 0x12);
	buf_u16(&b, 0x3456);
	buf_u32(&b, 0x789abcde);
	buf_u64(&b, UINT64_C(0x0123456789abcdef));
	buf_be64(&b, UINT64_C(0x0123456789abcdef));
	buf_slice16(&b, slice_str("name"));
	buf_slice32(&b, slice_str("content"));
	buf_pad(&b, 16);
	is_int(buf_error(&b), 0, "a fitting encoding has no error");
	is_int(b.len % 16, 0, "padding reaches the multiple");
	is_mem(b.ptr + 1, "\x56\x34\xde\xbc\x9a\x78", 6,
	    "integers are little endian");
	is_mem(b.ptr + 15, "\x01\x23\x45\x67", 4, "keys are big endian");

	reader_init(&r, buf_slice(&b));
	is_int(reader_u8(&r), 0x12, "u8 comes back");
	is_int(reader_u16(&r), 0x3456, "u16 comes back");
	is_int(reader_u32(&r), 0x789abcde, "u32 comes back");
	ok(reader_u64(&r) == UINT64_C(0x0123456789abcdef), "u64 comes back");
	ok(reader_be64(&r) == UINT64_C(0x0123456789abcdef), "be64 comes back");
	ok(slice_eq(reader_slice16(&r, 4), slice_str("name")),
	    "a slice of just max bytes comes back");
	ok(slice_eq(reader_slice32(&r, 7), slice_str("content")),
	    "a long slice comes back");
	ok(reader_ok(&r) && !reader_done(&r), "padding is left over");
	(void)reader_rest(&r);
	ok(reader_done(&r), "the rest finishes it");

	buf_put_u32_at(&b, 3, 7);
	reader_init(&r, slice_of(b.ptr + 3, 4));
	is_int(reader_u32(&r), 7, "a patched length comes back");
	buf_fini(&b);
}

static void
test_sticky(void)
{
	struct buf b;
	struct reader r;
	static uint8_t big[70000];

	buf_init(&b, 8);
	buf_u64(&b, 1);
	is_int(buf_error(&b), 0, "max bytes fit");
	buf_u8(&b, 1);
	is_int(buf_error(&b), -EMSGSIZE, "one more is EMSGSIZE");
	is_int(b.len, 8, "and adds nothing");
	buf_reset(&b);
	buf_u8(&b, 1);
	is_int(buf_error(&b), 0, "a reset buffer is fresh");
	ok(buf_grow(&b, 8) == NULL, "buf_grow past max is NULL");
	buf_fini(&b);
	buf_fini(&b);
	pass("a second fini is harmless");

	buf_init(&b, SIZE_MAX);
	buf_slice16(&b, slice_of(big, sizeof(big)));
	is_int(buf_error(&b), -EMSGSIZE, "no u16 length lies");
	buf_reset(&b);
	for (int i = 0; i < 100; i++)
		buf_raw(&b, big, sizeof(big));
	is_int(b.len, 100 * sizeof(big), "a buffer grows as asked");
	buf_fini(&b);

	reader_init(&r, slice_of("\x05\x00zzzz", 6));
	is_int(reader_slice16(&r, 100).len, 0, "a lying length reads nothing");
	ok(!reader_ok(&r), "and fails the reader");
	is_int(reader_u8(&r), 0, "a failed reader answers zero");
	is_int(reader_left(&r), 0, "a failed reader has nothing left");
	reader_init(&r, slice_of("\x04\x00zzzz", 6));
	is_int(reader_slice16(&r, 3).len, 0, "more than max fails");
	ok(!reader_done(&r), "what failed is not done");
	reader_init(&r, SLICE_EMPTY);
	ok(reader_done(&r), "reading nothing is done");
	is_int(reader_u64(&r), 0, "past the end is zero");
	ok(!reader_done(&r), "and failed");
}

static void
test_fault(void)
{
	enum fault f = N_FAULTS;

	is_int(fault_parse("wal_write_eio", &f), 0, "a fault has a name");
	is_int(f, FAULT_wal_write_eio, "the right one");
	is_str(fault_name(f), "wal_write_eio", "and back");
	is_int(fault_parse("nonsense", &f), -ENOENT, "others are ENOENT");
	is_int(fault_get(f), 0, "faults are off");
	ok(!fault_take(f), "an off fault is not taken");
	fault_set(f, 2);
	ok(fault_take(f) && fault_take(f) && !fault_take(f),
	    "a fault of two is taken twice");
	fault_set(f, -1);
	is_int(fault_get(f), -1, "negative values are values");
	fault_set(f, 0);
}

static void
test_metric(void)
{
	struct buf b;
	bool good = true;

	metric_add(METRIC_fuse_requests, 2);
	metric_add(METRIC_fuse_requests, 3);
	is_int(metric_get(METRIC_fuse_requests), 5, "counters add");
	metric_set(METRIC_handles, 7);
	metric_add(METRIC_handles, -1);
	is_int(metric_get(METRIC_handles), 6, "gauges go both ways");
	is_int(metric_quantile(METRIC_commit_time, 500), 0, "no sample: 0");
	for (uint64_t i = 1; i <= 1000; i++)
		metric_time(METRIC_commit_time, i * 1000);
	is_int(metric_get(METRIC_commit_time), 1000, "a time counts");
	for (unsigned p = 1; p <= 1000; p++) {
		uint64_t want = p * 1000;
		uint64_t got = metric_quantile(METRIC_commit_time, p);

		if (got < want - want * 6 / 100 || got > want + want * 6 / 100)
			good = false;
	}
	ok(good, "each quantile is right within 6 %%");
	metric_time(METRIC_wal_write_time, UINT64_MAX);
	metric_time(METRIC_wal_write_time, 0);
	ok(metric_quantile(METRIC_wal_write_time, 1000) > UINT64_MAX / 2,
	    "the longest time has a bucket");
	is_int(metric_quantile(METRIC_wal_write_time, 1), 0, "so has zero");

	buf_init(&b, 1 << 20);
	metric_print(&b);
	buf_u8(&b, 0);
	is_int(buf_error(&b), 0, "metrics print");
	ok(strstr((char *)b.ptr, "\ngovfs_fuse_requests 5\n") != NULL,
	    "a counter is one line");
	ok(strstr((char *)b.ptr, "\ngovfs_commit_time_seconds_count 1000\n"),
	    "a time has its count");
	ok(strstr((char *)b.ptr, "\ngovfs_commit_time_seconds_sum 0.500500000"),
	    "and its sum in seconds");
	buf_fini(&b);
}

static void
test_reason(void)
{
	struct reason r = {0};
	struct slice a = slice_str("a");

	ok(!reason_find(1, a, 9, &r), "nothing noted, nothing found");
	reason_note(1, a, 0, -ESTALE, "rev %d", 1);
	reason_note(1, slice_str("b"), 5, -EFBIG, "rev %d", 2);
	ok(reason_find(1, a, 0, &r) && r.err == -ESTALE, "found by name");
	is_str(r.text, "rev 1", "with its sentence");
	ok(reason_find(0, SLICE_EMPTY, 5, &r) && r.err == -EFBIG,
	    "found by node");
	ok(!reason_find(0, a, 0, &r), "zero matches nothing");
	ok(!reason_find(1, SLICE_EMPTY, 0, &r), "nor does the empty name");
	reason_note(1, a, 0, -EDQUOT, "rev %d", 3);
	ok(reason_find(1, a, 0, &r) && r.err == -EDQUOT, "the newest wins");
	for (int i = 0; i < LIMIT_REASONS; i++)
		reason_note(2, a, 0, -EIO, "more");
	ok(!reason_find(1, a, 5, &r), "old reasons make room");
}

static void
test_log(void)
{
	enum log_level level;

	ok(log_level_parse("debug", &level) == 0 && level == LOG_LEVEL_DEBUG,
	    "log levels have names");
	is_int(log_level_parse("loud", &level), -EINVAL, "others are EINVAL");
	errno = ENOENT;
	log_debug("test: not to be seen");
	is_int(errno, ENOENT, "logging keeps errno");
	ok(clock_now_ns() > 0 && clock_wall_ns() > clock_now_ns(),
	    "clocks run");
}

int
main(void)
{
	test_slice();
	test_codec();
	test_sticky();
	test_fault();
	test_metric();
	test_reason();
	test_log();
	return done_testing();
}
