package ledger

import (
	"context"
	"errors"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// Store is where the truth is kept. Two exist: Memory, and Postgres in
// core/postgres; ledgertest holds both to the same behaviour.
type Store interface {
	// Update runs f in one transaction and commits where f returns nil: then all
	// that f wrote is durable and seen by others, else nothing is. An error after
	// f returned nil may mean either. f may run more than once.
	Update(ctx context.Context, f func(Tx) error) error

	// Holder is a read without a lock; false: there is none.
	Holder(ctx context.Context, id uint32) (Holder, bool, error)
	// JoinToken is the one with this hash (see Hash); not ok where there is none,
	// or it was revoked, or had expired at now.
	JoinToken(ctx context.Context, hash []byte, now int64) (t JoinToken, ok bool, err error)
	// Joined counts a registration with a join token.
	Joined(ctx context.Context, token int32, now int64) error
	// Issue notes what a holder was given: its next secret, until UseSecret, and
	// its certificate. A next secret that was not used is forgotten.
	Issue(ctx context.Context, holder uint32, issued Issued) error
	// UseSecret makes the next secret the holder's only one, if it has this hash.
	UseSecret(ctx context.Context, holder uint32, hash []byte) (bool, error)
	// Trusted notes which authorities a holder goes by: see sync/trust.Roots.Sum.
	Trusted(ctx context.Context, holder uint32, sum []byte) error
	// Credential is what a holder may show; not ok where there is no such holder.
	Credential(ctx context.Context, holder uint32) (c Credential, ok bool, err error)
	// Budgets calls f with each budget without a day, and of each with a day not
	// before from.
	Budgets(ctx context.Context, from int32, f func(Budget)) error
	// Silent lists open holders not seen since before (unix milliseconds).
	Silent(ctx context.Context, before int64) ([]uint32, error)
	// Unjudged lists holders that are not open, with windows handed in or closed,
	// for whose events a verdict is waited for.
	Unjudged(ctx context.Context) ([]uint32, error)
	// Stale lists a few holders that were closed before a moment (unix
	// milliseconds) and are not retired.
	Stale(ctx context.Context, before int64) ([]uint32, error)
	// DropForeign drops events that came before a moment and were judged, of
	// homes that are open: a home's own windows know them. At most a few
	// thousand; it says how many.
	DropForeign(ctx context.Context, before int64) (int, error)
	// OpenDays makes the budgets of days that are in ids, do not exist yet and
	// whose owner has a daily cap in force then; others it leaves out.
	OpenDays(ctx context.Context, ids []lease.Budget) error
}

// Tx is one transaction of a Store.
type Tx interface {
	// Load locks and reads what n names into s: holders first, then budgets, each
	// in the order of their ids. It may be called again as long as that order
	// holds. What does not exist is absent from s.
	Load(ctx context.Context, n Needs, s *Loaded) error
	// Write puts down the changes.
	Write(ctx context.Context, c *Changes) error

	// HolderNamed locks the open holder of a name; nil: there is none.
	HolderNamed(ctx context.Context, region, node string) (*Holder, error)
	// AddHolder gives h its ID. ErrNameTaken where another made an open holder
	// of the same name meanwhile.
	AddHolder(ctx context.Context, h *Holder) error
	// AddHolderAs makes h, which is not open, under its own ID.
	AddHolderAs(ctx context.Context, h *Holder) error
	// Unproven is how many statements are kept that nothing proves.
	Unproven(ctx context.Context) (int, error)
	// Keys locks and returns the token keys, by id.
	Keys(ctx context.Context) ([]*wire.TokenKey, error)
	// Everything locks the ledger as a whole and reads what a recovery works on.
	Everything(ctx context.Context) (*Everything, error)
	// Rebuild puts down a recovery and ends the core's having forgotten.
	Rebuild(ctx context.Context, r *Rebuilt) error
	// PutKeys adds or changes keys and removes those with the ids in drop.
	PutKeys(ctx context.Context, put []*wire.TokenKey, drop []uint32) error
}

// ErrNameTaken is returned by AddHolder.
var ErrNameTaken = errors.New("the name has an open holder")

// Needs says what a step works on. Lists are sorted and without repeats.
type Needs struct {
	Holders []uint32       // lock; they are loaded before everything else
	Leases  []LeaseKey     // leases of locked holders
	Whole   []uint32       // holders whose leases are wanted all
	Release []uint32       // holders whose leases are wanted all, and their budgets locked
	Budgets []lease.Budget // lock
	Events  []EventKey     // foreign events that may be known already
	Inbox   []uint32       // homes whose waiting events beyond their acknowledgement are wanted, the first MaxInbox each
	Docket  uint32         // a home whose waiting events (the first MaxDocket), windows and judged views are wanted
	Killed  []uint32       // flights of which to tell whether they are killed
}

// Bounds of what one step takes at a time.
const (
	MaxInbox  = 500
	MaxDocket = 1000
)

// Loaded is what a store holds of what was needed. A step changes the rows in
// place and names those it changed in Changes.
type Loaded struct {
	Forgotten   bool     // the core has lost history: nothing moves
	Open        int      // open holders
	Doubted     []uint32 // those of them with a Doubt
	StampKey    []byte   // signs stamps
	RecoveredAt int64    // unix milliseconds of the last recovery; 0: none

	Holders map[uint32]*Holder
	Budgets map[lease.Budget]*Budget
	Leases  map[LeaseKey]*Lease
	// Tight are leases of the locked holders with something available, of
	// budgets that are tight. The budgets are not locked.
	Tight   []TightLease
	Known   map[EventKey]bool
	Inbox   map[uint32][]*wire.Event // by home, in the order of positions
	Docket  []Foreign                // views, then clicks, each in the order of positions
	Windows map[uint64]*Window       // of the docket's home, by boot
	Viewed  map[EventKey]bool        // views of the docket's home that the core has judged, true: counted
	Killed  map[uint32]bool
}

// TightLease is a lease of a budget that wants some of it back.
type TightLease struct {
	Lease  Lease
	Budget Budget
}

// NewLoaded is what nothing was loaded into yet.
func NewLoaded() *Loaded {
	return &Loaded{
		Holders: map[uint32]*Holder{},
		Budgets: map[lease.Budget]*Budget{},
		Leases:  map[LeaseKey]*Lease{},
		Known:   map[EventKey]bool{},
		Inbox:   map[uint32][]*wire.Event{},
		Windows: map[uint64]*Window{},
		Viewed:  map[EventKey]bool{},
		Killed:  map[uint32]bool{},
	}
}

// JoinToken is what an edge shows to become a holder.
type JoinToken struct {
	ID     int32
	Region string // that it is for; "": any
}

// Credential is what the core knows of what a holder may show.
type Credential struct {
	Region, Node string
	SecretHash   []byte // empty: it was revoked
	NextSecret   []byte // hash of the one that was given out and not used yet; empty: none
	IssuedAt     int64  // of the newest, unix milliseconds; 0: at its registration, by a core that noted nothing
	Authority    string // fingerprint of what signed its certificate; "": it never had one
	Expires      int64  // of the certificate, unix milliseconds
	Trust        []byte // Sum of the authorities that it said it goes by; empty: it said none
}

// Issued is what Register or Renew gave a holder.
type Issued struct {
	NextSecret []byte // hash; empty: none
	At         int64  // unix milliseconds
	Authority  string // fingerprint of what signed the certificate; "": none was given
	Expires    int64  // of the certificate, unix milliseconds
}

// Changes is what a step wrote down. Rows are those of Loaded.
type Changes struct {
	Holders   []*Holder
	Budgets   []*Budget
	Leases    []*Lease // changed; they exist
	NewLeases []*Lease
	Rollups   map[RollupKey]Counts
	Topics    map[TopicKey]TopicCounts
	Decisions map[DecisionKey]Decisions
	Refusals  map[RefusalKey]int64
	Receipts  []Receipt
	Windows   []Window
	Foreign   []Foreign // new
	Verdicts  []Verdict
	Retired   []uint32 // holders whose leases, windows and events are dropped
	Forgotten string   // why the core must have lost history; "": it did not
	Forgetter uint32   // who proved it; 0: no holder that is known here

	Statements []Statement
	At         int64 // unix milliseconds
}

// RollupKey says what was counted. Hour is the unix second of its start.
type RollupKey struct {
	Hour      int64
	Region    string
	Flight    uint32
	Ad        uint32
	Publisher uint32
	Country   string // "" unknown
}

// TopicKey says what was counted of the pages of a topic; topic 0: of those that
// are about none. A page of several topics counts for each of them.
type TopicKey struct {
	Hour    int64
	Region  string
	Topic   uint32
	Flight  uint32 // 0: no ad
	Country string
}

// TopicCounts are increments.
type TopicCounts struct {
	Counts
	Decisions
}

func (c TopicCounts) plus(d TopicCounts) TopicCounts {
	return TopicCounts{c.Counts.plus(d.Counts), c.Decisions.plus(d.Decisions)}
}

// Counts are increments.
type Counts struct {
	Views, Clicks                 int64
	UnbilledViews, UnbilledClicks int64
	HomeLost                      int64
	Spent                         int64 // micros
}

func (c Counts) plus(d Counts) Counts {
	return Counts{
		c.Views + d.Views, c.Clicks + d.Clicks,
		c.UnbilledViews + d.UnbilledViews, c.UnbilledClicks + d.UnbilledClicks,
		c.HomeLost + d.HomeLost, c.Spent + d.Spent,
	}
}

// Totals sums rollups by flight.
func Totals(rollups map[RollupKey]Counts) map[uint32]Counts {
	totals := map[uint32]Counts{}
	for k, c := range rollups {
		totals[k.Flight] = totals[k.Flight].plus(c)
	}
	return totals
}

// DecisionKey says which decisions were counted; flight 0: no ad.
type DecisionKey struct {
	Hour      int64
	Region    string
	Publisher uint32
	Country   string
	Flight    uint32
}

// Decisions are increments.
type Decisions struct{ Decisions, Offers int64 }

func (d Decisions) plus(o Decisions) Decisions {
	return Decisions{d.Decisions + o.Decisions, d.Offers + o.Offers}
}

// RefusalKey says what refused; flight 0: not about one flight.
type RefusalKey struct {
	Hour   int64
	Region string
	Flight uint32
	Reason string
}

// Receipt says that a holder has applied a version.
type Receipt struct {
	Holder  uint32
	Kind    string // "catalog", "control"
	Version uint64
	At      int64 // unix milliseconds
}

// Verdict is the outcome of a foreign event.
type Verdict struct {
	Home     uint32
	Position uint64
	Outcome  exchange.Outcome
}

// Statement is what a holder said of its account. Proven says that its
// credential, or the core's own stamp, shows whose it is.
type Statement struct {
	Holder uint32
	At     int64 // unix milliseconds, when it came
	Proven bool
	Said   *wire.Statement
}

// Everything is the ledger as a recovery sees it.
type Everything struct {
	Forgotten  string // why; "": the core has not forgotten
	StampKey   []byte
	Holders    map[uint32]*Holder
	Budgets    map[lease.Budget]*Budget
	Leases     map[LeaseKey]*Lease // of holders that are not retired
	Statements map[uint32]*Statement
	Keys       []*wire.TokenKey
	Prices     map[uint32]Price // by flight
	Catalog    uint64           // the counters
	Control    uint64
	Controls   map[uint32]*wire.Control // the newest of each flight that exists
}

// Price is what one event of a flight costs, in micros.
type Price struct{ View, Click int64 }

// BudgetRefund is a number of events of a budget that are given back.
type BudgetRefund struct {
	Budget lease.Budget
	Units  int64
}

// Rebuilt is what a recovery writes. Rows are those of Everything.
type Rebuilt struct {
	At         int64     // unix milliseconds; no stamp until then proves anything any more
	NewHolders []*Holder // with their IDs
	Holders    []*Holder
	NewBudgets []*Budget
	Budgets    []*Budget
	NewLeases  []*Lease
	Leases     []*Lease
	Rollups    map[RollupKey]Counts
	Refunds    []BudgetRefund // that are in the Budgets, for those who account for them
	Keys       []*wire.TokenKey
	Controls   []*wire.Control // that operators gave and the core forgot; of flights that exist
	// Renumber lists homes whose waiting events get numbers above their
	// ForeignPosition, which the store raises with them.
	Renumber []uint32
	// The counters and the next ids are to be above these.
	Catalog, Control                        uint64
	Holder, Flight, Ad, Publisher, Campaign uint32
}
