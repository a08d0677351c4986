package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

func init() {
	// huma's own defaults accept "Name" for "name" and null for a list. Both
	// switches are of the whole program, which has no other API.
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
}

// parse reads one JSON object.
func parse(raw []byte) (map[string]any, error) {
	if !utf8.Valid(raw) {
		return nil, huma.Error400BadRequest("the body is not UTF-8; expected a JSON object")
	}
	var document any
	if err := json.Unmarshal(raw, &document); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, huma.Error400BadRequest(fmt.Sprintf("the body is not JSON: %v at byte %d; expected a JSON object", syntax, syntax.Offset))
		}
		return nil, huma.Error400BadRequest("the body is not JSON; expected a JSON object")
	}
	object, ok := document.(map[string]any)
	if !ok {
		return nil, huma.Error400BadRequest("expected a JSON object")
	}
	return object, nil
}

// decode checks document against schema and reads it into v, which holds the
// defaults. What is wrong goes to f.
func decode(registry huma.Registry, schema *huma.Schema, document map[string]any, v any, f *faults) {
	var result huma.ValidateResult
	path := huma.NewPathBuffer(make([]byte, 0, 128), 0)
	path.Push(f.at)
	huma.Validate(registry, schema, path, huma.ModeWriteToServer, document, &result)
	for _, err := range result.Errors {
		var detail *huma.ErrorDetail
		if errors.As(err, &detail) && len(f.list) < maxFaults {
			if name, ok := strings.CutPrefix(detail.Message, "expected required property "); ok {
				// Name the field that is missing, not the object it is missing from.
				name = strings.TrimSuffix(name, " to be present")
				detail = &huma.ErrorDetail{Message: "expected to be present", Location: detail.Location + "." + name}
			}
			detail.Value = short(detail.Value)
			f.list = append(f.list, detail)
		}
	}
	if len(f.list) > 0 {
		return
	}
	if plainText(document, "", f); len(f.list) > 0 {
		return
	}
	// What was checked is what is read: a repeated key, say, has only the
	// value that the check has seen.
	checked, err := json.Marshal(document)
	if err == nil {
		err = json.Unmarshal(checked, v)
	}
	if err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			f.add(mismatch.Field, mismatch.Value, "expected %s", mismatch.Type)
			return
		}
		f.add("", nil, "cannot be read")
	}
}

// plainText refuses characters that no field has a use for and that Postgres
// or a log would stumble over.
func plainText(v any, path string, f *faults) {
	switch v := v.(type) {
	case string:
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7f }) {
			f.add(path, nil, "expected text without control characters")
		}
	case []any:
		for i, item := range v {
			plainText(item, fmt.Sprintf("%s[%d]", path, i), f)
		}
	case map[string]any:
		for key, item := range v {
			plainText(key, path, f)
			plainText(item, strings.TrimPrefix(path+"."+key, "."), f)
		}
	}
}

// merge applies an RFC 7396 merge patch to target.
func merge(target, patch map[string]any) {
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(target, key)
		case map[string]any:
			inner, ok := target[key].(map[string]any)
			if !ok {
				inner = map[string]any{}
			}
			merge(inner, value)
			target[key] = inner
		default:
			target[key] = value
		}
	}
}

// asObject is v as the JSON object that a client would have sent.
func asObject(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	object := map[string]any{}
	return object, json.Unmarshal(raw, &object)
}

// changes lists the fields in which two resources differ, for the audit log.
func changes(before, after any) (map[string]any, error) {
	was, err := asObject(before)
	if err != nil {
		return nil, err
	}
	is, err := asObject(after)
	if err != nil {
		return nil, err
	}
	different := map[string]any{}
	note := func(key string) error {
		a, err := json.Marshal(was[key])
		if err != nil {
			return err
		}
		b, err := json.Marshal(is[key])
		if err == nil && !bytes.Equal(a, b) {
			different[key] = map[string]any{"from": was[key], "to": is[key]}
		}
		return err
	}
	for key := range was {
		if err := note(key); err != nil {
			return nil, err
		}
	}
	for key := range is {
		if err := note(key); err != nil {
			return nil, err
		}
	}
	return different, nil
}
