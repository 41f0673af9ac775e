// Sends an order on to the warehouse for its country.
package main

import (
	"encoding/json"

	"{{name}}/pelton"
)

func init() { pelton.Handle(handle) }

func main() {}

func handle(event pelton.Event) ([]pelton.Output, error) {
	var order struct{ Country string }
	if err := json.Unmarshal(event.Payload, &order); err != nil {
		return nil, pelton.Reject("not an order: %v", err)
	}
	if order.Country == "" {
		return nil, pelton.Reject("the order has no country")
	}
	// The event goes on as it came.
	return []pelton.Output{{Subject: warehouse(order.Country), Headers: event.Headers, Payload: event.Payload}}, nil
}

func warehouse(country string) string {
	switch country {
	case "AT", "DE", "FR", "IT":
		return "shipping.europe"
	case "CA", "MX", "US":
		return "shipping.america"
	default:
		return "shipping.world"
	}
}
