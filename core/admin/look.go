package admin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/postgres"
	"nearside/core/postgres/query"
)

// KnownToken is a token without its text.
type KnownToken struct {
	ID        int32      `json:"id"`
	Name      string     `json:"name" doc:"What it is for; written into the audit log."`
	Role      string     `json:"role" enum:"admin,viewer,publisher"`
	Publisher string     `json:"publisher,omitempty" doc:"Slug of the publisher whose decisions it may ask for."`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// NewToken is a token just made.
type NewToken struct {
	KnownToken
	Token string `json:"token" doc:"Its text, which is said only here."`
	Written
}

// AuditEntry is one thing that was done.
type AuditEntry struct {
	ID       int64           `json:"id"`
	At       time.Time       `json:"at"`
	Actor    string          `json:"actor" doc:"The token that did it, or the command line."`
	Action   string          `json:"action" example:"change"`
	Resource string          `json:"resource" example:"flights/autumn-python"`
	Detail   json.RawMessage `json:"detail" doc:"What exactly: the fields that changed, the versions that it made."`
}

// CatalogVersion is one published version.
type CatalogVersion struct {
	Version     int64     `json:"version"`
	PublishedAt time.Time `json:"published_at"`
	Flights     int32     `json:"flights" doc:"How many flights are in it."`
	Bytes       int32     `json:"bytes" doc:"Its published size."`
	Checksum    string    `json:"checksum" doc:"SHA-256 of the published bytes, in hex."`
}

type item[T any] struct {
	Body T
}

func (a *API) accessRooms() {
	tags := []string{"Tokens"}
	register(a, huma.Operation{
		OperationID: "list-tokens", Method: http.MethodGet, Path: "/v1/tokens", Tags: tags,
		Summary: "List tokens", Description: "Without their texts, which nobody knows any more.",
	}, func(ctx context.Context, in *unfiltered) (*listed[KnownToken], error) {
		after, err := in.after()
		if err != nil {
			return nil, err
		}
		rows, err := a.db.Queries().ListTokens(ctx, int32(min(after, math.MaxInt32)), int32(in.Limit+1))
		if err != nil {
			return nil, fmt.Errorf("list tokens: %w", err)
		}
		rows, next := cut(rows, in.Limit, func(r query.ListTokensRow) int64 { return int64(r.ID) })
		out := &listed[KnownToken]{Body: list[KnownToken]{Items: make([]KnownToken, len(rows)), Next: next}}
		for i, r := range rows {
			out.Body.Items[i] = knownToken(r)
		}
		return out, nil
	})
	register(a, huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: "/v1/tokens", Tags: tags,
		Summary: "Create a token", DefaultStatus: http.StatusCreated,
		Description: "Answers with the token's text, which is said only here and kept nowhere. For the same reason it takes no Idempotency-Key: an answer that is lost is lost; revoke the token and make another.",
		Errors:      []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
	}, func(ctx context.Context, in *createToken) (*createdToken, error) {
		document, err := in.object("")
		if err != nil {
			return nil, err
		}
		f := &faults{at: "body"}
		var t Token
		decode(a.huma.OpenAPI().Components.Schemas, a.schema(t), document, &t, f)
		if err := f.problem(); err != nil {
			return nil, err
		}
		out := &createdToken{}
		version, err := a.write(ctx, asker(ctx).String(), func(w *write) error {
			text, id, err := w.createToken(t)
			if err != nil {
				return err
			}
			made, err := w.q.ReadToken(w.ctx, id)
			if err != nil {
				return fmt.Errorf("read token %d: %w", id, err)
			}
			out.Body = NewToken{KnownToken: knownToken(query.ListTokensRow(made)), Token: text}
			return nil
		})
		if err != nil {
			return nil, err
		}
		out.Body.stamp(version)
		out.CatalogVersion = fmt.Sprint(version)
		out.Location = fmt.Sprintf("/v1/tokens/%d", out.Body.ID)
		return out, nil
	})
	a.describeBody("/v1/tokens", http.MethodPost, map[string]*huma.Schema{"application/json": a.schema(Token{})})
	register(a, huma.Operation{
		OperationID: "read-token", Method: http.MethodGet, Path: "/v1/tokens/{id}", Tags: tags,
		Summary: "Read one token", Description: "Without its text.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *byID) (*item[KnownToken], error) {
		found, err := a.db.Queries().ReadToken(ctx, int32(in.ID))
		if postgres.IsMissing(err) {
			return nil, huma.Error404NotFound(fmt.Sprintf("there is no token %d", in.ID))
		}
		if err != nil {
			return nil, fmt.Errorf("read token %d: %w", in.ID, err)
		}
		return &item[KnownToken]{Body: knownToken(query.ListTokensRow(found))}, nil
	})
	register(a, huma.Operation{
		OperationID: "revoke-token", Method: http.MethodDelete, Path: "/v1/tokens/{id}", Tags: tags,
		Summary: "Revoke a token", DefaultStatus: http.StatusNoContent,
		Description: "It is worth nothing from the next request on; a publisher's token from when edges have applied the catalog version.",
		Errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, in *byID) (*removed, error) {
		version, err := a.write(ctx, asker(ctx).String(), func(w *write) error { return w.revokeToken(int32(in.ID)) })
		return &removed{CatalogVersion: fmt.Sprint(version)}, err
	})
	register(a, huma.Operation{
		OperationID: "list-audit", Method: http.MethodGet, Path: "/v1/audit", Tags: []string{"Audit"},
		Summary: "List what was done", Description: "The newest first: who did what to which resource, and what exactly changed.",
	}, func(ctx context.Context, in *auditIn) (*listed[AuditEntry], error) {
		before, err := in.after()
		if err != nil {
			return nil, err
		}
		if before == 0 {
			before = math.MaxInt64
		}
		var rows []query.AuditLog
		if in.Resource == "" {
			rows, err = a.db.Queries().ListAudit(ctx, before, int32(in.Limit+1))
		} else {
			rows, err = a.db.Queries().ListAuditOf(ctx, in.Resource, before, int32(in.Limit+1))
		}
		if err != nil {
			return nil, fmt.Errorf("list the audit log: %w", err)
		}
		rows, next := cut(rows, in.Limit, func(r query.AuditLog) int64 { return r.ID })
		out := &listed[AuditEntry]{Body: list[AuditEntry]{Items: make([]AuditEntry, len(rows)), Next: next}}
		for i, r := range rows {
			out.Body.Items[i] = AuditEntry{ID: r.ID, At: r.At, Actor: r.Actor, Action: r.Action, Resource: r.Resource, Detail: r.Detail}
		}
		return out, nil
	})
}

