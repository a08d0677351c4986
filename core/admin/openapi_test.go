package admin_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/openapi.json anew")

// description is what of an OpenAPI document the tests look at.
type description struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct {
		Schemas         map[string]json.RawMessage
		SecuritySchemes map[string]any
	}
	Security []map[string][]string
}

type operation struct {
	OperationID          string
	Summary, Description string
	Tags                 []string
	Parameters           []struct {
		Name, In, Description string
		Required              bool
		Schema                json.RawMessage
	}
	RequestBody *struct {
		Required bool
		Content  map[string]struct{ Schema json.RawMessage }
	}
	Responses map[string]struct {
		Description string
		Content     map[string]struct{ Schema json.RawMessage }
	}
}

func (w *world) openAPI() description {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/openapi.json", nil) // needs no token
	recorder := httptest.NewRecorder()
	w.api.ServeHTTP(recorder, r)
	var d description
	if err := json.Unmarshal(recorder.Body.Bytes(), &d); err != nil {
		w.t.Fatalf("%d: %v", recorder.Code, err)
	}
	return d
}

// TestOpenAPI holds the API against its golden description, so that a change
// of it is seen: go test ./core/admin -run TestOpenAPI -update writes it anew.
func TestOpenAPI(t *testing.T) {
	w := open(t)
	got, err := w.api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/openapi.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		a, b := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("%s:%d has %q, the API says %q", golden, i+1, b[i], a[i])
			}
		}
		t.Fatalf("%s has %d lines, the API says %d", golden, len(b), len(a))
	}
}

// TestOpenAPIIsWhole checks that everything in the description is described
// and that every reference leads somewhere.
func TestOpenAPIIsWhole(t *testing.T) {
	w := open(t)
	d := w.openAPI()
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("OpenAPI %s", d.OpenAPI)
	}
	if len(d.Security) != 1 || d.Components.SecuritySchemes["bearer"] == nil {
		t.Errorf("security %v", d.Security)
	}
	ids := map[string]string{}
	for path, item := range d.Paths {
		for method, o := range item {
			at := strings.ToUpper(method) + " " + path
			if o.OperationID == "" || ids[o.OperationID] != "" {
				t.Errorf("%s: operation id %q, also of %s", at, o.OperationID, ids[o.OperationID])
			}
			ids[o.OperationID] = at
			if o.Summary == "" || o.Description == "" || len(o.Tags) != 1 {
				t.Errorf("%s: summary %q, description %q, tags %v", at, o.Summary, o.Description, o.Tags)
			}
			for _, parameter := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !slices.ContainsFunc(o.Parameters, func(p struct {
					Name, In, Description string
					Required              bool
					Schema                json.RawMessage
				}) bool {
					return p.In == "path" && p.Name == parameter[1] && p.Required
				}) {
					t.Errorf("%s: %s is not a parameter", at, parameter[0])
				}
			}
			for _, p := range o.Parameters {
				if p.Description == "" || len(p.Schema) == 0 {
					t.Errorf("%s: parameter %s is not described", at, p.Name)
				}
			}
			carries := method == "put" || method == "patch" || method == "post" && !regexp.MustCompile(`/(pause|resume|kill|fence|close)$`).MatchString(path)
			if carries != (o.RequestBody != nil) {
				t.Errorf("%s: request body %v", at, o.RequestBody)
			}
			if o.RequestBody != nil && (!o.RequestBody.Required || !bytes.Contains(o.RequestBody.Content["application/json"].Schema, []byte("$ref"))) {
				t.Errorf("%s: request body %+v", at, o.RequestBody)
			}
			good := 0
			for status, r := range o.Responses {
				if r.Description == "" {
					t.Errorf("%s: %s is not described", at, status)
				}
				if status[0] == '2' {
					good++
					if status != "204" && len(r.Content) == 0 {
						t.Errorf("%s: %s has no content", at, status)
					}
					continue
				}
				if _, ok := r.Content["application/problem+json"]; !ok {
					t.Errorf("%s: %s is no problem document", at, status)
				}
			}
			for _, status := range []string{"401", "403", "422", "500", "503"} {
				if _, ok := o.Responses[status]; !ok || good != 1 {
					t.Errorf("%s: answers %d good statuses, %s described: %v", at, good, status, ok)
				}
			}
		}
	}
	var whole any
	text, err := w.api.OpenAPI()
	if err == nil {
		err = json.Unmarshal(text, &whole)
	}
	if err != nil {
		t.Fatal(err)
	}
	references := 0
	walk(whole, func(object map[string]any) {
		ref, ok := object["$ref"].(string)
		if !ok {
			return
		}
		references++
		name, ok := strings.CutPrefix(ref, "#/components/schemas/")
		if _, exists := d.Components.Schemas[name]; !ok || !exists {
			t.Errorf("reference to %s, which does not exist", ref)
		}
	})
	if references < 50 {
		t.Errorf("only %d references", references)
	}
	for name, schema := range d.Components.Schemas {
		var s struct {
			Properties map[string]struct {
				Ref         string `json:"$ref"`
				Type        any
				Description string
			}
		}
		if err := json.Unmarshal(schema, &s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for property, p := range s.Properties {
			if p.Ref == "" && p.Type == nil && name != "ErrorDetail" && property != "detail" {
				t.Errorf("%s.%s has no type", name, property)
			}
		}
	}
}

func walk(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, inner := range v {
			walk(inner, f)
		}
	case []any:
		for _, inner := range v {
			walk(inner, f)
		}
	}
}

// TestDocs loads the page and everything that it refers to, and sees that all
// of it comes from here.
func TestDocs(t *testing.T) {
	w := open(t)
	get := func(path, encoding string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, path, nil) // needs no token
		r.Header.Set("Accept-Encoding", encoding)
		recorder := httptest.NewRecorder()
		w.api.ServeHTTP(recorder, r)
		if recorder.Code != 200 {
			t.Fatalf("GET %s: %d", path, recorder.Code)
		}
		return recorder
	}
	page := get("/docs", "").Body.Bytes()
	found := regexp.MustCompile(`(?:src|href|apiDescriptionUrl)="([^"]*)"`).FindAllSubmatch(page, -1)
	if len(found) != 3 {
		t.Fatalf("the page refers to %d things", len(found))
	}
	packed := 0
	for _, f := range found {
		path := string(f[1])
		if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
			t.Errorf("the page refers to %s", path)
			continue
		}
		plain := get(path, "identity").Body.Bytes()
		answer := get(path, "br, gzip;q=0.8")
		if answer.Header().Get("Content-Encoding") == "" {
			continue
		}
		unpacked, err := gzip.NewReader(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(unpacked)
		if err != nil || !bytes.Equal(whole, plain) {
			t.Errorf("%s: packed and plain differ (%v)", path, err)
		}
		packed++
	}
	if packed != 2 {
		t.Errorf("%d parts of the page come packed, want 2", packed)
	}
	policy := get("/docs", "").Header().Get("Content-Security-Policy")
	for directive := range strings.SplitSeq(policy, ";") {
		for i, source := range strings.Fields(directive) {
			if i > 0 && !slices.Contains([]string{"'none'", "'self'", "'unsafe-eval'", "'unsafe-inline'", "data:"}, source) {
				t.Errorf("the policy allows %s", source)
			}
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none';") {
		t.Errorf("the policy is %q", policy)
	}
}
