// Posts each event to an HTTP endpoint.
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "http.h"
#include "json.h"

typedef exports_pelton_events_handler_event_t event_t;
typedef exports_pelton_events_handler_list_output_t outputs_t;
typedef exports_pelton_events_handler_failure_t failure_t;

static const char BAD_URL[] =
    "`config.url` is \"%.*s\"; it has to be a URL such as https://example.com/orders: http or https, a host, no user";

// The reason comes from malloc, as everything that is returned has to: it is freed
// after it has been read.
static bool fail(failure_t *failure, uint8_t kind, uint64_t delay_ms, const char *format, ...) {
  char *why = NULL;
  va_list arguments;
  va_start(arguments, format);
  int length = vasprintf(&why, format, arguments);
  va_end(arguments);
  plugin_string_t reason = {(uint8_t *)why, length < 0 ? 0 : length};
  failure->tag = kind;
  if (kind == PELTON_EVENTS_TYPES_FAILURE_RETRY_AFTER) {
    failure->val.retry_after = (plugin_tuple2_u64_string_t){delay_ms, reason};
  } else {
    failure->val.retry = reason;  // `reject` is in the same place.
  }
  return false;
}

static bool delivered(event_t *event, int status, outputs_t *outputs) {
  char *id = json_quoted(&event->id), *subject = json_quoted(&event->subject), *receipt;
  int length = asprintf(&receipt, "{\"event\":%s,\"subject\":%s,\"status\":%d}", id, subject, status);
  if (length < 0) abort();
  free(id);
  free(subject);
  outputs->len = 1;
  outputs->ptr = calloc(1, sizeof *outputs->ptr);
  plugin_string_dup(&outputs->ptr->subject, "deliveries.done");
  outputs->ptr->payload = (plugin_list_u8_t){(uint8_t *)receipt, length};
  // They belong to the output now.
  outputs->ptr->headers = event->headers;
  event->headers.len = 0;
  return true;
}

static bool answered(event_t *event, const struct http_answer *answer, outputs_t *outputs, failure_t *failure) {
  int status = answer->status;
  if (status >= 200 && status < 300) return delivered(event, status, outputs);
  if (status != 408 && status != 425 && status != 429 && status < 500) {
    return fail(failure, PELTON_EVENTS_TYPES_FAILURE_REJECT, 0, "refused with %d: %s", status, answer->text);
  }
  bool is_dated = answer->retry_after_s >= 0;
  return fail(failure, is_dated ? PELTON_EVENTS_TYPES_FAILURE_RETRY_AFTER : PELTON_EVENTS_TYPES_FAILURE_RETRY,
              is_dated ? 1000 * (uint64_t)answer->retry_after_s : 0, "put off with %d: %s", status, answer->text);
}

static bool handle(event_t *event, const plugin_string_t *url, outputs_t *outputs, failure_t *failure) {
  // The endpoint is told that it is JSON.
  if (!json_is_valid(&event->payload)) return fail(failure, PELTON_EVENTS_TYPES_FAILURE_REJECT, 0, "not JSON");
  plugin_string_t json;
  plugin_string_set(&json, "application/json");
  // The host adds `Idempotency-Key`, made of the event's id: the same each time.
  const struct http_header headers[] = {{"content-type", json}, {"event-subject", event->subject}};
  struct http_answer answer;
  switch (http_post(url, headers, 2, &event->payload, &answer)) {
    case HTTP_ANSWERED: return answered(event, &answer, outputs, failure);
    case HTTP_BAD_URL: return fail(failure, PELTON_EVENTS_TYPES_FAILURE_REJECT, 0, BAD_URL, (int)url->len, url->ptr);
    default: return fail(failure, PELTON_EVENTS_TYPES_FAILURE_RETRY, 0, "no answer from %.*s: %s", (int)url->len, url->ptr, answer.text);
  }
}

// With `isolation = { reuse = … }` what is not freed adds up. What the bindings
// themselves free of an event is not all of it.
static void release(event_t *event) {
  plugin_list_u8_free(&event->payload);
  event->payload.len = 0;
  if (event->reply_to.is_some) plugin_string_free(&event->reply_to.val);
  exports_pelton_events_handler_event_free(event);
}

bool exports_pelton_events_handler_handle(event_t *event, outputs_t *outputs, failure_t *failure) {
  plugin_string_t key, url = {NULL, 0};
  plugin_string_set(&key, "url");
  pelton_events_config_get(&key, &url);
  bool is_handled = handle(event, &url, outputs, failure);
  plugin_string_free(&url);
  release(event);
  return is_handled;
}
