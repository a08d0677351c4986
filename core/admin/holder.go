package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/ledger"
)

// Holder is an edge's state directory, which holds leases.
type Holder struct {
	Region string `json:"region"`
	EdgeNode
}

// Holding is a holder with what it may still spend.
type Holding struct {
	Holder          uint32    `json:"holder"`
	Region          string    `json:"region"`
	Node            string    `json:"node"`
	State           string    `json:"state" enum:"open,fenced"`
	Reason          string    `json:"reason,omitempty" doc:"Of a state other than open."`
	Version         string    `json:"version" doc:"Of its program."`
	LastSeen        time.Time `json:"last_seen"`
	JoinedAt        time.Time `json:"joined_at"`
	SilentSeconds   int64     `json:"silent_seconds"`
	AvailableEvents int64     `json:"available_events" doc:"Views and clicks of all flights that it may still bill, as far as it has reported."`
	AvailableMicros int64     `json:"available_micros" doc:"What they are worth by the flights' prices."`
}

// holderRooms registers what an operator may do to a holder whose disk or
// machine is gone, or that must not spend any more.
func (a *API) holderRooms() {
	tags := []string{"Edges"}
	register(a, huma.Operation{
		OperationID: "list-holders", Method: http.MethodGet, Path: "/v1/holders", Tags: tags,
		Summary: "Who holds how much, and when it was last heard", Description: "Every holder that is open or fenced, the most silent first. What a silent one holds is set aside: nobody else can spend it until it speaks, or is fenced and closed.",
	}, func(ctx context.Context, _ *struct{}) (*listed[Holding], error) {
		now := a.now()
		all, err := a.db.SetAside(ctx, now.Add(time.Hour)) // the clock of another core may be ahead
		if err != nil {
			return nil, err
		}
		out := &listed[Holding]{Body: list[Holding]{Items: make([]Holding, len(all))}}
		for i := range all {
			s := &all[i]
			out.Body.Items[i] = Holding{
				Holder: s.Holder, Region: s.Region, Node: s.Node, State: s.State, Reason: s.Reason, Version: s.Version,
				LastSeen: s.SeenAt, JoinedAt: s.JoinedAt, SilentSeconds: int64(max(now.Sub(s.SeenAt), 0).Seconds()),
				AvailableEvents: s.Events, AvailableMicros: s.Micros,
			}
		}
		return out, nil
	})
	register(a, huma.Operation{
		OperationID: "read-holder", Method: http.MethodGet, Path: "/v1/holders/{id}", Tags: tags,
		Summary: "Read one holder", Description: "A holder is the state directory of one edge; /v1/edges lists them.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *byID) (*item[Holder], error) { return a.holder(ctx, in.ID) })
	for _, o := range []struct {
		verb, summary, about string
		do                   func(ctx context.Context, store ledger.Store, id uint32, who string, now int64) error
		done                 ledger.State // where the holder is afterwards
	}{
		{
			"fence", "Fence a holder",
			"It gets no more leases and its batches are not applied; what it holds stays set aside. If the edge is alive, it hands in what it has counted and registers anew. Saying it again changes nothing.",
			func(ctx context.Context, store ledger.Store, id uint32, who string, now int64) error {
				return ledger.Fence(ctx, store, id, "by "+who, now)
			}, ledger.Fenced,
		},
		{
			"close", "Close a fenced holder",
			"What it held and has not spent goes back to the budgets. Events of its that still come are judged by what was handed in; without that they are counted as home lost and not billed. It cannot be taken back. Saying it again changes nothing.",
			func(ctx context.Context, store ledger.Store, id uint32, _ string, now int64) error {
				return ledger.Close(ctx, store, id, now)
			}, ledger.Closed,
		},
	} {
		register(a, huma.Operation{
			OperationID: o.verb + "-holder", Method: http.MethodPost, Path: "/v1/holders/{id}/" + o.verb, Tags: tags,
			Summary: o.summary, Description: o.about, Errors: []int{http.StatusNotFound, http.StatusConflict},
		}, func(ctx context.Context, in *byID) (*item[Holder], error) {
			found, err := a.holder(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			if found.Body.State == o.done.String() {
				return found, nil
			}
			who := asker(ctx).String()
			err = o.do(ctx, a.db.Ledger(), uint32(in.ID), who, a.now().UnixMilli())
			if errors.Is(err, ledger.ErrNotOpen) || errors.Is(err, ledger.ErrNotFenced) {
				return nil, huma.Error409Conflict(fmt.Sprintf("holder %d is %s; fence comes before close, and close is for good", in.ID, found.Body.State))
			}
			if err != nil {
				return nil, err
			}
			// The ledger's own transaction has done it; the log follows.
			if _, err := a.write(ctx, who, func(w *write) error {
				return w.audit(o.verb, fmt.Sprintf("holders/%d", in.ID), map[string]any{"region": found.Body.Region, "node": found.Body.Node})
			}); err != nil {
				return nil, err
			}
			return a.holder(ctx, in.ID)
		})
	}
}

// holder reads one holder.
func (a *API) holder(ctx context.Context, id int64) (*item[Holder], error) {
	all, err := a.db.Holders(ctx, time.Unix(0, 0))
	if err != nil {
		return nil, err
	}
	for i := range all {
		if int64(all[i].ID) == id {
			return &item[Holder]{Body: Holder{Region: all[i].Region, EdgeNode: edgeNode(&all[i])}}, nil
		}
	}
	return nil, huma.Error404NotFound(fmt.Sprintf("there is no holder %d", id))
}

// edgeNode is a holder as the API shows it.
func edgeNode(h *ledger.Holder) EdgeNode {
	node := EdgeNode{
		Node: h.Node, Holder: h.ID, State: h.State.String(), Reason: h.Reason, PublicURL: h.PublicURL, Version: h.Version,
		LastSeen: millis(h.SeenAt), AppliedCatalog: h.AppliedCatalog, AppliedControl: h.AppliedControl,
		Boots: h.BootOrdinal, Alone: h.Alone, JoinedAt: millis(h.CreatedAt),
	}
	if h.ClosedAt != 0 {
		closed := millis(h.ClosedAt)
		node.ClosedAt = &closed
	}
	return node
}
