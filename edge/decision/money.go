package decision

import "nearside/sync/catalog"

// needs are the views and clicks that the flight needs now, from what has been
// delivered everywhere.
func (f *Flight) needs(now int64) (views, clicks int64) {
	if f.Views != nil {
		views = f.schedule.Need(f.SoldViews, f.Views.Settled.Load(), now)
	}
	if f.Clicks != nil {
		clicks = f.schedule.Need(f.SoldClicks, f.Clicks.Settled.Load(), now)
	}
	return views, clicks
}

// whyNoNeed says why the flight's weight is 0.
func (f *Flight) whyNoNeed(now int64) Reason {
	switch {
	case !f.schedule.Due(now):
		return Ended
	case f.remains(f.Views, f.SoldViews) || f.remains(f.Clicks, f.SoldClicks):
		return OnPace
	default:
		return Exhausted
	}
}

func (f *Flight) remains(a *Account, sold int64) bool { return a != nil && a.Settled.Load() < sold }

// refusesMoney checks the flight's own daily cap, and that something is left
// to spend here of what it needs.
func (f *Flight) refusesMoney(views, clicks int64, day catalog.Day) Reason {
	if f.dailyCap && f.price > 0 && f.capped(day) {
		account := f.days.of(day)
		if account == nil || int64(f.DailyCap)-account.Settled.Load() < f.price {
			return DailyCap
		}
		if !account.Room(f.price) {
			return noRoom(account)
		}
	}
	if views > 0 && f.Views.Room(1) || clicks > 0 && f.Clicks.Room(1) {
		return None
	}
	reason := noRoom(f.Views)
	if other := noRoom(f.Clicks); reason == Lease || other == Broker {
		reason = other
	}
	return reason
}

// noRoom says why an account has no room: its budget is leased elsewhere in the
// region, held back by pacing, or used up here. A flight may sell only one of
// views and clicks.
func noRoom(a *Account) Reason {
	switch {
	case a == nil:
		return Lease
	case a.Elsewhere.Load():
		return Broker
	case a.Held.Load():
		return OnPace
	}
	return Lease
}

// earned reports whether the publisher has earned its daily cap.
func (p *Publisher) earned(day catalog.Day) bool {
	account := p.days.of(day)
	return account == nil || account.Settled.Load() >= int64(p.DailyCap)
}

// affords reports whether an event at a price still fits what is left here of
// the publisher's daily cap.
func (p *Publisher) affords(price int64, day catalog.Day) bool {
	account := p.days.of(day)
	return account != nil && account.Left.Load() > 0 && account.Room(price)
}
