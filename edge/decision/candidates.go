package decision

import (
	"encoding/binary"
	"hash/maphash"
	"unsafe"

	"nearside/sync/catalog"
	"nearside/sync/token"
)

// Shape names all of a request that decides which flights could match it, for
// one catalog. Requests of one shape have the same candidates, and it is
// enough to look for them once. Names that no flight asks for are no part of
// it, so that few shapes make up most traffic. It is a hash with a key of its
// own per catalog, which an outsider cannot aim at.
type Shape struct {
	Low, High uint64 // Low alone serves as the key of a cache: DecideAmong checks both
}

// Candidates are the flights that requests of one shape could match, by tier.
// They hold for one catalog, since shapes of another are never the same, and
// do not change.
type Candidates struct {
	shape Shape
	list  list
	ends  [catalog.House + 1]int // of each tier in the list
}

// list is candidates, by position.
type list struct {
	positions  []uint32
	priority   int64   // of each, where there are no priorities
	priorities []uint8 // empty: all the same
	factors    []int64 // empty: the flights' own
}

func (l *list) clear() {
	l.positions, l.priorities, l.factors = l.positions[:0], l.priorities[:0], l.factors[:0]
}

// clone is a copy without room to grow.
func (l *list) clone() list {
	return list{append([]uint32(nil), l.positions...), l.priority, append([]uint8(nil), l.priorities...), append([]int64(nil), l.factors...)}
}

// Has reports whether the candidates are those of a shape.
func (set *Candidates) Has(shape Shape) bool { return set.shape == shape && shape != (Shape{}) }

// Len is how many flights there are.
func (set *Candidates) Len() int { return len(set.list.positions) }

// Cost is about how many bytes a cache keeps alive with the candidates.
func (set *Candidates) Cost() int64 {
	l := &set.list
	return int64(unsafe.Sizeof(*set)) + 4*int64(len(l.positions)) + int64(len(l.priorities)) + 8*int64(len(l.factors))
}

// Shape reads a request into the scratch and names its shape. Candidates and
// DecideAmong go by what it has read.
func (c *Catalog) Shape(r *Request, s *Scratch, now int64) Shape {
	s.shape = Shape{}
	p := c.current(r.Publisher)
	if p == nil {
		s.query.read = false
		return s.shape
	}
	q := c.resolve(r, s, p, now)
	b := s.buffer[:0]
	b = binary.AppendUvarint(b, uint64(p.Index))
	b = append(b, byte(q.types))
	b = binary.AppendUvarint(b, uint64(len(q.placements)))
	for _, asked := range q.placements {
		b = binary.AppendUvarint(b, uint64(asked.adType+1))
		b = append(b, byte(asked.priority))
	}
	b = binary.AppendUvarint(b, uint64(c.countries[q.country]))
	b = binary.AppendUvarint(b, uint64(q.state))
	b = binary.AppendVarint(b, int64(q.metro))
	b = binary.AppendUvarint(b, uint64(q.host))
	if c.index.byDevice && q.mobile {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	if c.index.byWeekday {
		b = append(b, byte(q.weekday)+1)
	} else {
		b = append(b, 0)
	}
	if q.page != nil && len(q.page.distances) > 0 {
		b = binary.AppendUvarint(b, uint64(q.page.number))
	} else {
		b = append(b, 0)
	}
	for _, n := range q.keywords {
		b = binary.AppendUvarint(b, uint64(n))
	}
	s.buffer = b
	s.shape = Shape{maphash.Bytes(c.seeds[0], b), maphash.Bytes(c.seeds[1], b)}
	return s.shape
}

// Candidates finds the candidates of the request that Shape has last read into
// the scratch.
func (c *Catalog) Candidates(s *Scratch) *Candidates {
	set := &Candidates{shape: s.shape}
	if s.shape == (Shape{}) {
		return set
	}
	c.reach(s)
	defer s.unmark()
	s.list.clear()
	for tier := range set.ends {
		if s.query.types.Has(catalog.CampaignType(tier)) {
			c.collect(s, catalog.CampaignType(tier))
		}
		set.ends[tier] = len(s.list.positions)
	}
	set.list = s.list.clone()
	return set
}

// DecideAmong is Decide with candidates from a cache. Shape must have read the
// same request into the scratch; candidates that are nil, of another shape or
// of another catalog are not used.
func (c *Catalog) DecideAmong(set *Candidates, r *Request, s *Scratch, now int64, seed uint64, out *Outcome) {
	if set == nil || !set.Has(s.shape) {
		c.Decide(r, s, now, seed, out)
		return
	}
	if p := c.begin(r, s, now, seed, out); p == nil {
		return
	}
	m := moment{now, catalog.DayOfMillis(now)}
	from := 0
	for tier, end := range set.ends {
		if c.choose(&set.list, from, end, catalog.CampaignType(tier), r, s, m, seed, out) {
			s.query.chooseAd(seed, out)
			return
		}
		from = end
	}
	out.refuse(from)
}

// Topics are what the request is about that was last read into the scratch: topic
// 0 where none of the catalog's is, and nothing where the catalog has none or the
// request went no further than the gate.
func (c *Catalog) Topics(s *Scratch) (t token.Topics) {
	if !s.query.read || c.index.topics == 1 {
		return t
	}
	for _, n := range s.query.topics {
		t.Add(c.snapshot.Topics[n-1].ID)
	}
	if len(s.query.topics) == 0 {
		t.Add(0)
	}
	return t
}
