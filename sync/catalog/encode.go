package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// The layout of published bytes; see the package doc.
const (
	magic      = "NSCT"
	format     = 1
	headerSize = 56

	// MaxBytes bounds published bytes, MaxJSON what they unpack to.
	MaxBytes = 256 << 20
	MaxJSON  = 1 << 30
)

var errShort = fmt.Errorf("catalog: fewer than %d bytes", headerSize)

// Encode validates s and writes its published bytes.
func Encode(s *Snapshot) ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("encode catalog %d: %w", s.Version, err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode catalog %d: %w", s.Version, err)
	}
	b, err := pack(s.Version, text)
	if err != nil {
		return nil, fmt.Errorf("encode catalog %d: %w", s.Version, err)
	}
	return b, nil
}

// pack makes published bytes of a snapshot's JSON.
func pack(version uint64, text []byte) ([]byte, error) {
	if len(text) > MaxJSON {
		return nil, fmt.Errorf("%d bytes of JSON, more than %d", len(text), MaxJSON)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	b := make([]byte, headerSize, headerSize+len(text)/4)
	copy(b, magic)
	binary.BigEndian.PutUint32(b[4:], format)
	binary.BigEndian.PutUint64(b[8:], version)
	binary.BigEndian.PutUint64(b[16:], uint64(len(text)))
	b = encoder.EncodeAll(text, b)
	sum := checksum(b)
	copy(b[24:], sum[:])
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("%d bytes, more than %d", len(b), MaxBytes)
	}
	return b, nil
}

// Decode reads published bytes: it verifies their checksum before it unpacks
// anything, and validates what it finds. Fields it does not know are skipped,
// so that an edge can read the catalog of a core one version ahead.
func Decode(b []byte) (*Snapshot, error) {
	version, err := Version(b)
	if err != nil {
		return nil, err
	}
	if sum := checksum(b); !bytes.Equal(sum[:], b[24:headerSize]) {
		return nil, fmt.Errorf("catalog %d: checksum is wrong", version)
	}
	text, err := unpack(b[headerSize:], binary.BigEndian.Uint64(b[16:]))
	if err != nil {
		return nil, fmt.Errorf("catalog %d: %w", version, err)
	}
	s, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("catalog %d: %w", version, err)
	}
	if s.Version != version {
		return nil, fmt.Errorf("catalog %d: holds version %d", version, s.Version)
	}
	return s, nil
}

func parse(text []byte) (*Snapshot, error) {
	s := new(Snapshot)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, err
	}
	return s, s.Validate()
}

// Version is the snapshot's version according to the header of published
// bytes; the rest of them is not looked at.
func Version(b []byte) (uint64, error) {
	switch {
	case len(b) < headerSize:
		return 0, errShort
	case len(b) > MaxBytes:
		return 0, fmt.Errorf("catalog: %d bytes, more than %d", len(b), MaxBytes)
	case string(b[:4]) != magic:
		return 0, errors.New("catalog: does not begin with " + magic)
	}
	if f := binary.BigEndian.Uint32(b[4:]); f != format {
		return 0, fmt.Errorf("catalog: format %d, can read %d", f, format)
	}
	return binary.BigEndian.Uint64(b[8:]), nil
}

// Checksum is the SHA-256 that published bytes carry, which names them.
func Checksum(b []byte) ([32]byte, error) {
	if _, err := Version(b); err != nil {
		return [32]byte{}, err
	}
	return [32]byte(b[24:headerSize]), nil
}

func checksum(b []byte) [32]byte {
	h := sha256.New()
	h.Write(b[:24])
	h.Write(b[headerSize:])
	return [32]byte(h.Sum(nil))
}
