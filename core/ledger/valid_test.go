package ledger_test

import (
	"strings"
	"testing"

	"nearside/core/ledger"
	"nearside/sync/wire"
)

// What pages of a topic had is a part of what all pages had, and an event has each of
// its topics once; else reports by topic would say more than there was.
func TestTopicsAreAPart(t *testing.T) {
	rollups := func(hour int64, country string, views, clicks int64) *wire.Rollups {
		return &wire.Rollups{
			Hour: []int64{hour, hour}, Flight: []uint32{1, 1}, Ad: []uint32{2, 3}, Publisher: []uint32{3, 3}, Country: []string{country, country},
			Views: []int64{views, 1}, Clicks: []int64{clicks, 0}, UnbilledViews: []int64{0, 0}, UnbilledClicks: []int64{0, 0}, SpentMicros: []int64{views * 10, 10},
		}
	}
	topics := func(hour int64, country string, views, clicks int64) *wire.TopicRollups {
		return &wire.TopicRollups{
			Hour: []int64{hour}, Topic: []uint32{4}, Flight: []uint32{1}, Country: []string{country},
			Views: []int64{views}, Clicks: []int64{clicks}, UnbilledViews: []int64{0}, UnbilledClicks: []int64{0}, SpentMicros: []int64{views * 10}, HomeLost: []int64{0},
		}
	}
	event := func(topics ...uint32) []*wire.Event {
		return []*wire.Event{{Kind: 1, Holder: 2, Boot: 5, Seq: 7, Ad: 1, Flight: 1, Publisher: 1, Country: "NZ", ViewPrice: 2000, Issued: 1, At: 1, Topics: topics}}
	}
	for name, test := range map[string]struct {
		batch *wire.Batch
		wrong string
	}{
		"as much as two ads together": {batch: &wire.Batch{Rollups: rollups(3600, "DE", 5, 2), Topics: topics(3600, "DE", 6, 2)}},
		"more views":                  {&wire.Batch{Rollups: rollups(3600, "DE", 5, 2), Topics: topics(3600, "DE", 7, 2)}, "batch.topics[0]: expected no more than batch.rollups has of flight 1"},
		"more clicks":                 {&wire.Batch{Rollups: rollups(3600, "DE", 5, 2), Topics: topics(3600, "DE", 6, 3)}, "batch.topics[0]"},
		"of another hour":             {&wire.Batch{Rollups: rollups(3600, "DE", 5, 2), Topics: topics(7200, "DE", 1, 0)}, "batch.topics[0]"},
		"of another country":          {&wire.Batch{Rollups: rollups(3600, "DE", 5, 2), Topics: topics(3600, "NZ", 1, 0)}, "batch.topics[0]"},
		"of nothing":                  {&wire.Batch{Topics: topics(3600, "DE", 1, 0)}, "batch.topics[0]"},
		"an event with two topics":    {batch: &wire.Batch{Foreign: event(4, 5)}},
		"an event with one twice":     {&wire.Batch{Foreign: event(4, 5, 4)}, "batch.foreign[0].topics: expected each once, 4 is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			test.batch.Seal = &wire.Cursor{Batch: 1, Position: 10, Hash: []byte("0123456789abcdef")}
			err := ledger.Validate(&wire.SyncRequest{Protocol: 1, Holder: 1, Boot: 1<<32 | 1, BootOrdinal: 1, Batch: test.batch})
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("%v, expected %q", err, test.wrong)
			}
		})
	}
}
