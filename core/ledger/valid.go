package ledger

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// Bounds of what a message may say. They leave sums of many far from the end
// of an int64.
const (
	maxAmount = 1 << 60
	maxCount  = 1 << 50
	maxPrice  = 1 << 40
	maxHash   = 64
	maxReason = 64
	maxName   = 128
)

// ErrProtocol says that the other side speaks another version of the exchange.
var ErrProtocol = fmt.Errorf("protocol: expected %d", exchange.Protocol)

// Validate says what of a request no holder of ours could have sent. Its
// errors name the field.
func Validate(r *wire.SyncRequest) error {
	if r.GetProtocol() != exchange.Protocol {
		return ErrProtocol
	}
	return errors.Join(
		expect(r.GetHolder() >= 1 && r.GetHolder() <= math.MaxInt32, "holder", "the id of a holder"),
		expect(r.GetBoot() != 0, "boot", "a random number"),
		ordinal(r.GetBootOrdinal(), 1, "boot_ordinal"),
		cursor(r.GetSeal(), 0, "seal"),
		batch(r),
		side(r.GetSide()),
	)
}

// ValidateFence says what of a holder's asking to be fenced is wrong.
func ValidateFence(r *wire.FenceRequest) error {
	if r.GetProtocol() != exchange.Protocol {
		return ErrProtocol
	}
	return errors.Join(
		id(r.GetHolder(), 1, "holder"),
		expect(r.GetReason() != "" && len(r.GetReason()) <= maxName && printable(r.GetReason()), "reason", "1 to 128 printable characters"),
	)
}

func expect(ok bool, field, what string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s: expected %s", field, what)
}

// ordinal is a number that the tables keep as a bigint.
func ordinal(n, least uint64, field string) error {
	if n >= least && n <= math.MaxInt64 {
		return nil
	}
	return fmt.Errorf("%s: expected %d to %d", field, least, int64(math.MaxInt64))
}

func cursor(c *wire.Cursor, least uint64, field string) error {
	return errors.Join(
		ordinal(c.GetBatch(), least, field+".batch"),
		ordinal(c.GetPosition(), 0, field+".position"),
		expect(len(c.GetHash()) <= maxHash, field+".hash", "at most 64 bytes"),
	)
}

func batch(r *wire.SyncRequest) error {
	b := r.GetBatch()
	if b == nil {
		return nil
	}
	if err := errors.Join(
		cursor(b.GetSeal(), 1, "batch.seal"),
		ordinal(b.GetForeignAck(), 0, "batch.foreign_ack"),
		expect(b.GetClosing() || len(b.GetFinal()) == 0, "batch.final", "windows only where closing is set"),
		totals(b.GetTotals()),
		expect(b.GetClosing() || len(b.GetHeld()) == 0, "batch.held", "events only where closing is set"),
		rollups(b.GetRollups()),
		topicRollups(b.GetTopics()),
	); err != nil {
		return err
	}
	if err := topicsWithin(b.GetTopics(), b.GetRollups()); err != nil {
		return err
	}
	for i, e := range b.GetForeign() {
		if err := event(e, r.GetHolder(), false); err != nil {
			return fmt.Errorf("batch.foreign[%d].%w", i, err)
		}
	}
	for i, e := range b.GetHeld() {
		if err := errors.Join(event(e, r.GetHolder(), true), expect(e.GetKind() == uint32(exchange.Click), "kind", "2 (click)")); err != nil {
			return fmt.Errorf("batch.held[%d].%w", i, err)
		}
	}
	for i, v := range b.GetVerdicts() {
		if v.GetOutcome() < uint32(exchange.Billed) || v.GetOutcome() > uint32(exchange.HomeLost) {
			return fmt.Errorf("batch.verdicts[%d].outcome: expected 1 to 5", i)
		}
	}
	return windows(b.GetFinal(), "batch.final")
}

