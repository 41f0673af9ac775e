// UTF-8, byte by byte.
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>
#include <stdint.h>

// The length of the character that the bytes begin with, of which there is at least
// one; 0 if that is no UTF-8 (RFC 3629).
size_t utf8_length(const uint8_t *at, size_t len);

#endif
