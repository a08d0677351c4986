package decision

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// recordFormat is the only format of records there is. Fields may be added
// within it; a change of what one means needs the next.
const recordFormat = 1

// maxRecorded bounds the candidates of a decision that is recorded.
const maxRecorded = 4096

// maxRecord bounds a record in bytes of JSON.
const maxRecord = 4 << 20

// Record is everything that a decision depended on, apart from the catalog,
// whose version it names: with the two, Replay makes the same decision again.
// It is written as one line of JSON.
//
// It holds what the publisher sent (keywords, the page's URL) and where the
// reader was taken to be. It holds neither address, user agent nor client id.
type Record struct {
	Format    int       `json:"record"` // 1
	Catalog   uint64    `json:"catalog_version"`
	At        int64     `json:"at_ms"` // unix milliseconds
	Seed      string    `json:"seed"`  // 64 bits in hexadecimal
	Request   Asked     `json:"request"`
	Accounts  []Balance `json:"accounts"`   // of the candidates' budgets and the publisher's, by budget
	Switches  []Said    `json:"switches"`   // of the candidates, by flight
	Outcome   Made      `json:"outcome"`    // what was decided
	Torn      bool      `json:"torn"`       // accounts moved each time it was decided: they may be off by a few units
	Cut       bool      `json:"cut"`        // there were more candidates than a record holds; it cannot be replayed
	StandsFor int64     `json:"stands_for"` // decisions since the record before it; 0: it was made for an explanation
}

// Asked is a Request as it is recorded.
type Asked struct {
	Publisher      string      `json:"publisher"`
	Placements     []AskedSlot `json:"placements"`
	Keywords       []string    `json:"keywords"`
	CampaignTypes  Types       `json:"campaign_types"` // bit set; 0: all
	URL            string      `json:"url"`
	Host           string      `json:"host"`
	Country        string      `json:"country"` // "" not known
	State          string      `json:"state"`
	Metro          int32       `json:"metro"`
	Mobile         bool        `json:"mobile"`
	PlacementIndex int         `json:"placement_index"`
	ForceAd        string      `json:"force_ad"`
	ForceCampaign  string      `json:"force_campaign"`
	Capped         []uint32    `json:"capped"` // flight ids
	Taken          []uint32    `json:"taken"`  // advertiser ids
	Alone          uint32      `json:"alone"`  // flight id
}

// AskedSlot is a Placement as it is recorded.
type AskedSlot struct {
	DivID    string `json:"div_id"`
	AdType   string `json:"ad_type"`
	Priority int    `json:"priority"`
}

// Balance is what an account held when the decision was made.
type Balance struct {
	Budget    lease.Budget `json:"budget"`
	Left      int64        `json:"left"`
	InFlight  int64        `json:"in_flight"`
	Settled   int64        `json:"settled"`
	Rho       uint32       `json:"rate_millionths"`
	Elsewhere bool         `json:"elsewhere"`
	Held      bool         `json:"held,omitempty"`    // by pacing
	Awaited   bool         `json:"awaited,omitempty"` // more is to be leased
}

// Said is what a switch was set to.
type Said struct {
	Flight  uint32        `json:"flight"`
	State   catalog.State `json:"state"`
	Version uint64        `json:"version"`
}

// Made is an Outcome as it is recorded.
type Made struct {
	Filled    bool   `json:"filled"`
	Forced    bool   `json:"forced"`
	Flight    string `json:"flight"` // slug, "" where there is none
	Ad        string `json:"ad"`     // slug
	Placement int    `json:"placement"`
	Weight    int64  `json:"weight"`
	Total     int64  `json:"total"`
	Reason    string `json:"reason"`
}

