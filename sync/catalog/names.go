package catalog

import (
	"fmt"
	"time"
)

var campaignTypeNames = [campaignTypes]string{
	Paid:           "paid",
	Affiliate:      "affiliate",
	Community:      "community",
	PublisherHouse: "publisher-house",
	House:          "house",
}

// CampaignTypes are all campaign types in the order of their tiers.
func CampaignTypes() []CampaignType {
	return []CampaignType{Paid, Affiliate, Community, PublisherHouse, House}
}

// String is the type's name in the APIs, such as "publisher-house".
func (t CampaignType) String() string { return nameOf(campaignTypeNames[:], uint8(t), "campaign type") }

// ParseCampaignType is the inverse of String.
func ParseCampaignType(s string) (CampaignType, error) {
	i, err := parseName(campaignTypeNames[:], s, "campaign type")
	return CampaignType(i), err
}

// MarshalText writes the type's name.
func (t CampaignType) MarshalText() ([]byte, error) {
	return marshalName(campaignTypeNames[:], uint8(t), "campaign type")
}

// UnmarshalText reads a type's name.
func (t *CampaignType) UnmarshalText(b []byte) (err error) {
	*t, err = ParseCampaignType(string(b))
	return err
}

var pacingNames = [...]string{Even: "even", Traffic: "traffic", ASAP: "asap"}

// String is the pacing's name in the APIs: "even", "traffic" or "asap".
func (p Pacing) String() string { return nameOf(pacingNames[:], uint8(p), "pacing") }

// ParsePacing is the inverse of String.
func ParsePacing(s string) (Pacing, error) {
	i, err := parseName(pacingNames[:], s, "pacing")
	return Pacing(i), err
}

// MarshalText writes the pacing's name.
func (p Pacing) MarshalText() ([]byte, error) {
	return marshalName(pacingNames[:], uint8(p), "pacing")
}

// UnmarshalText reads a pacing's name.
func (p *Pacing) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePacing(string(b))
	return err
}

var stateNames = [...]string{Run: "run", Pause: "pause", Kill: "kill"}

// String is the state's name in the APIs: "run", "pause" or "kill".
func (s State) String() string { return nameOf(stateNames[:], uint8(s), "state") }

// ParseState is the inverse of String.
func ParseState(s string) (State, error) {
	i, err := parseName(stateNames[:], s, "state")
	return State(i), err
}

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return marshalName(stateNames[:], uint8(s), "state") }

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(b []byte) (err error) {
	*s, err = ParseState(string(b))
	return err
}

func nameOf(names []string, i uint8, what string) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s %d", what, i)
}

func parseName(names []string, s, what string) (int, error) {
	for i, name := range names {
		if name == s {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s %.40q is none of %q", what, s, names)
}

func marshalName(names []string, i uint8, what string) ([]byte, error) {
	if int(i) >= len(names) {
		return nil, fmt.Errorf("%s %d has no name", what, i)
	}
	return []byte(names[i]), nil
}

const (
	secondsPerDay = 24 * 60 * 60
	// MillisPerDay is the length of a day. UTC days have no other length here:
	// leap seconds do not exist in unix time.
	MillisPerDay = secondsPerDay * 1000

	firstDay = -719162 // 0001-01-01
	lastDay  = 2932896 // 9999-12-31
)

// DayOf is the UTC day that t falls on.
func DayOf(t time.Time) Day { return dayOfSeconds(t.Unix()) }

// DayOfMillis is the UTC day that a moment in unix milliseconds falls on.
func DayOfMillis(ms int64) Day {
	d := ms / MillisPerDay
	if ms%MillisPerDay < 0 {
		d--
	}
	return Day(d)
}

func dayOfSeconds(s int64) Day {
	d := s / secondsPerDay
	if s%secondsPerDay < 0 {
		d--
	}
	return Day(d)
}

// Start is 00:00 UTC of the day.
func (d Day) Start() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

// End is the last microsecond of the day, 23:59:59.999999 UTC.
func (d Day) End() time.Time { return (d + 1).Start().Add(-time.Microsecond) }

// StartMillis is Start in unix milliseconds.
func (d Day) StartMillis() int64 { return int64(d) * MillisPerDay }

// Weekday is the day's place in the week.
func (d Day) Weekday() time.Weekday {
	// 1970-01-01 was a Thursday.
	w := (int64(d) + int64(time.Thursday)) % 7
	if w < 0 {
		w += 7
	}
	return time.Weekday(w)
}

// String is the day as "2006-01-02".
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// ParseDay is the inverse of String, for the years 1 to 9999.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() < 1 {
		return 0, fmt.Errorf("day %.40q is not written as 2006-01-02", s)
	}
	return DayOf(t), nil
}

// MarshalText writes the day as "2006-01-02".
func (d Day) MarshalText() ([]byte, error) {
	if d < firstDay || d > lastDay {
		return nil, fmt.Errorf("day %d is outside the years 1 to 9999", int32(d))
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads a day written as "2006-01-02".
func (d *Day) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDay(string(b))
	return err
}

var dayNames = [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// WeekdayName is the lower-case English name that Targeting.Days uses.
func WeekdayName(w time.Weekday) string { return dayNames[w] }

// ParseWeekday is the inverse of WeekdayName.
func ParseWeekday(s string) (time.Weekday, error) {
	i, err := parseName(dayNames[:], s, "day")
	return time.Weekday(i), err
}
