/*
 * metric.c: the numbers, and their text for Prometheus.
 */
#include "config.h"

#include "base/metric.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

/*
 * Values below 2^SUB_BITS have a bucket each; above, each power of two is cut
 * into 2^SUB_BITS equal buckets.
 */
enum {
	SUB_BITS = 4,
	N_SUB = 1 << SUB_BITS,
	N_BUCKETS = (64 - SUB_BITS + 1) * N_SUB,
};

struct histogram {
	_Atomic uint64_t sum_ns;
	_Atomic uint64_t bucket[N_BUCKETS];
};

static const struct {
	const char *name;
	enum metric_kind kind;
	const char *text;
} infos[N_METRICS] = {
#define METRIC(name, kind, text) [METRIC_##name] = {#name, METRIC_##kind, text},
#include "base/metric.def"
#undef METRIC
};

static _Atomic int64_t values[N_METRICS]; /* of a TIME: its count */
static struct histogram histograms[N_METRICS]; /* untouched pages cost none */

static unsigned bucket_of(uint64_t ns);
static uint64_t bucket_middle(unsigned idx);
static void print(struct buf *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void print_time(struct buf *, enum metric);

void
metric_add(enum metric m, int64_t n)
{
	assert(m < N_METRICS && infos[m].kind != METRIC_TIME);
	atomic_fetch_add_explicit(&values[m], n, memory_order_relaxed);
}

void
metric_set(enum metric m, int64_t value)
{
	assert(m < N_METRICS && infos[m].kind == METRIC_GAUGE);
	atomic_store_explicit(&values[m], value, memory_order_relaxed);
}

void
metric_time(enum metric m, uint64_t ns)
{
	struct histogram *h = &histograms[m];

	assert(m < N_METRICS && infos[m].kind == METRIC_TIME);
	atomic_fetch_add_explicit(&values[m], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->bucket[bucket_of(ns)], 1,
	    memory_order_relaxed);
}

int64_t
metric_get(enum metric m)
{
	assert(m < N_METRICS);
	return atomic_load_explicit(&values[m], memory_order_relaxed);
}

uint64_t
metric_quantile(enum metric m, unsigned permille)
{
	struct histogram *h = &histograms[m];
	uint64_t total = 0, seen = 0, want;

	assert(m < N_METRICS && infos[m].kind == METRIC_TIME);
	assert(permille <= 1000);
	for (unsigned i = 0; i < N_BUCKETS; i++)
		total += atomic_load_explicit(&h->bucket[i],
		    memory_order_relaxed);
	if (total == 0)
		return 0;
	want = (total * permille + 999) / 1000;
	if (want == 0)
		want = 1;
	for (unsigned i = 0; i < N_BUCKETS; i++) {
		seen += atomic_load_explicit(&h->bucket[i],
		    memory_order_relaxed);
		if (seen >= want)
			return bucket_middle(i);
	}
	return bucket_middle(N_BUCKETS - 1);
}

void
metric_print(struct buf *b)
{
	static const char *const kinds[] = {"counter", "gauge", "summary"};

	for (unsigned m = 0; m < N_METRICS; m++) {
		const char *unit = infos[m].kind == METRIC_TIME ? "_seconds"
								: "";

		print(b, "# HELP govfs_%s%s %s\n", infos[m].name, unit,
		    infos[m].text);
		print(b, "# TYPE govfs_%s%s %s\n", infos[m].name, unit,
		    kinds[infos[m].kind]);
		if (infos[m].kind == METRIC_TIME)
			print_time(b, m);
		else
			print(b, "govfs_%s %" PRId64 "\n", infos[m].name,
			    metric_get(m));
	}
}

static void
print_time(struct buf *b, enum metric m)
{
	static const struct {
		unsigned permille;
		const char *label;
	} quantiles[] = {{500, "0.5"}, {900, "0.9"}, {990, "0.99"},
	    {999, "0.999"}};
	const char *name = infos[m].name;
	uint64_t ns;

	for (unsigned i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]);
	     i++) {
		ns = metric_quantile(m, quantiles[i].permille);
		print(b,
		    "govfs_%s_seconds{quantile=\"%s\"} %" PRIu64 ".%09" PRIu64
		    "\n",
		    name, quantiles[i].label, ns / 1000000000, ns % 1000000000);
	}
	ns = atomic_load_explicit(&histograms[m].sum_ns, memory_order_relaxed);
	print(b, "govfs_%s_seconds_sum %" PRIu64 ".%09" PRIu64 "\n", name,
	    ns / 1000000000, ns % 1000000000);
	print(b, "govfs_%s_seconds_count %" PRId64 "\n", name, metric_get(m));
}

static void
print(struct buf *b, const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < sizeof(line));
	buf_raw(b, line, (size_t)n);
}

static unsigned
bucket_of(uint64_t ns)
{
	unsigned shift;

	if (ns < N_SUB)
		return (unsigned)ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - SUB_BITS;
	/* The top bit is implied by the power: (ns >> shift) is N_SUB..2N-1. */
	return shift * N_SUB + (unsigned)(ns >> shift);
}

static uint64_t
bucket_middle(unsigned idx)
{
	unsigned shift;
	uint64_t low;

	if (idx < N_SUB)
		return idx;
	shift = idx / N_SUB - 1;
	low = (uint64_t)(N_SUB + idx % N_SUB) << shift;
	return low + (UINT64_C(1) << shift) / 2;
}
