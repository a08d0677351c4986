//go:build linux

package drill

import (
	"context"
	"fmt"
	"time"

	"nearside/dev/world"
)

// rate is how many page views a second come to each edge: enough to see what
// happens within seconds, little enough for one machine.
const rate = 12

// large is a line that no drill uses up.
var large = world.Line{Slug: "drill", Views: 50_000_000, CPM: 2_000_000, Clicks: 1_000_000, CPC: 1_500_000}

var regionCut = Drill{
	Name: "region-cut", Runbook: "lose-a-region.md", Short: true,
	About: "a region is cut off for ten minutes while a flight is used up",
	run: func(ctx context.Context, s *stage) error {
		const away = 10 * time.Minute
		// More than a flight that is offered by one node alone may have left, and
		// used up by the other two regions within the cut, or soon after.
		const rate = 30
		sold := max(500, int64(3*rate*0.85*s.scaled(away).Seconds()*0.6))
		if err := s.sell(ctx, world.Line{Slug: "drill", Views: sold, CPM: 2_000_000}); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 100); err != nil {
			return err
		}
		_, cut := s.node("eu-west-1")
		if err := s.Cut("eu-west", ""); err != nil {
			return err
		}
		before := s.answered("eu-west-1")
		s.say("eu-west is cut off; %d views were sold, %d are seen", sold, s.answered().views)
		if err := s.let(ctx, away); err != nil {
			return err
		}
		var f flight
		if _, err := s.until(ctx, 2*time.Minute, "the other regions have used up what they can get", func() (ok bool, err error) {
			f, err = s.flight(ctx)
			if s.Scale < longEnough { // the last views of a flight come slowly
				return f.views().Settled >= 200, err
			}
			return f.views().Unleased == 0, err
		}); err != nil {
			return err
		}
		age, err := s.metric(ctx, cut.Ops, "nearside_edge_exchange_age_seconds")
		if err != nil {
			return err
		}
		during, b := s.answered("eu-west-1"), f.views()
		s.check(age > s.scaled(away).Seconds()/2, "eu-west has not heard the core for %.1f s", age)
		s.check(during.decisions > before.decisions && during.failed == 0,
			"eu-west answered its readers all the while: %d decisions, %d views, nothing failed", during.decisions-before.decisions, during.views-before.views)
		s.check(b.Settled+b.Outstanding <= b.Limit, "what eu-west holds stayed set aside: %d settled + %d outstanding of %d", b.Settled, b.Outstanding, b.Limit)
		late := during.billed - before.billed
		if err := s.Heal("", ""); err != nil {
			return err
		}
		s.say("healed")
		took, err := s.until(ctx, time.Minute, "eu-west hears the core", func() (bool, error) {
			age, err := s.metric(ctx, cut.Ops, "nearside_edge_exchange_age_seconds")
			return age < 3, err
		})
		if err != nil {
			return err
		}
		s.check(true, "eu-west hears the core %.1f s later; %d views that it billed meanwhile settle late", took.Seconds(), late)
		if err := s.settle(ctx, 0); err != nil {
			return err
		}
		if f, err = s.flight(ctx); err != nil {
			return err
		}
		b = f.views()
		s.say("not delivered: %d of %d sold; seen beyond them and not billed: %d", b.Limit-b.Settled, b.Limit, f.Delivery.UnbilledViews)
		return nil
	},
}

// longEnough is the scale from which on a flight is used up within a drill.
const longEnough = 0.05

var coreAway = Drill{
	Name: "core-away", Runbook: "lose-the-core.md",
	About: "the core is away for ten minutes, and an edge is killed meanwhile",
	run: func(ctx context.Context, s *stage) error {
		const away = 10 * time.Minute
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 100); err != nil {
			return err
		}
		s.Core.Kill()
		s.say("the core is killed")
		from := s.answered()
		if err := s.let(ctx, away/2); err != nil {
			return err
		}
		s.leave("ap-southeast-1")
		i, e := s.node("ap-southeast-1")
		s.Edges[i].Kill()
		if err := s.start(ctx, e.Node); err != nil {
			return err
		}
		s.check(true, "an edge that was killed meanwhile is ready again, from its own disk")
		s.visit(ctx, e.Node, rate)
		if err := s.let(ctx, away/2); err != nil {
			return err
		}
		to := s.answered()
		s.check(to.failed == 0, "no request failed: %d decisions without the core", to.decisions-from.decisions)
		s.check(to.offers-from.offers > (to.decisions-from.decisions)*9/10, "edges went on offering: %d of %d", to.offers-from.offers, to.decisions-from.decisions)
		if err := s.Core.Start(); err != nil {
			return err
		}
		if err := s.WaitCore(ctx); err != nil {
			return err
		}
		s.say("the core is back")
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		return s.settle(ctx, 0)
	},
}

