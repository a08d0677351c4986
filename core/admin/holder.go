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

// holderRooms registers what an operator may do to a holder whose disk or
// machine is gone, or that must not spend any more.
func (a *API) holderRooms() {
	tags := []string{"Edges"}
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
