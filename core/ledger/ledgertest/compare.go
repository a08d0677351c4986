package ledgertest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"nearside/core/ledger"
)

// same fails the test where two truths differ.
func same(w *World, a, b ledger.Truth) {
	w.Helper()
	for _, d := range Differ(a, b) {
		w.Error(d)
	}
}

// Differ lists where two truths differ.
func Differ(a, b ledger.Truth) []string {
	var diff []string
	diff = append(diff, differ("holder", a.Holders, b.Holders, func(x, y ledger.Holder) bool {
		hashes := bytes.Equal(x.Hash, y.Hash) && bytes.Equal(x.SecretHash, y.SecretHash)
		x.Hash, y.Hash, x.SecretHash, y.SecretHash = nil, nil, nil, nil
		return hashes && fmt.Sprint(x) == fmt.Sprint(y)
	})...)
	diff = append(diff, differ("budget", a.Budgets, b.Budgets, func(x, y ledger.Budget) bool { return x == y })...)
	diff = append(diff, differ("lease", a.Leases, b.Leases, func(x, y ledger.Lease) bool { return x == y })...)
	diff = append(diff, differ("windows", a.Windows, b.Windows, func(x, y map[uint64]ledger.Window) bool {
		return maps.EqualFunc(x, y, func(x, y ledger.Window) bool {
			return x.Holder == y.Holder && x.Boot == y.Boot && x.Floor == y.Floor && x.Next == y.Next && bytes.Equal(x.Bits, y.Bits)
		})
	})...)
	diff = append(diff, differ("foreign event", a.Foreign, b.Foreign, func(x, y ledger.Foreign) bool {
		return x.EventKey == y.EventKey && x.Position == y.Position && x.Sender == y.Sender && x.At == y.At && x.Outcome == y.Outcome && proto.Equal(x.Event, y.Event)
	})...)
	diff = append(diff, differ("rollup", a.Rollups, b.Rollups, func(x, y ledger.Counts) bool { return x == y })...)
	diff = append(diff, differ("topic", a.Topics, b.Topics, func(x, y ledger.TopicCounts) bool { return x == y })...)
	diff = append(diff, differ("totals", a.Totals, b.Totals, func(x, y ledger.Counts) bool { return x == y })...)
	diff = append(diff, differ("decisions", a.Decisions, b.Decisions, func(x, y ledger.Decisions) bool { return x == y })...)
	diff = append(diff, differ("refusals", a.Refusals, b.Refusals, func(x, y int64) bool { return x == y })...)
	diff = append(diff, differ("receipts", a.Receipts, b.Receipts, func(x, y bool) bool { return x == y })...)
	if a.Forgotten != b.Forgotten {
		diff = append(diff, fmt.Sprintf("forgotten %q and %q", a.Forgotten, b.Forgotten))
	}
	return diff
}

func differ[K comparable, V any](what string, a, b map[K]V, equal func(V, V) bool) []string {
	var diff []string
	for k, x := range a {
		if y, both := b[k]; !both || !equal(x, y) {
			diff = append(diff, fmt.Sprintf("%s %v: %+v and %+v (%v)", what, k, x, y, both))
		}
	}
	for k, y := range b {
		if _, both := a[k]; !both {
			diff = append(diff, fmt.Sprintf("%s %v: only %+v", what, k, y))
		}
	}
	slices.Sort(diff)
	return diff
}
