// One POST request, by wasi:http. It knows nothing of events: http.c and this file
// can be taken elsewhere as they are. Nothing is left over of a request, neither
// memory nor handles.
#ifndef HTTP_H
#define HTTP_H

#include "plugin.h"

// How much of the body of an answer is kept.
enum { HTTP_TEXT_BYTES = 200 };

// Where a request goes: the parts of a URL, which point into its text.
struct http_url {
  bool is_https;
  // Host, and port if there is one.
  plugin_string_t authority;
  // With the query; at least "/".
  plugin_string_t path;
};

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

// Whether it is a URL for http or https; its parts live as long as its text.
bool http_parse(const plugin_string_t *url, struct http_url *parts);

// Sends the request and waits for the answer, as long as the plugin's `timeout` lets
// it. `Content-Length` is added. False: there is no answer.
bool http_post(const struct http_url *url, const struct http_header *headers, size_t count,
               const plugin_list_u8_t *body, struct http_answer *answer);

#endif
