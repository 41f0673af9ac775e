// See utf8.h.
#include "utf8.h"

#include <stdbool.h>

size_t utf8_length(const uint8_t *at, size_t len) {
  if (at[0] < 0x80) return 1;
  size_t wanted = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
  if (at[0] < 0xc2 || at[0] > 0xf4 || len < wanted) return 0;
  for (size_t n = 1; n < wanted; n++) {
    if ((at[n] & 0xc0) != 0x80) return 0;
  }
  // Longer than it need be, half of a pair, or beyond the last.
  bool is_none = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
                 (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f);
  return is_none ? 0 : wanted;
}
