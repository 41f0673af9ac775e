// Package wasihttp lets net/http send requests by wasi:http, to the servers that
// the manifest grants. Written by `pelton build` where the world of the WIT
// imports wasi:http/outgoing-handler; changes are lost.
//
//	client := http.Client{Transport: wasihttp.Transport{}}
package wasihttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	handler "MODULE/pelton/internal/wasi_http_outgoing_handler"
	wasi "MODULE/pelton/internal/wasi_http_types"
	streams "MODULE/pelton/internal/wasi_io_streams"
	types "MODULE/pelton/internal/wit/types"
)

// What a stream takes, or gives, at a time.
const (
	writeAtOnce = 4 << 10
	readAtOnce  = 64 << 10
)

// ErrURL is what an error wraps if the URL can never be asked: it is none for http or
// https, or has a bad host or port.
var ErrURL = errors.New("bad URL")

// Transport is an http.RoundTripper. Bodies are sent and read as a whole, and
// while it waits no other goroutine runs.
type Transport struct{}

// RoundTrip sends one request. It follows no redirects, and heeds the deadline of
// the request's context.
func (Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := bodyOf(request)
	if err != nil {
		return nil, err
	}
	outgoing, err := toWasi(request, len(body))
	if err != nil {
		return nil, err
	}
	options, err := optionsOf(request.Context())
	if err != nil {
		outgoing.Drop()
		return nil, err
	}
	content := outgoing.Body().Ok()
	sent := handler.Handle(outgoing, options)
	if sent.IsErr() {
		content.Drop()
		return nil, failure(sent.Err())
	}
	write(content, body)
	return answer(request, sent.Ok())
}

// bodyOf reads the body and closes it, as a RoundTripper has to.
func bodyOf(request *http.Request) ([]byte, error) {
	if request.Body == nil {
		return nil, nil
	}
	defer request.Body.Close()
	return io.ReadAll(request.Body)
}

// toWasi is the request without its body, which has this length.
func toWasi(request *http.Request, length int) (*wasi.OutgoingRequest, error) {
	url := request.URL
	if url == nil || url.Host == "" || (url.Scheme != "http" && url.Scheme != "https") {
		return nil, fmt.Errorf("wasi:http: %w: %q is not one with http or https", ErrURL, url)
	}
	headers := []types.Tuple2[string, []uint8]{}
	for name, values := range request.Header {
		for _, value := range values {
			headers = append(headers, types.Tuple2[string, []uint8]{F0: name, F1: []byte(value)})
		}
	}
	if request.Body != nil {
		value := fmt.Appendf(nil, "%d", length)
		headers = append(headers, types.Tuple2[string, []uint8]{F0: "Content-Length", F1: value})
	}
	fields := wasi.FieldsFromList(headers)
	if fields.IsErr() {
		return nil, errors.New("wasi:http: a header is not valid, or is the host's business")
	}
	outgoing := wasi.MakeOutgoingRequest(fields.Ok())
	scheme := wasi.MakeSchemeHttps()
	if url.Scheme == "http" {
		scheme = wasi.MakeSchemeHttp()
	}
	if outgoing.SetMethod(method(request.Method)).IsErr() {
		outgoing.Drop()
		return nil, fmt.Errorf("wasi:http: %q is no method", request.Method)
	}
	if outgoing.SetScheme(types.Some(scheme)).IsErr() ||
		outgoing.SetAuthority(types.Some(url.Host)).IsErr() ||
		outgoing.SetPathWithQuery(types.Some(url.RequestURI())).IsErr() {
		outgoing.Drop()
		return nil, fmt.Errorf("wasi:http: %w: %q", ErrURL, url)
	}
	return outgoing, nil
}

func method(name string) wasi.Method {
	switch name {
	case "", http.MethodGet:
		return wasi.MakeMethodGet()
	case http.MethodPost:
		return wasi.MakeMethodPost()
	case http.MethodPut:
		return wasi.MakeMethodPut()
	default:
		return wasi.MakeMethodOther(name)
	}
}

// optionsOf turns the context's deadline into limits that the host keeps: the
// timers of Go stand still while a request is waited for.
func optionsOf(ctx context.Context) (types.Option[*wasi.RequestOptions], error) {
	none := types.None[*wasi.RequestOptions]()
	if err := ctx.Err(); err != nil {
		return none, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return none, nil
	}
	left := types.Some(uint64(max(time.Until(deadline), time.Millisecond)))
	options := wasi.MakeRequestOptions()
	options.SetConnectTimeout(left)
	options.SetFirstByteTimeout(left)
	options.SetBetweenBytesTimeout(left)
	return types.Some(options), nil
}

