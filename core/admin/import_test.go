package admin_test

import (
	"encoding/json"
	"testing"

	"nearside/core/postgres/query"
	"nearside/core/publish"
	"nearside/dev/sample"
	"nearside/sync/catalog"
)

// TestImportSample imports what every new world starts with, and finds all of
// it in the snapshot that edges get.
func TestImportSample(t *testing.T) {
	w := open(t)
	document := sample.Catalog(w.now)
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	done, err := w.api.Import(t.Context(), "test", text)
	if err != nil {
		t.Fatal(err)
	}
	if done.Created == 0 || done.Changed+done.Unchanged != 0 {
		t.Errorf("first import: %+v, want everything created", done)
	}
	again, err := w.api.Import(t.Context(), "test", text)
	if err != nil {
		t.Fatal(err)
	}
	if again.Unchanged != done.Created || again.CatalogVersion != done.CatalogVersion {
		t.Errorf("second import: %+v, want %d unchanged at version %d", again, done.Created, done.CatalogVersion)
	}
	var s *catalog.Snapshot
	err = w.db.InSnapshot(t.Context(), func(q *query.Queries) (err error) {
		s, err = publish.Read(t.Context(), q, w.now)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	if len(s.Flights) != len(document.Flights) || len(s.Ads) != len(document.Ads) || len(s.Publishers) != len(document.Publishers) {
		t.Errorf("%d flights, %d ads, %d publishers in the snapshot; want %d, %d, %d", len(s.Flights), len(s.Ads), len(s.Publishers),
			len(document.Flights), len(document.Ads), len(document.Publishers))
	}
}
