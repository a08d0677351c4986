package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/sync/catalog"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// The core is away for so long that the journal fills the disk: views are refused,
// and nothing ends. When the core is back the journal empties by itself, without
// any other room on the disk, and everything is counted once; what the core said
// meanwhile is known in the end.
func TestADiskThatTheJournalHasFilledEmptiesWhenTheCoreIsBack(t *testing.T) {
	peer := &replica{}
	for name, meanwhile := range map[string]func(e *edge, disk *faultfs.FS, refused []*token.Claims){
		"nothing else happens":      func(*edge, *faultfs.FS, []*token.Claims) {},
		"leases are too large":      func(e *edge, _ *faultfs.FS, _ []*token.Claims) { e.clock.pass(lease.Idle) },
		"the edge is started again": func(e *edge, _ *faultfs.FS, _ []*token.Claims) { e.stop(); e.start() },
		"the core grants more": func(e *edge, _ *faultfs.FS, _ []*token.Claims) {
			e.grantAll(1000)
			e.exchange(false) // says so, once
		},
		"a flight is paused": func(e *edge, _ *faultfs.FS, _ []*token.Claims) {
			if !e.pause(7, flight+1) {
				e.Fatal("there is no room for one control")
			}
		},
		"more flights are paused than can be kept": func(e *edge, _ *faultfs.FS, _ []*token.Claims) {
			version := e.pauseUntilFull()
			e.pause(version+1, flight+101) // the newer one is heard of first
			e.pause(version, flight+100)
		},
		"an exchange is called off between a seal and its batch": func(e *edge, _ *faultfs.FS, refused []*token.Claims) {
			e.clock.pass(5 * time.Second)
			peer.gone = true
			if _, err := e.Prepare(context.Background()); !errors.Is(err, errGone) {
				e.Fatal(err)
			}
			peer.gone = false
			for _, c := range refused { // until one waits for room again
				if _, err := e.View(context.Background(), c, e.clock.Now().UnixMilli()); errors.Is(err, keeper.ErrFull) {
					return
				} else if err != nil {
					e.Fatal(err)
				}
			}
			e.Fatal("there is room for every view")
		},
		"the core has new token keys": func(e *edge, disk *faultfs.FS, _ []*token.Claims) {
			e.core.Do(func() { e.core.Keys = append(e.core.Keys, &wire.TokenKey{Id: 2, Secret: bytes.Repeat([]byte{2}, 32)}) })
			room := disk.Used()
			disk.Limit(1) // even for a file as small as theirs there is no room
			if err := e.UseKeys(e.core.Keys); err != nil {
				e.Fatal(err)
			}
			disk.Limit(room)
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := faultfs.New(1)
			e := newEdge(t, disk)
			e.cfg.Journal.Every = time.Millisecond
			e.cfg.Replica = peer
			e.core.Sell(views, 1_000_000)
			e.core.Sell(clicks, 1_000_000)
			e.start()
			defer func() { e.stop() }()
			if err := e.useCatalog(2, true); err != nil {
				t.Fatal(err)
			}
			e.exchange(false)
			e.exchange(false)
			e.grantAll(0)
			e.exchange(false)
			early := e.mustOffer() // its click waits all the time for its view
			if v, err := e.Click(context.Background(), early, e.clock.Now().UnixMilli()); v != holder.Held || err != nil {
				t.Fatal(v, err)
			}
			disk.Limit(disk.Used() + 4*e.cfg.Journal.SegmentSize)
			var answered, refused []*token.Claims
			for len(refused) < 3 {
				c := e.mustOffer()
				switch _, err := e.View(context.Background(), c, e.clock.Now().UnixMilli()); {
				case errors.Is(err, keeper.ErrFull):
					refused = append(refused, c)
				case err != nil:
					t.Fatal(err)
				default:
					answered = append(answered, c)
				}
			}
			disk.Limit(disk.Used()) // not a byte that is not the journal's
			meanwhile(e, disk, refused)
			if err := e.useCatalog(3, true); err != nil {
				t.Fatal(err)
			}
			e.clock.pass(5 * time.Second)
			for range 2 {
				e.exchange(false)
			}
			for _, c := range answered {
				if v := e.view(c); v != holder.Duplicate {
					t.Fatalf("a view that was answered is %v when it comes again", v)
				}
			}
			for _, c := range refused { // one of them may have waited for room
				if v := e.view(c); v != holder.Billed && v != holder.Duplicate {
					t.Errorf("a view that was refused is %v when it comes again", v)
				}
			}
			for range 3 {
				e.exchange(false)
			}
			_, available, spent := e.Held()
			e.core.Do(func() {
				if got, want := e.core.Counts.Views, int64(len(answered)+len(refused)); got != want || spent != want {
					t.Errorf("the core counts %d views, the edge has spent %d, want %d", got, spent, want)
				}
				held := int64(0)
				for _, l := range e.core.Holders[1].Leases {
					held += l.Available()
				}
				if available != held {
					t.Errorf("%d are available at the edge, %d by the core's books", available, held)
				}
			})
			e.healthy()

			// What could not be written then is there for a start without the core.
			disk.Limit(0)
			e.clock.pass(time.Minute)
			e.exchange(false)
			e.stop()
			k, err := keeper.Open(context.Background(), e.cfg)
			if err != nil {
				t.Fatal(err)
			}
			e.Keeper = k
			for _, key := range e.core.Keys {
				if err := e.Open(new(token.Claims), sealed(t, key), e.clock.Now()); err != nil {
					t.Errorf("after a start without the core: a token of key %d: %v", key.GetId(), err)
				}
			}
			e.paused()
		})
	}
}