var pauseWhileCut = Drill{
	Name: "pause-while-cut", Runbook: "runaway-flight.md", Short: true,
	About: "a flight is paused while one region is cut off, and while one node is",
	shape: func(c *world.Config) { c.Regions, c.Nodes = []string{"us-east", "eu-west"}, 2 },
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate/2)
		if err := s.viewsCome(ctx, 50); err != nil {
			return err
		}
		if err := s.Cut("eu-west", "us-east"); err != nil {
			return err
		}
		s.say("eu-west is cut off")
		paused := time.Now()
		if err := s.order(ctx, "pause"); err != nil {
			return err
		}
		for _, node := range []string{"us-east-1", "us-east-2"} {
			if err := s.stops(ctx, node, paused, "after the pause was asked for"); err != nil {
				return err
			}
		}
		if err := s.let(ctx, 2*time.Minute); err != nil {
			return err
		}
		for _, node := range []string{"eu-west-1", "eu-west-2"} {
			_, e := s.node(node)
			offer, err := s.ask(ctx, e)
			if err != nil {
				return err
			}
			s.check(offer.Filled(), "%s, which cannot know, still offers it", node)
		}
		seen := s.answered("eu-west-1").views + s.answered("eu-west-2").views
		healed := time.Now()
		if err := s.Heal("", ""); err != nil {
			return err
		}
		s.say("healed")
		for _, node := range []string{"eu-west-1", "eu-west-2"} {
			if err := s.stops(ctx, node, healed, "after the heal"); err != nil {
				return err
			}
		}
		s.check(true, "what that cost: at most the %d views that eu-west showed, all of them billed and within what was sold", seen)

		if err := s.order(ctx, "resume"); err != nil {
			return err
		}
		for _, e := range s.Ready().Edges {
			if _, err := s.offered(ctx, e); err != nil {
				return err
			}
		}
		if err := s.Cut("eu-west-1", "core"); err != nil {
			return err
		}
		s.say("eu-west-1 alone is cut off from the core; it still has its peer")
		paused = time.Now()
		if err := s.order(ctx, "pause"); err != nil {
			return err
		}
		for _, node := range []string{"eu-west-2", "eu-west-1"} {
			if err := s.stops(ctx, node, paused, "after the pause was asked for"); err != nil {
				return err
			}
		}
		if err := s.Heal("", ""); err != nil {
			return err
		}
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		return s.settle(ctx, 0)
	},
}

// order pauses, resumes or kills the line.
func (s *stage) order(ctx context.Context, verb string) error {
	return s.call(ctx, "POST", "/v1/flights/"+s.line.Slug+"/"+verb, nil)
}

// stops waits until an edge does not offer the line.
func (s *stage) stops(ctx context.Context, node string, since time.Time, after string) error {
	_, e := s.node(node)
	if _, err := s.until(ctx, 30*time.Second, node+" stops offering", func() (bool, error) {
		offer, err := s.ask(ctx, e)
		return !offer.Filled(), err
	}); err != nil {
		s.check(false, "%v", err)
		return ctx.Err()
	}
	s.check(true, "%s stopped offering it within %.1f s %s", node, time.Since(since).Seconds(), after)
	return nil
}

var runawayFlight = Drill{
	Name: "runaway-flight", Runbook: "runaway-flight.md",
	About: "a flight that should never have run is killed",
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 100); err != nil {
			return err
		}
		_, e := s.node("ap-southeast-1")
		offer, err := s.offered(ctx, e)
		if err != nil {
			return err
		}
		killed := time.Now()
		if err := s.order(ctx, "kill"); err != nil {
			return err
		}
		for _, e := range s.Ready().Edges {
			if err := s.stops(ctx, e.Node, killed, "after the kill was asked for"); err != nil {
				return err
			}
		}
		reason, err := s.see(ctx, e, offer)
		if err != nil {
			return err
		}
		s.check(reason != "Billed view", "a view of an offer made before is answered and not billed: %q", reason)
		s.leaveAll()
		s.sums.views++ // the one above
		f, err := s.flight(ctx)
		if err != nil {
			return err
		}
		s.check(f.State == "kill", "the flight is in the state %q", f.State)
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		if err := s.settle(ctx, 0); err != nil {
			return err
		}
		f, err = s.flight(ctx)
		if err != nil {
			return err
		}
		s.say("what it cost: %s", cost(f))
		return nil
	},
}

// cost is what a flight has been billed, as people say it.
func cost(f flight) string {
	return fmt.Sprintf("%.6f for %d views and %d clicks", float64(f.Delivery.SpentMicros)/1e6, f.Delivery.Views, f.Delivery.Clicks)
}
