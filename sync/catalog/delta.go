package catalog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// DeltasFrom is the number of flights from which on a catalog travels as
// deltas to edges that have the version before.
const DeltasFrom = 10_000

const (
	deltaMagic      = "NSCD"
	deltaFormat     = 1
	deltaHeaderSize = 64
)

// Delta is what makes one version of a snapshot out of an earlier one.
type Delta struct {
	Base, Version uint64
	body          deltaBody
}

// deltaBody is the JSON of a delta.
type deltaBody struct {
	PublishedAt int64               `json:"published_at"`
	Text        []byte              `json:"text"` // SHA-256 of the new snapshot's JSON
	Advertisers changes[Advertiser] `json:"advertisers,omitzero"`
	Groups      changes[Group]      `json:"groups,omitzero"`
	Publishers  changes[Publisher]  `json:"publishers,omitzero"`
	Campaigns   changes[Campaign]   `json:"campaigns,omitzero"`
	Flights     changes[Flight]     `json:"flights,omitzero"`
	Ads         changes[Ad]         `json:"ads,omitzero"`
	AdTypes     changes[AdType]     `json:"ad_types,omitzero"`
	Topics      changes[Topic]      `json:"topics,omitzero"`
	GeoRegions  changes[GeoRegion]  `json:"geo_regions,omitzero"`
	NewPages    bool                `json:"new_pages,omitempty"` // Pages are all there are
	Pages       []Page              `json:"pages,omitempty"`
}

// changes are those of one kind of thing.
type changes[T any] struct {
	Gone []uint32 `json:"gone,omitempty"` // ids
	Put  []T      `json:"put,omitempty"`  // new or changed, by id
}

// Diff finds what makes of one snapshot another.
func Diff(from, to *Snapshot) (*Delta, error) {
	text, err := json.Marshal(to)
	if err != nil {
		return nil, fmt.Errorf("delta to catalog %d: %w", to.Version, err)
	}
	sum := sha256.Sum256(text)
	d := &Delta{from.Version, to.Version, deltaBody{
		PublishedAt: to.PublishedAt,
		Text:        sum[:],
		Advertisers: diff(from.Advertisers, to.Advertisers, func(x *Advertiser) uint32 { return x.ID }),
		Groups:      diff(from.Groups, to.Groups, func(x *Group) uint32 { return x.ID }),
		Publishers:  diff(from.Publishers, to.Publishers, func(x *Publisher) uint32 { return x.ID }),
		Campaigns:   diff(from.Campaigns, to.Campaigns, func(x *Campaign) uint32 { return x.ID }),
		Flights:     diff(from.Flights, to.Flights, func(x *Flight) uint32 { return x.ID }),
		Ads:         diff(from.Ads, to.Ads, func(x *Ad) uint32 { return x.ID }),
		AdTypes:     diff(from.AdTypes, to.AdTypes, func(x *AdType) uint32 { return x.ID }),
		Topics:      diff(from.Topics, to.Topics, func(x *Topic) uint32 { return x.ID }),
		GeoRegions:  diff(from.GeoRegions, to.GeoRegions, func(x *GeoRegion) uint32 { return x.ID }),
	}}
	if !reflect.DeepEqual(from.Pages, to.Pages) {
		d.body.NewPages, d.body.Pages = true, to.Pages
	}
	return d, nil
}

