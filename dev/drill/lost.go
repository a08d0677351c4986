//go:build linux

package drill

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"nearside/dev/load"
	"nearside/dev/world"
)

var promoteStandby = Drill{
	Name: "promote-standby", Runbook: "restore-postgres.md", Short: true,
	About: "Postgres is killed and its synchronous standby promoted",
	shape: func(c *world.Config) { c.Regions, c.Standby = []string{"us-east", "eu-west"}, true },
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 60); err != nil {
			return err
		}
		// The worst moment: commits wait for a standby that does not hear them.
		if err := s.Cut("postgres", "standby"); err != nil {
			return err
		}
		s.say("the standby does not hear the first server any more: commits wait")
		_, e := s.node("eu-west-1")
		silent := max(3*time.Second, s.scaled(time.Minute))
		if _, err := s.until(ctx, silent+time.Minute, "no exchange is answered", func() (bool, error) {
			age, err := s.metric(ctx, e.Ops, "nearside_edge_exchange_age_seconds")
			return age > silent.Seconds(), err
		}); err != nil {
			return err
		}
		s.check(true, "while they wait no edge is told that its batch is applied")
		if err := s.viewsCome(ctx, 30); err != nil {
			return err
		}
		s.Postgres.Kill()
		s.say("the first server is killed")
		if err := s.Heal("", ""); err != nil {
			return err
		}
		promoted := time.Now()
		if err := s.Promote(ctx); err != nil {
			return err
		}
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		s.check(true, "the standby is promoted, and every edge exchanges %.1f s later", time.Since(promoted).Seconds())
		lost, err := s.metric(ctx, s.Ops(0), "nearside_core_history_lost_total")
		if err != nil {
			return err
		}
		s.check(lost == 0, "nobody knows of history that the new server does not have")
		if err := s.viewsCome(ctx, 30); err != nil {
			return err
		}
		return s.settle(ctx, 0)
	},
}

var diskDeleted = Drill{
	Name: "disk-deleted", Runbook: "stranded-holder.md",
	About: "the disk of a region's only node is deleted under it",
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 100); err != nil {
			return err
		}
		i, e := s.node("eu-west-1")
		kept, err := s.offered(ctx, e)
		if err != nil {
			return err
		}
		old, err := s.holders(ctx, e.Node)
		if err != nil {
			return err
		}
		s.Edges[i].Kill()
		s.leave(e.Node)
		if err := os.RemoveAll(e.Dir); err != nil {
			return err
		}
		s.say("eu-west-1 is killed and its disk is empty; its holder was %d", old[0].ID)
		started := time.Now()
		if err := s.Edges[i].Start(); err != nil {
			return err
		}
		if _, err := s.until(ctx, 3*time.Minute, "the new disk is taken in", func() (bool, error) {
			status, _ := s.readyz(ctx, e)
			return status == http.StatusOK, nil
		}); err != nil {
			return err
		}
		list, err := s.holders(ctx, e.Node)
		if err != nil {
			return err
		}
		s.check(len(list) == 2 && list[0].State == "fenced" && list[1].State == "open",
			"%.0f s later the old holder is fenced and a new one serves: %v", time.Since(started).Seconds(), states(list))
		if _, err := s.offered(ctx, e); err != nil {
			return err
		}
		s.visit(ctx, e.Node, rate)
		if err := s.viewsCome(ctx, 20, e.Node); err != nil {
			return err
		}
		before, err := s.flight(ctx)
		if err != nil {
			return err
		}
		reason, err := s.see(ctx, e, kept)
		if err != nil {
			return err
		}
		s.say("a view of an offer that the lost disk had made: %q", reason)
		if err := s.closeHolder(ctx, old[0].ID); err != nil {
			return err
		}
		after, err := s.flight(ctx)
		if err != nil {
			return err
		}
		s.check(after.views().Outstanding < before.views().Outstanding, "closing it gave back what it held: %d outstanding before, %d after",
			before.views().Outstanding, after.views().Outstanding)
		s.leaveAll()
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		// What it had answered since its last exchange was on that disk alone;
		// and the one view above may be counted as home lost instead.
		return s.settle(ctx, 2*rate+1)
	},
}

