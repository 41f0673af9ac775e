// See http.h. Each handle of wasi:http is dropped where it was got, or handed on to
// a function that drops it; what is made of another one is dropped before that one.
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "utf8.h"

// What a stream takes at a time.
enum { PART_BYTES = 4096 };

static plugin_string_t text(const char *text) {
  return (plugin_string_t){(uint8_t *)text, strlen(text)};
}

// Where a request goes: the parts of a URL, which point into its text.
struct url {
  bool is_https;
  // Host, and port if there is one.
  plugin_string_t authority;
  // With the query; at least "/".
  plugin_string_t path;
};

// The first of some characters, or the end.
static const char *first_of(const char *characters, const char *at, const char *end) {
  while (at < end && memchr(characters, *at, strlen(characters)) == NULL) at++;
  return at;
}

// Takes a URL apart. The host checks the parts: what it takes for none, it refuses.
static bool parse(const plugin_string_t *text_of, struct url *url) {
  const char *at = (const char *)text_of->ptr, *end = at + text_of->len;
  // A scheme may be in capitals.
  url->is_https = text_of->len >= 8 && strncasecmp(at, "https://", 8) == 0;
  if (!url->is_https && (text_of->len < 7 || strncasecmp(at, "http://", 7) != 0)) return false;
  at += url->is_https ? 8 : 7;
  const char *path = first_of("/?#", at, end), *fragment = first_of("#", path, end);
  url->authority = (plugin_string_t){(uint8_t *)at, path - at};
  url->path = path == fragment ? text("/") : (plugin_string_t){(uint8_t *)path, fragment - path};
  return url->authority.len > 0;
}

// The host takes texts in UTF-8 only: `?` for what is none, and for NUL.
static void put_text(struct http_answer *answer, uint8_t *bytes, size_t len) {
  for (size_t at = 0; at < len;) {
    size_t step = utf8_length(bytes + at, len - at);
    if (step == 0 || bytes[at] == 0) bytes[at] = '?';
    at += step == 0 ? 1 : step;
  }
  memcpy(answer->text, bytes, len);
  answer->text[len] = 0;
}

// The reason has one part or two.
static enum http_outcome no_answer(struct http_answer *answer, const char *why, const char *more) {
  snprintf(answer->text, sizeof answer->text, "%s%s", why, more);
  return HTTP_NO_ANSWER;
}

// The usual codes by their name, the others by their place in `error-code` of
// wit/deps/http.wit, counted from 0.
static enum http_outcome refused(struct http_answer *answer, wasi_http_types_error_code_t *code) {
  char number[16];
  snprintf(number, sizeof number, "%d", code->tag);
  wasi_http_types_error_code_free(code);
  switch (code->tag) {
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_URI_INVALID: return HTTP_BAD_URL;
    case WASI_HTTP_TYPES_ERROR_CODE_DNS_TIMEOUT: return no_answer(answer, "DNS timeout", "");
    case WASI_HTTP_TYPES_ERROR_CODE_DNS_ERROR: return no_answer(answer, "DNS error", "");
    case WASI_HTTP_TYPES_ERROR_CODE_DESTINATION_NOT_FOUND: return no_answer(answer, "destination not found", "");
    case WASI_HTTP_TYPES_ERROR_CODE_DESTINATION_IP_PROHIBITED: return no_answer(answer, "destination IP prohibited", "");
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_REFUSED: return no_answer(answer, "connection refused", "");
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_TERMINATED: return no_answer(answer, "connection terminated", "");
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_TIMEOUT: return no_answer(answer, "connection timeout", "");
    case WASI_HTTP_TYPES_ERROR_CODE_TLS_CERTIFICATE_ERROR: return no_answer(answer, "TLS certificate error", "");
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED: return no_answer(answer, "denied by the host, which says why", "");
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_TIMEOUT: return no_answer(answer, "response timeout", "");
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_PROTOCOL_ERROR: return no_answer(answer, "protocol error", "");
    default: return no_answer(answer, "error-code ", number);
  }
}

