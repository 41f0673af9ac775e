// Makes a summary of a batch of readings.
package main

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"{{name}}/pelton"
)

// Batch is what a sensor sends.
type Batch struct {
	// A null would be 0 in a list of numbers.
	Values []*float64 `json:"values"`
}

// Summary is what is left of it.
type Summary struct {
	Count int     `json:"count"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
	Mean  float64 `json:"mean"`
}

func init() { pelton.Handle(handle) }

func main() {}

func handle(event pelton.Event) ([]pelton.Output, error) {
	var batch Batch
	if err := json.Unmarshal(event.Payload, &batch); err != nil {
		return nil, pelton.Reject("not a batch: %v", err)
	}
	if slices.Contains(batch.Values, nil) {
		return nil, pelton.Reject("not a batch: null is no number")
	}
	if len(batch.Values) == 0 {
		return nil, nil
	}
	summary := summarize(batch.Values)
	if math.IsInf(summary.Mean, 0) {
		return nil, pelton.Reject("the values are too large")
	}
	payload, err := json.Marshal(summary)
	subject := strings.Replace(event.Subject, ".batch.", ".summary.", 1)
	return []pelton.Output{{Subject: subject, Headers: event.Headers, Payload: payload}}, err
}

func summarize(values []*float64) Summary {
	sum, least, most := 0.0, math.Inf(1), math.Inf(-1)
	for _, value := range values {
		sum, least, most = sum+*value, min(least, *value), max(most, *value)
	}
	return Summary{len(values), least, most, sum / float64(len(values))}
}
