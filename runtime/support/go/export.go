// Package export_pelton_events_handler leads from the generated bindings to the
// handler. Written by `pelton build`; changes are lost.
package export_pelton_events_handler

import (
	events "MODULE/pelton/internal/pelton_events_types"
	types "MODULE/pelton/internal/wit/types"
)

// Handler is what package pelton sets.
var Handler func(events.Event) types.Result[[]events.Output, events.Failure]

// Handle is called for every event.
func Handle(event events.Event) types.Result[[]events.Output, events.Failure] {
	return Handler(event)
}
