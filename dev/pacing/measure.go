package pacing

import (
	"math"
	"time"
)

// every is how far apart the kept points of a series are.
const every = minute

// Point is a moment of a flight's day.
type Point struct {
	At              int64 // unix milliseconds
	Plan, Delivered int64
}

// Meter follows one flight through a day.
type Meter struct {
	Flight    *Flight
	Before    int64 // delivered before the day
	Points    []Point
	Delivered int64 // at the end of the day
	AtEnd     int64 // at the flight's end; -1: it ends after the day

	from, to  int64 // in which it is measured
	seconds   int64
	squares   float64
	Lag, Lead int64 // the most that it was behind its plan, and ahead
}

func newMeter(f *Flight, o Options, before int64) *Meter {
	m := &Meter{Flight: f, Before: before, AtEnd: -1, from: max(o.Start, f.schedule.Start, f.LiveAt), to: o.Start + o.Lasts}
	m.Points = append(m.Points, Point{o.Start, f.schedule.Planned(f.sold, o.Start), before})
	return m
}

// note takes what has been delivered by now.
func (m *Meter) note(now, delivered int64) {
	plan := m.Flight.schedule.Planned(m.Flight.sold, now)
	m.Delivered = delivered
	if now == m.Flight.schedule.End {
		m.AtEnd = delivered
	}
	if now%every == 0 {
		m.Points = append(m.Points, Point{now, plan, delivered})
	}
	if now <= m.from || now > m.to {
		return
	}
	m.seconds++
	m.squares += float64(delivered-plan) * float64(delivered-plan)
	m.Lag, m.Lead = max(m.Lag, plan-delivered), max(m.Lead, delivered-plan)
}

// Units is what the plan has for the day.
func (m *Meter) Units() int64 { return m.Points[len(m.Points)-1].Plan - m.Points[0].Plan }

// RMSE is the root of the mean square of delivered − plan over every second in
// which the flight ran, as a part of the day's units.
func (m *Meter) RMSE() float64 {
	if m.seconds == 0 || m.Units() == 0 {
		return 0
	}
	return math.Sqrt(m.squares/float64(m.seconds)) / float64(m.Units())
}

// Behind is what the plan has and delivery has not at the end of the day.
func (m *Meter) Behind() int64 { return m.Points[len(m.Points)-1].Plan - m.Delivered }

// Peak is the busiest minute against what the plan had for it, counted in
// minutes for which it had at least 20 units; 0 where there is none.
func (m *Meter) Peak() float64 {
	peak := 0.0
	for i := 1; i < len(m.Points); i++ {
		a, b := m.Points[i-1], m.Points[i]
		if plan := b.Plan - a.Plan; plan >= 20 {
			peak = max(peak, float64(b.Delivered-a.Delivered)/float64(plan))
		}
	}
	return peak
}

// CaughtUp is how long after a time delivery was within a hundredth of the day's
// units of its plan; false: it never was.
func (m *Meter) CaughtUp(from int64) (time.Duration, bool) {
	for _, p := range m.Points {
		if off := p.Delivered - p.Plan; p.At > from && 100*max(off, -off) <= m.Units() {
			return time.Duration(p.At-from) * time.Millisecond, true
		}
	}
	return 0, false
}

func utc(at int64, layout string) string { return time.UnixMilli(at).UTC().Format(layout) }