// write sends as much of the body as is taken; why that is not all of it, the
// answer says.
func write(content *wasi.OutgoingBody, body []byte) {
	stream := content.Write().Ok()
	for len(body) > 0 {
		length := min(len(body), writeAtOnce)
		if stream.BlockingWriteAndFlush(body[:length]).IsErr() {
			break
		}
		body = body[length:]
	}
	stream.Drop()
	wasi.OutgoingBodyFinish(content, types.None[*wasi.Fields]())
}

// answer waits for the response and reads it. What belongs to the host is given
// back before, the inner before the outer.
func answer(request *http.Request, sent *wasi.FutureIncomingResponse) (*http.Response, error) {
	defer sent.Drop()
	pollable := sent.Subscribe()
	pollable.Block()
	pollable.Drop()
	came := sent.Get().Some().Ok()
	if came.IsErr() {
		return nil, failure(came.Err())
	}
	incoming := came.Ok()
	defer incoming.Drop()
	body, err := read(incoming)
	if err != nil {
		return nil, err
	}
	status := int(incoming.Status())
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", status, http.StatusText(status)),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        headersOf(incoming),
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       request,
	}, nil
}

func headersOf(incoming *wasi.IncomingResponse) http.Header {
	fields := incoming.Headers()
	defer fields.Drop()
	header := http.Header{}
	for _, entry := range fields.Entries() {
		header.Add(entry.F0, string(entry.F1))
	}
	return header
}

func read(incoming *wasi.IncomingResponse) ([]byte, error) {
	content := incoming.Consume().Ok()
	defer content.Drop()
	stream := content.Stream().Ok()
	defer stream.Drop()
	var body []byte
	for {
		more := stream.BlockingRead(readAtOnce)
		if more.IsOk() {
			body = append(body, more.Ok()...)
			continue
		}
		why := more.Err()
		if why.Tag() == streams.StreamErrorClosed {
			return body, nil
		}
		cause := why.LastOperationFailed()
		defer cause.Drop()
		if code := wasi.HttpErrorCode(cause); code.IsSome() {
			return nil, failure(code.Some())
		}
		return nil, fmt.Errorf("wasi:http: %s", cause.ToDebugString())
	}
}

// The names of the error codes, in the order of the WIT.
var codes = [...]string{
	"DNS-timeout", "DNS-error", "destination-not-found", "destination-unavailable",
	"destination-IP-prohibited", "destination-IP-unroutable", "connection-refused",
	"connection-terminated", "connection-timeout", "connection-read-timeout",
	"connection-write-timeout", "connection-limit-reached", "TLS-protocol-error",
	"TLS-certificate-error", "TLS-alert-received", "HTTP-request-denied",
	"HTTP-request-length-required", "HTTP-request-body-size", "HTTP-request-method-invalid",
	"HTTP-request-URI-invalid", "HTTP-request-URI-too-long", "HTTP-request-header-section-size",
	"HTTP-request-header-size", "HTTP-request-trailer-section-size", "HTTP-request-trailer-size",
	"HTTP-response-incomplete", "HTTP-response-header-section-size", "HTTP-response-header-size",
	"HTTP-response-body-size", "HTTP-response-trailer-section-size", "HTTP-response-trailer-size",
	"HTTP-response-transfer-coding", "HTTP-response-content-coding", "HTTP-response-timeout",
	"HTTP-upgrade-failed", "HTTP-protocol-error", "loop-detected", "configuration-error",
	"internal-error",
}

func failure(code wasi.ErrorCode) error {
	name := "unknown"
	if int(code.Tag()) < len(codes) {
		name = codes[code.Tag()]
	}
	switch {
	case code.Tag() == wasi.ErrorCodeHttpRequestUriInvalid:
		return fmt.Errorf("wasi:http: %w: %s", ErrURL, name)
	case code.Tag() == wasi.ErrorCodeInternalError && code.InternalError().IsSome():
		return fmt.Errorf("wasi:http: %s: %s", name, code.InternalError().Some())
	case code.Tag() == wasi.ErrorCodeDnsError && code.DnsError().Rcode.IsSome():
		return fmt.Errorf("wasi:http: %s: %s", name, code.DnsError().Rcode.Some())
	}
	return fmt.Errorf("wasi:http: %s", name)
}