// pause has the core pause a flight, and a peer be faster to tell it. It says whether
// there was room to keep that; it holds in any case.
func (e *edge) pause(version uint64, flight uint32) bool {
	e.Helper()
	said := &wire.Control{Version: version, Flight: flight, State: uint32(catalog.Pause)}
	e.core.Do(func() { e.core.Controls = append(e.core.Controls, said) })
	news, full := e.Control([]*wire.Control{said})
	if full != nil && !errors.Is(full, keeper.ErrFull) || len(news) != 1 {
		e.Fatalf("%d controls are new: %v", len(news), full)
	}
	if s := e.Switch(flight); s.Version.Load() != version || s.State.Load() != uint32(catalog.Pause) {
		e.Fatalf("flight %d is in state %d by control %d", flight, s.State.Load(), s.Version.Load())
	}
	if news, _ := e.Control([]*wire.Control{said}); len(news) > 0 {
		e.Fatal("what was said again is news")
	}
	return full == nil
}

// pauseUntilFull pauses flights until some pauses have no room, and returns a version
// that is not used yet.
func (e *edge) pauseUntilFull() (version uint64) {
	e.Helper()
	version = 7
	for unkept := 0; unkept < 4; version++ {
		if version > 1_000_000 {
			e.Fatal("there is room for every control")
		}
		if !e.pause(version, flight+uint32(version%30)+1) {
			unkept++
		}
	}
	return version
}

// Pauses for which there was no room hold after a start, once there was room for
// them, also where the core was not heard meanwhile.
func TestPausesAreKeptWhenThereIsRoom(t *testing.T) {
	disk := faultfs.New(1)
	e := newEdge(t, disk)
	e.cfg.Journal.Every = time.Millisecond
	e.start()
	e.exchange(false)
	disk.Limit(disk.Used())
	e.pauseUntilFull()
	// A core that was restored gives the version of one that was not kept once more.
	again := e.core.Controls[len(e.core.Controls)-1]
	for _, state := range []catalog.State{catalog.Run, catalog.Pause} {
		said := &wire.Control{Version: again.GetVersion(), Flight: again.GetFlight(), State: uint32(state)}
		if news, err := e.Control([]*wire.Control{said}); len(news) != 1 || !errors.Is(err, keeper.ErrFull) {
			t.Fatalf("%d controls are new: %v", len(news), err)
		}
		if got := e.Switch(again.GetFlight()).State.Load(); got != uint32(state) {
			t.Fatalf("the flight is in state %d, expected %d", got, state)
		}
	}
	disk.Limit(0)
	for deadline := time.Now().Add(10 * time.Second); ; {
		news, err := e.Control(nil)
		if err == nil {
			break
		}
		if len(news) > 0 || !errors.Is(err, keeper.ErrFull) || time.Now().After(deadline) {
			t.Fatal(len(news), err)
		}
	}
	e.stop()
	e.start()
	defer e.stop()
	e.paused()
}