func totals(t *wire.Totals) error {
	n := len(t.GetBudget())
	if len(t.GetGranted()) != n || len(t.GetSpent()) != n || len(t.GetReturned()) != n {
		return errors.New("batch.totals: expected arrays of one length")
	}
	seen := make(map[int64]struct{}, n)
	for i, b := range t.GetBudget() {
		if err := budget(b); err != nil {
			return fmt.Errorf("batch.totals.budget[%d]: %w", i, err)
		}
		for _, v := range [...]int64{t.Granted[i], t.Spent[i], t.Returned[i]} {
			if v < 0 || v > maxAmount {
				return fmt.Errorf("batch.totals[%d]: expected amounts from 0 to %d", i, int64(maxAmount))
			}
		}
		if _, twice := seen[b]; twice {
			return fmt.Errorf("batch.totals.budget[%d]: expected each budget once", i)
		}
		seen[b] = struct{}{}
	}
	return nil
}

// budget accepts the ids that lease.Of makes.
func budget(id int64) error {
	b := lease.Budget(id)
	day := b.Day()
	switch k := b.Kind(); {
	case id <= 0, b.Owner() == 0 || b.Owner() > math.MaxInt32, lease.Of(k, b.Owner(), day) != b:
	case k == lease.FlightViews || k == lease.FlightClicks:
		if day == 0 {
			return nil
		}
	case k == lease.FlightDay || k == lease.PublisherDay:
		if day != 0 {
			return nil
		}
	}
	return errors.New("expected the id of a budget")
}

func rollups(r *wire.Rollups) error {
	n := len(r.GetHour())
	for _, l := range [...]int{
		len(r.GetFlight()), len(r.GetAd()), len(r.GetPublisher()), len(r.GetCountry()), len(r.GetViews()), len(r.GetClicks()),
		len(r.GetUnbilledViews()), len(r.GetUnbilledClicks()), len(r.GetSpentMicros()),
	} {
		if l != n {
			return errors.New("batch.rollups: expected arrays of one length")
		}
	}
	if l := len(r.GetHomeLost()); l != n && l != 0 {
		return errors.New("batch.rollups.home_lost: expected an array as long as the others, or none")
	}
	if err := counts(r.GetHomeLost()...); err != nil {
		return fmt.Errorf("batch.rollups.home_lost: %w", err)
	}
	for i := range n {
		if err := errors.Join(
			hour(r.Hour[i]), id(r.Flight[i], 0, "flight"), id(r.Ad[i], 0, "ad"), id(r.Publisher[i], 0, "publisher"),
			counts(r.Views[i], r.Clicks[i], r.UnbilledViews[i], r.UnbilledClicks[i], r.SpentMicros[i]),
		); err != nil {
			return fmt.Errorf("batch.rollups[%d].%w", i, err)
		}
	}
	return nil
}

func topicRollups(r *wire.TopicRollups) error {
	n := len(r.GetHour())
	for _, l := range [...]int{
		len(r.GetTopic()), len(r.GetFlight()), len(r.GetCountry()), len(r.GetViews()), len(r.GetClicks()),
		len(r.GetUnbilledViews()), len(r.GetUnbilledClicks()), len(r.GetSpentMicros()), len(r.GetHomeLost()),
	} {
		if l != n {
			return errors.New("batch.topics: expected arrays of one length")
		}
	}
	for i := range n {
		if err := errors.Join(
			hour(r.Hour[i]), topic(r.Topic[i]), id(r.Flight[i], 0, "flight"),
			counts(r.Views[i], r.Clicks[i], r.UnbilledViews[i], r.UnbilledClicks[i], r.SpentMicros[i], r.HomeLost[i]),
		); err != nil {
			return fmt.Errorf("batch.topics[%d].%w", i, err)
		}
	}
	return nil
}

