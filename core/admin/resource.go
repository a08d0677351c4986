package admin

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/postgres"
	"nearside/core/postgres/query"
)

// Written is in the answer to every write.
type Written struct {
	CatalogVersion int64 `json:"catalog_version,omitempty" readOnly:"true" doc:"The catalog version that includes this write; in answers to writes only."`
}

func (w *Written) stamp(version int64) { w.CatalogVersion = version }

// resource is what all the resources' types have in common.
type resource interface {
	slug() string
	stamp(catalogVersion int64)
	readOnly() // drops what only the core says
}

// row is a resource as the database holds it.
type row[T any] struct {
	id      int32
	version int64
	value   T
}

// kind is one kind of resource: its names and what differs from the others.
// The functions that take a write run in its transaction.
type kind[T any] struct {
	singular, plural string // for messages, and for paths and import documents
	tag              string // in the API's description
	about            string // one sentence on what it is
	fresh            func() T
	read             func(ctx context.Context, q *query.Queries, slug string) (row[T], error)
	list             func(ctx context.Context, q *query.Queries, filter string, after, n int32) ([]row[T], error)
	// check says what is wrong with v, puts it in order, and finds what it refers to.
	check  func(w *write, v *T, f *faults) error
	insert func(w *write, v *T) (row[T], error)
	update func(w *write, old row[T], v *T) (row[T], error)
	// more adds what only the core says; nil where there is nothing.
	more func(ctx context.Context, a *API, rows []row[T]) error
}

func (k *kind[T]) path() string { return "/v1/" + strings.ReplaceAll(k.plural, "_", "-") }
func (k *kind[T]) name() string { return strings.ReplaceAll(k.singular, "_", " ") }

// one is the kind's name with its article.
func (k *kind[T]) one() string {
	if strings.ContainsAny(k.singular[:1], "aeiou") {
		return "an " + k.name()
	}
	return "a " + k.name()
}

// Page is which part of a list is asked for.
type Page struct {
	Limit  int64  `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"How many at most."`
	Cursor string `query:"cursor" maxLength:"100" doc:"The next of the previous answer; empty for the first."`
}

// after is where the page begins.
func (p Page) after() (int64, error) {
	if p.Cursor == "" {
		return 0, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err == nil {
		if after, err := strconv.ParseInt(string(text), 10, 64); err == nil && after > 0 {
			return after, nil
		}
	}
	return 0, huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{
		Message: "expected the next of an earlier answer", Location: "query.cursor", Value: p.Cursor,
	})
}

func cursor(after int64) string {
	return base64.RawURLEncoding.EncodeToString(strconv.AppendInt(nil, after, 10))
}

// list is one page of a list.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next" doc:"The cursor of the next page; empty on the last."`
}

type listed[T any] struct {
	Body list[T]
}

// cut makes a page of rows, of which there is one more than the limit where
// the list goes on.
func cut[R any](rows []R, limit int64, id func(R) int64) ([]R, string) {
	if len(rows) <= int(limit) {
		return rows, ""
	}
	rows = rows[:limit]
	return rows, cursor(id(rows[len(rows)-1]))
}

type unfiltered struct{ Page }

func (u *unfiltered) asked() (Page, string) { return u.Page, "" }

// BySlug names one resource.
type BySlug struct {
	Slug string `path:"slug" maxLength:"200" doc:"Slug of the resource."`
}

// Once is a request that is carried out once. It is exported because huma fills
// no field of an embedded type that is not.
type Once struct {
	Key string `header:"Idempotency-Key" minLength:"1" maxLength:"200" pattern:"^[!-~]+$" doc:"A text of your choice: the same request under the same key is carried out once, however often it is sent within 24 hours."`
}

type createIn struct {
	Once
	Sent
}

type changeIn struct {
	BySlug
	IfMatch string `header:"If-Match" maxLength:"200" doc:"The ETag that the resource must still have."`
	Sent
}

type removeIn struct {
	BySlug
	IfMatch string `header:"If-Match" maxLength:"200" doc:"The ETag that the resource must still have."`
}

