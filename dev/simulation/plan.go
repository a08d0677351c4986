package simulation

import (
	"math/rand/v2"
	"time"

	"nearside/core/ledger"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
)

// plan is what a seed chose before anything happens.
type plan struct {
	start   int64 // unix milliseconds
	lasts   int64 // milliseconds of traffic and faults
	nodes   int
	regions int
	flights []flight
	sites   []site
	rules   ledger.Rules

	every     int64   // between exchanges of a node, milliseconds
	pageEvery float64 // mean milliseconds between offers
	loss      float64 // of a message
	twice     float64
	slow      float64 // of a message that takes seconds
	trouble   float64 // mean milliseconds between faults
	meddling  float64 // mean milliseconds between what operators do
	skewed    bool    // one clock is hours off
	quiet     bool    // no faults at all
	copies    bool    // every journal is kept on two disks of its region
}

type flight struct {
	id    uint32
	flags uint16
	view  int64 // price, micros
	click int64
	limit int64 // of its events
	cap   int64 // micros a day, 0: none
	from  int32 // the first day of the cap
	even  bool  // paced evenly, not as fast as pages are opened
}

type site struct {
	id   uint32
	cap  int64
	from int32
}

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour

	monday = int64(1772409600000) // 2026-03-02T00:00:00Z
)

func newPlan(rng *rand.Rand) plan {
	pick := func(n int) int { return rng.IntN(n) }
	p := plan{
		start:     monday + 12*hour + int64(pick(3600))*second,
		lasts:     minute + int64(pick(180))*second,
		nodes:     9,
		regions:   3,
		rules:     ledger.DefaultRules(),
		every:     second,
		pageEvery: 40 + 250*rng.Float64(),
		loss:      0.15 * rng.Float64(),
		twice:     0.1 * rng.Float64(),
		slow:      0.1 * rng.Float64(),
		trouble:   float64(5*second) + 30*float64(second)*rng.Float64(),
		meddling:  float64(15*second) + 60*float64(second)*rng.Float64(),
		skewed:    pick(5) == 0,
		quiet:     pick(12) == 0,
	}
	if pick(8) == 0 { // a small world, where a node may be alone
		p.nodes = 1 + pick(4)
		p.regions = 1 + pick(min(p.nodes, 3))
	}
	if pick(4) == 0 { // over midnight
		p.start = monday + day - int64(pick(120))*second
	}
	if pick(5) == 0 { // an outage may outlive tokens
		p.lasts += 3 * hour
		p.every = minute
		p.pageEvery *= 40
		p.trouble *= 30
		p.meddling *= 30
	}
	if pick(3) == 0 {
		p.rules.FenceAfter = 40 * time.Duration(p.every) * time.Millisecond
	}
	today := exchange.Day(p.start)
	for i := range 5 {
		f := flight{id: uint32(i + 1), limit: int64(3 + pick(80)), even: pick(5) == 0}
		switch pick(4) {
		case 0:
			f.limit *= 10 // about where brokers begin
		case 1:
			f.limit *= 100 // more than can be used up
		}
		price := int64(0)
		if pick(4) > 0 {
			price = int64(500 + pick(3000))
		}
		if pick(3) == 0 {
			f.flags, f.click = token.FlagClicks, 50*price
		} else {
			f.flags, f.view = token.FlagViews, price
		}
		if price > 0 && pick(2) == 0 {
			f.cap = max(f.view, f.click) * int64(2+pick(60))
			f.from = today + int32(pick(2))
		}
		p.flights = append(p.flights, f)
	}
	for i := range 1 + pick(2) {
		s := site{id: uint32(i + 1)}
		if pick(2) == 0 {
			s.cap, s.from = int64(10_000+pick(400_000)), today+int32(pick(2))
		}
		p.sites = append(p.sites, s)
	}
	return p
}

// flags says which budgets an offer of the day names.
func (f *flight) flagsOn(day int32, s *site) uint16 {
	flags := f.flags
	if f.cap > 0 && day >= f.from {
		flags |= token.FlagFlightDay
	}
	if s.cap > 0 && day >= s.from {
		flags |= token.FlagPublisherDay
	}
	return flags
}

func (p *plan) unitOf(k lease.Kind, owner uint32) int64 {
	unit := int64(1)
	for _, f := range p.flights {
		if k == lease.PublisherDay || k == lease.FlightDay && f.id == owner {
			unit = max(unit, f.view, f.click)
		}
	}
	return unit
}
