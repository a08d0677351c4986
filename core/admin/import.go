package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// MaxImport is the most bytes that a catalog document may have.
const MaxImport = 64 << 20

// Imported says what an import did.
type Imported struct {
	Created, Changed, Unchanged int
	CatalogVersion              int64
}

// importer creates or changes one resource of its kind.
type importer struct {
	plural string
	put    func(w *write, registry huma.Registry, document map[string]any, at string, done *Imported) error
}

func importing[T any, P interface {
	*T
	resource
}](k *kind[T]) importer {
	return importer{k.plural, func(w *write, registry huma.Registry, document map[string]any, at string, done *Imported) error {
		slug, _ := document["slug"].(string)
		old, err := k.find(w.ctx, w.q, slug)
		var missing huma.StatusError
		switch {
		case errors.As(err, &missing):
			done.Created++
			_, err = create[T, P](w, registry, k, document, at)
			return err
		case err != nil:
			return err
		}
		changed, err := alter[T, P](w, registry, k, old, document, at)
		if changed.version == old.version {
			done.Unchanged++
		} else {
			done.Changed++
		}
		return err
	}}
}

// importers are in the order in which resources refer to each other.
var importers = []importer{
	importing(&advertisers), importing(&publisherGroups), importing(&publishers), importing(&adTypes),
	importing(&topics), importing(&geoRegions), importing(&campaigns), importing(&flights), importing(&ads),
}

// Import creates or changes everything in a catalog document: a YAML or JSON
// map of advertisers, publisher_groups, publishers, ad_types, topics,
// geo_regions, campaigns, flights and ads, each a list of resources as the API
// takes them. What is there already is replaced, as by PUT; what the document
// does not name stays. It happens in one transaction, whole or not at all; the
// error names the place in the document. A second import of the same document
// changes nothing.
func (a *API) Import(ctx context.Context, actor string, text []byte) (Imported, error) {
	document, err := readDocument(text)
	if err != nil {
		return Imported{}, err
	}
	registry := a.huma.OpenAPI().Components.Schemas
	var done Imported
	version, err := a.write(ctx, actor, func(w *write) error {
		done = Imported{}
		for _, kind := range importers {
			seen := map[string]int{}
			for i, item := range document[kind.plural] {
				at := fmt.Sprintf("%s[%d]", kind.plural, i)
				// A copy: the transaction may run again.
				item := maps.Clone(item)
				if slug, ok := item["slug"].(string); ok {
					if first, repeated := seen[slug]; repeated {
						f := &faults{at: at}
						f.add("slug", slug, "expected a slug that %s[%d] does not have", kind.plural, first)
						return f.problem()
					}
					seen[slug] = i
				}
				if err := kind.put(w, registry, item, at, &done); err != nil {
					return err
				}
			}
		}
		return nil
	})
	done.CatalogVersion = version
	return done, err
}

// readDocument reads the lists of a catalog document.
func readDocument(text []byte) (map[string][]map[string]any, error) {
	if len(text) > MaxImport {
		return nil, fmt.Errorf("the document has more than %d bytes", MaxImport)
	}
	// YAML holds JSON.
	whole, err := readYAML(text)
	if err != nil {
		return nil, fmt.Errorf("the document is neither YAML nor JSON: %w", err)
	}
	object, ok := whole.(map[string]any)
	if !ok {
		return nil, errors.New("the document is not a map of lists")
	}
	known := make([]string, len(importers))
	for i, kind := range importers {
		known[i] = kind.plural
	}
	lists := map[string][]map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("%s: unexpected; expected one of %s", short(key), strings.Join(known, ", "))
		}
		items, ok := object[key].([]any)
		if !ok && object[key] != nil {
			return nil, fmt.Errorf("%s: expected a list", key)
		}
		for i, item := range items {
			fields, ok := item.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("%s[%d]: expected a map of fields", key, i)
			}
			lists[key] = append(lists[key], fields)
		}
	}
	return lists, nil
}

// Explain writes the fields that a problem names into one line, for where no
// JSON is answered.
func Explain(err error) error {
	var problem *huma.ErrorModel
	if !errors.As(err, &problem) {
		return err
	}
	if len(problem.Errors) == 0 {
		return errors.New(problem.Detail)
	}
	parts := make([]string, len(problem.Errors))
	for i, detail := range problem.Errors {
		parts[i] = detail.Location + ": " + detail.Message
		if detail.Value != nil {
			parts[i] += fmt.Sprintf(", not %q", fmt.Sprint(detail.Value))
		}
	}
	return errors.New(strings.Join(parts, "; "))
}