// topicsWithin holds what pages of a topic had against what all pages had, of which it
// is a part: by hour, flight and country. Both have their form.
func topicsWithin(t *wire.TopicRollups, r *wire.Rollups) error {
	if len(t.GetHour()) == 0 {
		return nil
	}
	type cell struct {
		hour    int64
		flight  uint32
		country string
	}
	all := map[cell]Counts{}
	for i, hour := range r.GetHour() {
		of := cell{hour, r.Flight[i], r.Country[i]}
		n := Counts{r.Views[i], r.Clicks[i], r.UnbilledViews[i], r.UnbilledClicks[i], 0, r.SpentMicros[i]}
		if len(r.GetHomeLost()) > 0 {
			n.HomeLost = r.HomeLost[i]
		}
		all[of] = all[of].plus(n)
	}
	type part struct {
		topic uint32
		cell
	}
	parts := map[part]Counts{}
	for i, hour := range t.GetHour() {
		of := part{t.Topic[i], cell{hour, t.Flight[i], t.Country[i]}}
		n := parts[of].plus(Counts{t.Views[i], t.Clicks[i], t.UnbilledViews[i], t.UnbilledClicks[i], t.HomeLost[i], t.SpentMicros[i]})
		most := all[of.cell]
		if n.Views > most.Views || n.Clicks > most.Clicks || n.UnbilledViews > most.UnbilledViews || n.UnbilledClicks > most.UnbilledClicks || n.HomeLost > most.HomeLost || n.Spent > most.Spent {
			return fmt.Errorf("batch.topics[%d]: expected no more than batch.rollups has of flight %d in that hour and country", i, t.Flight[i])
		}
		parts[of] = n
	}
	return nil
}

// topic accepts the ids that a token can carry.
func topic(n uint32) error {
	return expect(n <= math.MaxUint16, "topic", "16 bits")
}

// topics accepts those of one page.
func topics(list []uint32) error {
	if len(list) > token.MaxTopics {
		return fmt.Errorf("topics: expected at most %d", token.MaxTopics)
	}
	for i, n := range list {
		if err := topic(n); err != nil {
			return err
		}
		if slices.Contains(list[:i], n) {
			return fmt.Errorf("topics: expected each once, %d is there twice", n)
		}
	}
	return nil
}

func hour(h int64) error {
	const year10000 = 253402300800
	return expect(h >= 0 && h < year10000 && h%3600 == 0, "hour", "the unix second in which an hour starts")
}

func id(n, least uint32, field string) error {
	if n >= least && n <= math.MaxInt32 {
		return nil
	}
	return fmt.Errorf("%s: expected %d to %d", field, least, math.MaxInt32)
}

// country is c, or "" where c is no country's code: a doubtful header at an
// edge must not keep its batch from being applied.
func country(c string) string {
	if len(c) == 2 && 'A' <= c[0] && c[0] <= 'Z' && 'A' <= c[1] && c[1] <= 'Z' {
		return c
	}
	return ""
}

func counts(ns ...int64) error {
	for _, n := range ns {
		if n < 0 || n > maxCount {
			return fmt.Errorf("expected counts from 0 to %d", int64(maxCount))
		}
	}
	return nil
}

// event checks one that was shipped by sender; late: in its own hand-in.
func event(e *wire.Event, sender uint32, late bool) error {
	return errors.Join(
		expect(e.GetKind() == uint32(exchange.View) || e.GetKind() == uint32(exchange.Click), "kind", "1 (view) or 2 (click)"),
		id(e.GetHolder(), 1, "holder"),
		expect((e.GetHolder() == sender) == late, "holder", "another holder, or in a hand-in its own"),
		expect(e.GetBoot() != 0, "boot", "a random number"),
		expect(e.GetSeq() <= token.MaxSeq, "seq", "at most 48 bits"),
		id(e.GetAd(), 0, "ad"), id(e.GetFlight(), 0, "flight"), id(e.GetPublisher(), 0, "publisher"),
		expect(e.GetViewPrice() >= 0 && e.GetViewPrice() <= maxPrice, "view_price", "micros"),
		expect(e.GetClickPrice() >= 0 && e.GetClickPrice() <= maxPrice, "click_price", "micros"),
		expect(e.GetFlags() <= math.MaxUint16, "flags", "16 bits"),
		topics(e.GetTopics()),
		moment(e.GetIssued(), "issued"), moment(e.GetAt(), "at"),
	)
}

