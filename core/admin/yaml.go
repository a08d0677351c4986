package admin

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxDepth is deeper than any catalog document is nested.
const maxDepth = 20

// readYAML reads text as JSON would have it: maps with texts as keys, lists,
// texts, numbers, truths and null. Dates stay the text that they are. What
// only YAML has, aliases and tags above all, is refused: it could make a small
// text large.
func readYAML(text []byte) (any, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		message, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), "\n")
		return nil, errors.New(message)
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	return plainValue(document.Content[0], 0)
}

func plainValue(n *yaml.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: nested too deep", n.Line)
	}
	switch n.Kind {
	case yaml.MappingNode:
		object := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				return nil, fmt.Errorf("line %d: expected a text as key", key.Line)
			}
			if _, repeated := object[key.Value]; repeated {
				return nil, fmt.Errorf("line %d: the key %q is repeated", key.Line, short(key.Value))
			}
			value, err := plainValue(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			object[key.Value] = value
		}
		return object, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			value, err := plainValue(item, depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = value
		}
		return list, nil
	case yaml.ScalarNode:
		return scalar(n)
	}
	return nil, fmt.Errorf("line %d: aliases are not taken", n.Line)
}

func scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		var truth bool
		err := n.Decode(&truth)
		return truth, err
	case "!!int", "!!float":
		var number float64
		if err := n.Decode(&number); err != nil || math.IsNaN(number) || math.IsInf(number, 0) {
			return nil, fmt.Errorf("line %d: %q is not a number", n.Line, short(n.Value))
		}
		return number, nil
	}
	return nil, fmt.Errorf("line %d: the tag %q is not taken", n.Line, short(n.Tag))
}
