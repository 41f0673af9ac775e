// Adds the total to an order.
package main

import (
	"encoding/json"
	"errors"

	"{{name}}/pelton"
)

func init() { pelton.Handle(handle) }

func main() {}

func handle(event pelton.Event) ([]pelton.Output, error) {
	// All fields are kept as they came, also those that this handler does not know: in a
	// map[string]any a large number would become another one.
	var order map[string]json.RawMessage
	var known struct{ Quantity, Price *float64 }
	err := errors.Join(json.Unmarshal(event.Payload, &order), json.Unmarshal(event.Payload, &known))
	if err != nil {
		return nil, pelton.Reject("not an order: %v", err)
	}
	if known.Quantity == nil {
		return nil, pelton.Reject("not an order: no quantity")
	}
	if known.Price == nil {
		return nil, pelton.Retry("the order has no price yet")
	}
	order["total"], err = json.Marshal(*known.Quantity * *known.Price)
	if err != nil {
		return nil, pelton.Reject("not an order: %v", err)
	}
	currency, ok := pelton.Config("currency")
	if !ok {
		currency = "EUR"
	}
	order["currency"], _ = json.Marshal(currency)
	pelton.Info("priced %s", event.ID)
	payload, err := json.Marshal(order)
	return []pelton.Output{{Subject: "orders.priced", Headers: event.Headers, Payload: payload}}, err
}
