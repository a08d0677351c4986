package admin

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/postgres"
	"nearside/sync/exchange"
)

// RefundRequest gives billed events of a flight back.
type RefundRequest struct {
	Views  int64  `json:"views,omitempty" minimum:"0" maximum:"1000000000000" doc:"How many views; either these or clicks."`
	Clicks int64  `json:"clicks,omitempty" minimum:"0" maximum:"1000000000000" doc:"How many clicks."`
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"Why; it stays in the list and in the audit log."`
}

// Refund is what was given back.
type Refund struct {
	ID     int64     `json:"id"`
	Flight string    `json:"flight"`
	Views  int64     `json:"views"`
	Clicks int64     `json:"clicks"`
	Micros int64     `json:"micros" doc:"What they are worth: at the flight's price when they were refunded, and no more than was paid in all."`
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

type refundIn struct {
	BySlug
	Once
	Sent
}

type refunded struct {
	CatalogVersion string `header:"Nearside-Catalog-Version" doc:"The catalog version that includes the write."`
	Body           Refund
}

func refundOf(slug string, r *postgres.Refund) Refund {
	out := Refund{ID: r.ID, Flight: slug, Micros: r.Micros, Reason: r.Reason, By: r.Actor, At: r.At}
	if r.Kind == exchange.Click {
		out.Clicks = r.Units
	} else {
		out.Views = r.Units
	}
	return out
}

// refundRooms registers giving back what was billed.
func (a *API) refundRooms() {
	const path = "/v1/flights/{slug}/refunds"
	registry := a.huma.OpenAPI().Components.Schemas
	schema := registry.Schema(reflect.TypeFor[RefundRequest](), true, "")
	register(a, huma.Operation{
		OperationID: "refund-flight", Method: http.MethodPost, Path: path, Tags: []string{flights.tag},
		Summary: "Refund views or clicks of a flight", DefaultStatus: http.StatusCreated,
		Description: "The advertiser is not charged for them, and the flight may bill as many again within its budget. At most what was billed and not refunded yet.",
		Errors:      []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
	}, func(ctx context.Context, in *refundIn) (*refunded, error) {
		document, err := in.object("")
		if err != nil {
			return nil, err
		}
		var asked RefundRequest
		f := &faults{at: "body"}
		decode(registry, registry.SchemaFromRef(schema.Ref), document, &asked, f)
		if len(f.list) == 0 && (asked.Views > 0) == (asked.Clicks > 0) {
			f.add("views", asked.Views, "expected either views or clicks above 0")
		}
		if err := f.problem(); err != nil {
			return nil, err
		}
		who := asker(ctx)
		once := newRequest(who, in.Key, "/v1/flights/"+in.Slug+"/refunds", in.RawBody)
		var answer Refund
		version, err := a.write(ctx, who.String(), func(w *write) error {
			answer = Refund{}
			if again, err := w.replay(once, &answer); again || err != nil {
				return err
			}
			found, err := flights.find(ctx, w.q, in.Slug)
			if err != nil {
				return err
			}
			r := postgres.Refund{Flight: uint32(found.id), Kind: exchange.View, Units: asked.Views, Reason: asked.Reason, Actor: w.actor}
			if asked.Clicks > 0 {
				r.Kind, r.Units = exchange.Click, asked.Clicks
			}
			if err := w.db.Refund(ctx, w.tx, &r); err != nil {
				return err
			}
			answer = refundOf(in.Slug, &r)
			if err := w.audit("refund", "flights/"+in.Slug, map[string]any{
				"refund": r.ID, "views": answer.Views, "clicks": answer.Clicks, "micros": r.Micros, "reason": r.Reason,
			}); err != nil {
				return err
			}
			return w.remember(once, answer)
		})
		if most, refused := postgres.IsRefused(err); refused {
			return nil, huma.Error409Conflict(fmt.Sprintf("flight %s: only %d are billed and not refunded yet", in.Slug, most))
		}
		if err != nil {
			return nil, err
		}
		return &refunded{CatalogVersion: fmt.Sprint(version), Body: answer}, nil
	})
	a.describeBody(path, http.MethodPost, map[string]*huma.Schema{"application/json": schema})
	register(a, huma.Operation{
		OperationID: "list-flight-refunds", Method: http.MethodGet, Path: path, Tags: []string{flights.tag},
		Summary: "What was refunded of a flight", Description: "The newest first, at most a thousand.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *BySlug) (*listed[Refund], error) {
		found, err := flights.find(ctx, a.db.Queries(), in.Slug)
		if err != nil {
			return nil, err
		}
		all, err := a.db.Refunds(ctx, uint32(found.id))
		if err != nil {
			return nil, err
		}
		out := &listed[Refund]{Body: list[Refund]{Items: make([]Refund, len(all))}}
		for i := range all {
			out.Body.Items[i] = refundOf(in.Slug, &all[i])
		}
		return out, nil
	})
}
