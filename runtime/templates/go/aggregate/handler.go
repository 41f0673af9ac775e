// Makes a summary of a batch of readings.
package main

import (
	"encoding/json"
	"slices"
	"strings"

	"{{name}}/pelton"
)

// Batch is what a sensor sends.
type Batch struct {
	Values []float64 `json:"values"`
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
	if len(batch.Values) == 0 {
		return nil, nil
	}
	payload, err := json.Marshal(summarize(batch.Values))
	subject := strings.Replace(event.Subject, ".batch.", ".summary.", 1)
	return []pelton.Output{{Subject: subject, Headers: event.Headers, Payload: payload}}, err
}

func summarize(values []float64) Summary {
	sum := 0.0
	for _, value := range values {
		sum += value
	}
	return Summary{len(values), slices.Min(values), slices.Max(values), sum / float64(len(values))}
}
