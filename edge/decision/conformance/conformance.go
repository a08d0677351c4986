// Package conformance is the rules by which ads are chosen, as a table that an
// ad-ops person can read and that tests run: rules.md, a row for each rule and
// each edge of it. The same rows are run against decision.Decide and against
// the HTTP API, so that neither can drift from the other or from the text.
//
// It is for tests alone; nothing that ships imports it.
package conformance

import (
	"net/url"
	"time"

	"nearside/edge/decision"
	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// Case is one row: a world, a request and what must come of it.
type Case struct {
	Rule string // the heading it stands under
	Name string
	Line int // of rules.md

	Snapshot *catalog.Snapshot
	Accounts map[lease.Budget]State
	Controls map[uint32]Control // by flight id
	Request  Request
	Want     Answer
}

// State is what an account holds.
type State struct {
	Left, InFlight, Settled  int64
	Rho                      uint32
	Elsewhere, Held, Awaited bool
}

// Control is what was said about a flight after the catalog was published.
type Control struct {
	State   catalog.State
	Version uint64
}

// Request is a request in the words of the HTTP API.
type Request struct {
	Publisher      string
	Placements     []decision.Placement
	Keywords       []string
	CampaignTypes  []catalog.CampaignType // none: all
	URL            string
	Country        string // "" not known
	State          string
	Metro          int32
	Mobile         bool
	PlacementIndex int
	ForceAd        string
	ForceCampaign  string
	Now            time.Time
}

// Answer is what may come: exactly one of the options, each of them possible,
// or no ad where there are none.
type Answer struct {
	Options []Option
	Refused map[string]decision.Reason // flight slug → why; not every refused flight need be in it
	Reason  decision.Reason            // of the whole request; None: the row does not say
}

// Option is one possible answer.
type Option struct {
	Flight string
	Ad     string // slug; "" any ad of the flight
	Div    string // "" any
	Weight int64  // of the ad if it is named, else of the flight; −1: the row does not say
}

// Decision is the request for a catalog compiled from the case's snapshot.
func (r *Request) Decision(c *decision.Catalog) *decision.Request {
	to := &decision.Request{
		Publisher:      c.Publisher(r.Publisher),
		Placements:     r.Placements,
		Keywords:       r.Keywords,
		CampaignTypes:  decision.TypesOf(r.CampaignTypes...),
		URL:            r.URL,
		Metro:          r.Metro,
		Mobile:         r.Mobile,
		PlacementIndex: r.PlacementIndex,
		ForceAd:        r.ForceAd,
		ForceCampaign:  r.ForceCampaign,
	}
	copy(to.Country[:], r.Country)
	copy(to.State[:], r.State)
	if u, err := url.Parse(r.URL); err == nil {
		to.Host = u.Host
	}
	return to
}

// Books are the case's accounts and switches. A budget that the case does not
// name has nothing left.
func (c *Case) Books() decision.Books {
	b := &books{accounts: make(map[lease.Budget]*decision.Account), switches: make(map[uint32]*decision.Switch)}
	for budget, state := range c.Accounts {
		a := b.Account(budget)
		a.Left.Store(state.Left)
		a.InFlight.Store(state.InFlight)
		a.Settled.Store(state.Settled)
		a.Rho.Store(state.Rho)
		a.Elsewhere.Store(state.Elsewhere)
		a.Held.Store(state.Held)
		a.Awaited.Store(state.Awaited)
	}
	for flight, control := range c.Controls {
		b.Switch(flight).Set(control.State, control.Version)
	}
	return b
}

type books struct {
	accounts map[lease.Budget]*decision.Account
	switches map[uint32]*decision.Switch
}

func (b *books) Account(budget lease.Budget) *decision.Account {
	a := b.accounts[budget]
	if a == nil {
		a = new(decision.Account)
		b.accounts[budget] = a
	}
	return a
}

func (b *books) Switch(flight uint32) *decision.Switch {
	s := b.switches[flight]
	if s == nil {
		s = new(decision.Switch)
		b.switches[flight] = s
	}
	return s
}
