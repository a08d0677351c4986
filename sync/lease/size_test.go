package lease

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTarget(t *testing.T) {
	const second = time.Second
	const h4 = 4 * time.Hour
	for _, c := range []struct {
		name string
		d    Demand
		want int64
	}{
		{"nothing known: one unit", Demand{Interval: second, Offline: h4}, 1},
		{"one a second, 1 s exchange: hot 4+2√2, and 4 h", Demand{Velocity: 1000, Interval: second, Offline: h4}, 14400 + 7},
		{"without supply for an outage", Demand{Velocity: 1000, Interval: second}, 7},
		{"half of what is in flight is viewed", Demand{InFlight: 10, Rho: Full / 2, Velocity: 1000, Interval: second}, 12},
		{"endgame: vI + √(vI), all in flight counts", Demand{InFlight: 10, Rho: Full / 2, Velocity: 4000, Interval: second, Offline: h4, Endgame: true}, 16},
		{"money: whole events of the largest price", Demand{Velocity: 1000, Unit: 2500, Interval: second}, 7 * 2500},
		{"money in flight is in micros", Demand{InFlight: 25000, Rho: Full, Unit: 2500}, 10 * 2500},
		{"negative input is none", Demand{Velocity: -5, InFlight: -3, Rho: -1, Interval: second}, 1},
		{"absurd demand does not overflow", Demand{Velocity: 1 << 62, Unit: 1 << 40, Interval: second, Offline: h4}, (1<<63 - 1) / 2 / (1 << 40) * (1 << 40)},
	} {
		if got := Target(c.d); got != c.want {
			t.Errorf("%s: target %d, want %d", c.name, got, c.want)
		}
	}
}

func TestGrant(t *testing.T) {
	for _, c := range []struct {
		name                                  string
		target, held, unleased, velocity, sum int64
		holders                               int
		unit, want                            int64
	}{
		{"all that is wanted where there is plenty", 100, 20, 100000, 1, 2, 2, 1, 80},
		{"half of the unleased, by share of demand", 1000, 0, 100, 1, 2, 2, 1, 25},
		{"no demand anywhere: equal shares of half", 1000, 0, 100, 0, 0, 5, 1, 10},
		{"at least one unit", 1000, 0, 3, 1, 100, 100, 1, 1},
		{"never more than there is", 1000, 0, 1, 1, 1, 1, 1, 1},
		{"enough held", 10, 10, 100, 1, 1, 1, 1, 0},
		{"nothing left", 10, 0, 0, 1, 1, 1, 1, 0},
		{"whole units", 1000, 0, 999, 1, 1, 1, 250, 250},
		{"less than a unit left", 1000, 0, 249, 1, 1, 1, 250, 0},
	} {
		if got := Grant(c.target, c.held, c.unleased, c.velocity, c.sum, c.holders, c.unit); got != c.want {
			t.Errorf("%s: granted %d, want %d", c.name, got, c.want)
		}
	}
}

func TestGrantStaysWithinUnleased(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(-5, 1<<40)
		target, held, unleased := n.Draw(t, "target"), n.Draw(t, "held"), n.Draw(t, "unleased")
		unit := rapid.Int64Range(0, 1<<20).Draw(t, "unit")
		g := Grant(target, held, unleased, n.Draw(t, "velocity"), n.Draw(t, "sum"), rapid.IntRange(-1, 300).Draw(t, "holders"), unit)
		if g < 0 || g > max(unleased, 0) || g > max(target-held, 0) || g%max(unit, 1) != 0 {
			t.Fatalf("granted %d of %d for %d (unit %d)", g, unleased, target-held, unit)
		}
	})
}

func TestSurplus(t *testing.T) {
	for _, c := range []struct {
		name   string
		d      Demand
		target int64
		idle   time.Duration
		want   int64
	}{
		{"a fifth over the target stays", Demand{Held: 120}, 100, 0, 0},
		{"more than a fifth over goes down to the target", Demand{Held: 121}, 100, 0, 21},
		{"endgame: whatever exceeds the target", Demand{Held: 101, Endgame: true}, 100, 0, 1},
		{"idle: all of it", Demand{Held: 50}, 100, Idle, 50},
		{"idle: but for what is in flight", Demand{Held: 50, InFlight: 10, Rho: Full / 4}, 100, Idle, 47},
		{"nothing held", Demand{}, 1, Idle, 0},
	} {
		if got := Surplus(c.d, c.target, c.idle); got != c.want {
			t.Errorf("%s: surplus %d, want %d", c.name, got, c.want)
		}
	}
	if got := Recall(100, 10, 60, Full/2); got != 70 {
		t.Errorf("recall to 10 with 30 reserved returned %d of 100, want 70", got)
	}
	if got := Recall(5, 10, 0, 0); got != 0 {
		t.Errorf("recall above what is held returned %d", got)
	}
}

func TestEndgame(t *testing.T) {
	for _, c := range []struct {
		name             string
		left, limit, sum int64
		want             bool
	}{
		{"plenty", 500, 1000, 1000, false},
		{"under 1 %", 9, 1000, 0, true},
		{"under 120 s of demand", 119, 1000, 1000, true},
		{"at 120 s of demand", 120, 1000, 1000, false},
	} {
		if got := Endgame(c.left, c.limit, c.sum); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestVelocityFollowsDemand(t *testing.T) {
	var v Velocity
	now := int64(1_000_000)
	v.Add(0, now)
	for range 120 {
		now += 1000
		v.Add(10, now)
	}
	if m := v.Milli(); m < 9500 || m > 10001 {
		t.Errorf("after two minutes of ten a second: %d thousandths", m)
	}
	v.Add(0, now-5000) // a clock that steps back
	for range 30 {
		now += 1000
		v.Add(0, now)
	}
	if m := v.Milli(); m < 3000 || m > 4300 {
		t.Errorf("30 s after demand ended: %d thousandths, want about 10000/e", m)
	}
}
