package catalog

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// edited is a valid snapshot that differs from the sample by what is drawn.
func edited(t *rapid.T, version uint64) *Snapshot {
	s := sample()
	s.Version = version
	for n := rapid.IntRange(0, 4).Draw(t, "edits"); n > 0; n-- {
		switch rapid.IntRange(0, 7).Draw(t, "edit") {
		case 0:
			s.Flights[0].SoldViews = rapid.Int64Range(1, 1e6).Draw(t, "sold")
		case 1:
			id := uint32(rapid.IntRange(6, 20).Draw(t, "flight"))
			if !slices.ContainsFunc(s.Flights, func(f Flight) bool { return f.ID >= id }) {
				f := s.Flights[len(s.Flights)-1]
				f.ID, f.Slug = id, fmt.Sprint("new-", id)
				s.Flights = append(s.Flights, f)
			}
		case 2:
			s.Flights = slices.Clip(s.Flights[:1])
			s.Ads = slices.DeleteFunc(s.Ads, func(a Ad) bool { return a.Flight != 1 })
		case 3:
			s.Ads = s.Ads[:rapid.IntRange(0, len(s.Ads)).Draw(t, "ads")]
		case 4:
			s.Pages = nil
		case 5:
			s.Advertisers[1].Name = rapid.SampledFrom([]string{"Bolt", "Bölt", ""}).Draw(t, "name")
		case 6:
			s.Topics[0].Keywords = rapid.SampledFrom([][]string{nil, {}, {"css"}}).Draw(t, "keywords")
		case 7:
			s.PublishedAt = rapid.Int64Range(1, 1e13).Draw(t, "at")
		}
	}
	return s
}

// An edge that applies deltas has what the core has, byte for byte of JSON, and
// can hand it on as whole.
func TestDeltaMakesTheNewSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := edited(t, 41), edited(t, 43)
		// The edge's base came as published bytes.
		published, err := Encode(from)
		if err != nil {
			t.Fatal(err)
		}
		base, err := Decode(published)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := json.Marshal(base)
		made, err := Diff(from, to)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := made.Encode()
		if err != nil {
			t.Fatal(err)
		}
		d, err := DecodeDelta(encoded)
		if err != nil {
			t.Fatal(err)
		}
		s, whole, err := d.Apply(base)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := json.Marshal(s)
		want, _ := json.Marshal(to)
		if string(got) != string(want) {
			t.Fatalf("made %s\nwant %s", got, want)
		}
		if after, _ := json.Marshal(base); string(after) != string(before) {
			t.Fatal("the base was changed")
		}
		again, err := Decode(whole)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := json.Marshal(again); string(text) != string(want) {
			t.Fatal("the published bytes hold something else")
		}
	})
}

// deltaOf is a delta with something of everything, and its bytes.
func deltaOf(t testing.TB) (*Delta, []byte) {
	t.Helper()
	to := sample()
	to.Version = 50
	to.Flights[0].SoldViews, to.Flights = 7, to.Flights[:1]
	to.Pages = nil
	d, err := Diff(sample(), to)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return d, b
}

func TestDeltaAsItTravels(t *testing.T) {
	_, b := deltaOf(t)
	const path = "testdata/delta.bin"
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := DecodeDelta(golden)
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := d.Apply(sample())
	if err != nil || s.Version != 50 || len(s.Flights) != 1 || s.Flights[0].SoldViews != 7 || s.Pages != nil {
		t.Errorf("the golden delta makes %+v, %v", s, err)
	}
}

func TestDeltaRefused(t *testing.T) {
	d, b := deltaOf(t)
	changed := func(at int) []byte { c := slices.Clone(b); c[at] ^= 1; return c }
	for _, c := range []struct {
		what string
		b    []byte
		want string
	}{
		{"nothing", nil, "fewer than 64 bytes"},
		{"a catalog", append([]byte("NSCT"), b[4:]...), "does not begin with NSCD"},
		{"another format", changed(7), "format 0, can read 1"},
		{"a changed version", changed(23), "checksum is wrong"},
		{"a changed body", changed(len(b) - 1), "checksum is wrong"},
		{"a cut body", b[:len(b)-1], "checksum is wrong"},
	} {
		if _, err := DecodeDelta(c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, expected %q", c.what, err, c.want)
		}
	}
	other := sample()
	other.Version = 41
	if _, _, err := d.Apply(other); err == nil || !strings.Contains(err.Error(), "the base is catalog 41") {
		t.Errorf("on another version: %v", err)
	}
	other = sample()
	other.Advertisers[0].Name = "not what the core has"
	if _, _, err := d.Apply(other); err == nil || !strings.Contains(err.Error(), "makes another catalog than the core has") {
		t.Errorf("on a base that differs: %v", err)
	}
}

func FuzzDelta(f *testing.F) {
	_, b := deltaOf(f)
	f.Add(b[deltaHeaderSize:], uint64(1000))
	f.Add([]byte(`{"flights":{"put":[{"id":3},{"id":1}],"gone":[9,1]}}`), uint64(0))
	f.Fuzz(func(t *testing.T, body []byte, size uint64) {
		// Behind a checksum that is right: what a broken core could send. The text
		// itself, where the body is no zstd.
		d := &Delta{Base: 42, Version: 43}
		text, err := unpack(body, size)
		if err != nil {
			text = body
		}
		if json.Unmarshal(text, &d.body) != nil {
			return
		}
		if s, _, err := d.Apply(sample()); err == nil && s.Version != 43 {
			t.Error("applied to another version")
		}
	})
}

// BenchmarkDelta is a delta of one changed flight among n, beside the whole.
func BenchmarkDelta(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		from := sample()
		from.Ads = from.Ads[:1]
		f := from.Flights[0]
		for id := uint32(10); len(from.Flights) < n; id++ {
			f.ID, f.Slug = id, fmt.Sprint("flight-", id)
			from.Flights = append(from.Flights, f)
		}
		to := *from
		to.Version++
		to.Flights = slices.Clone(from.Flights)
		to.Flights[n/2].SoldViews++
		whole, err := Encode(&to)
		if err != nil {
			b.Fatal(err)
		}
		d, err := Diff(from, &to)
		if err != nil {
			b.Fatal(err)
		}
		encoded, err := d.Encode()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("apply/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := d.Apply(from); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(encoded)), "bytes")
		})
		b.Run(fmt.Sprintf("whole/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Decode(whole); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(whole)), "bytes")
		})
	}
}
