package decision

import (
	"math/bits"
	"sync/atomic"

	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// Rate is the denominator of Account.Rho: rates are in millionths.
const Rate = 1_000_000

// Account is what deciding reads of one budget. Its owner writes it, and calls
// Changed when it has; deciding reads it at the same time. The fields need not
// agree with each other, since being wrong for a moment costs an offer that is
// not billed and never money. Left and InFlight are in the budget's unit, events
// or micros.
type Account struct {
	Left     atomic.Int64  // may be spent here now: leased, released by pacing, not yet spent
	InFlight atomic.Int64  // reserved by offers that are not yet viewed (clicked)
	Settled  atomic.Int64  // delivered everywhere: as last heard, and here since
	Rho      atomic.Uint32 // the part of offers that is viewed (clicked), in millionths; 0: not measured, counts as 1
	// Elsewhere: the region's other nodes leave this budget to one of them, the
	// flight's broker, and this is not the one. Left is then 0.
	Elsewhere atomic.Bool
	Held      atomic.Bool // Left is what pacing lets go now: more is leased
	// Awaited: Left is all there is here, but the core has more to lease, so that
	// what is lacking is on its way. A flight that sells both views and clicks
	// waits for it instead of giving away the one for the sake of the other.
	Awaited atomic.Bool

	of atomic.Pointer[Switch] // of the flight whose budget it is; nil: of none, or no catalog has it yet
}

// Changed tells deciding that the account was written. Where nobody calls it,
// deciding notices within a second.
func (a *Account) Changed() {
	if s := a.of.Load(); s != nil {
		s.Changed()
	}
}

// belongs says whose account it is.
func (a *Account) belongs(s *Switch) {
	if a.of.Load() != s {
		a.of.Store(s)
	}
	s.Changed()
}

// Reserve adds so many offers under way, or takes them away, of an account in
// events. Deciding is told where that changes whether one more fits.
func (a *Account) Reserve(n int64) {
	after := a.InFlight.Add(n)
	if a.fits(after-n, 1) != a.fits(after, 1) {
		a.Changed()
	}
}

// Room reports whether one more offer, which may debit unit, fits:
// Left − InFlight × ρ ≥ unit × ρ.
func (a *Account) Room(unit int64) bool { return a.fits(a.InFlight.Load(), unit) }

func (a *Account) fits(inFlight, unit int64) bool {
	left := a.Left.Load()
	if left < 0 {
		return false
	}
	rho := uint64(a.Rho.Load())
	if rho == 0 {
		rho = Rate
	}
	wanted := uint64(max(0, inFlight)) + uint64(unit)
	if uint64(left) < 1<<40 && wanted < 1<<32 {
		return uint64(left)*Rate >= wanted*rho
	}
	leftHigh, leftLow := bits.Mul64(uint64(left), Rate)
	wantedHigh, wantedLow := bits.Mul64(wanted, rho)
	return leftHigh > wantedHigh || leftHigh == wantedHigh && leftLow >= wantedLow
}

// Switch is what an operator last said about one flight. The control with the
// higher version is in force: this one or the catalog's.
type Switch struct {
	State   atomic.Uint32 // catalog.State
	Version atomic.Uint64

	standings [2]atomic.Pointer[atomic.Uint64] // of the flight, where the last two catalogs keep it
}

// Set says what holds for the flight from a control version on.
func (s *Switch) Set(state catalog.State, version uint64) {
	s.State.Store(uint32(state))
	s.Version.Store(version)
	s.Changed()
}

// Books holds the accounts and switches. The same budget, or flight, always
// has the same pointer, for the life of the process. Only Compile and Roll call
// it, never a decision.
type Books interface {
	Account(lease.Budget) *Account
	Switch(flight uint32) *Switch
}

// Pace is how a paced budget is let go here now.
type Pace struct {
	Leased   int64   // may be spent here: what of it is released, Account.Left says
	Rate     float64 // events per second that are released here
	Share    float64 // of all demand, the part that is met here: of the plan's pace, this node's part
	Released float64 // events that may be delivered here now; below 0 where more were than should
}

// Pacer is what Books may be, too: what it says is explained.
type Pacer interface {
	// Pace is how a budget is let go; false where it is not paced.
	Pace(lease.Budget) (Pace, bool)
}

// accounts of the days of one daily cap: enough slots that the days around now
// never meet in one.
type days [4]atomic.Pointer[dayAccount]

type dayAccount struct {
	day     catalog.Day
	account *Account
}

// of is the account of a day, nil where Roll has not prepared it.
func (d *days) of(day catalog.Day) *Account {
	if a := d[uint32(day)%uint32(len(d))].Load(); a != nil && a.day == day {
		return a.account
	}
	return nil
}

// prepare makes the account of a day known; of is the flight's whose cap it is,
// nil for a publisher's.
func (d *days) prepare(books Books, kind lease.Kind, owner uint32, day catalog.Day, of *Switch) {
	slot := &d[uint32(day)%uint32(len(d))]
	if a := slot.Load(); a == nil || a.day != day {
		account := books.Account(lease.Of(kind, owner, int32(day)))
		slot.Store(&dayAccount{day, account})
		if of != nil {
			account.belongs(of)
		}
	}
}
