package lease

// Budget names an account that events are debited from. It is a function of
// the token of an offer alone, so that any node, and the core, derives the
// same budgets for one event:
//
//	bits 56..62  kind
//	bits 32..55  day, counted from 1970-01-01 UTC; 0 for a budget that is not of one day
//	bits  0..31  owner: the flight's or the publisher's id
type Budget int64

// Kind is what a budget limits.
type Kind uint8

const (
	FlightViews  Kind = 1 // events: views sold by a flight
	FlightClicks Kind = 2 // events: clicks sold by a flight
	FlightDay    Kind = 3 // micros: a flight's daily cap
	PublisherDay Kind = 4 // micros: a publisher's daily cap, at full price
)

// Of names the budget of a kind for an owner; day is 0 for FlightViews and
// FlightClicks.
func Of(kind Kind, owner uint32, day int32) Budget {
	return Budget(int64(kind)<<56 | int64(uint32(day)&0xffffff)<<32 | int64(owner))
}

// Kind is what b limits.
func (b Budget) Kind() Kind { return Kind(b >> 56) }

// Owner is the id of the flight or publisher that b belongs to.
func (b Budget) Owner() uint32 { return uint32(b) }

// Day is the day that b is of, 0 where it is of none.
func (b Budget) Day() int32 { return int32(b>>32) & 0xffffff }

// Micros reports whether b counts money rather than events.
func (b Budget) Micros() bool { return b.Kind() == FlightDay || b.Kind() == PublisherDay }

// Totals are what a holder and the core know of one lease: three running
// totals that only grow. Granted is said by the core; Spent and Returned by
// the holder.
type Totals struct {
	Granted  int64
	Spent    int64
	Returned int64
}

// Available is what the holder may still spend.
func (t Totals) Available() int64 { return t.Granted - t.Returned - t.Spent }
