// Adds the total to an order.
package main

import (
	"encoding/json"
	"math"

	"{{name}}/pelton"
)

func init() { pelton.Handle(handle) }

func main() {}

func handle(event pelton.Event) ([]pelton.Output, error) {
	// All fields are kept, also those that this handler does not know.
	var order map[string]any
	if err := json.Unmarshal(event.Payload, &order); err != nil {
		return nil, pelton.Reject("not an order: %v", err)
	}
	quantity, ok := order["quantity"].(float64)
	if !ok {
		return nil, pelton.Reject("not an order: no quantity")
	}
	if order["price"] == nil {
		return nil, pelton.Retry("the order has no price yet")
	}
	price, ok := order["price"].(float64)
	total := quantity * price
	if !ok || math.IsInf(total, 0) {
		return nil, pelton.Reject("not an order: no total")
	}
	order["total"] = total
	order["currency"] = "EUR"
	if currency, ok := pelton.Config("currency"); ok {
		order["currency"] = currency
	}
	pelton.Info("priced %s", event.ID)
	payload, err := json.Marshal(order)
	return []pelton.Output{{Subject: "orders.priced", Headers: event.Headers, Payload: payload}}, err
}
