// Package pelton is the contract between Pelton and a handler in Go. Written by
// `pelton build` (or `pelton new`); changes are lost.
//
//	package main
//
//	import "MODULE/pelton"
//
//	func init() { pelton.Handle(handle) }
//
//	func main() {}
//
//	func handle(event pelton.Event) ([]pelton.Output, error) { … }
package pelton

import (
	"errors"
	"fmt"
	"strings"
	"time"

	export "MODULE/pelton/internal/export_pelton_events_handler"
	config "MODULE/pelton/internal/pelton_events_config"
	log "MODULE/pelton/internal/pelton_events_log"
	events "MODULE/pelton/internal/pelton_events_types"
	types "MODULE/pelton/internal/wit/types"
	_ "MODULE/pelton/internal/wit_exports"
)

// Header is one header. A name may occur more than once.
type Header = events.Header

// Position is where a stream stores an event.
type Position = events.Position

// Output is what a handler wants published.
type Output = events.Output

// Event is an event as delivered.
type Event struct {
	// The same at every delivery of this event, and different for every other:
	// use it as an idempotency key for side effects.
	ID string
	// The subject it was published to.
	Subject string
	Headers []Header
	// The bytes as published.
	Payload []byte
	// Where the sender waits for a reply; empty: nowhere. To reply, return an
	// output with this subject.
	ReplyTo string
	// When it was published (stream) or received (core NATS).
	Time time.Time
	// 1 at the first delivery, then one more at each.
	Attempt uint32
	// Where it is stored; nil for core NATS.
	Position *Position
}

// Header returns the first value of a header, or nothing.
func (e Event) Header(name string) string {
	for _, header := range e.Headers {
		if header.Name == name {
			return header.Value
		}
	}
	return ""
}

// Handle sets what is called for every event. Call it in `init`. An error that
// comes from Reject, Retry or RetryAfter is taken as such; any other is a Retry.
func Handle(handler func(Event) ([]Output, error)) {
	export.Handler = func(event events.Event) types.Result[[]events.Output, events.Failure] {
		outputs, err := handler(fromWit(event))
		if err != nil {
			return types.Err[[]events.Output](toFailure(err))
		}
		return types.Ok[[]events.Output, events.Failure](outputs)
	}
}

func fromWit(event events.Event) Event {
	ours := Event{
		ID:      event.Id,
		Subject: event.Subject,
		Headers: event.Headers,
		Payload: event.Payload,
		Time:    time.UnixMilli(int64(event.Time)),
		Attempt: event.Attempt,
	}
	if event.ReplyTo.IsSome() {
		ours.ReplyTo = event.ReplyTo.Some()
	}
	if event.Position.IsSome() {
		position := event.Position.Some()
		ours.Position = &position
	}
	return ours
}

// failure is an error that says what the host shall do.
type failure struct {
	reason string
	wit    events.Failure
}

func (f failure) Error() string { return f.reason }

// Retry may succeed later: the event comes again after the plugin's backoff.
func Retry(format string, values ...any) error {
	reason := text(format, values)
	return failure{reason, events.MakeFailureRetry(reason)}
}

// RetryAfter is the same, but not before this time has passed.
func RetryAfter(wait time.Duration, format string, values ...any) error {
	reason := text(format, values)
	after := types.Tuple2[uint64, string]{F0: uint64(max(wait, 0).Milliseconds()), F1: reason}
	return failure{reason, events.MakeFailureRetryAfter(after)}
}

// Reject will never succeed: the event goes to the dead letters at once.
func Reject(format string, values ...any) error {
	reason := text(format, values)
	return failure{reason, events.MakeFailureReject(reason)}
}

func toFailure(err error) events.Failure {
	if known := (failure{}); errors.As(err, &known) {
		return known.wit
	}
	return events.MakeFailureRetry(text("%v", []any{err}))
}

// text is what the host takes, UTF-8: a string in Go may be anything.
func text(format string, values []any) string {
	return strings.ToValidUTF8(fmt.Sprintf(format, values...), "\uFFFD")
}

// Config returns a value of `[plugins.<name>.config]`, and whether it is set.
func Config(key string) (string, bool) {
	value := config.Get(key)
	if value.IsNone() {
		return "", false
	}
	return value.Some(), true
}

// Debug writes a line to the host's log.
func Debug(format string, values ...any) { write(log.LevelDebug, format, values) }

// Info writes a line to the host's log.
func Info(format string, values ...any) { write(log.LevelInfo, format, values) }

// Warn writes a line to the host's log.
func Warn(format string, values ...any) { write(log.LevelWarn, format, values) }

// Error writes a line to the host's log.
func Error(format string, values ...any) { write(log.LevelError, format, values) }

func write(level log.Level, format string, values []any) {
	log.Write(level, text(format, values))
}