func moment(ms int64, field string) error {
	const year10000 = 253402300800000
	return expect(ms > 0 && ms < year10000, field, "unix milliseconds")
}

// MaxWindow is the most bytes that the bits of one boot may take: sixty million
// offers.
const MaxWindow = 16 << 20

func windows(ws []*wire.Window, field string) error {
	seen := map[uint64]bool{}
	for i, w := range ws {
		span := w.GetNext() - w.GetFloor()
		switch {
		case w.GetBoot() == 0 || seen[w.GetBoot()]:
			return fmt.Errorf("%s[%d].boot: expected each boot once", field, i)
		case w.GetNext() < w.GetFloor() || w.GetNext() > token.MaxSeq+1:
			return fmt.Errorf("%s[%d].next: expected floor to %d", field, i, uint64(token.MaxSeq+1))
		case len(w.GetBits()) > MaxWindow || uint64(len(w.GetBits())) > (span+3)/4:
			return fmt.Errorf("%s[%d].bits: expected 2 bits for each sequence number, at most %d bytes", field, i, MaxWindow)
		}
		seen[w.GetBoot()] = true
	}
	return nil
}

func side(s *wire.Side) error {
	if err := errors.Join(
		ordinal(s.GetAppliedCatalog(), 0, "side.applied_catalog"),
		ordinal(s.GetAppliedControl(), 0, "side.applied_control"),
		expect(len(s.GetVersion()) <= maxName && printable(s.GetVersion()), "side.version", "at most 128 printable characters"),
	); err != nil {
		return err
	}
	seen := make(map[int64]struct{}, len(s.GetWants()))
	for i, w := range s.GetWants() {
		if err := budget(w.GetBudget()); err != nil {
			return fmt.Errorf("side.wants[%d].budget: %w", i, err)
		}
		if w.GetTarget() < 0 || w.GetVelocityMilli() < 0 {
			return fmt.Errorf("side.wants[%d]: expected a target and a velocity of 0 or more", i)
		}
		if _, twice := seen[w.GetBudget()]; twice {
			return fmt.Errorf("side.wants[%d].budget: expected each budget once", i)
		}
		seen[w.GetBudget()] = struct{}{}
	}
	d := s.GetDecisions()
	n := len(d.GetHour())
	if len(d.GetPublisher()) != n || len(d.GetCountry()) != n || len(d.GetFlight()) != n || len(d.GetDecisions()) != n || len(d.GetOffers()) != n {
		return errors.New("side.decisions: expected arrays of one length")
	}
	for i := range n {
		if err := errors.Join(
			hour(d.Hour[i]), id(d.Publisher[i], 0, "publisher"), id(d.Flight[i], 0, "flight"), counts(d.Decisions[i], d.Offers[i]),
		); err != nil {
			return fmt.Errorf("side.decisions[%d].%w", i, err)
		}
	}
	b := s.GetTopics()
	n = len(b.GetHour())
	if len(b.GetTopic()) != n || len(b.GetCountry()) != n || len(b.GetFlight()) != n || len(b.GetDecisions()) != n || len(b.GetOffers()) != n {
		return errors.New("side.topics: expected arrays of one length")
	}
	for i := range n {
		if err := errors.Join(
			hour(b.Hour[i]), topic(b.Topic[i]), id(b.Flight[i], 0, "flight"), counts(b.Decisions[i], b.Offers[i]),
		); err != nil {
			return fmt.Errorf("side.topics[%d].%w", i, err)
		}
	}
	f := s.GetRefusals()
	n = len(f.GetFlight())
	if len(f.GetReason()) != n || len(f.GetN()) != n {
		return errors.New("side.refusals: expected arrays of one length")
	}
	for i := range n {
		if err := errors.Join(
			id(f.Flight[i], 0, "flight"), counts(f.N[i]),
			expect(len(f.Reason[i]) <= maxReason && printable(f.Reason[i]), "reason", "at most 64 printable characters"),
		); err != nil {
			return fmt.Errorf("side.refusals[%d].%w", i, err)
		}
	}
	return nil
}

// printable reports whether s is ASCII that a person can read.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
