// Asks the server whose URL is the payload, and publishes what it says.
package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"fetch/pelton"
	"fetch/pelton/wasihttp"
)

func init() { pelton.Handle(handle) }

func main() {}

func handle(event pelton.Event) ([]pelton.Output, error) {
	request, err := http.NewRequest("POST", string(event.Payload), strings.NewReader("from go"))
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Language", "go")
	client := http.Client{Transport: wasihttp.Transport{}, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return nil, pelton.Reject("%v", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	answer := fmt.Appendf(nil, "%d %s", response.StatusCode, text)
	return []pelton.Output{{Subject: "out.x", Payload: answer}}, err
}
