package ledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"nearside/sync/wire"
)

// stampKeySize is that of the secret under all stamps, which edges never see.
const stampKeySize = sha256.Size

// stamp is the core's signature under what it has committed of h until at. Its
// text, version 1, is "nearside stamp 1", 4 bytes of the holder's id, 8 of at,
// then region, node, disk and the secret's hash, each after 4 bytes of its
// length; numbers are big-endian.
func stamp(key []byte, h *Holder, at int64) *wire.Stamp {
	mac := hmac.New(sha256.New, key)
	text := append(make([]byte, 0, 256), "nearside stamp 1"...)
	text = binary.BigEndian.AppendUint32(text, h.ID)
	text = binary.BigEndian.AppendUint64(text, uint64(at))
	for _, part := range [...]string{h.Region, h.Node, h.Disk, string(h.SecretHash)} {
		text = binary.BigEndian.AppendUint32(text, uint32(len(part)))
		text = append(text, part...)
	}
	_, _ = mac.Write(text) // never fails
	return &wire.Stamp{At: at, Mac: mac.Sum(nil)}
}

// attested is until when the core itself has signed that it knew h; 0: never,
// or not with this key.
func attested(key []byte, h *Holder, s *wire.Stamp) int64 {
	if s.GetAt() <= 0 || len(key) != stampKeySize || !hmac.Equal(stamp(key, h, s.GetAt()).GetMac(), s.GetMac()) {
		return 0
	}
	return s.GetAt()
}
