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
// to spend here of what it needs. Of a flight that needs both views and clicks one
// is enough where the other is held back by pacing, or leased to others to its
// end; where the other's lease is only on its way the flight waits for it, since
// what is viewed (clicked) meanwhile would go unbilled.
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
	if views > 0 && f.Views.Room(1) {
		return f.Clicks.lacking(clicks)
	}
	if clicks > 0 && f.Clicks.Room(1) {
		return f.Views.lacking(views)
	}
	reason := noRoom(f.Views)
	if other := noRoom(f.Clicks); reason == Lease || other == Broker {
		reason = other
	}
	return reason
}

// lacking is Lease where an event more is needed and has no room, but only until the
// core has leased more.
func (a *Account) lacking(need int64) Reason {
	if need > 0 && a.Awaited.Load() && !a.Room(1) {
		return Lease
	}
	return None
}

// waitsFor names what the flight is not offered for the lack of although the other
// kind has room; "" where that is not why.
func (f *Flight) waitsFor(now int64) string {
	views, clicks := f.needs(now)
	switch {
	case views <= 0 || clicks <= 0:
		return ""
	case f.Views.Room(1) && f.Clicks.lacking(clicks) != None:
		return "clicks"
	case f.Clicks.Room(1) && f.Views.lacking(views) != None:
		return "views"
	}
	return ""
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