// Apply makes the new snapshot of the one that the delta was made from, which
// it does not change but shares things with, and verifies that it is the one
// that the core has. It also gives the new snapshot's published bytes, which
// unpack to the same as the core's.
func (d *Delta) Apply(base *Snapshot) (*Snapshot, []byte, error) {
	if base.Version != d.Base {
		return nil, nil, fmt.Errorf("delta from catalog %d to %d: the base is catalog %d", d.Base, d.Version, base.Version)
	}
	s := &Snapshot{
		Version: d.Version, PublishedAt: d.body.PublishedAt,
		Advertisers: apply(base.Advertisers, d.body.Advertisers, func(x *Advertiser) uint32 { return x.ID }),
		Groups:      apply(base.Groups, d.body.Groups, func(x *Group) uint32 { return x.ID }),
		Publishers:  apply(base.Publishers, d.body.Publishers, func(x *Publisher) uint32 { return x.ID }),
		Campaigns:   apply(base.Campaigns, d.body.Campaigns, func(x *Campaign) uint32 { return x.ID }),
		Flights:     apply(base.Flights, d.body.Flights, func(x *Flight) uint32 { return x.ID }),
		Ads:         apply(base.Ads, d.body.Ads, func(x *Ad) uint32 { return x.ID }),
		AdTypes:     apply(base.AdTypes, d.body.AdTypes, func(x *AdType) uint32 { return x.ID }),
		Topics:      apply(base.Topics, d.body.Topics, func(x *Topic) uint32 { return x.ID }),
		GeoRegions:  apply(base.GeoRegions, d.body.GeoRegions, func(x *GeoRegion) uint32 { return x.ID }),
		Pages:       base.Pages,
	}
	if d.body.NewPages {
		s.Pages = d.body.Pages
	}
	if err := s.Validate(); err != nil {
		return nil, nil, fmt.Errorf("delta from catalog %d to %d: %w", d.Base, d.Version, err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, nil, fmt.Errorf("delta from catalog %d to %d: %w", d.Base, d.Version, err)
	}
	if sum := sha256.Sum256(text); !bytes.Equal(sum[:], d.body.Text) {
		return nil, nil, fmt.Errorf("delta from catalog %d to %d: makes another catalog than the core has", d.Base, d.Version)
	}
	published, err := pack(s.Version, text)
	if err != nil {
		return nil, nil, fmt.Errorf("delta from catalog %d to %d: %w", d.Base, d.Version, err)
	}
	return s, published, nil
}

// diff is for lists that are sorted by id.
func diff[T any](from, to []T, id func(*T) uint32) (c changes[T]) {
	for i, j := 0, 0; i < len(from) || j < len(to); {
		switch {
		case j == len(to) || i < len(from) && id(&from[i]) < id(&to[j]):
			c.Gone = append(c.Gone, id(&from[i]))
			i++
		case i == len(from) || id(&to[j]) < id(&from[i]):
			c.Put = append(c.Put, to[j])
			j++
		default:
			if !reflect.DeepEqual(&from[i], &to[j]) {
				c.Put = append(c.Put, to[j])
			}
			i, j = i+1, j+1
		}
	}
	return c
}

// apply merges changes, from whoever they may come, into a list that is sorted
// by id; what it gives is sorted where the changes are, which Validate checks.
func apply[T any](base []T, c changes[T], id func(*T) uint32) []T {
	if len(c.Gone) == 0 && len(c.Put) == 0 {
		return base
	}
	merged := make([]T, 0, len(base)+len(c.Put))
	put := c.Put
	for i := range base {
		for len(put) > 0 && id(&put[0]) < id(&base[i]) {
			merged, put = append(merged, put[0]), put[1:]
		}
		if len(put) > 0 && id(&put[0]) == id(&base[i]) {
			merged, put = append(merged, put[0]), put[1:]
			continue
		}
		if _, gone := slices.BinarySearchFunc(c.Gone, id(&base[i]), cmp.Compare[uint32]); !gone {
			merged = append(merged, base[i])
		}
	}
	return append(merged, put...)
}

// Encode writes the delta as it travels; the package doc has the layout.
func (d *Delta) Encode() ([]byte, error) {
	text, err := json.Marshal(&d.body)
	if err != nil {
		return nil, fmt.Errorf("encode the delta to catalog %d: %w", d.Version, err)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("encode the delta to catalog %d: %w", d.Version, err)
	}
	b := make([]byte, deltaHeaderSize, deltaHeaderSize+len(text)/4)
	copy(b, deltaMagic)
	binary.BigEndian.PutUint32(b[4:], deltaFormat)
	binary.BigEndian.PutUint64(b[8:], d.Base)
	binary.BigEndian.PutUint64(b[16:], d.Version)
	binary.BigEndian.PutUint64(b[24:], uint64(len(text)))
	b = encoder.EncodeAll(text, b)
	sum := deltaChecksum(b)
	copy(b[32:], sum[:])
	return b, nil
}

// DecodeDelta reads a delta, after its checksum is verified.
func DecodeDelta(b []byte) (*Delta, error) {
	switch {
	case len(b) < deltaHeaderSize:
		return nil, fmt.Errorf("delta: fewer than %d bytes", deltaHeaderSize)
	case len(b) > MaxBytes:
		return nil, fmt.Errorf("delta: %d bytes, more than %d", len(b), MaxBytes)
	case string(b[:4]) != deltaMagic:
		return nil, errors.New("delta: does not begin with " + deltaMagic)
	}
	if f := binary.BigEndian.Uint32(b[4:]); f != deltaFormat {
		return nil, fmt.Errorf("delta: format %d, can read %d", f, deltaFormat)
	}
	d := &Delta{Base: binary.BigEndian.Uint64(b[8:]), Version: binary.BigEndian.Uint64(b[16:])}
	if d.Version <= d.Base {
		return nil, fmt.Errorf("delta: from catalog %d to %d", d.Base, d.Version)
	}
	if sum := deltaChecksum(b); !bytes.Equal(sum[:], b[32:deltaHeaderSize]) {
		return nil, fmt.Errorf("delta to catalog %d: checksum is wrong", d.Version)
	}
	text, err := unpack(b[deltaHeaderSize:], binary.BigEndian.Uint64(b[24:]))
	if err != nil {
		return nil, fmt.Errorf("delta to catalog %d: %w", d.Version, err)
	}
	if err := json.Unmarshal(text, &d.body); err != nil {
		return nil, fmt.Errorf("delta to catalog %d: %w", d.Version, err)
	}
	return d, nil
}

// unpack reads size bytes from a zstd stream, as it unpacks, so that a short
// forgery that claims a large size costs no more than what it holds.
func unpack(packed []byte, size uint64) ([]byte, error) {
	if size > MaxJSON {
		return nil, fmt.Errorf("%d bytes of JSON, more than %d", size, MaxJSON)
	}
	decoder, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	text, err := io.ReadAll(io.LimitReader(decoder, int64(size)+1))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if uint64(len(text)) != size {
		return nil, fmt.Errorf("unpacks to other than the %d bytes it promises", size)
	}
	return text, nil
}

func deltaChecksum(b []byte) [32]byte {
	h := sha256.New()
	h.Write(b[:32])
	h.Write(b[deltaHeaderSize:])
	return [32]byte(h.Sum(nil))
}
