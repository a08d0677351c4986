// Package pacing is the arithmetic of when a flight's plan is due: how much it
// needs now, how heavily that counts against other flights, and how much of it
// may have been delivered by now. It is pure: the time is an argument, always
// in unix milliseconds, and days are days in UTC.
//
// # Need and weight
//
// A flight is sold over the whole of its days. Its time is cut into intervals
// that are counted back from its end, so that the first one may be short:
//
//	left  = max(0, floor((end − now) / interval))    end = 23:59:59.999999 of the end date
//	total = floor((end − 00:00 of the start date) / interval) + 1
//	need  = left > 0 ? max(0, remaining − floor(sold × left / total)) : remaining
//
// Everything that an interval needs is needed from its first moment; that is
// how the reference counts, and what the choice between flights uses. An asap
// flight needs all that remains. A flight that has not started needs nothing,
// nor does one that is past its end date where it stops hard.
//
//	base   = ceil(views need / 1000) + clicks need
//	eCPM   = CPC ? cpc × CTR% × 10 : cpm
//	weight = floor(floor(base × multiplier × clamp(eCPM, 1, 10)) × floor(max(1, days overdue)^1.5)) × priority
//
// All of it is in integers: eCPM in micros, floors exactly where the formula
// has them. Weights saturate at MaxWeight.
//
// # The plan
//
// Planned, or D(t), is how much should have been delivered everywhere by a time.
// Inside an interval it rises from what the intervals before allow to what this
// one allows too,
//
//	even     in proportion to time
//	traffic  in proportion to the flight's own demand by hour of the week
//	asap     at once: there is no plan
//
// and in a flight's last interval it is through a twentieth before the end, so
// that views which are still under way count. It is what delivery is measured
// against.
//
// An interval of an hour knows nothing of how hours differ; a traffic flight
// therefore never has intervals shorter than a day, whatever it asks for.
//
// # Release
//
// A holder does not let its lease go at once, nor all that is behind plan. Aim is
// the pace at which all holders together would be on plan in a minute; each
// takes its share of it as its rate, by Steer, every five seconds a part of the
// way. Release is the credit that grows at this rate and is paid for by what the
// holder spends: a token bucket of two units, or five seconds of its rate where
// that is more. So what was released in all never falls and has no steps, at the
// borders of intervals neither; and what was missed comes back at no more than
// Haste times the pace that is needed from there, never in a burst.
//
// # What it does not do
//
// It does not know leases, regions or holders: what a share is, and that nothing
// beyond its lease is ever spent, is the holder's matter. Bad plans (an end before the
// start, negative numbers) need nothing or everything, but never panic.
package pacing
