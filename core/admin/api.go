package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"nearside/core/jobs"
	"nearside/core/postgres"
	"nearside/sync/catalog"
)

const (
	// MaxBody is the most bytes that a request's body may have.
	MaxBody = 1 << 20

	requestTime = 20 * time.Second // the most that one request may take
)

// API serves the admin API. It is safe for concurrent use.
type API struct {
	db    *postgres.DB
	wake  func() // tells this core's publisher that something was written
	log   *slog.Logger
	now   func() time.Time
	jobs  []jobs.Job
	mux   *http.ServeMux
	huma  huma.API
	stats Stats
}

// Stats count requests by the class of their answer.
type Stats struct {
	Answered [6]atomic.Int64 // by hundreds of the status: Answered[2] counts 2xx
	Nanos    atomic.Int64    // time spent in all of them
}

// Options are what an API needs beside the database.
type Options struct {
	Version string           // of the program, for the API's description
	Wake    func()           // called after each write that was committed; must not wait
	Log     *slog.Logger     // where to say what went wrong inside
	Now     func() time.Time // nil: time.Now
	Jobs    []jobs.Job       // what the core does now and then, to be listed
}

// New makes the API over db.
func New(db *postgres.DB, o Options) *API {
	a := &API{db: db, jobs: o.Jobs, wake: o.Wake, log: o.Log, now: o.Now, mux: http.NewServeMux()}
	if a.wake == nil {
		a.wake = func() {}
	}
	if a.now == nil {
		a.now = time.Now
	}
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "nearside admin API",
				Version:     o.Version,
				Description: description,
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "A token that `nearside-core token create` or `POST /v1/tokens` said."},
				},
			},
			Security: []map[string][]string{{"bearer": {}}},
		},
		OpenAPIPath:                  "/openapi",
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
	a.huma = humago.New(a.mux, config)
	a.huma.UseMiddleware(a.authenticate)
	a.routes()
	a.mux.HandleFunc("/", a.unknown)
	return a
}

const description = `Edit what edges decide with, and look at what came of it.

Every write is one transaction and returns the catalog version that includes it, in the header ` + "`Nearside-Catalog-Version`" + ` and in ` + "`catalog_version`" + `;
` + "`/v1/catalog/versions/{version}/receipts`" + ` says which edges have applied it. Resources are addressed by slug. ` + "`PUT`" + ` replaces, ` + "`PATCH`" + ` merges (RFC 7396).
Changes take ` + "`If-Match`" + `, creations an ` + "`Idempotency-Key`" + `. Money is an integer number of micros of the account's currency; dates are days in UTC.
Errors are RFC 9457 problem documents whose ` + "`errors`" + ` name each field and what was expected.`

// Stats are the API's counters.
func (a *API) Stats() *Stats { return &a.stats }

// OpenAPI is the API's description as JSON.
func (a *API) OpenAPI() ([]byte, error) { return json.MarshalIndent(a.huma.OpenAPI(), "", "  ") }

// ServeHTTP answers one request: it bounds its time and body, counts it, and
// survives it.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	answer := &statusWriter{ResponseWriter: w}
	defer func() {
		if failure := recover(); failure != nil {
			// A panic while the answer is being written means that nobody reads it.
			if answer.status == 0 {
				a.log.Error("panic in an admin request", "method", r.Method, "route", r.Pattern, "panic", failure)
				writeProblem(answer, huma.Error500InternalServerError("something went wrong inside; the log of the core says what"))
			}
		}
		a.stats.Answered[min(max(answer.status/100, 0), 5)].Add(1)
		a.stats.Nanos.Add(int64(time.Since(start)))
	}()
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if !readable(r.URL) {
		writeProblem(answer, huma.Error400BadRequest("the path or the query holds control characters or is not UTF-8"))
		return
	}
	a.mux.ServeHTTP(answer, r)
}

// today is the day that it is, as budgets count days.
func (a *API) today() int32 { return int32(catalog.DayOf(a.now())) }

// readable reports whether everything in u is text that a database and a log
// take.
func readable(u *url.URL) bool {
	query, err := url.QueryUnescape(u.RawQuery)
	if err != nil {
		return false
	}
	for _, text := range []string{u.Path, query} {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return false
		}
	}
	return true
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// unknown answers what no route takes: 405 where another method would do.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := *r
		other.Method = method
		if _, pattern := a.mux.Handler(&other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		writeProblem(w, huma.Error404NotFound("there is nothing at this path; /openapi.json lists what there is"))
		return
	}
	for _, method := range allowed {
		w.Header().Add("Allow", method)
	}
	writeProblem(w, huma.Error405MethodNotAllowed("this path does not take the method "+r.Method[:min(len(r.Method), 20)]))
}

func writeProblem(w http.ResponseWriter, problem huma.StatusError) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(problem.GetStatus())
	_ = json.NewEncoder(w).Encode(problem) // nobody is left to tell
}

// register adds an operation whose handler's errors are made answerable.
func register[I, O any](a *API, o huma.Operation, handler func(context.Context, *I) (*O, error)) {
	o.Errors = append(o.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity,
		http.StatusInternalServerError, http.StatusServiceUnavailable)
	slices.Sort(o.Errors)
	o.Errors = slices.Compact(o.Errors)
	o.MaxBodyBytes = MaxBody
	o.SkipValidateBody = true // decode does it, for imports too
	huma.Register(a.huma, o, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		return out, a.answerable(ctx, o.OperationID, err)
	})
}

// describeBody says what an operation that reads its body itself expects.
func (a *API) describeBody(path, method string, content map[string]*huma.Schema) {
	item := a.huma.OpenAPI().Paths[path]
	operation := map[string]*huma.Operation{http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodPatch: item.Patch}[method]
	operation.RequestBody.Required = true
	operation.RequestBody.Content = map[string]*huma.MediaType{}
	for kind, schema := range content {
		operation.RequestBody.Content[kind] = &huma.MediaType{Schema: schema}
	}
}

// Sent is the JSON of a request.
type Sent struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte `contentType:"application/json"`
}

// object is the body as one JSON object.
func (b *Sent) object(also string) (map[string]any, error) {
	if b.ContentType != "" {
		kind, _, err := mime.ParseMediaType(b.ContentType)
		if err != nil || kind != "application/json" && kind != also {
			return nil, huma.Error415UnsupportedMediaType("expected application/json")
		}
	}
	return parse(b.RawBody)
}
