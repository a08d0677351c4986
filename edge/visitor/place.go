package visitor

import (
	_ "embed"
	"fmt"
	"net/netip"
	"os"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/oschwald/maxminddb-golang/v2"
	"golang.org/x/text/language"
)

//go:embed data/country.mmdb.zst
var builtIn []byte

// Place is where an address is. Zero fields are unknown.
type Place struct {
	Country   [2]byte // ISO 3166-1 alpha-2, or T1 for Tor where a CDN says so
	Continent [2]byte // AF, AN, AS, EU, NA, OC or SA
	State     [3]byte // ISO 3166-2 without the country, padded with zero bytes
	Metro     int32   // Nielsen's code, in the United States
	ASN       uint32
}

// Places looks addresses up. Close releases it.
type Places struct {
	db     *maxminddb.Reader
	cache  *ristretto.Cache[uint64, *kept[Place]] // by the record's offset in the database
	recent recent[Place]
}

// OpenPlaces opens the MMDB file, or the built-in database where the name is
// empty. Files of the GeoIP2 City and Country shapes are understood, and flat
// ones with country_code.
func OpenPlaces(file string) (*Places, error) {
	var buf []byte
	var err error
	if file == "" {
		buf, err = unpackBuiltIn()
	} else {
		buf, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("open geo database: %w", err)
	}
	return placesOf(buf)
}

func placesOf(buf []byte) (*Places, error) {
	db, err := maxminddb.OpenBytes(buf)
	if err != nil {
		return nil, fmt.Errorf("open geo database: %w", err)
	}
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *kept[Place]]{
		NumCounters: 10 * maxPlaces, MaxCost: maxPlaces, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open geo database: %w", err)
	}
	return &Places{db: db, cache: cache}, nil
}

// maxPlaces is how many distinct places are kept decoded.
const maxPlaces = 1 << 14

func unpackBuiltIn() ([]byte, error) {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.DecodeAll(builtIn, nil)
}

// Close stops the cache.
func (p *Places) Close() { p.cache.Close() }

// Describe names the database and the day it was built, for --check.
func (p *Places) Describe() string {
	m := p.db.Metadata
	return m.DatabaseType + " of " + m.BuildTime().UTC().Format("2006-01-02")
}

// record is the union of the shapes that are understood.
type record struct {
	CountryCode string `maxminddb:"country_code"`
	Country     struct {
		ISOCode string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Continent struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"continent"`
	Subdivisions []struct {
		ISOCode string `maxminddb:"iso_code"`
	} `maxminddb:"subdivisions"`
	Location struct {
		MetroCode uint32 `maxminddb:"metro_code"`
	} `maxminddb:"location"`
	ASN uint32 `maxminddb:"autonomous_system_number"`
}

// Of is the place of an address, the zero Place where it is not known.
func (p *Places) Of(addr netip.Addr) Place {
	if !addr.IsValid() {
		return Place{}
	}
	res := p.db.Lookup(addr.Unmap())
	if !res.Found() || res.Err() != nil {
		return Place{}
	}
	key := uint64(res.Offset())
	if k := p.recent.get(key); k != nil {
		return k.value
	}
	if k, ok := p.cache.Get(key); ok {
		p.recent.put(k)
		return k.value
	}
	return p.decode(res, key)
}

func (p *Places) decode(res maxminddb.Result, key uint64) Place {
	var r record
	if err := res.Decode(&r); err != nil {
		return Place{}
	}
	place := Place{Metro: int32(min(r.Location.MetroCode, 1<<31-1)), ASN: r.ASN}
	code := r.Country.ISOCode
	if code == "" {
		code = r.CountryCode
	}
	place.Country, _ = ParseCountry([]byte(code))
	place.Continent, _ = ParseCountry([]byte(r.Continent.Code))
	if place.Continent == [2]byte{} {
		place.Continent = ContinentOf(place.Country)
	}
	if len(r.Subdivisions) > 0 && len(r.Subdivisions[0].ISOCode) <= len(place.State) {
		copy(place.State[:], r.Subdivisions[0].ISOCode)
	}
	k := &kept[Place]{key, place}
	p.cache.Set(key, k, 1)
	p.recent.put(k)
	return place
}

// ParseCountry reads a two-letter code in either case. T1 is kept; XX, which
// CDNs send for unknown, and anything else is not a country.
func ParseCountry(b []byte) (c [2]byte, ok bool) {
	if len(b) != 2 {
		return c, false
	}
	c[0], c[1] = upper(b[0]), upper(b[1])
	switch {
	case c == [2]byte{'X', 'X'}:
		return [2]byte{}, false
	case c == [2]byte{'T', '1'}:
		return c, true
	case c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z':
		return [2]byte{}, false
	}
	return c, true
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// continents has the continent of every two-letter code, from the containment
// data of CLDR (UN M.49).
var continents = func() (t [26 * 26][2]byte) {
	groups := []struct {
		m49  string
		code string
	}{{"002", "AF"}, {"142", "AS"}, {"150", "EU"}, {"003", "NA"}, {"005", "SA"}, {"009", "OC"}}
	for i := range t {
		r, err := language.ParseRegion(string([]byte{byte('A' + i/26), byte('A' + i%26)}))
		if err != nil || !r.IsCountry() {
			continue
		}
		for _, g := range groups {
			if language.MustParseRegion(g.m49).Contains(r) {
				t[i] = [2]byte{g.code[0], g.code[1]}
				break
			}
		}
	}
	t['Q'-'A'] = [2]byte{'A', 'N'} // AQ, Antarctica, is in no group
	return t
}()

// ContinentOf is the continent that a country is on, zero where there is none.
func ContinentOf(country [2]byte) [2]byte {
	i, j := int(country[0])-'A', int(country[1])-'A'
	if i < 0 || i >= 26 || j < 0 || j >= 26 {
		return [2]byte{}
	}
	return continents[i*26+j]
}