// Adds a header, or says which cannot be.
static bool append(wasi_http_types_own_fields_t fields, const char *name, plugin_string_t value,
                   struct http_answer *answer) {
  plugin_string_t key = text(name);
  wasi_http_types_field_value_t bytes = {value.ptr, value.len};
  wasi_http_types_header_error_t error;
  if (wasi_http_types_method_fields_append(wasi_http_types_borrow_fields(fields), &key, &bytes, &error)) return true;
  no_answer(answer, "it cannot be a header: ", name);
  return false;
}

// The headers of a request. False: there are none, and nothing is to be dropped.
static bool fields_of(const struct http_header *headers, size_t count, size_t body_len,
                      wasi_http_types_own_fields_t *fields, struct http_answer *answer) {
  char length[24];
  snprintf(length, sizeof length, "%zu", body_len);
  *fields = wasi_http_types_constructor_fields();
  bool is_done = append(*fields, "content-length", text(length), answer);
  for (size_t n = 0; is_done && n < count; n++) {
    is_done = append(*fields, headers[n].name, headers[n].value, answer);
  }
  if (!is_done) wasi_http_types_fields_drop_own(*fields);
  return is_done;
}

// A request without its body, which is `content`. False: the URL is none, and nothing
// is to be dropped.
static bool request_of(const struct url *url, wasi_http_types_own_fields_t fields,
                       wasi_http_types_own_outgoing_request_t *request,
                       wasi_http_types_own_outgoing_body_t *content) {
  *request = wasi_http_types_constructor_outgoing_request(fields);
  wasi_http_types_borrow_outgoing_request_t it = wasi_http_types_borrow_outgoing_request(*request);
  wasi_http_types_method_t method = {.tag = WASI_HTTP_TYPES_METHOD_POST};
  wasi_http_types_scheme_t scheme = {
      .tag = url->is_https ? WASI_HTTP_TYPES_SCHEME_HTTPS : WASI_HTTP_TYPES_SCHEME_HTTP};
  plugin_string_t authority = url->authority, path = url->path;
  bool is_done = wasi_http_types_method_outgoing_request_set_method(it, &method) &&
                 wasi_http_types_method_outgoing_request_set_scheme(it, &scheme) &&
                 wasi_http_types_method_outgoing_request_set_authority(it, &authority) &&
                 wasi_http_types_method_outgoing_request_set_path_with_query(it, &path) &&
                 wasi_http_types_method_outgoing_request_body(it, content);
  if (!is_done) wasi_http_types_outgoing_request_drop_own(*request);
  return is_done;
}

// wasi:io says why in an error of its own, which has to be dropped.
static void drop(wasi_io_streams_stream_error_t *error) {
  if (error->tag == WASI_IO_STREAMS_STREAM_ERROR_LAST_OPERATION_FAILED) {
    wasi_io_error_error_drop_own(error->val.last_operation_failed);
  }
}

// As much of the body as is taken; why that is not all of it, the answer says.
static void write_body(wasi_http_types_own_outgoing_body_t content, const plugin_list_u8_t *body) {
  wasi_io_streams_own_output_stream_t stream;
  if (wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(content), &stream)) {
    bool is_taken = true;
    for (size_t at = 0; is_taken && at < body->len; at += PART_BYTES) {
      size_t rest = body->len - at;
      plugin_list_u8_t part = {body->ptr + at, rest < PART_BYTES ? rest : PART_BYTES};
      wasi_io_streams_stream_error_t error;
      is_taken = wasi_io_streams_method_output_stream_blocking_write_and_flush(
          wasi_io_streams_borrow_output_stream(stream), &part, &error);
      if (!is_taken) drop(&error);
    }
    wasi_io_streams_output_stream_drop_own(stream);
  }
  wasi_http_types_error_code_t error;
  if (!wasi_http_types_static_outgoing_body_finish(content, NULL, &error)) wasi_http_types_error_code_free(&error);
}

