package keeper

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nearside/edge/holder"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// Statement is what the holder knows of its account, as of a seal that is made
// for it and is durable when Statement returns. The caller adds what the edge is
// called.
func (k *Keeper) Statement(ctx context.Context) (*wire.Statement, error) {
	keys, err := k.dir.Keys()
	if err != nil {
		return nil, err
	}
	b, s, hollow, err := k.statement()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		s.Keys = append(s.Keys, &wire.TokenKey{
			Id: uint32(key.ID), Secret: bytes.Clone(key.Secret[:]), SealFrom: key.SealFrom, SealUntil: key.SealUntil, VerifyUntil: key.VerifyUntil,
		})
	}
	if err := k.cover(ctx, b); err != nil { // which gives the seal its hash
		return nil, err
	}
	if s.GetSealed().GetBatch() > 0 && len(s.GetSealed().GetHash()) == 0 {
		return nil, fmt.Errorf("state the account of holder %d: its seal is not durable: %w", b.holder, ErrFull)
	}
	if len(hollow) == 0 {
		return s, nil
	}
	again, err := newRebuilder(b)
	for i, seal := range hollow {
		var batch *wire.Batch
		if err == nil {
			batch, err = again.batch(seal)
		}
		if err != nil {
			return nil, fmt.Errorf("state the account of holder %d: %w", b.holder, err)
		}
		s.Pending[len(s.Pending)-len(hollow)+i] = counted(batch)
	}
	return s, nil
}

// statement leaves out what the hollow batches count, whose seals it returns:
// they are the last of the pending ones.
func (k *Keeper) statement() (_ *book, _ *wire.Statement, hollow []*wire.Cursor, _ error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.book
	switch {
	case k.failure != nil:
		return nil, nil, nil, k.failure
	case b == nil || b.st.Fenced():
		return nil, nil, nil, ErrUnregistered
	}
	if !b.st.Said() && !b.st.Closed() {
		if err := k.seal(b, k.cfg.Now().UnixMilli(), false); err != nil {
			return nil, nil, nil, err
		}
	}
	_, secret, _ := strings.Cut(k.identity.Secret, ".")
	hash := sha256.Sum256([]byte(secret))
	s := &wire.Statement{
		Holder: b.holder, Disk: k.identity.Disk, SecretHash: hash[:], Stamp: b.stamp,
		Acked: b.st.Acked(), Sealed: b.st.Acked(), Totals: &wire.Totals{}, ForeignAck: b.st.ForeignAck(),
	}
	s.Boot, s.BootOrdinal = b.st.Current()
	for _, batch := range b.st.Sealed() {
		s.Sealed = batch.GetSeal()
		s.Pending = append(s.Pending, counted(batch))
		if len(hollow) > 0 || holder.Hollow(batch) {
			hollow = append(hollow, batch.GetSeal())
		}
	}
	totals := map[lease.Budget]lease.Totals{}
	b.st.Leases(func(id lease.Budget, t lease.Totals) { totals[id] = t })
	for _, id := range slices.Sorted(maps.Keys(totals)) {
		t := totals[id]
		s.Totals.Budget = append(s.Totals.Budget, int64(id))
		s.Totals.Granted = append(s.Totals.Granted, t.Granted)
		s.Totals.Spent = append(s.Totals.Spent, t.Spent)
		s.Totals.Returned = append(s.Totals.Returned, t.Returned)
	}
	controls, newest := b.st.Controls(0)
	s.Control = newest
	for _, c := range controls {
		s.Controls = append(s.Controls, &wire.Control{Version: c.Version, Flight: c.Flight, State: uint32(c.State)})
	}
	k.accounts.RLock()
	for _, a := range k.list {
		if a.known.Settled > 0 || a.known.Limit > 0 {
			s.Delivered = append(s.Delivered, &wire.Delivered{Budget: int64(a.budget), Settled: a.known.Settled, Limit: a.known.Limit, Refunded: a.known.Refunded})
		}
	}
	k.accounts.RUnlock()
	slices.SortFunc(s.Delivered, func(x, y *wire.Delivered) int { return cmp.Compare(x.GetBudget(), y.GetBudget()) })
	if n := k.news.Load(); n != nil {
		s.Catalog = n.version
		s.LastFlight, s.LastAd, s.LastPublisher, s.LastCampaign = n.last.flight, n.last.ad, n.last.publisher, n.last.campaign
	}
	return b, s, hollow, nil
}

// counted sums the billed events of a batch by flight.
func counted(batch *wire.Batch) *wire.Counted {
	c := &wire.Counted{Batch: batch.GetSeal().GetBatch()}
	at := map[uint32]int{}
	r := batch.GetRollups()
	for i, flight := range r.GetFlight() {
		j, seen := at[flight]
		if !seen {
			j = len(c.Flight)
			at[flight] = j
			c.Flight, c.Views, c.Clicks, c.SpentMicros = append(c.Flight, flight), append(c.Views, 0), append(c.Clicks, 0), append(c.SpentMicros, 0)
		}
		c.Views[j] += r.Views[i]
		c.Clicks[j] += r.Clicks[i]
		c.SpentMicros[j] += r.SpentMicros[i]
	}
	return c
}
