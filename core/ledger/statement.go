package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// Bounds of a statement, and of how many are kept of holders that nothing
// proves.
const (
	maxPending  = 1 << 14
	maxUnproven = 1000
)

// ValidateState says what of a statement no holder of ours could have sent. Its
// errors name the field.
func ValidateState(r *wire.StateRequest) error {
	if r.GetProtocol() != exchange.Protocol {
		return ErrProtocol
	}
	s := r.GetStatement()
	if err := errors.Join(
		id(s.GetHolder(), 1, "statement.holder"),
		expect(goodName.MatchString(s.GetRegion()), "statement.region", "1 to 63 of a-z, 0-9, dot and hyphen"),
		expect(goodName.MatchString(s.GetNode()), "statement.node", "1 to 63 of a-z, 0-9, dot and hyphen"),
		expect(goodDisk.MatchString(s.GetDisk()), "statement.disk", "32 lower-case hex digits"),
		expect(len(s.GetVersion()) <= maxName && printable(s.GetVersion()), "statement.version", "at most 128 printable characters"),
		expect(len(s.GetPublicUrl()) <= 256 && printable(s.GetPublicUrl()), "statement.public_url", "at most 256 printable characters"),
		expect(s.GetBoot() != 0, "statement.boot", "a random number"),
		ordinal(s.GetBootOrdinal(), 1, "statement.boot_ordinal"),
		expect(len(s.GetSecretHash()) == len(Hash("")), "statement.secret_hash", "32 bytes"),
		ordinal(uint64(s.GetStamp().GetAt()), 0, "statement.stamp.at"),
		cursor(s.GetAcked(), 0, "statement.acked"),
		cursor(s.GetSealed(), 0, "statement.sealed"),
		expect(s.GetAcked().GetBatch() <= s.GetSealed().GetBatch(), "statement.sealed", "a batch not before the acknowledged one"),
		totals(s.GetTotals()),
		ordinal(s.GetForeignAck(), 0, "statement.foreign_ack"),
		ordinal(s.GetCatalog(), 0, "statement.catalog"),
		ordinal(s.GetControl(), 0, "statement.control"),
		expect(len(s.GetPending()) <= maxPending, "statement.pending", "at most 16384 batches"),
		id(s.GetLastFlight(), 0, "statement.last_flight"), id(s.GetLastAd(), 0, "statement.last_ad"),
		id(s.GetLastPublisher(), 0, "statement.last_publisher"), id(s.GetLastCampaign(), 0, "statement.last_campaign"),
	); err != nil {
		return err
	}
	t := s.GetTotals()
	for i := range t.GetBudget() {
		if t.Spent[i]+t.Returned[i] > t.Granted[i] {
			return fmt.Errorf("statement.totals[%d]: expected spent and returned within granted", i)
		}
	}
	for i, p := range s.GetPending() {
		n := len(p.GetFlight())
		if len(p.GetViews()) != n || len(p.GetClicks()) != n || len(p.GetSpentMicros()) != n {
			return fmt.Errorf("statement.pending[%d]: expected arrays of one length", i)
		}
		for j := range n {
			if err := errors.Join(id(p.Flight[j], 1, "flight"), counts(p.Views[j], p.Clicks[j], p.SpentMicros[j])); err != nil {
				return fmt.Errorf("statement.pending[%d].%w", i, err)
			}
		}
	}
	for i, c := range s.GetControls() {
		if err := errors.Join(
			id(c.GetFlight(), 1, "flight"), ordinal(c.GetVersion(), 1, "version"), expect(c.GetState() <= 2, "state", "0 to 2"),
		); err != nil {
			return fmt.Errorf("statement.controls[%d].%w", i, err)
		}
	}
	for i, d := range s.GetDelivered() {
		if err := budget(d.GetBudget()); err != nil {
			return fmt.Errorf("statement.delivered[%d].budget: %w", i, err)
		}
		if min(d.GetSettled(), d.GetLimit()) < 0 || max(d.GetSettled(), d.GetLimit()) > maxAmount {
			return fmt.Errorf("statement.delivered[%d]: expected amounts from 0 to %d", i, int64(maxAmount))
		}
	}
	for i, k := range s.GetKeys() {
		var key token.Key
		if k.GetId() < 1 || k.GetId() > math.MaxUint16 || len(k.GetSecret()) != len(key.Secret) {
			return fmt.Errorf("statement.keys[%d]: expected an id of 16 bits and %d bytes", i, len(key.Secret))
		}
	}
	return nil
}

// Taken is what TakeStatement made of a statement.
type Taken struct {
	Status wire.SyncResponse_Status
	Notes  []Note
}

