package admin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"nearside/core/postgres"
	"nearside/core/postgres/query"
	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// keepAnswers is how long a creation may be sent again under its key.
const keepAnswers = 24 * time.Hour

// write is one transaction of the admin API, which no other write runs beside.
type write struct {
	ctx            context.Context
	tx             pgx.Tx
	q              *query.Queries
	now            time.Time
	db             *postgres.DB
	actor          string
	catalogVersion int64 // the one in force, or the one that this write makes
	controlVersion int64
	changed        bool // this write makes a catalog version
	controlled     bool // this write makes a control version
	priced         bool // prices changed, or which flights are live

	// What the ledger is asked for when all else is written: limits, and daily
	// caps, which are named by their kind and owner.
	budgets, dayCaps map[lease.Budget]int64
}

// write runs f in one transaction after all earlier writes and returns the
// catalog version that includes it. Where Postgres refuses for a reason of
// concurrency, f runs again from the beginning.
func (a *API) write(ctx context.Context, actor string, f func(w *write) error) (int64, error) {
	var w *write
	once := func(tx pgx.Tx) error {
		w = &write{
			ctx: ctx, tx: tx, q: query.New(tx), now: a.now().UTC(), db: a.db, actor: actor,
			budgets: map[lease.Budget]int64{}, dayCaps: map[lease.Budget]int64{},
		}
		counters, err := w.q.LockCounters(ctx)
		if err != nil {
			return fmt.Errorf("take the turn to write: %w", err)
		}
		w.catalogVersion, w.controlVersion = counters.CatalogVersion, counters.ControlVersion
		if err := f(w); err != nil {
			return err
		}
		if err := w.ask(); err != nil {
			return err
		}
		if w.changed {
			if err := w.q.NotifyCatalog(ctx); err != nil {
				return fmt.Errorf("notify the publishers: %w", err)
			}
		}
		if w.controlled {
			if err := w.q.NotifyControl(ctx); err != nil {
				return fmt.Errorf("notify the publishers: %w", err)
			}
		}
		return nil
	}
	var err error
	for range 3 {
		if err = a.db.InTx(ctx, once); !postgres.Retryable(err) {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	if w.changed || w.controlled {
		a.wake()
	}
	return w.catalogVersion, nil
}

// ask brings budgets to what was asked for, in the order in which everybody
// locks them.
func (w *write) ask() error {
	for _, b := range slices.Sorted(maps.Keys(w.budgets)) {
		if err := w.db.SetBudget(w.ctx, w.tx, b, w.budgets[b]); err != nil {
			return err
		}
	}
	if w.priced {
		if err := w.db.SetDayUnits(w.ctx, w.tx, int32(catalog.DayOf(w.now))); err != nil {
			return err
		}
	}
	for _, b := range slices.Sorted(maps.Keys(w.dayCaps)) {
		if err := w.db.SetDayCaps(w.ctx, w.tx, b.Kind(), b.Owner(), w.dayCaps[b], int32(catalog.DayOf(w.now))); err != nil {
			return err
		}
	}
	return nil
}

// change makes this write a new catalog version.
func (w *write) change() (err error) {
	if w.changed {
		return nil
	}
	w.changed = true
	if w.catalogVersion, err = w.q.RaiseCatalogVersion(w.ctx); err != nil {
		return fmt.Errorf("raise the catalog version: %w", err)
	}
	return nil
}

// audit writes what was done to what into the audit log.
func (w *write) audit(action, resource string, detail map[string]any) error {
	if detail == nil {
		detail = map[string]any{}
	}
	detail["catalog_version"] = w.catalogVersion
	text, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("audit %s: %w", resource, err)
	}
	err = w.q.InsertAudit(w.ctx, query.InsertAuditParams{Actor: w.actor, Action: action, Resource: resource, Detail: text})
	if err != nil {
		return fmt.Errorf("audit %s: %w", resource, err)
	}
	return nil
}

// request names a creation that may be sent again.
type request struct {
	token int32
	key   string // empty: not to be remembered
	hash  [32]byte
}

func newRequest(p principal, key, path string, body []byte) request {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "POST\n%s\n", path)
	h.Write(body)
	return request{token: p.token, key: key, hash: [32]byte(h.Sum(nil))}
}

// replay reads into out what the same request was answered before. Writes run
// one after another, so two copies of a request cannot both miss the other.
func (w *write) replay(r request, out any) (bool, error) {
	if r.key == "" {
		return false, nil
	}
	if _, err := w.q.ForgetIdempotencyKeys(w.ctx, w.now.Add(-keepAnswers)); err != nil {
		return false, fmt.Errorf("forget old idempotency keys: %w", err)
	}
	kept, err := w.q.ReadIdempotencyKey(w.ctx, r.token, r.key)
	if postgres.IsMissing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up an idempotency key: %w", err)
	}
	if [32]byte(kept.Request) != r.hash {
		return false, huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{
			Message: "expected a key that no different request has used", Location: "header.Idempotency-Key", Value: r.key,
		})
	}
	return true, json.Unmarshal(kept.Answer, out)
}

// remember keeps what the request was answered.
func (w *write) remember(r request, out any) error {
	if r.key == "" {
		return nil
	}
	text, err := json.Marshal(out)
	if err == nil {
		err = w.q.InsertIdempotencyKey(w.ctx, query.InsertIdempotencyKeyParams{
			Token: r.token, Key: r.key, Request: r.hash[:], Answer: text,
		})
	}
	if err != nil {
		return fmt.Errorf("remember the answer: %w", err)
	}
	return nil
}
