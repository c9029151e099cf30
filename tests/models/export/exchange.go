// Renders conversations as Ollama does by a template of one exchange: reads a JSON list of templates and messages.
package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

type conversation struct {
	Template string
	Messages []message
}

const cut = "\x00"

func render(asked conversation) string {
	parsed := template.Must(template.New("").Parse(asked.Template))
	var written bytes.Buffer
	var system, prompt, response string
	execute := func() {
		values := map[string]any{"System": system, "Prompt": prompt, "Response": response}
		if err := parsed.Execute(&written, values); err != nil {
			panic(err)
		}
		system, prompt, response = "", "", ""
	}
	for _, each := range asked.Messages {
		switch each.Role {
		case "system":
			system = each.Content
		case "user":
			if response != "" {
				execute()
			}
			prompt = each.Content
		case "assistant":
			response = each.Content
		}
	}
	response = cut
	execute()
	return strings.SplitN(written.String(), cut, 2)[0]
}

func main() {
	var asked []conversation
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	written := []string{}
	for _, each := range asked {
		written = append(written, render(each))
	}
	if err := json.NewEncoder(os.Stdout).Encode(written); err != nil {
		panic(err)
	}
}
