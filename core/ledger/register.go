package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"time"

	"nearside/sync/exchange"
	"nearside/sync/wire"
)

// Hash is how secrets and join tokens are kept: they are random, so one round
// of SHA-256 is enough.
func Hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// ErrNameHeld refuses a second holder of a name whose first one is alive.
var ErrNameHeld = errors.New("the name is held from another state directory that was here a moment ago")

var (
	goodName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	goodDisk = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// GoodName reports whether text may name a region or a node.
func GoodName(text string) bool { return goodName.MatchString(text) }

// ValidateRegister says what of a registration is wrong.
func ValidateRegister(r *wire.RegisterRequest) error {
	if r.GetProtocol() != exchange.Protocol {
		return ErrProtocol
	}
	return errors.Join(
		expect(goodName.MatchString(r.GetRegion()), "region", "1 to 63 of a-z, 0-9, dot and hyphen"),
		expect(goodName.MatchString(r.GetNode()), "node", "1 to 63 of a-z, 0-9, dot and hyphen"),
		expect(goodDisk.MatchString(r.GetDisk()), "disk", "32 lower-case hex digits"),
		expect(len(r.GetVersion()) <= maxName && printable(r.GetVersion()), "version", "at most 128 printable characters"),
		expect(len(r.GetPublicUrl()) <= 256 && printable(r.GetPublicUrl()), "public_url", "at most 256 printable characters"),
	)
}

// Registered is what Register did.
type Registered struct {
	Holder uint32
	Fenced uint32 // the holder whose name was taken over; 0: none
	Stamp  *wire.Stamp
}

// Register binds a state directory to a holder. The same directory asking again
// (the answer was lost) keeps its holder and gets a new secret. Another one
// takes a name over, and its holder is fenced, unless that one was seen within
// NameHold: ErrNameHeld. A core that lost history registers nobody, whose
// number may be another's: ErrForgotten.
func Register(ctx context.Context, store Store, r *wire.RegisterRequest, secretHash []byte, now int64, rules Rules) (Registered, error) {
	var result Registered
	try := func(tx Tx) error {
		result = Registered{}
		named, err := tx.HolderNamed(ctx, r.GetRegion(), r.GetNode())
		if err != nil {
			return err
		}
		loaded := NewLoaded()
		if err := tx.Load(ctx, Needs{Holders: []uint32{0}}, loaded); err != nil { // no holder; the state of the ledger
			return err
		}
		if loaded.Forgotten {
			return fmt.Errorf("register %s/%s: %w", r.GetRegion(), r.GetNode(), ErrForgotten)
		}
		s := newStep(loaded, now, rules)
		if named != nil {
			s.Holders[named.ID] = named
			s.holders[named.ID] = true
			switch {
			case named.Disk == r.GetDisk():
				named.SecretHash, named.PublicURL, named.Version = secretHash, r.GetPublicUrl(), r.GetVersion()
				named.SeenAt = max(named.SeenAt, now)
				result.Holder, result.Stamp = named.ID, stamp(s.StampKey, named, named.SeenAt)
				return tx.Write(ctx, s.changes())
			case now < named.SeenAt+rules.NameHold.Milliseconds():
				return fmt.Errorf("register %s/%s: %w", r.GetRegion(), r.GetNode(), ErrNameHeld)
			}
			named.fence("another state directory took its name")
			result.Fenced = named.ID
			if err := tx.Write(ctx, s.changes()); err != nil {
				return err
			}
		}
		h := &Holder{
			Region: r.GetRegion(), Node: r.GetNode(), Disk: r.GetDisk(), SecretHash: secretHash,
			PublicURL: r.GetPublicUrl(), Version: r.GetVersion(), SeenAt: now, CreatedAt: now,
		}
		if err := tx.AddHolder(ctx, h); err != nil {
			return err
		}
		result.Holder, result.Stamp = h.ID, stamp(s.StampKey, h, h.SeenAt)
		return nil
	}
	err := store.Update(ctx, try)
	if errors.Is(err, ErrNameTaken) { // by another at the same moment: now it is there to be seen
		err = store.Update(ctx, try)
	}
	return result, err
}

// KeyPeriod is how long one token key seals.
const KeyPeriod = 30 * 24 * time.Hour

// RotateKeys sees to it that a current and a next token key exist, and drops
// those that open nothing any more. A next key is out at least MaxOffline
// before it seals. secret gives 32 random bytes. It returns the keys in force.
func RotateKeys(ctx context.Context, store Store, now int64, rules Rules, secret func() []byte) ([]*wire.TokenKey, error) {
	var keys []*wire.TokenKey
	err := store.Update(ctx, func(tx Tx) error {
		have, err := tx.Keys(ctx)
		if err != nil {
			return err
		}
		put, drop := nextKeys(have, now/1000, rules, secret)
		if len(put)+len(drop) > 0 {
			if err := tx.PutKeys(ctx, put, drop); err != nil {
				return err
			}
		}
		keys, err = tx.Keys(ctx)
		return err
	})
	return keys, err
}

func nextKeys(have []*wire.TokenKey, now int64, rules Rules, secret func() []byte) (put []*wire.TokenKey, drop []uint32) {
	period := int64(KeyPeriod.Seconds())
	grace := int64((rules.MaxOffline + TokenLife).Seconds())
	key := func(id uint32, from int64) *wire.TokenKey {
		return &wire.TokenKey{Id: id, Secret: secret(), SealFrom: from, SealUntil: from + period, VerifyUntil: from + period + grace}
	}
	var newest *wire.TokenKey
	last := uint32(0)
	for _, k := range have {
		last = max(last, k.GetId())
		// Of two that began at once, one was made to seal no more: the first.
		if newest == nil || k.GetSealFrom() >= newest.GetSealFrom() {
			newest = k
		}
		if k.GetVerifyUntil() != 0 && k.GetVerifyUntil() < now {
			drop = append(drop, k.GetId())
		}
	}
	if newest == nil {
		return []*wire.TokenKey{key(1, now), key(2, now+period)}, nil
	}
	drop = without(drop, newest.GetId())
	if newest.GetSealFrom() > now {
		return nil, drop
	}
	// The next key's time has come: it is the current one, and needs a next. A
	// core that was away for long lets the current one seal until then.
	next := key(last%65535+1, max(newest.GetSealUntil(), now+int64(rules.MaxOffline.Seconds())))
	if newest.GetSealUntil() != next.GetSealFrom() {
		newest.SealUntil, newest.VerifyUntil = next.GetSealFrom(), next.GetSealFrom()+grace
		put = append(put, newest)
	}
	return append(put, next), drop
}

// HurryKeys has the next token key seal as soon as it may: when it has been out
// for MaxOffline. With distrust it seals from now on and the present one opens
// nothing any more: views and clicks under way are lost, and so is what edges
// offer that have not heard the next key. It returns when the next key seals,
// in unix seconds.
func HurryKeys(ctx context.Context, store Store, now int64, rules Rules, distrust bool) (from int64, err error) {
	now /= 1000
	err = store.Update(ctx, func(tx Tx) error {
		keys, err := tx.Keys(ctx)
		if err != nil {
			return err
		}
		var current, next *wire.TokenKey
		for _, k := range keys {
			switch {
			case k.GetSealFrom() > now:
				if next == nil || k.GetSealFrom() < next.GetSealFrom() {
					next = k
				}
			case current == nil || k.GetSealFrom() > current.GetSealFrom():
				current = k
			}
		}
		if current == nil || next == nil {
			return ErrNoNextKey
		}
		// It was made when the present one began.
		from = min(max(now, current.GetSealFrom()+int64(rules.MaxOffline.Seconds())), next.GetSealFrom())
		last := from + int64((rules.MaxOffline + TokenLife).Seconds())
		if distrust {
			from, last = now, now
		}
		period := next.GetSealUntil() - next.GetSealFrom()
		grace := next.GetVerifyUntil() - next.GetSealUntil()
		next.SealFrom, next.SealUntil, next.VerifyUntil = from, from+period, from+period+grace
		current.SealUntil, current.VerifyUntil = from, last
		return tx.PutKeys(ctx, []*wire.TokenKey{current, next}, nil)
	})
	return from, err
}

// ErrNoNextKey says that there is no token key that could seal next.
var ErrNoNextKey = errors.New("there is no next token key yet: a core that serves makes it within a minute")

func without(list []uint32, id uint32) []uint32 {
	var rest []uint32
	for _, v := range list {
		if v != id {
			rest = append(rest, v)
		}
	}
	return rest
}
