/*
 * metric.h: counters, gauges and latency histograms, all in metric.def.
 *
 * Owned by the loop thread; a TIME may be recorded by any thread.  Histograms
 * are log-linear: 16 buckets per power of two, so that a quantile is right
 * within 6 %.
 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stdint.h>

#include "base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_TIME };
enum metric {
#define METRIC(name, kind, text) METRIC_##name,
#include "base/metric.def"
#undef METRIC
	N_METRICS
};

void metric_add(enum metric, int64_t n);
void metric_set(enum metric, int64_t value);
void metric_time(enum metric, uint64_t ns);
int64_t metric_get(enum metric);	  /* of a TIME: its count */
uint64_t metric_quantile(enum metric, unsigned permille); /* ns; 0: none yet */
void metric_print(struct buf *); /* Prometheus text, one line per sample */

#endif
