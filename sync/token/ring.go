package token

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Secret is a ring key's secret. It prints as a placeholder, whatever the verb.
type Secret [32]byte

// Format implements fmt.Formatter.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// Key is one key of a Ring. Times are unix seconds.
type Key struct {
	ID     uint16
	Secret Secret
	// Tokens issued in [SealFrom, SealUntil) are sealed with this key. SealFrom
	// lies so late that every node that can hear has heard of the key by then.
	SealFrom  int64
	SealUntil int64
	// VerifyUntil is the last second in which the key opens a token.
	// Both ends may be 0, which means that there is none.
	VerifyUntil int64
}

// MaxKeys is how many keys one ring may hold: previous, current, next, and some
// more in an unplanned rotation.
const MaxKeys = 16

// maxCached bounds the derived keys one ring keeps: one for each boot of each
// holder whose tokens were seen here.
const maxCached = 4096

// Ring is an immutable set of keys. Its user swaps rings as a whole. A ring
// keeps the keys it derived for tokens that proved genuine; a forged token
// leaves nothing behind.
type Ring struct {
	keys []Key // by SealFrom, then ID

	mu      sync.Mutex // serialises writers of derived
	derived atomic.Pointer[map[deriving]cipher.AEAD]
}

// deriving names a derived key.
type deriving struct {
	key    uint16
	holder uint32
	boot   uint64
}

// NewRing checks the keys and makes a ring of them.
func NewRing(keys []Key) (*Ring, error) {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return nil, fmt.Errorf("token ring: %d keys, expected 1 to %d", len(keys), MaxKeys)
	}
	keys = slices.Clone(keys)
	for i := range keys {
		k := &keys[i]
		if k.SealUntil == 0 {
			k.SealUntil = math.MaxInt64
		}
		if k.VerifyUntil == 0 {
			k.VerifyUntil = math.MaxInt64
		}
		switch {
		case k.Secret == Secret{}:
			return nil, fmt.Errorf("token ring: key %d: secret is all zero", k.ID)
		case k.SealUntil <= k.SealFrom:
			return nil, fmt.Errorf("token ring: key %d: seal_until %d, expected after seal_from %d", k.ID, k.SealUntil, k.SealFrom)
		case k.VerifyUntil < k.SealUntil:
			return nil, fmt.Errorf("token ring: key %d: verify_until %d, expected at or after seal_until %d", k.ID, k.VerifyUntil, k.SealUntil)
		}
		for _, other := range keys[:i] {
			if other.ID == k.ID {
				return nil, fmt.Errorf("token ring: key %d appears twice", k.ID)
			}
		}
	}
	r := &Ring{keys: keys}
	slices.SortFunc(r.keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.SealFrom, b.SealFrom), cmp.Compare(a.ID, b.ID))
	})
	r.derived.Store(&map[deriving]cipher.AEAD{})
	return r, nil
}

func (r *Ring) key(id uint16) *Key {
	for i := range r.keys {
		if r.keys[i].ID == id {
			return &r.keys[i]
		}
	}
	return nil
}

// cached reads without a lock: the map behind the pointer never changes.
func (r *Ring) cached(id deriving) (cipher.AEAD, bool) {
	aead, ok := (*r.derived.Load())[id]
	return aead, ok
}

// remember copies the map, which is rare: once for each new boot of a holder.
// A full cache starts over; what is still in use comes back by itself.
func (r *Ring) remember(id deriving, aead cipher.AEAD) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.derived.Load()
	next := make(map[deriving]cipher.AEAD, len(old)+1)
	if len(old) < maxCached {
		maps.Copy(next, old)
	}
	next[id] = aead
	r.derived.Store(&next)
}

func derive(secret Secret, id deriving) (cipher.AEAD, error) {
	info := []byte("nearside token v1")
	info = binary.BigEndian.AppendUint16(info, id.key)
	info = binary.BigEndian.AppendUint32(info, id.holder)
	info = binary.BigEndian.AppendUint64(info, id.boot)
	key, err := hkdf.Key(sha256.New, secret[:], nil, string(info), 32)
	if err != nil {
		return nil, fmt.Errorf("derive token key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive token key: %w", err)
	}
	return cipher.NewGCM(block)
}

// Sealer seals the tokens of one boot of one holder. It is immutable: many
// goroutines may share it, each with its own Claims. A new ring needs a new
// Sealer.
type Sealer struct {
	holder uint32
	boot   uint64
	keys   []sealing // by from
}

type sealing struct {
	from, until int64
	id          uint16
	aead        cipher.AEAD
}

// Sealer derives the keys of (holder, boot). Boot must be random at each start
// and never zero, since a sequence number starts over with it.
func (r *Ring) Sealer(holder uint32, boot uint64) (*Sealer, error) {
	if boot == 0 {
		return nil, errors.New("token sealer: boot is 0, expected a random number")
	}
	s := &Sealer{holder: holder, boot: boot}
	for _, k := range r.keys {
		aead, err := derive(k.Secret, deriving{k.ID, holder, boot})
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, sealing{k.SealFrom, k.SealUntil, k.ID, aead})
	}
	return s, nil
}

// at picks the key for a token issued at t: the newest whose window holds t,
// else the newest that has begun, else (a clock far behind) the first.
func (s *Sealer) at(t int64) *sealing {
	best := &s.keys[0]
	for i := range s.keys {
		k := &s.keys[i]
		if k.from > t {
			break
		}
		if t < k.until || t >= best.until {
			best = k
		}
	}
	return best
}