// answered is one resource, or what was written of it.
type answered[T any] struct {
	ETag           string `header:"ETag" doc:"The number of the resource's last change, for If-Match."`
	Location       string `header:"Location" doc:"The path of what was created."`
	CatalogVersion string `header:"Nearside-Catalog-Version" doc:"The catalog version that includes the write."`
	Body           T
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// matches reports whether an If-Match header allows a change of what is at
// version.
func matches(header string, version int64) bool {
	if header == "" || strings.TrimSpace(header) == "*" {
		return true
	}
	for tag := range strings.SplitSeq(header, ",") {
		if strings.TrimSpace(tag) == etag(version) {
			return true
		}
	}
	return false
}

func preconditionFailed(version int64) error {
	return huma.ErrorWithHeaders(
		huma.Error412PreconditionFailed(fmt.Sprintf("it was changed meanwhile: it is at %s now; read it again", etag(version))),
		http.Header{"ETag": {etag(version)}})
}

// rooms registers the operations that all kinds have. L is the input of the
// list, which names its filters.
func rooms[T any, L any, P interface {
	*T
	resource
}, LP interface {
	*L
	asked() (Page, string)
}](a *API, k *kind[T]) {
	registry := a.huma.OpenAPI().Components.Schemas
	full := registry.Schema(reflect.TypeFor[T](), true, k.singular)
	partial := patchSchema(registry, reflect.TypeFor[T]().Name(), registry.SchemaFromRef(full.Ref))
	path, tags := k.path(), []string{k.tag}
	item := path + "/{slug}"
	id := strings.ReplaceAll(k.plural, "_", "-")

	register(a, huma.Operation{
		OperationID: "list-" + id, Method: http.MethodGet, Path: path, Tags: tags,
		Summary: "List " + strings.ReplaceAll(k.plural, "_", " "), Description: k.about,
	}, func(ctx context.Context, in *L) (*listed[T], error) {
		p, filter := LP(in).asked()
		after, err := p.after()
		if err != nil {
			return nil, err
		}
		rows, err := k.list(ctx, a.db.Queries(), filter, int32(min(after, math.MaxInt32)), int32(p.Limit+1))
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", k.plural, err)
		}
		rows, next := cut(rows, p.Limit, func(r row[T]) int64 { return int64(r.id) })
		if k.more != nil {
			if err := k.more(ctx, a, rows); err != nil {
				return nil, fmt.Errorf("list %s: %w", k.plural, err)
			}
		}
		out := &listed[T]{Body: list[T]{Items: make([]T, len(rows)), Next: next}}
		for i := range rows {
			out.Body.Items[i] = rows[i].value
		}
		return out, nil
	})

	register(a, huma.Operation{
		OperationID: "read-" + strings.ReplaceAll(k.singular, "_", "-"), Method: http.MethodGet, Path: item, Tags: tags,
		Summary: "Read one " + k.name(), Description: k.about, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *BySlug) (*answered[T], error) {
		found, err := k.find(ctx, a.db.Queries(), in.Slug)
		if err != nil {
			return nil, err
		}
		return shown(ctx, a, k, found)
	})

	register(a, huma.Operation{
		OperationID: "create-" + strings.ReplaceAll(k.singular, "_", "-"), Method: http.MethodPost, Path: path, Tags: tags,
		Summary: "Create " + k.one(), Description: k.about, DefaultStatus: http.StatusCreated,
		Errors: []int{http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
	}, func(ctx context.Context, in *createIn) (*answered[T], error) {
		document, err := in.object("")
		if err != nil {
			return nil, err
		}
		who := asker(ctx)
		asked := newRequest(who, in.Key, path, in.RawBody)
		var answer kept[T]
		_, err = a.write(ctx, who.String(), func(w *write) error {
			answer = kept[T]{}
			if again, err := w.replay(asked, &answer); again || err != nil {
				return err
			}
			made, err := create[T, P](w, registry, k, document, "body")
			if err != nil {
				return err
			}
			answer = kept[T]{ID: made.id, Version: made.version, CatalogVersion: w.catalogVersion, Value: made.value}
			return w.remember(asked, answer)
		})
		if err != nil {
			return nil, err
		}
		out, err := written[T, P](ctx, a, k, row[T]{answer.ID, answer.Version, answer.Value}, answer.CatalogVersion)
		if err != nil {
			return nil, err
		}
		out.Location = path + "/" + P(&out.Body).slug()
		return out, nil
	})
	a.describeBody(path, http.MethodPost, map[string]*huma.Schema{"application/json": full})

	change := func(replace bool) func(context.Context, *changeIn) (*answered[T], error) {
		also := ""
		if !replace {
			also = "application/merge-patch+json"
		}
		return func(ctx context.Context, in *changeIn) (*answered[T], error) {
			document, err := in.object(also)
			if err != nil {
				return nil, err
			}
			var changed row[T]
			version, err := a.write(ctx, asker(ctx).String(), func(w *write) error {
				old, err := k.find(ctx, w.q, in.Slug)
				if err != nil {
					return err
				}
				if !matches(in.IfMatch, old.version) {
					return preconditionFailed(old.version)
				}
				whole := document
				if !replace {
					if whole, err = patched(registry, registry.SchemaFromRef(full.Ref), old.value, document); err != nil {
						return err
					}
				}
				changed, err = alter[T, P](w, registry, k, old, whole, "body")
				return err
			})
			if err != nil {
				return nil, err
			}
			return written[T, P](ctx, a, k, changed, version)
		}
	}
	refusals := []int{
		http.StatusBadRequest, http.StatusNotFound, http.StatusPreconditionFailed,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
	}
	register(a, huma.Operation{
		OperationID: "replace-" + strings.ReplaceAll(k.singular, "_", "-"), Method: http.MethodPut, Path: item, Tags: tags,
		Summary: "Replace " + k.one(), Description: "What the body leaves out takes its default. The slug cannot change.", Errors: refusals,
	}, change(true))
	a.describeBody(item, http.MethodPut, map[string]*huma.Schema{"application/json": full})
	register(a, huma.Operation{
		OperationID: "change-" + strings.ReplaceAll(k.singular, "_", "-"), Method: http.MethodPatch, Path: item, Tags: tags,
		Summary: "Change " + k.one(), Description: "A merge patch (RFC 7396): what the body leaves out stays, null takes the default. The slug cannot change.", Errors: refusals,
	}, change(false))
	a.describeBody(item, http.MethodPatch, map[string]*huma.Schema{"application/json": partial, "application/merge-patch+json": partial})
}

// find reads a resource or says that there is none.
func (k *kind[T]) find(ctx context.Context, q *query.Queries, slug string) (row[T], error) {
	found, err := k.read(ctx, q, slug)
	if postgres.IsMissing(err) {
		return found, notFound(k.name(), slug)
	}
	if err != nil {
		return found, fmt.Errorf("read %s %s: %w", k.name(), slug, err)
	}
	return found, nil
}

// kept is what a repeated creation is answered from.
type kept[T any] struct {
	ID             int32
	Version        int64
	CatalogVersion int64
	Value          T
}

// shown makes the answer that shows r as it is now.
func shown[T any](ctx context.Context, a *API, k *kind[T], r row[T]) (*answered[T], error) {
	rows := []row[T]{r}
	if k.more != nil {
		if err := k.more(ctx, a, rows); err != nil {
			return nil, fmt.Errorf("read %s: %w", k.name(), err)
		}
	}
	return &answered[T]{ETag: etag(r.version), Body: rows[0].value}, nil
}

// written makes the answer to a write of r.
func written[T any, P interface {
	*T
	resource
}](ctx context.Context, a *API, k *kind[T], r row[T], catalogVersion int64) (*answered[T], error) {
	out, err := shown(ctx, a, k, r)
	if err != nil {
		return nil, err
	}
	P(&out.Body).stamp(catalogVersion)
	out.CatalogVersion = strconv.FormatInt(catalogVersion, 10)
	return out, nil
}

// create makes a new resource of document.
func create[T any, P interface {
	*T
	resource
}](w *write, registry huma.Registry, k *kind[T], document map[string]any, at string) (row[T], error) {
	f := &faults{at: at}
	v, err := prepared[T, P](w, registry, k, document, f)
	if err != nil {
		return row[T]{}, err
	}
	slug := P(&v).slug()
	if err := w.change(); err != nil {
		return row[T]{}, err
	}
	made, err := k.insert(w, &v)
	if postgres.IsTaken(err) {
		return row[T]{}, huma.Error409Conflict(fmt.Sprintf("the slug %q is taken", slug), &huma.ErrorDetail{
			Message: "expected a slug that no " + k.name() + " has or had", Location: at + ".slug", Value: slug,
		})
	}
	if err != nil {
		return row[T]{}, fmt.Errorf("create %s %s: %w", k.name(), slug, err)
	}
	return made, w.audit("create", k.plural+"/"+slug, map[string]any{"resource": made.value})
}

// alter makes old into document; where that is what it is already, nothing
// happens.
func alter[T any, P interface {
	*T
	resource
}](w *write, registry huma.Registry, k *kind[T], old row[T], document map[string]any, at string) (row[T], error) {
	slug := P(&old.value).slug()
	f := &faults{at: at}
	if said, ok := document["slug"]; !ok {
		document["slug"] = slug
	} else if said != slug {
		f.add("slug", said, "expected %q: a slug does not change", slug)
		return old, f.problem()
	}
	v, err := prepared[T, P](w, registry, k, document, f)
	if err != nil {
		return old, err
	}
	before := old.value
	P(&before).readOnly()
	different, err := changes(before, v)
	if err != nil {
		return old, fmt.Errorf("compare %s %s: %w", k.name(), slug, err)
	}
	if len(different) == 0 {
		return old, nil
	}
	if err := w.change(); err != nil {
		return old, err
	}
	changed, err := k.update(w, old, &v)
	if err != nil {
		return old, fmt.Errorf("change %s %s: %w", k.name(), slug, err)
	}
	return changed, w.audit("change", k.plural+"/"+slug, map[string]any{"changed": different})
}

// prepared is document as a resource in order, with everything that it refers
// to found.
func prepared[T any, P interface {
	*T
	resource
}](w *write, registry huma.Registry, k *kind[T], document map[string]any, f *faults) (T, error) {
	v := k.fresh()
	schema := registry.Schema(reflect.TypeFor[T](), true, k.singular)
	decode(registry, schema, document, &v, f)
	if err := f.problem(); err != nil {
		return v, err
	}
	P(&v).readOnly()
	if err := k.check(w, &v, f); err != nil {
		return v, fmt.Errorf("check %s %s: %w", k.name(), P(&v).slug(), err)
	}
	return v, f.problem()
}

// patched is what patch makes of v, as a document.
func patched(registry huma.Registry, schema *huma.Schema, v any, patch map[string]any) (map[string]any, error) {
	f := &faults{at: "body"}
	unknownKeys(registry, schema, patch, "", f)
	if err := f.problem(); err != nil {
		return nil, err
	}
	whole, err := asObject(v)
	if err != nil {
		return nil, err
	}
	merge(whole, patch)
	return whole, nil
}

// unknownKeys finds what a merge would not notice: null for a field that does
// not exist.
func unknownKeys(registry huma.Registry, schema *huma.Schema, patch map[string]any, path string, f *faults) {
	for schema.Ref != "" {
		schema = registry.SchemaFromRef(schema.Ref)
	}
	if len(schema.Properties) == 0 {
		return
	}
	for key, value := range patch {
		inner, ok := schema.Properties[key]
		at := strings.TrimPrefix(path+"."+key, ".")
		if !ok {
			f.add(at, nil, "unexpected property")
			continue
		}
		if object, ok := value.(map[string]any); ok {
			unknownKeys(registry, inner, object, at, f)
		}
	}
}

// patchSchema describes merge patches of what full describes.
func patchSchema(registry huma.Registry, name string, full *huma.Schema) *huma.Schema {
	patch := &huma.Schema{
		Type: huma.TypeObject, Properties: map[string]*huma.Schema{}, AdditionalProperties: false,
		Description: "A merge patch (RFC 7396) of a " + name + ".",
	}
	for key, property := range full.Properties {
		inner := *property
		inner.Default = nil
		if inner.Ref == "" && !slices.Contains(full.Required, key) {
			inner.Nullable = true
		}
		patch.Properties[key] = &inner
	}
	registry.Map()[name+"Patch"] = patch
	return &huma.Schema{Ref: "#/components/schemas/" + name + "Patch"}
}