type byID struct {
	ID int64 `path:"id" minimum:"1" maximum:"2147483647" doc:"Its number in the list."`
}

type createToken struct {
	Sent
}

type createdToken struct {
	Location       string `header:"Location"`
	CatalogVersion string `header:"Nearside-Catalog-Version" doc:"The catalog version that includes the write."`
	Body           NewToken
}

type auditIn struct {
	Page
	Resource string `query:"resource" maxLength:"300" doc:"Only what was done to this, such as flights/autumn-python."`
}

func knownToken(r query.ListTokensRow) KnownToken {
	t := KnownToken{ID: r.ID, Name: r.Name, Role: r.Role, CreatedAt: r.CreatedAt, RevokedAt: r.RevokedAt}
	if r.Publisher != nil {
		t.Publisher = *r.Publisher
	}
	return t
}

// catalogRooms registers what was published and who has it.
func (a *API) catalogRooms() {
	tags := []string{"Catalog versions"}
	register(a, huma.Operation{
		OperationID: "list-catalog-versions", Method: http.MethodGet, Path: "/v1/catalog/versions", Tags: tags,
		Summary: "List published catalog versions", Description: "The newest first, seven days back. Writes that come fast after another are published together, so numbers may be missing.",
	}, func(ctx context.Context, in *unfiltered) (*listed[CatalogVersion], error) {
		before, err := in.after()
		if err != nil {
			return nil, err
		}
		if before == 0 {
			before = math.MaxInt64
		}
		rows, err := a.db.Queries().ListCatalogVersions(ctx, before, int32(in.Limit+1))
		if err != nil {
			return nil, fmt.Errorf("list catalog versions: %w", err)
		}
		rows, next := cut(rows, in.Limit, func(r query.ListCatalogVersionsRow) int64 { return r.Version })
		out := &listed[CatalogVersion]{Body: list[CatalogVersion]{Items: make([]CatalogVersion, len(rows)), Next: next}}
		for i, r := range rows {
			out.Body.Items[i] = CatalogVersion{
				Version: r.Version, PublishedAt: r.PublishedAt, Flights: r.Flights, Bytes: r.Bytes, Checksum: hex.EncodeToString(r.Checksum),
			}
		}
		return out, nil
	})
	register(a, huma.Operation{
		OperationID: "get-catalog-bytes", Method: http.MethodGet, Path: "/v1/catalog/versions/{version}/bytes", Tags: tags,
		Summary: "Fetch a published catalog version", Description: "As the edges got it (docs/architecture.md says what is in it): what `nearside-edge replay` takes. Versions are kept for seven days.",
		Errors: []int{http.StatusNotFound},
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			published: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}}},
	}, func(ctx context.Context, in *struct {
		Version int64 `path:"version" minimum:"1" doc:"The version."`
	}) (*CatalogBytes, error) {
		bytes, err := a.db.Queries().CatalogBytes(ctx, in.Version)
		switch {
		case postgres.IsMissing(err):
			return nil, huma.Error404NotFound(fmt.Sprintf("catalog version %d was not published or is no longer kept; GET /v1/catalog/versions lists those that are", in.Version))
		case err != nil:
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
		return &CatalogBytes{ContentType: published, Disposition: fmt.Sprintf(`attachment; filename="catalog-%d.bin"`, in.Version), Body: bytes}, nil
	})
	for _, what := range []struct {
		kind, path, id, summary, tag string
		newest                       func(query.VersionsRow) int64
	}{
		{"catalog", "/v1/catalog/versions/{version}/receipts", "list-catalog-receipts", "Which edges have applied a catalog version", tags[0],
			func(v query.VersionsRow) int64 { return v.CatalogVersion }},
		{"control", "/v1/controls/{version}/receipts", "list-control-receipts", "Which edges have applied a control version", "Controls",
			func(v query.VersionsRow) int64 { return v.ControlVersion }},
	} {
		register(a, huma.Operation{
			OperationID: what.id, Method: http.MethodGet, Path: what.path, Tags: []string{what.tag}, Summary: what.summary,
			Description: "An edge that went straight to a later version has applied this one with it; applied_version says which it was. waiting lists the open edges, at most 1000, that have applied neither.",
			Errors:      []int{http.StatusNotFound},
		}, func(ctx context.Context, in *receiptsIn) (*item[Receipts], error) {
			after, err := in.after()
			if err != nil {
				return nil, err
			}
			q := a.db.Queries()
			versions, err := q.Versions(ctx)
			if err != nil {
				return nil, fmt.Errorf("read the versions: %w", err)
			}
			if in.Version > what.newest(versions) {
				return nil, huma.Error404NotFound(fmt.Sprintf("there is no %s version %d yet; the newest is %d", what.kind, in.Version, what.newest(versions)))
			}
			applied, err := q.ReceiptsOf(ctx, query.ReceiptsOfParams{
				Kind: what.kind, Version: in.Version, After: int32(min(after, math.MaxInt32)), N: int32(in.Limit + 1),
			})
			if err != nil {
				return nil, fmt.Errorf("list receipts: %w", err)
			}
			waiting, err := q.WaitingFor(ctx, what.kind, in.Version)
			if err != nil {
				return nil, fmt.Errorf("list who waits: %w", err)
			}
			applied, next := cut(applied, in.Limit, func(r query.ReceiptsOfRow) int64 { return int64(r.ID) })
			out := &item[Receipts]{Body: Receipts{
				Items: make([]Receipt, len(applied)), Next: next, Waiting: make([]WaitingEdge, len(waiting)),
			}}
			for i, r := range applied {
				out.Body.Items[i] = Receipt{Holder: r.ID, Region: r.Region, Node: r.Node, State: r.State, AppliedVersion: r.Version, AppliedAt: r.AppliedAt}
			}
			for i, r := range waiting {
				out.Body.Waiting[i] = WaitingEdge{Holder: r.ID, Region: r.Region, Node: r.Node, LastSeen: r.SeenAt}
			}
			return out, nil
		})
	}
}

