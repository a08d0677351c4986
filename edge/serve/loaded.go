package serve

import (
	"crypto/sha256"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"

	"nearside/edge/creative"
	"nearside/edge/decision"
	"nearside/sync/catalog"
)

// loaded is one catalog with what it takes to show its ads. Offers are rendered
// when they are first made.
type loaded struct {
	catalog   *decision.Catalog
	templates map[uint32]*creative.Template    // by ad type
	offers    []atomic.Pointer[creative.Offer] // by ad, ad type, and whether there is a pixel
	first     []uint32                         // of an ad's offers, by Ad.Index
	bids      [][]byte                         // by Flight.Index
	tokens    map[[32]byte]struct{}            // every token that may ask for some publisher
	caps      bool                             // some flight has a frequency cap
}

// load prepares a catalog; bad counts ad types whose own template is broken.
func load(c *decision.Catalog) (l *loaded, bad int) {
	s := c.Snapshot()
	l = &loaded{
		catalog:   c,
		templates: make(map[uint32]*creative.Template, len(s.AdTypes)),
		first:     make([]uint32, len(s.Ads)),
		bids:      make([][]byte, len(s.Flights)),
		tokens:    map[[32]byte]struct{}{},
	}
	for i := range s.AdTypes {
		t, err := creative.NewTemplate(&s.AdTypes[i])
		if err != nil {
			bad++
		}
		l.templates[s.AdTypes[i].ID] = t
	}
	n := 0
	for i := range s.Ads {
		l.first[i] = uint32(n)
		n += 2 * len(s.Ads[i].AdTypes)
	}
	l.offers = make([]atomic.Pointer[creative.Offer], n)
	for f := range c.Flights() {
		l.bids[f.Index] = creative.Bids(f.Flight)
		l.caps = l.caps || f.FrequencyCap > 0
	}
	for i := range s.Publishers {
		for _, hash := range s.Publishers[i].TokenHashes {
			if len(hash) == sha256.Size {
				l.tokens[[32]byte(hash)] = struct{}{}
			}
		}
	}
	return l, bad
}

// offer is the body of an ad in an ad type, whose number in the catalog is given,
// nil where it cannot be made.
func (l *loaded) offer(ad *decision.Ad, kind *catalog.AdType, number int, pixel bool, stats *Stats) *creative.Offer {
	slot := ad.Type(number)
	if slot < 0 {
		return nil
	}
	slot *= 2
	if pixel {
		slot++
	}
	cell := &l.offers[int(l.first[ad.Index])+slot]
	if o := cell.Load(); o != nil {
		return o
	}
	o, err := creative.Render(ad.Ad, ad.Of.Campaign.Type, l.templates[kind.ID], pixel)
	if err != nil {
		stats.Templates.Add(1)
	}
	if o != nil {
		cell.Store(o)
	}
	return o
}

// maxCandidates bounds the cache of candidates, in bytes.
const maxCandidates = 64 << 20

// newCandidates makes the cache of what requests of one shape could match. Its
// entries hold for one catalog; those of an older one are not used, and go.
func newCandidates() (*ristretto.Cache[uint64, *decision.Candidates], error) {
	return ristretto.NewCache(&ristretto.Config[uint64, *decision.Candidates]{
		NumCounters: 1 << 18, MaxCost: maxCandidates, BufferItems: 64, IgnoreInternalCost: true,
	})
}

// recentCandidates stand before the cache and answer for the shapes that were
// asked for last, in a load and a comparison.
type recentCandidates [1 << 12]atomic.Pointer[decision.Candidates]

// maxRecent is how large, in bytes, candidates may be that are kept here besides
// those in the cache.
const maxRecent = 8 << 10

// get looks in the shape's two places.
func (r *recentCandidates) get(shape decision.Shape) *decision.Candidates {
	at := shape.Low % uint64(len(r))
	if set := r[at].Load(); set != nil && set.Has(shape) {
		return set
	}
	if set := r[at^1].Load(); set != nil && set.Has(shape) {
		return set
	}
	return nil
}

// put takes a place that is free, else one of the two by chance.
func (r *recentCandidates) put(shape decision.Shape, set *decision.Candidates) {
	if set.Cost() > maxRecent {
		return
	}
	at := shape.Low % uint64(len(r))
	if r[at].Load() != nil && (r[at^1].Load() == nil || shape.High&1 == 0) {
		at ^= 1
	}
	r[at].Store(set)
}

func (r *recentCandidates) clear() {
	for i := range r {
		r[i].Store(nil)
	}
}

// chooseAd chooses an ad, with candidates from the cache where requests of this
// shape have come before.
func (s *Server) chooseAd(w *work, l *loaded, now int64, seed uint64) {
	if s.records.due(now) {
		s.record(w, l, now, seed)
		return
	}
	if w.request.ForceAd != "" || w.request.ForceCampaign != "" {
		l.catalog.Decide(&w.request, &w.scratch, now, seed, &w.outcome)
		return
	}
	shape := l.catalog.Shape(&w.request, &w.scratch, now)
	set := s.recent.get(shape)
	if set == nil {
		var ok bool
		if set, ok = s.candidates.Get(shape.Low); !ok || !set.Has(shape) {
			set = l.catalog.Candidates(&w.scratch)
			s.candidates.Set(shape.Low, set, set.Cost())
		}
		s.recent.put(shape, set)
	}
	l.catalog.DecideAmong(set, &w.request, &w.scratch, now, seed, &w.outcome)
}

// mayAsk reports whether the holder of a token may ask for a publisher.
func mayAsk(p *decision.Publisher, hash [32]byte) bool {
	for _, h := range p.TokenHashes {
		if string(h) == string(hash[:]) {
			return true
		}
	}
	return false
}