func states(list []holder) (text string) {
	for _, h := range list {
		text += fmt.Sprintf("%d %s, ", h.ID, h.State)
	}
	return text[:max(0, len(text)-2)]
}

func (s *stage) fence(ctx context.Context, id int64) error {
	return s.call(ctx, http.MethodPost, fmt.Sprintf("/v1/holders/%d/fence", id), nil)
}

func (s *stage) closeHolder(ctx context.Context, id int64) error {
	return s.call(ctx, http.MethodPost, fmt.Sprintf("/v1/holders/%d/close", id), nil)
}

var strandedHolder = Drill{
	Name: "stranded-holder", Runbook: "stranded-holder.md",
	About: "two nodes die and are fenced; one comes back with its disk, the other is closed first",
	shape: func(c *world.Config) { c.Regions, c.Nodes = []string{"us-east", "eu-west"}, 2 },
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 100); err != nil {
			return err
		}
		back, err := s.strand(ctx, "eu-west-1", "eu-west-2")
		if err != nil {
			return err
		}
		i, _ := s.node("eu-west-1")
		if err := s.Edges[i].Start(); err != nil {
			return err
		}
		s.say("the machine of eu-west-1 comes back, with its disk")
		if _, err := s.until(ctx, time.Minute, "it is judged", func() (bool, error) {
			n, err := s.metric(ctx, s.Ops(0), "nearside_core_foreign_judged_total")
			return n >= strandedViews, err
		}); err != nil {
			s.check(false, "%v", err)
		} else {
			s.check(true, "it has handed in what it counted, and the core has judged the views that waited")
		}
		s.sums.views += strandedViews
		s.sums.billed += strandedViews
		var list []holder
		_, err = s.until(ctx, time.Minute, "it is closed, and joins anew", func() (ok bool, err error) {
			list, err = s.holders(ctx, "eu-west-1")
			return len(list) == 2 && list[0].State == "closed" && list[1].State == "open", err
		})
		s.check(err == nil, "its old holder is closed and it has joined anew: %s", states(list))
		after, err := s.flight(ctx)
		if err != nil {
			return err
		}
		s.check(after.views().Outstanding < back, "what it held is back: %d outstanding before, %d after", back, after.views().Outstanding)

		gone, err := s.strand(ctx, "us-east-2", "us-east-1")
		if err != nil {
			return err
		}
		if list, err = s.holders(ctx, "us-east-2"); err != nil {
			return err
		}
		if err := s.closeHolder(ctx, list[0].ID); err != nil {
			return err
		}
		if after, err = s.flight(ctx); err != nil {
			return err
		}
		s.check(after.views().Outstanding < gone, "us-east-2 is closed without its disk, and what it held is back: %d outstanding before, %d after", gone, after.views().Outstanding)
		lost, err := s.until(ctx, time.Minute, "its views are refused", func() (bool, error) {
			n, err := s.metric(ctx, s.Ops(0), "nearside_core_foreign_home_lost_total")
			return n >= strandedViews, err
		})
		s.check(err == nil, "views of what it had offered are counted as home lost, and not billed, %.1f s later", lost.Seconds())
		i, _ = s.node("us-east-2")
		if err := s.start(ctx, s.Ready().Edges[i].Node); err != nil {
			return err
		}
		_, err = s.until(ctx, time.Minute, "it joins anew", func() (ok bool, err error) {
			list, err = s.holders(ctx, "us-east-2")
			return len(list) == 2 && list[0].State == "closed" && list[1].State == "open", err
		})
		s.check(err == nil, "its machine comes back after all, gives up what is closed, and joins anew: %s", states(list))
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		return s.settle(ctx, 0)
	},
}

// strandedViews is how many views of what a dead node had offered come to its peer.
const strandedViews = 2

