package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A decision that an edge made is made again, on another day and machine, from
// its record and the catalog version that the core keeps.
func TestReplay(t *testing.T) {
	f := newFlight(t, line{views: 1000, cpm: 1_000_000})
	edge := edges[1]
	var record string
	eventually(t, 30*time.Second, "a decision for "+f.slug+" is recorded", func() bool {
		if _, err := browser.Decide(t.Context(), edge.Public, f.query(), reader()); err != nil {
			t.Fatal(err)
		}
		record = fetch(t, edge.Ops+"/records?limit=1&flight="+f.slug)
		return strings.Contains(record, `"forced":false`)
	})
	version := between(t, record, `"catalog_version":`, ",")
	status, published, err := here.Admin(t.Context(), http.MethodGet, "/v1/catalog/versions/"+version+"/bytes", nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("fetch catalog %s: %d %v", version, status, err)
	}
	dir := t.TempDir()
	later := strings.Replace(record, `"catalog_version":`, `"catalog_version":1`, 1)
	files := map[string]string{
		"record": record, "catalog": string(published), "moved": strings.Replace(record, `"left":`, `"left":-`, 1),
		"mixed": later + record + later, "publisher's": `{"catalog_version":1,"flights":[]}`,
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replay := func(record string) (string, error) {
		said, err := exec.CommandContext(t.Context(), filepath.Join(programs, "nearside-edge"), "replay", filepath.Join(dir, record), "--catalog", filepath.Join(dir, "catalog")).CombinedOutput()
		return string(said), err
	}
	said, err := replay("record")
	if err != nil || !strings.Contains(said, "replayed: the same") || !strings.Contains(said, "of flight "+f.slug) {
		t.Errorf("%v\n%s", err, said)
	}
	// Had the flight had nothing left, it would have come out otherwise, and it says so.
	said, err = replay("mixed")
	if err == nil || !strings.Contains(said, "replayed: the same") || !strings.Contains(said, "(2 of version 1"+version+")") {
		t.Errorf("records over a change of the catalog: %v\n%s", err, said)
	}
	if said, err = replay("publisher's"); err == nil || !strings.Contains(said, "operator's token") {
		t.Errorf("an explanation without a record: %v\n%s", err, said)
	}
	said, err = replay("moved")
	if err == nil || !strings.Contains(said, "replayed: no ad") || !strings.Contains(said, "came out otherwise") {
		t.Errorf("with nothing left: %v\n%s", err, said)
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(fmt.Errorf("%s: %s %s: %w", url, answer.Status, body, err))
	}
	return string(body)
}

// between is what stands in text between two others.
func between(t *testing.T, text, before, after string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, before)
	inside, _, ended := strings.Cut(rest, after)
	if !found || !ended {
		t.Fatalf("no %s…%s in %s", before, after, text)
	}
	return inside
}
