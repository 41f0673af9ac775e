package main

import (
	"encoding/json"

	"hello/pelton"
)

func init() { pelton.Handle(handle) }

func main() {}

func handle(event pelton.Event) ([]pelton.Output, error) {
	var question struct{ Name string }
	if err := json.Unmarshal(event.Payload, &question); err != nil || question.Name == "" {
		return nil, pelton.Reject("nobody to greet: %v", err)
	}
	pelton.Info("greeting %s", question.Name)
	answer, err := json.Marshal(map[string]string{"greeting": "Hello, " + question.Name + "!"})
	return []pelton.Output{{Subject: "hello.said", Headers: event.Headers, Payload: answer}}, err
}