// DecideAndRecord is Decide, and what it depended on. The accounts are read
// before and after; where they moved meanwhile it is decided anew, which
// nobody sees, until they stood still or it has been tried often enough.
func (c *Catalog) DecideAndRecord(r *Request, s *Scratch, now int64, seed uint64, out *Outcome) *Record {
	rec := &Record{Format: recordFormat, Catalog: c.Version(), At: now, Seed: strconv.FormatUint(seed, 16), Request: takeDown(r)}
	c.Shape(r, s, now)
	set := c.Candidates(s)
	rec.Cut = set.Len() > maxRecorded
	p, day := c.current(r.Publisher), catalog.DayOfMillis(now)
	var after []Balance
	for range 8 {
		rec.read(c, set, p, day)
		if !rec.Cut { // what is kept of standings may be of other amounts than those read
			for _, position := range set.list.positions {
				c.index.flights[position].control.Changed()
			}
		}
		c.Decide(r, s, now, seed, out)
		said := rec.Switches
		before := rec.Accounts
		rec.read(c, set, p, day)
		after = rec.Accounts
		rec.Torn = !slices.Equal(before, after) || !slices.Equal(said, rec.Switches)
		rec.Accounts, rec.Switches = before, said
		if !rec.Torn {
			break
		}
	}
	rec.Outcome = made(out)
	return rec
}

// read takes down what the candidates' accounts and switches hold now.
func (rec *Record) read(c *Catalog, set *Candidates, p *Publisher, day catalog.Day) {
	rec.Accounts, rec.Switches = nil, nil
	if rec.Cut {
		return
	}
	add := func(b lease.Budget, a *Account) {
		if a != nil {
			rec.Accounts = append(rec.Accounts, Balance{b, a.Left.Load(), a.InFlight.Load(), a.Settled.Load(), a.Rho.Load(), a.Elsewhere.Load(), a.Held.Load(), a.Awaited.Load()})
		}
	}
	for _, position := range set.list.positions {
		f := c.index.flights[position]
		add(lease.Of(lease.FlightViews, f.ID, 0), f.Views)
		add(lease.Of(lease.FlightClicks, f.ID, 0), f.Clicks)
		add(lease.Of(lease.FlightDay, f.ID, int32(day)), f.DayAccount(day))
		rec.Switches = append(rec.Switches, Said{f.ID, catalog.State(f.control.State.Load()), f.control.Version.Load()})
	}
	if p != nil {
		add(lease.Of(lease.PublisherDay, p.ID, int32(day)), p.DayAccount(day))
	}
	slices.SortFunc(rec.Accounts, func(a, b Balance) int { return int(min(max(a.Budget-b.Budget, -1), 1)) })
	slices.SortFunc(rec.Switches, func(a, b Said) int { return int(int64(a.Flight) - int64(b.Flight)) })
}

// takeDown keeps nothing of r, whose strings may alias a connection's buffers.
func takeDown(r *Request) Asked {
	a := Asked{
		CampaignTypes: r.CampaignTypes, URL: strings.Clone(r.URL), Host: strings.Clone(r.Host),
		Country: padded(r.Country[:]), State: padded(r.State[:]), Metro: r.Metro, Mobile: r.Mobile, PlacementIndex: r.PlacementIndex,
		ForceAd: strings.Clone(r.ForceAd), ForceCampaign: strings.Clone(r.ForceCampaign),
		Capped: slices.Clone(r.Capped), Taken: slices.Clone(r.Taken), Alone: r.Alone,
	}
	if r.Publisher != nil {
		a.Publisher = r.Publisher.Slug
	}
	for _, p := range r.Placements {
		a.Placements = append(a.Placements, AskedSlot{strings.Clone(p.DivID), strings.Clone(p.AdType), p.Priority})
	}
	for _, k := range r.Keywords {
		a.Keywords = append(a.Keywords, strings.Clone(k))
	}
	return a
}