// published is the media type of a catalog as edges get it.
const published = "application/octet-stream"

// CatalogBytes is a published catalog.
type CatalogBytes struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

type receiptsIn struct {
	Page
	Version int64 `path:"version" minimum:"1" doc:"The version."`
}

// Receipt says that an edge has applied a version.
type Receipt struct {
	Holder         int32     `json:"holder" doc:"The number of the edge's state directory."`
	Region         string    `json:"region"`
	Node           string    `json:"node"`
	State          string    `json:"state" enum:"open,fenced,closed"`
	AppliedVersion int64     `json:"applied_version" doc:"The version that it applied: this one, or a later one that includes it."`
	AppliedAt      time.Time `json:"applied_at" doc:"When it said so."`
}

// WaitingEdge has not applied a version.
type WaitingEdge struct {
	Holder   int32     `json:"holder"`
	Region   string    `json:"region"`
	Node     string    `json:"node"`
	LastSeen time.Time `json:"last_seen"`
}

// Receipts are who has applied a version and who has not.
type Receipts struct {
	Items   []Receipt     `json:"items"`
	Next    string        `json:"next" doc:"The cursor of the next page of items; empty on the last."`
	Waiting []WaitingEdge `json:"waiting"`
}

// schema describes v's type by reference.
func (a *API) schema(v any) *huma.Schema {
	return a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}
