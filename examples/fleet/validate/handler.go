// Validate lets through what a vehicle can have reported, and sets aside what
// comes too late to act upon.
package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"validate/pelton"
)

// Report is a tracker's report; numbers that are missing are not taken for zero.
type Report struct {
	Tracker string   `json:"tracker"`
	Time    int64    `json:"time"`
	Lat     *float64 `json:"lat"`
	Lon     *float64 `json:"lon"`
	Speed   *float64 `json:"speed"`
	Fuel    *float64 `json:"fuel"`
}

// Limits are this plugin's config.
type Limits struct {
	// How old a report may be, and by how much a tracker's clock may be fast.
	maxAge, maxAhead time.Duration
	// In km/h.
	maxSpeed float64
}

func init() { pelton.Handle(handle) }

func main() {}

func handle(event pelton.Event) ([]pelton.Output, error) {
	limits, err := readLimits()
	if err != nil {
		// The operator can mend it: the event is not to blame.
		return nil, pelton.Retry("config: %v", err)
	}
	var report Report
	if err := json.Unmarshal(event.Payload, &report); err != nil {
		return nil, pelton.Reject("not a report: %v", err)
	}
	if wrong := report.wrong(limits); wrong != "" {
		return nil, pelton.Reject("%s of %s", wrong, report.Tracker)
	}
	age := received(event).Sub(time.Unix(report.Time, 0))
	if age < -limits.maxAhead {
		return nil, pelton.Reject("the clock of %s is %v ahead", report.Tracker, -age)
	}
	subject := "fleet.valid." + report.Tracker
	if age > limits.maxAge {
		pelton.Info("%s reports %v late", report.Tracker, age)
		subject = "fleet.late." + report.Tracker
	}
	return []pelton.Output{{Subject: subject, Headers: event.Headers, Payload: event.Payload}}, nil
}

// wrong is what cannot be, or nothing.
func (r Report) wrong(limits Limits) string {
	within := func(value *float64, low, high float64) bool {
		return value != nil && *value >= low && *value <= high
	}
	switch {
	case !within(r.Lat, -90, 90) || !within(r.Lon, -180, 180):
		return "impossible position"
	case *r.Lat == 0 && *r.Lon == 0:
		return "position without a fix"
	case !within(r.Speed, 0, limits.maxSpeed):
		return "impossible speed"
	case !within(r.Fuel, 0, 100):
		return "impossible fuel level"
	}
	return ""
}

// received is when the gateway took the report in: events may be published, or
// published again, long after that.
func received(event pelton.Event) time.Time {
	if seconds, err := strconv.ParseInt(event.Header("Gateway-Time"), 10, 64); err == nil {
		return time.Unix(seconds, 0)
	}
	return event.Time
}

func readLimits() (limits Limits, err error) {
	if limits.maxAge, err = duration("max-age"); err != nil {
		return limits, err
	}
	if limits.maxAhead, err = duration("max-ahead"); err != nil {
		return limits, err
	}
	text, _ := pelton.Config("max-speed")
	limits.maxSpeed, err = strconv.ParseFloat(text, 64)
	return limits, err
}

func duration(key string) (time.Duration, error) {
	text, isSet := pelton.Config(key)
	if !isSet {
		return 0, fmt.Errorf("%s is not set", key)
	}
	return time.ParseDuration(text)
}