func padded(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// on is the request again, of a catalog.
func (a *Asked) on(c *Catalog) *Request {
	r := &Request{
		Publisher: c.Publisher(a.Publisher), Keywords: a.Keywords, CampaignTypes: a.CampaignTypes, URL: a.URL, Host: a.Host,
		Metro: a.Metro, Mobile: a.Mobile, PlacementIndex: a.PlacementIndex, ForceAd: a.ForceAd, ForceCampaign: a.ForceCampaign,
		Capped: a.Capped, Taken: a.Taken, Alone: a.Alone,
	}
	copy(r.Country[:], a.Country)
	copy(r.State[:], a.State)
	for _, p := range a.Placements {
		r.Placements = append(r.Placements, Placement(p))
	}
	return r
}

func made(out *Outcome) Made {
	m := Made{
		Filled: out.Filled, Forced: out.Forced, Placement: out.Placement,
		Weight: out.Weight, Total: out.Total, Reason: out.Reason.String(),
	}
	if out.Flight != nil {
		m.Flight = out.Flight.Slug
	}
	if out.Ad != nil {
		m.Ad = out.Ad.Slug
	}
	return m
}

// ReadRecord reads a record that Record wrote, or says what is wrong with it.
func ReadRecord(line []byte) (*Record, error) {
	if len(line) > maxRecord {
		return nil, fmt.Errorf("%d bytes, expected at most %d", len(line), maxRecord)
	}
	rec := new(Record)
	decoder := json.NewDecoder(strings.NewReader(string(line)))
	if err := decoder.Decode(rec); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("expected one JSON object and nothing after it")
	}
	if rec.Format != recordFormat {
		return nil, fmt.Errorf("record: format %d, expected %d", rec.Format, recordFormat)
	}
	if _, err := rec.seed(); err != nil {
		return nil, err
	}
	if len(rec.Accounts) > 4*maxRecorded || len(rec.Switches) > maxRecorded {
		return nil, fmt.Errorf("accounts, switches: expected at most %d and %d", 4*maxRecorded, maxRecorded)
	}
	return rec, nil
}

func (rec *Record) seed() (uint64, error) {
	seed, err := strconv.ParseUint(rec.Seed, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("seed: expected up to 16 hexadecimal digits, not %.20q", rec.Seed)
	}
	return seed, nil
}

// Replayed is what comes of a record when it is decided again.
type Replayed struct {
	Outcome     Made
	Same        bool // as the record's
	Explanation *Explanation
}

// Replay decides a record again on the snapshot of the version that it names.
// Only what the record holds plays a part; nothing of this process's is looked at
// or changed. Of flights that were no candidates the record holds no accounts:
// their explanation tells what the catalog refuses, which is enough.
func Replay(rec *Record, snapshot *catalog.Snapshot) (*Replayed, error) {
	switch {
	case rec.Cut:
		return nil, fmt.Errorf("the decision had more than %d candidates, which a record does not hold", maxRecorded)
	case rec.Catalog != snapshot.Version:
		return nil, fmt.Errorf("the record is of catalog version %d, the catalog given is version %d", rec.Catalog, snapshot.Version)
	}
	seed, err := rec.seed()
	if err != nil {
		return nil, err
	}
	c, err := Compile(snapshot, rec.books(), catalog.DayOfMillis(rec.At))
	if err != nil {
		return nil, err
	}
	r := rec.Request.on(c)
	if r.Publisher == nil && rec.Request.Publisher != "" {
		return nil, fmt.Errorf("request.publisher: the catalog has no publisher %q", rec.Request.Publisher)
	}
	var s Scratch
	var out Outcome
	c.Decide(r, &s, rec.At, seed, &out)
	again := made(&out)
	return &Replayed{Outcome: again, Same: again == rec.Outcome, Explanation: c.Explain(r, rec.At)}, nil
}

// recorded are the books of a record.
type recorded struct {
	accounts map[lease.Budget]*Account
	switches map[uint32]*Switch
}

func (rec *Record) books() *recorded {
	b := &recorded{make(map[lease.Budget]*Account, len(rec.Accounts)), make(map[uint32]*Switch, len(rec.Switches))}
	for _, x := range rec.Accounts {
		a := b.Account(x.Budget)
		a.Left.Store(x.Left)
		a.InFlight.Store(x.InFlight)
		a.Settled.Store(x.Settled)
		a.Rho.Store(x.Rho)
		a.Elsewhere.Store(x.Elsewhere)
		a.Held.Store(x.Held)
		a.Awaited.Store(x.Awaited)
	}
	for _, x := range rec.Switches {
		b.Switch(x.Flight).Set(x.State, x.Version)
	}
	return b
}

func (b *recorded) Account(budget lease.Budget) *Account { return entry(b.accounts, budget) }

func (b *recorded) Switch(flight uint32) *Switch { return entry(b.switches, flight) }

// entry is the value of a key, made where it is missing.
func entry[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}
