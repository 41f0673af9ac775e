// One POST request, by wasi:http. It knows nothing of events: http.c and this file
// can be taken elsewhere as they are, with utf8.c. Nothing is left over of a request, neither
// memory nor handles.
#ifndef HTTP_H
#define HTTP_H

#include "plugin.h"

// How much of the body of an answer is kept.
enum { HTTP_TEXT_BYTES = 200 };

struct http_header {
  const char *name;
  plugin_string_t value;
};

struct http_answer {
  int status;
  // `Retry-After` in seconds; -1 if there is none, or if it is no number.
  int64_t retry_after_s;
  // The beginning of the body; if there is no answer, why. UTF-8, with a NUL at its end.
  char text[HTTP_TEXT_BYTES + 1];
};

enum http_outcome {
  HTTP_ANSWERED,
  // Another time there may be one.
  HTTP_NO_ANSWER,
  // It is no URL for http or https, or one with a user in it: it never will be asked.
  HTTP_BAD_URL,
};

// Sends the request and waits for the answer, as long as the plugin's `timeout` lets
// it. `Content-Length` is added.
enum http_outcome http_post(const plugin_string_t *url, const struct http_header *headers, size_t count,
                            const plugin_list_u8_t *body, struct http_answer *answer);

#endif
