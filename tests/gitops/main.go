// Health judges an object as Argo CD and Flux do, with the engines that they use.
//
// It reads {"lua": SCRIPT, "cel": {"inProgress", "failed", "current"}, "object": OBJECT} from stdin, where lua or cel may
// be left out, and writes {"lua": VERDICT, "cel": VERDICT}; a VERDICT has a status and a message or an error.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

type question struct {
	Lua    *string        `json:"lua"`
	Cel    *expressions   `json:"cel"`
	Object map[string]any `json:"object"`
}

type verdict struct {
	Status  string `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
	Error   string `json:"error,omitempty"`
}

type answer struct {
	Lua *verdict `json:"lua,omitempty"`
	Cel *verdict `json:"cel,omitempty"`
}

func main() {
	var asked question
	decoder := json.NewDecoder(os.Stdin)
	decoder.UseNumber()
	if err := decoder.Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, "health: stdin:", err)
		os.Exit(1)
	}
	object, err := numbers(asked.Object)
	if err != nil {
		fmt.Fprintln(os.Stderr, "health: stdin:", err)
		os.Exit(1)
	}
	var told answer
	if asked.Lua != nil {
		told.Lua = said(argo(*asked.Lua, object.(map[string]any)))
	}
	if asked.Cel != nil {
		told.Cel = said(flux(*asked.Cel, object.(map[string]any)))
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(told); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
	os.Stdout.Write(out.Bytes())
}

func said(found verdict, err error) *verdict {
	if err != nil {
		found.Error = err.Error()
	}
	return &found
}

// Both engines get objects from Kubernetes' decoder, for which a whole number is an int64 and any other a float64.
func numbers(value any) (any, error) {
	var err error
	switch of := value.(type) {
	case json.Number:
		if whole, err := of.Int64(); err == nil {
			return whole, nil
		}
		return of.Float64()
	case map[string]any:
		for key, inner := range of {
			if of[key], err = numbers(inner); err != nil {
				return nil, err
			}
		}
	case []any:
		for at, inner := range of {
			if of[at], err = numbers(inner); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}
