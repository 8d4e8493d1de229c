/*
 * hex.h: bytes and numbers as lower case hexadecimal digits.
 */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

/* Writes 2 * len digits and a NUL. */
void hex_print(const uint8_t *bytes, size_t len, char *ret);
/* Exactly 2 * len digits, either case, and nothing else; or -EINVAL. */
int hex_parse(const char *text, uint8_t *ret, size_t len);
/* 1 to 16 digits, or -EINVAL. */
int hex_parse_u64(const char *text, uint64_t *ret);

#endif
