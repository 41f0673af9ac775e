// Posts each event to an HTTP endpoint.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"{{name}}/pelton"
	"{{name}}/pelton/wasihttp"
)

func init() { pelton.Handle(handle) }

func main() {}

func handle(event pelton.Event) ([]pelton.Output, error) {
	// The endpoint is told that it is JSON.
	if !utf8.Valid(event.Payload) || !json.Valid(event.Payload) {
		return nil, pelton.Reject("not JSON")
	}
	url, _ := pelton.Config("url")
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(event.Payload))
	if err != nil || request.URL.User != nil {
		return nil, badURL(url)
	}
	// The host adds `Idempotency-Key`, made of the event's id: the same each time.
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Event-Subject", event.Subject)
	response, err := wasihttp.Transport{}.RoundTrip(request)
	if errors.Is(err, wasihttp.ErrURL) {
		return nil, badURL(url)
	}
	if err != nil {
		return nil, pelton.Retry("no answer from %s: %v", url, err)
	}
	return answered(event, response)
}

func badURL(url string) error {
	return pelton.Reject("`config.url` is %q; it has to be a URL such as https://example.com/orders: http or https, a host, no user", url)
}

func answered(event pelton.Event, response *http.Response) ([]pelton.Output, error) {
	text, err := io.ReadAll(io.LimitReader(response.Body, 200))
	if err != nil {
		return nil, err
	}
	switch status := response.StatusCode; {
	case status >= 200 && status < 300:
		receipt := map[string]any{"event": event.ID, "subject": event.Subject, "status": status}
		payload, err := json.Marshal(receipt)
		return []pelton.Output{{Subject: "deliveries.done", Headers: event.Headers, Payload: payload}}, err
	case status == 408 || status == 425 || status == 429 || status >= 500:
		if seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 32); err == nil {
			return nil, pelton.RetryAfter(time.Duration(seconds)*time.Second, "put off with %d: %s", status, text)
		}
		return nil, pelton.Retry("put off with %d: %s", status, text)
	default:
		return nil, pelton.Reject("refused with %d: %s", status, text)
	}
}