// TakeStatement keeps a holder's statement for a recovery. own says that the sender has
// shown the holder's credential; else it has shown a join token, and the core's
// own stamp in the statement must show whose it is:
//
//	the holder                    a true stamp, newer than      then
//	                              what the core remembers
//	is known, its credential fits yes                           the core has forgotten; kept
//	                              no                            kept
//	is known, its secret is not   yes, and the same disk        the core has forgotten the secret; kept
//	is another's by now           –                             FENCED: its number was given away
//	is unknown                    yes                           the core has forgotten; kept
//	                              older than the last recovery  made anew as fenced: it hands in
//	                              none, or not this core's      kept as unproven
func TakeStatement(ctx context.Context, store Store, r *wire.Statement, own bool, now int64) (Taken, error) {
	var result Taken
	err := store.Update(ctx, func(tx Tx) error {
		result = Taken{Status: wire.SyncResponse_FORGOTTEN}
		loaded := NewLoaded()
		if err := tx.Load(ctx, Needs{Holders: []uint32{r.GetHolder()}}, loaded); err != nil {
			return err
		}
		s := newStep(loaded, now, Rules{})
		kept, err := s.state(ctx, tx, r, own, &result)
		if err != nil {
			return err
		}
		if kept != nil {
			s.written.Statements = []Statement{*kept}
		}
		result.Notes = s.notes
		return tx.Write(ctx, s.changes())
	})
	return result, err
}

// state is one statement; nil: it is not kept.
func (s *step) state(ctx context.Context, tx Tx, r *wire.Statement, own bool, result *Taken) (*Statement, error) {
	kept := &Statement{Holder: r.GetHolder(), At: s.now, Proven: true, Said: r}
	h := s.Holders[r.GetHolder()]
	if h != nil {
		said := HolderOf(r, s.now)
		resecreted := !own && h.Disk == said.Disk && attested(s.StampKey, said, r.GetStamp()) > 0
		switch {
		case !own && !resecreted:
			result.Status = wire.SyncResponse_FENCED
			s.notes = append(s.notes, Note{Holder: h.ID, Status: wire.SyncResponse_FENCED, Alone: true,
				Reason: fmt.Sprintf("%s/%s states an account under a number that is %s/%s by now", r.GetRegion(), r.GetNode(), h.Region, h.Node)})
			return nil, nil
		case h.State != Open:
			result.Status = wire.SyncResponse_FENCED
			return nil, nil
		}
		s.prove(h, r.GetStamp())
		if resecreted && !s.Forgotten {
			s.forget(h.ID, fmt.Sprintf("the core has signed for holder %d with a secret that it does not know", h.ID))
		}
		h.SeenAt = max(h.SeenAt, s.now)
		h.Stated = 1 + r.GetStamp().GetAt()
		s.holders[h.ID] = true
		if !s.Forgotten && h.Doubt == "" {
			result.Status = wire.SyncResponse_OK
			h.Stated = 0
			return nil, nil
		}
		return kept, nil
	}
	unknown := HolderOf(r, s.now)
	until := attested(s.StampKey, unknown, r.GetStamp())
	switch {
	case until == 0:
		kept.Proven = false
		n, err := tx.Unproven(ctx)
		if err != nil || n >= maxUnproven {
			return nil, err
		}
		s.notes = append(s.notes, Note{Holder: unknown.ID, Status: wire.SyncResponse_FORGOTTEN, Alone: true,
			Reason: fmt.Sprintf("%s/%s states an account of holder %d, of which nothing is known and which no stamp of this core proves", r.GetRegion(), r.GetNode(), unknown.ID)})
	case until <= s.RecoveredAt && !s.Forgotten:
		result.Status = wire.SyncResponse_FENCED
		unknown.fence("its account was forgotten, and recovered without it")
		if err := tx.AddHolderAs(ctx, unknown); err != nil {
			return nil, err
		}
		return nil, nil
	case !s.Forgotten:
		s.forget(0, fmt.Sprintf("the core has signed what it committed of holder %d until %s, and does not know that holder", unknown.ID, at(until)))
	}
	return kept, nil
}

// HolderOf is the holder that a statement describes, as it was when it was
// registered. Its cursor is what the core had acknowledged.
func HolderOf(r *wire.Statement, now int64) *Holder {
	return &Holder{
		ID: r.GetHolder(), Region: r.GetRegion(), Node: r.GetNode(), Disk: r.GetDisk(), SecretHash: r.GetSecretHash(),
		PublicURL: r.GetPublicUrl(), Version: r.GetVersion(), Boot: r.GetBoot(), BootOrdinal: r.GetBootOrdinal(),
		Batch: r.GetAcked().GetBatch(), Position: r.GetAcked().GetPosition(), Hash: r.GetAcked().GetHash(),
		ForeignPosition: r.GetForeignAck(), ForeignAck: r.GetForeignAck(),
		AppliedCatalog: r.GetCatalog(), AppliedControl: r.GetControl(),
		SeenAt: now, CreatedAt: now,
	}
}

// stated is what a statement says of a budget.
func stated(r *wire.Statement) map[lease.Budget]lease.Totals {
	t := r.GetTotals()
	list := make(map[lease.Budget]lease.Totals, len(t.GetBudget()))
	for i, id := range t.GetBudget() {
		list[lease.Budget(id)] = lease.Totals{Granted: t.Granted[i], Spent: t.Spent[i], Returned: t.Returned[i]}
	}
	return list
}