// strand kills a node that has offers out, fences it, and sends the views of
// them to its peer. It returns what is outstanding then.
func (s *stage) strand(ctx context.Context, node, peer string) (outstanding int64, err error) {
	i, dead := s.node(node)
	_, other := s.node(peer)
	var kept []load.Offer
	for range strandedViews {
		offer, err := s.offered(ctx, dead)
		if err != nil {
			return 0, err
		}
		kept = append(kept, offer)
	}
	s.leave(node)
	if err := s.exchanged(ctx, node); err != nil {
		return 0, err
	}
	s.Edges[i].Kill()
	list, err := s.holders(ctx, node)
	if err != nil {
		return 0, err
	}
	id := list[len(list)-1].ID
	if err := s.fence(ctx, id); err != nil {
		return 0, err
	}
	s.say("%s is dead, and its holder, %d, fenced", node, id)
	for _, offer := range kept {
		reason, err := s.see(ctx, other, offer)
		if err != nil {
			return 0, err
		}
		s.check(reason == "Passed to its home", "a view of its offer at %s is answered: %q", peer, reason)
	}
	if err := s.exchanged(ctx, peer); err != nil {
		return 0, err
	}
	f, err := s.flight(ctx)
	return f.views().Outstanding, err
}

var drainRegion = Drill{
	Name: "drain-region", Runbook: "drain-a-region.md",
	About: "a region is drained and removed while readers are on its pages",
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 100); err != nil {
			return err
		}
		s.say("new readers of eu-west go elsewhere; those on a page go on to its end")
		s.leave("eu-west-1")
		before, err := s.holds(ctx, "eu-west-1")
		if err != nil {
			return err
		}
		status := s.drain("eu-west-1")
		s.check(status == 0, "eu-west-1 ended with status %d", status)
		list, err := s.holders(ctx, "eu-west-1")
		if err != nil {
			return err
		}
		s.check(len(list) == 1 && list[0].State == "closed", "its holder is closed: %s", states(list))
		after, err := s.holds(ctx, "eu-west-1")
		if err != nil {
			return err
		}
		s.check(before > 0 && after == 0, "it had %d views leased, and has %d", before, after)
		s.check(s.answered().failed == 0, "no reader was refused")
		return s.settle(ctx, 0)
	},
}

// holds is how much of the line's views a node has leased and not spent.
func (s *stage) holds(ctx context.Context, node string) (n int64, err error) {
	var leases struct {
		Items []struct {
			Node      string `json:"node"`
			State     string `json:"state"`
			Kind      string `json:"kind"`
			Available int64  `json:"available"`
		} `json:"items"`
	}
	if err := s.call(ctx, http.MethodGet, "/v1/flights/"+s.line.Slug+"/leases", &leases); err != nil {
		return 0, err
	}
	for _, l := range leases.Items {
		if l.Node == node && l.Kind == "views" && l.State != "closed" {
			n += l.Available
		}
	}
	return n, nil
}

var openRegion = Drill{
	Name: "open-region", Runbook: "open-a-region.md",
	About: "a region is opened on empty machines while the others serve",
	run: func(ctx context.Context, s *stage) error {
		// The world starts all of its regions: one is taken down to nothing first.
		if status := s.drain("ap-southeast-1"); status != 0 {
			return fmt.Errorf("ap-southeast-1 ended with status %d", status)
		}
		_, e := s.node("ap-southeast-1")
		if err := os.RemoveAll(e.Dir); err != nil {
			return err
		}
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visit(ctx, "us-east-1", rate)
		s.visit(ctx, "eu-west-1", rate)
		token, err := s.Tool(ctx, s.Programs, "join-token", "create", "--name", "ap-southeast")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.dir+"/world/join.token", []byte(token+"\n"), 0o600); err != nil {
			return err
		}
		opened := time.Now()
		if err := s.start(ctx, e.Node); err != nil {
			return err
		}
		s.check(true, "with a new join token and an empty disk it is ready after %.1f s", time.Since(opened).Seconds())
		if _, err := s.offered(ctx, e); err != nil {
			return err
		}
		s.check(true, "it offers a flight that was sold before it was opened after %.1f s", time.Since(opened).Seconds())
		s.visit(ctx, e.Node, rate)
		if err := s.viewsCome(ctx, 40, e.Node); err != nil {
			return err
		}
		list, err := s.holders(ctx, e.Node)
		if err != nil {
			return err
		}
		s.check(list[len(list)-1].State == "open", "/v1/edges has its holder: %s", states(list))
		s.check(s.answered().failed == 0, "nobody elsewhere noticed: no request failed")
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		return s.settle(ctx, 0)
	},
}
