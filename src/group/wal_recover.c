/*
 * wal_recover.c: what a directory's bytes say the log is.
 */
#include "config.h"

#include "group/wal_internal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define SEGMENT_MAX (UINT64_C(1) << 32) /* offsets are 32 bits */

/* While the segments are read. */
struct scan {
	struct wal *w;
	struct wal_recovery *info;
	uint64_t chain;	 /* checksum of the last record */
	uint64_t next;	 /* index of the next entry */
	uint64_t first;	 /* of the oldest held */
	uint64_t commit;
	size_t cap;	 /* of places */
};

static int list_files(struct wal *, struct wal_recovery *, bool had_vote);
static int segment_add(struct wal *, uint64_t seq);
static int segment_cmp(const void *, const void *);
static int check_numbers(struct wal *, struct wal_recovery *);
static int create(struct wal *);
static int scan_segment(struct scan *, size_t idx);
static int scan_header(struct scan *, struct wal_segment *, struct slice);
static int scan_records(struct scan *, const struct wal_segment *,
    struct slice, size_t *ret_stop);
static int scan_record(struct scan *, const struct wal_record *);
static int scan_tail(struct scan *, const struct wal_segment *, struct slice,
    size_t stop);
static int load(struct wal *, const char *name, uint8_t **ret, size_t *ret_len);
static int tail_resume(struct wal *, struct slice, size_t stop);
static int damage(struct wal_recovery *, const char *file, uint64_t offset,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int write_open_record(struct wal *);

int
wal_recover(struct wal *w, struct wal_recovery *info)
{
	struct scan scan = {.w = w, .info = info, .next = 1, .first = 1};
	bool had_vote;
	int err;

	err = wal_slot_load(w, info, &had_vote);
	if (err == 0)
		err = list_files(w, info, had_vote);
	/* Not earlier: a vote that went missing must not seem to be there. */
	if (err == 0 && !had_vote)
		err = wal_slot_create(w);
	if (err != 0)
		return err;
	if (memcmp(w->slot.cluster, w->cluster, sizeof(w->cluster)) != 0 ||
	    w->slot.member != w->member)
		return -EMEDIUMTYPE;
	if (w->n_segments == 0) {
		err = create(w);
	} else {
		scan.commit = w->slot.commit;
		for (size_t i = 0; err == 0 && i < w->n_segments; i++)
			err = scan_segment(&scan, i);
	}
	if (err != 0)
		return err;
	err = wal_terms_copy(&w->durable_terms, &w->terms);
	if (err != 0)
		return err;
	w->first_index = w->durable_first = scan.first;
	w->last_index = w->durable_index = scan.next - 1;
	w->tail.next_index = scan.next;
	w->commit = scan.commit < scan.next ? scan.commit : scan.next - 1;
	info->term = w->slot.term;
	info->vote = w->slot.vote;
	info->first_index = w->first_index;
	info->last_index = w->last_index;
	info->commit_index = w->commit;
	return write_open_record(w);
}

/* Segments into wal->segments, spares into wal->spares, leftovers away. */
static int
list_files(struct wal *w, struct wal_recovery *info, bool had_vote)
{
	int fd = openat(w->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	struct stat st;
	unsigned long n;
	char *end;
	int err = 0;

	if (dir == NULL)
		return -errno;
	while (err == 0 && (de = readdir(dir)) != NULL) {
		if (strncmp(de->d_name, "tmp-", 4) == 0) {
			unlinkat(w->dir_fd, de->d_name, 0);
		} else if (strncmp(de->d_name, "wal-", 4) == 0) {
			n = strtoul(de->d_name + 4, &end, 16);
			if (*end == '\0' && n > 0 && n <= UINT32_MAX)
				err = segment_add(w, n);
		} else if (strncmp(de->d_name, "spare-", 6) == 0) {
			n = strtoul(de->d_name + 6, &end, 10);
			if (n >= WAL_SPARES || *end != '\0' ||
			    fstatat(w->dir_fd, de->d_name, &st, 0) != 0 ||
			    st.st_size < 2 * WAL_BLOCK ||
			    st.st_size % WAL_BLOCK != 0)
				unlinkat(w->dir_fd, de->d_name, 0);
			else
				w->spares[n] = (size_t)st.st_size;
		}
	}
	closedir(dir);
	if (err != 0)
		return err;
	if (w->n_segments > 0 && !had_vote)
		return damage(info, "vote", 0, "the file is missing");
	return check_numbers(w, info);
}

static int
segment_add(struct wal *w, uint64_t seq)
{
	struct wal_segment *s;

	s = realloc(w->segments, (w->n_segments + 1) * sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	w->segments = s;
	s[w->n_segments++] = (struct wal_segment){.seq = seq};
	return 0;
}

static int
segment_cmp(const void *a, const void *b)
{
	uint64_t x = ((const struct wal_segment *)a)->seq;
	uint64_t y = ((const struct wal_segment *)b)->seq;

	return x < y ? -1 : x > y;
}

/* No gap from the oldest needed to the newest vouched for. */
static int
check_numbers(struct wal *w, struct wal_recovery *info)
{
	uint64_t want = w->slot.first_seq, newest = w->slot.durable >> 32;
	struct wal_segment *s = w->segments;
	size_t n = w->n_segments, drop = 0;
	char name[24];

	if (n > 0)
		qsort(s, n, sizeof(*s), segment_cmp);
	/* Released, but not yet gone when the process ended. */
	while (drop < n && s[drop].seq < want) {
		wal_segment_name(s[drop++].seq, name);
		unlinkat(w->dir_fd, name, 0);
	}
	w->n_segments = n -= drop;
	if (drop > 0)
		memmove(s, s + drop, n * sizeof(*s));
	if (want == 0)
		want = n > 0 ? s[0].seq : 1;
	for (size_t i = 0; i < n; i++, want++) {
		if (s[i].seq != want)
			break;
		if (i + 1 == n && s[i].seq >= newest)
			return 0;
	}
	if (n == 0 && newest == 0)
		return 0;
	wal_segment_name(want, name);
	return damage(info, name, 0, "the file is missing");
}

/* The first segment of a new log; its chain begins at random. */
static int
create(struct wal *w)
{
	size_t size = wal_next_size(w, 0);
	int err;

	w->tail.seq = 1;
	w->tail.next_index = 1;
	if (getrandom(&w->tail.chain, sizeof(w->tail.chain), 0) !=
	    sizeof(w->tail.chain))
		return -errno;
	err = wal_file_zero(w, "tmp-first", size);
	if (err == 0)
		err = wal_segment_begin(w, "tmp-first", size);
	if (err == 0)
		err = segment_add(w, 1);
	if (err != 0)
		return err;
	w->segments[0].first_index = 1;
	w->segments[0].size = size;
	w->durable = wal_pos(1, WAL_BLOCK);
	w->slot.first_seq = 1;
	return 0;
}

static int
scan_segment(struct scan *s, size_t idx)
{
	struct wal *w = s->w;
	struct wal_segment *seg = &w->segments[idx];
	uint8_t *ptr = NULL;
	struct slice bytes;
	char name[24];
	size_t stop = 0;
	int err;

	wal_segment_name(seg->seq, name);
	err = load(w, name, &ptr, &seg->size);
	bytes = slice_of(ptr, seg->size);
	if (err == 0)
		err = scan_header(s, seg, bytes);
	if (err == 0)
		err = scan_records(s, seg, bytes, &stop);
	if (err == 0 && idx + 1 == w->n_segments)
		err = scan_tail(s, seg, bytes, stop);
	else if (err == 0)
		s->info->offset = stop; /* if the next one doesn't go on here */
	free(ptr);
	return err;
}

static int
scan_header(struct scan *s, struct wal_segment *seg, struct slice bytes)
{
	struct wal *w = s->w;
	struct wal_segment_header h;
	uint64_t stop = s->info->offset;
	char name[24];

	wal_segment_name(seg->seq, name);
	s->info->offset = 0;
	if (!wal_header_read(bytes, &h) || h.seq != seg->seq)
		return damage(s->info, name, 0, "the header is damaged");
	if (memcmp(h.cluster, w->cluster, sizeof(h.cluster)) != 0 ||
	    h.member != w->member)
		return -EMEDIUMTYPE;
	if (seg == w->segments) {
		s->chain = h.chain;
		s->next = s->first = h.first_index;
	} else if (h.chain != s->chain || h.first_index != s->next) {
		wal_segment_name(seg->seq - 1, name);
		return damage(s->info, name, stop,
		    "a record is damaged, the next file goes on behind it");
	}
	seg->first_index = h.first_index;
	return 0;
}

static int
scan_records(struct scan *s, const struct wal_segment *seg,
    struct slice bytes, size_t *ret_stop)
{
	struct wal_record rec;
	size_t at = WAL_BLOCK;
	char name[24];
	int err;

	while (at < bytes.len && wal_record_read(bytes, seg->seq, at, &rec) &&
	    rec.prev == s->chain) {
		err = scan_record(s, &rec);
		if (err == -EUCLEAN) {
			wal_segment_name(seg->seq, name);
			return damage(s->info, name, at,
			    "a record doesn't fit to those before");
		}
		if (err != 0)
			return err;
		s->chain = rec.sum;
		at += wal_record_size(rec.payload.len);
	}
	*ret_stop = at;
	return 0;
}

static int
scan_record(struct scan *s, const struct wal_record *rec)
{
	struct wal *w = s->w;
	uint64_t *places;
	size_t n = (size_t)(s->next - s->first);

	if (rec->commit > s->commit)
		s->commit = rec->commit;
	switch (rec->kind) {
	case WAL_ENTRY:
		if (rec->index != s->next)
			return -EUCLEAN;
		if (n == s->cap) {
			s->cap = s->cap == 0 ? 1024 : s->cap * 2;
			places = realloc(w->places, s->cap * sizeof(*places));
			if (places == NULL)
				return -ENOMEM;
			w->places = places;
		}
		w->places[n] = rec->pos;
		s->next++;
		return wal_terms_add(&w->terms, rec->index, rec->term);
	case WAL_TRUNCATE:
		if (rec->index == 0 || rec->index > s->next)
			return -EUCLEAN;
		if (rec->index < s->first)
			s->first = rec->index;
		s->next = rec->index;
		wal_terms_cut(&w->terms, rec->index);
		return 0;
	case WAL_RESET:
		if (rec->index == 0)
			return -EUCLEAN;
		s->first = s->next = rec->index;
		wal_terms_cut(&w->terms, 0);
		return 0;
	case WAL_OPEN:
	case WAL_NOTE:
		return 0;
	default:
		return -EUCLEAN;
	}
}

/* The chain ends here: is that where the log ended? */
static int
scan_tail(struct scan *s, const struct wal_segment *seg, struct slice bytes,
    size_t stop)
{
	struct wal *w = s->w;
	uint64_t vouched;
	size_t end = stop;
	char name[24];

	wal_segment_name(seg->seq, name);
	vouched = wal_vouched(bytes, seg->seq, stop, &end);
	if (w->slot.durable > vouched)
		vouched = w->slot.durable;
	if (vouched > wal_pos(seg->seq, stop))
		return damage(s->info, name, stop,
		    "a record is damaged that was durable once");
	s->info->cut_bytes = end - stop;
	if (end > stop) {
		snprintf(s->info->file, sizeof(s->info->file), "%s", name);
		s->info->offset = stop;
		log_info("group: %s: the last write never finished, "
			 "%zu bytes cut at %zu", name, end - stop, stop);
	}
	w->tail.seq = seg->seq;
	w->tail.size = bytes.len;
	w->tail.chain = s->chain;
	return tail_resume(w, bytes, stop);
}

/* The writer rewrites the last block whole: it needs its beginning. */
static int
tail_resume(struct wal *w, struct slice bytes, size_t stop)
{
	size_t base = stop & ~(size_t)(WAL_BLOCK - 1);
	char name[24];
	size_t size;
	int err;

	wal_segment_name(w->tail.seq, name);
	err = wal_file_open(w, name, &w->tail.fd, &size);
	if (err != 0)
		return err;
	/* The process before may have died between a write and its end. */
	if (fdatasync(w->tail.fd) != 0)
		return -errno;
	w->durable = wal_pos(w->tail.seq, stop);
	w->tail.offset = stop;
	w->fill = stop - base;
	memcpy(w->block, (const uint8_t *)bytes.ptr + base, w->fill);
	return 0;
}

static int
load(struct wal *w, const char *name, uint8_t **ret, size_t *ret_len)
{
	struct stat st;
	uint8_t *ptr;
	int fd, err;

	fd = openat(w->dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) != 0) {
		err = -errno;
		goto out;
	}
	/* A size that no writer made reads as a damaged header. */
	if (st.st_size % WAL_BLOCK != 0 || (uint64_t)st.st_size > SEGMENT_MAX)
		st.st_size = 0;
	ptr = malloc((size_t)st.st_size + 1);
	err = ptr == NULL ? -ENOMEM :
	    wal_file_read(fd, ptr, (size_t)st.st_size, 0);
	if (err != 0) {
		free(ptr);
		goto out;
	}
	*ret = ptr;
	*ret_len = (size_t)st.st_size;
out:
	close(fd);
	return err;
}

int
wal_read_all(struct wal *w,
    int (*fn)(void *ctx, uint64_t index, const struct wal_entry *), void *ctx)
{
	size_t n = (size_t)(w->last_index + 1 - w->first_index), len = 0;
	struct wal_record rec;
	struct wal_entry entry;
	uint64_t seq = 0;
	uint8_t *ptr = NULL;
	char name[24];
	int err = 0;

	for (size_t i = 0; err == 0 && i < n; i++) {
		uint64_t pos = w->places[i];

		if (pos >> 32 != seq) {
			seq = pos >> 32;
			free(ptr);
			ptr = NULL;
			wal_segment_name(seq, name);
			err = load(w, name, &ptr, &len);
			if (err != 0)
				break;
		}
		/* It was whole at wal_open(): now the disk contradicts itself. */
		if ((uint32_t)pos >= len ||
		    !wal_record_read(slice_of(ptr, len), seq, (uint32_t)pos,
			&rec)) {
			err = -EIO;
			break;
		}
		entry.term = rec.term;
		entry.type = rec.type;
		entry.payload = rec.payload;
		err = fn(ctx, w->first_index + i, &entry);
	}
	free(ptr);
	free(w->places);
	w->places = NULL;
	return err;
}

/*
 * Makes all that was just read durable and vouched for, and this history
 * another than any that went on from the same record.
 */
static int
write_open_record(struct wal *w)
{
	uint8_t nonce[16];
	struct wal_record rec = {.kind = WAL_OPEN,
		.payload = slice_of(nonce, sizeof(nonce))};
	int err;

	if (getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce))
		return -errno;
	err = wal_write_record(w, &rec);
	if (err != 0)
		return err;
	w->slot.durable = w->durable;
	w->slot.commit = w->commit;
	return wal_slot_save(w);
}

static int
damage(struct wal_recovery *info, const char *file, uint64_t offset,
    const char *fmt, ...)
{
	va_list ap;
	int n;

	snprintf(info->file, sizeof(info->file), "%s", file);
	info->offset = offset;
	n = snprintf(info->text, sizeof(info->text), "%s: offset %llu: ", file,
	    (unsigned long long)offset);
	va_start(ap, fmt);
	vsnprintf(info->text + n, sizeof(info->text) - (size_t)n, fmt, ap);
	va_end(ap);
	return -EUCLEAN;
}