// Seconds, if the header is one number.
static int64_t retry_after(wasi_http_types_borrow_incoming_response_t response) {
  wasi_http_types_own_fields_t headers = wasi_http_types_method_incoming_response_headers(response);
  plugin_string_t name = text("retry-after");
  wasi_http_types_list_field_value_t values;
  wasi_http_types_method_fields_get(wasi_http_types_borrow_fields(headers), &name, &values);
  int64_t seconds = -1;
  if (values.len > 0 && values.ptr[0].len > 0 && values.ptr[0].len <= 9) {
    seconds = 0;
    for (size_t n = 0; seconds >= 0 && n < values.ptr[0].len; n++) {
      uint8_t digit = values.ptr[0].ptr[n];
      seconds = digit >= '0' && digit <= '9' ? 10 * seconds + (digit - '0') : -1;
    }
  }
  wasi_http_types_list_field_value_free(&values);
  wasi_http_types_fields_drop_own(headers);
  return seconds;
}

// The beginning of the body; where it breaks off, as much as there is.
static void read_text(wasi_http_types_borrow_incoming_response_t response, struct http_answer *answer) {
  uint8_t bytes[HTTP_TEXT_BYTES];
  size_t len = 0;
  wasi_http_types_own_incoming_body_t body;
  if (wasi_http_types_method_incoming_response_consume(response, &body)) {
    wasi_io_streams_own_input_stream_t stream;
    if (wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body), &stream)) {
      wasi_io_streams_stream_error_t end;
      plugin_list_u8_t part;
      while (len < sizeof bytes) {
        if (!wasi_io_streams_method_input_stream_blocking_read(
                wasi_io_streams_borrow_input_stream(stream), sizeof bytes - len, &part, &end)) {
          drop(&end);
          break;
        }
        memcpy(bytes + len, part.ptr, part.len);
        len += part.len;
        plugin_list_u8_free(&part);
      }
      wasi_io_streams_input_stream_drop_own(stream);
    }
    wasi_http_types_incoming_body_drop_own(body);
  }
  put_text(answer, bytes, len);
}

// Waits for what comes of a request.
static enum http_outcome receive(wasi_http_types_own_future_incoming_response_t sent, struct http_answer *answer) {
  wasi_http_types_borrow_future_incoming_response_t it = wasi_http_types_borrow_future_incoming_response(sent);
  wasi_io_poll_own_pollable_t ready = wasi_http_types_method_future_incoming_response_subscribe(it);
  wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
  wasi_io_poll_pollable_drop_own(ready);
  wasi_http_types_result_result_own_incoming_response_error_code_void_t result;
  bool is_there = wasi_http_types_method_future_incoming_response_get(it, &result) && !result.is_err;
  wasi_http_types_future_incoming_response_drop_own(sent);
  if (!is_there) return no_answer(answer, "it is gone", "");
  if (result.val.ok.is_err) return refused(answer, &result.val.ok.val.err);
  wasi_http_types_own_incoming_response_t response = result.val.ok.val.ok;
  wasi_http_types_borrow_incoming_response_t of = wasi_http_types_borrow_incoming_response(response);
  answer->status = wasi_http_types_method_incoming_response_status(of);
  answer->retry_after_s = retry_after(of);
  read_text(of, answer);
  wasi_http_types_incoming_response_drop_own(response);
  return HTTP_ANSWERED;
}

enum http_outcome http_post(const plugin_string_t *url, const struct http_header *headers, size_t count,
                            const plugin_list_u8_t *body, struct http_answer *answer) {
  *answer = (struct http_answer){.status = 0, .retry_after_s = -1};
  struct url parts;
  wasi_http_types_own_fields_t fields;
  wasi_http_types_own_outgoing_request_t request;
  wasi_http_types_own_outgoing_body_t content;
  if (!parse(url, &parts)) return HTTP_BAD_URL;
  if (!fields_of(headers, count, body->len, &fields, answer)) return HTTP_NO_ANSWER;
  if (!request_of(&parts, fields, &request, &content)) return HTTP_BAD_URL;
  wasi_http_types_own_future_incoming_response_t sent;
  wasi_http_outgoing_handler_error_code_t error;
  if (!wasi_http_outgoing_handler_handle(request, NULL, &sent, &error)) {
    wasi_http_types_outgoing_body_drop_own(content);
    return refused(answer, &error);
  }
  write_body(content, body);
  return receive(sent, answer);
}
