// Receives webhooks, verifies each signature and skips duplicates, with the standard library alone.
// usage: WEBHOOK_SECRET=whsec_… [PORT=9000] go run receiver.go
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const tolerance = 5 * time.Minute

func genuine(key, body []byte, header http.Header) bool {
	sent, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(sent, 0)).Abs() > tolerance {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", header.Get("webhook-id"), sent, body)
	for _, signature := range strings.Fields(header.Get("webhook-signature")) {
		given, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signature, "v1,"))
		if err == nil && hmac.Equal(given, mac.Sum(nil)) {
			return true
		}
	}
	return false
}

func main() {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	if err != nil || len(key) == 0 {
		fmt.Fprintln(os.Stderr, "WEBHOOK_SECRET is not a secret of an endpoint (whsec_…)")
		os.Exit(2)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}
	var seen sync.Map // in a real receiver: a unique column beside what the event changes
	handler := func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body) // the raw body, before anything parses it
		if err != nil || !genuine(key, body, request.Header) {
			response.WriteHeader(http.StatusBadRequest)
			return
		}
		message := request.Header.Get("webhook-id") // the same in every attempt
		if _, known := seen.LoadOrStore(message, true); !known {
			var event struct{ ID string }
			json.Unmarshal(body, &event)
			fmt.Println("received", event.ID, message)
		}
		response.WriteHeader(http.StatusNoContent)
	}
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(handler)))
	os.Exit(1)
}
