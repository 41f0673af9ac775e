// Adds the total to an order.
package main

import (
	"encoding/json"

	"{{name}}/pelton"
)

func init() { pelton.Handle(handle) }

func main() {}

func handle(event pelton.Event) ([]pelton.Output, error) {
	// All fields are kept as they came, also those that this handler does not know: in a
	// map[string]any a large number would become another one.
	var order map[string]json.RawMessage
	if err := json.Unmarshal(event.Payload, &order); err != nil {
		return nil, pelton.Reject("not an order: %v", err)
	}
	quantity, err := number(order["quantity"])
	if err != nil {
		return nil, pelton.Reject("not an order: quantity: %v", err)
	}
	price, err := number(order["price"])
	if err != nil {
		return nil, pelton.Reject("not an order: price: %v", err)
	}
	if quantity == nil {
		return nil, pelton.Reject("not an order: no quantity")
	}
	if price == nil {
		return nil, pelton.Retry("the order has no price yet")
	}
	order["total"], err = json.Marshal(*quantity * *price)
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

// number reads a number; nil: it is missing.
func number(text json.RawMessage) (number *float64, err error) {
	if text != nil {
		err = json.Unmarshal(text, &number)
	}
	return number, err
}