// paused checks that what the core has paused last holds.
func (e *edge) paused() {
	e.Helper()
	for _, c := range e.core.Controls {
		if s := e.Switch(c.GetFlight()); s.Version.Load() < c.GetVersion() || s.State.Load() != uint32(catalog.Pause) {
			e.Errorf("flight %d is in state %d by control %d, paused by %d", c.GetFlight(), s.State.Load(), s.Version.Load(), c.GetVersion())
		}
	}
}

var errGone = errors.New("the peer is gone")

// replica is a peer that has everything at once, or is gone.
type replica struct{ gone bool }

func (r *replica) Use(uint32, *journal.Journal) {}
func (r *replica) Wait(context.Context, *journal.Journal, journal.Position) error {
	if r.gone {
		return errGone
	}
	return nil
}
func (r *replica) Covered(*journal.Journal, journal.Position) (bool, error) { return true, nil }
func (r *replica) Alone() bool                                              { return false }

// On a quiet edge all is said, and what has no room is nothing that a batch would say:
// a click that waits for its view. The journal empties all the same.
func TestADiskIsFullWhileThereIsNothingToSay(t *testing.T) {
	disk := faultfs.New(1)
	e := newEdge(t, disk)
	e.cfg.Journal.Every = time.Millisecond
	e.core.Sell(views, 1_000_000)
	e.core.Sell(clicks, 1_000_000)
	e.start()
	defer e.stop()
	if err := e.useCatalog(2, true); err != nil {
		t.Fatal(err)
	}
	e.exchange(false)
	e.exchange(false)
	e.grantAll(0)
	for range 3 {
		e.exchange(false)
	}
	disk.Limit(disk.Used() + 4*e.cfg.Journal.SegmentSize)
	clicked := []*token.Claims{}
	for full := false; !full; {
		clicked = append(clicked, e.mustOffer())
		_, err := e.Click(context.Background(), clicked[len(clicked)-1], e.clock.Now().UnixMilli())
		if full = errors.Is(err, keeper.ErrFull); err != nil && !full {
			t.Fatal(err)
		}
	}
	disk.Limit(disk.Used())
	e.clock.pass(5 * time.Second)
	e.exchange(false)
	for _, c := range clicked {
		if v := e.view(c); v != holder.Billed {
			t.Fatalf("a view is %v", v)
		}
		e.clock.pass(5 * time.Second)
		e.exchange(false)
	}
	e.core.Do(func() {
		if got, want := e.core.Counts, int64(len(clicked)); got.Views != want || got.Clicks != want {
			t.Errorf("the core counts %+v, want %d views and clicks", got, want)
		}
	})
	e.healthy()
}

// grantAll has the core sell so many more, and lease all of it to the first holder.
func (e *edge) grantAll(more int64) {
	e.core.Do(func() {
		for _, id := range []lease.Budget{views, clicks} {
			b := e.core.Budgets[id]
			e.core.Holders[1].Leases[id].Granted += b.Unleased + more
			b.Limit, b.Outstanding, b.Unleased = b.Limit+more, b.Outstanding+b.Unleased+more, 0
		}
	})
}

// sealed is a token that some node has sealed with a key.
func sealed(t *testing.T, key *wire.TokenKey) []byte {
	t.Helper()
	k := token.Key{ID: uint16(key.GetId())}
	copy(k.Secret[:], key.GetSecret())
	ring, err := token.NewRing([]token.Key{k})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := ring.Sealer(9, 99)
	if err != nil {
		t.Fatal(err)
	}
	return sealer.Seal(nil, &token.Claims{Seq: 1, Issued: 1_800_000_000_000})
}
