/*
 * buf.h: a growing byte buffer and the one encoder.
 *
 * Everything govfs writes to a disk or a peer is encoded here: little endian,
 * fixed widths, lengths before bytes.  Errors are sticky: after the first
 * failure (memory, or more than max bytes) every call does nothing, and
 * buf_error() reports it once at the end.  base/reader.h is the other half.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"

struct buf {
	uint8_t *ptr; /* owned */
	size_t len;   /* bytes used */
	size_t cap;   /* bytes allocated */
	size_t max;   /* never grows past this */
	int error;    /* 0, -ENOMEM or -EMSGSIZE; sticky */
};

void buf_init(struct buf *, size_t max); /* allocates nothing */
void buf_fini(struct buf *);		 /* harmless when zeroed */
void buf_reset(struct buf *);		 /* len = 0, error = 0, keeps memory */
int buf_error(const struct buf *);
struct slice buf_slice(const struct buf *); /* valid until the next call */

void buf_u8(struct buf *, uint8_t);
void buf_u16(struct buf *, uint16_t);
void buf_u32(struct buf *, uint32_t);
void buf_u64(struct buf *, uint64_t);
void buf_raw(struct buf *, const void *, size_t);
void buf_slice16(struct buf *, struct slice); /* u16 length, bytes */
void buf_slice32(struct buf *, struct slice); /* u32 length, bytes */
void buf_pad(struct buf *, size_t align);     /* zeros up to a multiple */
uint8_t *buf_grow(struct buf *, size_t len);  /* NULL on failure; len added */
void buf_put_u32_at(struct buf *, size_t offset, uint32_t); /* patch */

/* Big endian integers, for keys whose order is their bytes' order. */
void buf_be64(struct buf *, uint64_t);

#endif
