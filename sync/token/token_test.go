package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Key 7 seals 1000..2000, key 8 seals 1900..3000; unix seconds.
func testKeys() []Key {
	var a, b Secret
	for i := range a {
		a[i], b[i] = byte(i+1), byte(200-i)
	}
	return []Key{
		{ID: 8, Secret: b, SealFrom: 1900, SealUntil: 3000, VerifyUntil: 9000},
		{ID: 7, Secret: a, SealFrom: 1000, SealUntil: 2000, VerifyUntil: 5000},
	}
}

func testRing(t testing.TB) *Ring {
	t.Helper()
	r, err := NewRing(testKeys())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func testSealer(t testing.TB, r *Ring) *Sealer {
	t.Helper()
	s, err := r.Sealer(42, 0x0123456789abcdef)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func typical() *Claims {
	return &Claims{
		Seq: 123456, Ad: 4001, Flight: 2001, Publisher: 301, AdType: 2,
		Country: [2]byte{'D', 'E'}, State: [3]byte{'B', 'E'}, OS: 3, Browser: 9, Rotation: 1,
		ViewPrice: 3500, ClickPrice: 2_000_000, Issued: 1_500_250, Flags: FlagViews | FlagClicks | FlagPublisherDay,
		Placement: []byte("ad-sidebar-1"), Domain: []byte("docs.example.com"), Topics: []uint16{3, 700},
	}
}

// said compares what two tokens say, not their scratch space.
func said(c *Claims) string {
	return fmt.Sprintf("holder=%d boot=%x seq=%d ad=%d flight=%d publisher=%d adtype=%d country=%q state=%q os=%d browser=%d rotation=%d "+
		"view=%d click=%d issued=%d flags=%04x placement=%q domain=%q topics=%v",
		c.Holder, c.Boot, c.Seq, c.Ad, c.Flight, c.Publisher, c.AdType, c.Country, c.State, c.OS, c.Browser, c.Rotation,
		c.ViewPrice, c.ClickPrice, c.Issued, c.Flags, c.Placement, c.Domain, c.Topics)
}

var nothing = said(&Claims{})

func TestGolden(t *testing.T) {
	got := string(testSealer(t, testRing(t)).Seal(nil, typical())) + "\n"
	path := filepath.Join("testdata", "token-v1.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the format changed without its version:\n got %s\nwant %s", got, want)
	}
	var c Claims
	if err := testRing(t).Open(&c, bytes.TrimSpace(want), time.Unix(1600, 0)); err != nil {
		t.Fatal(err)
	}
	in := typical()
	in.Holder, in.Boot = 42, 0x0123456789abcdef
	if said(&c) != said(in) {
		t.Errorf("\n got %s\nwant %s", said(&c), said(in))
	}
	if n := len(got) - 1; n >= 180 {
		t.Errorf("a typical token has %d characters, expected fewer than 180", n)
	}
}

func drawClaims(t *rapid.T) *Claims {
	c := &Claims{
		Seq:        rapid.Uint64Range(0, MaxSeq).Draw(t, "seq"),
		Ad:         rapid.Uint32().Draw(t, "ad"),
		Flight:     rapid.Uint32().Draw(t, "flight"),
		Publisher:  rapid.Uint32().Draw(t, "publisher"),
		AdType:     rapid.Uint32().Draw(t, "adtype"),
		OS:         rapid.Byte().Draw(t, "os"),
		Browser:    rapid.Byte().Draw(t, "browser"),
		Rotation:   rapid.Byte().Draw(t, "rotation"),
		ViewPrice:  rapid.Int64().Draw(t, "view"),
		ClickPrice: rapid.Int64().Draw(t, "click"),
		Issued:     rapid.Int64().Draw(t, "issued"),
		Flags:      rapid.Uint16().Draw(t, "flags"),
		Placement:  rapid.SliceOfN(rapid.Byte(), 0, MaxPlacement+9).Draw(t, "placement"),
		Domain:     rapid.SliceOfN(rapid.Byte(), 0, MaxDomain+9).Draw(t, "domain"),
		Topics:     rapid.SliceOfN(rapid.Uint16(), 0, MaxTopics+3).Draw(t, "topics"),
	}
	copy(c.Country[:], rapid.SliceOfN(rapid.Byte(), 2, 2).Draw(t, "country"))
	copy(c.State[:], rapid.SliceOfN(rapid.Byte(), 3, 3).Draw(t, "state"))
	return c
}

func TestRoundTrip(t *testing.T) {
	r := testRing(t)
	var out Claims
	rapid.Check(t, func(t *rapid.T) {
		in := drawClaims(t)
		holder, boot := rapid.Uint32().Draw(t, "holder"), rapid.Uint64Min(1).Draw(t, "boot")
		s, err := r.Sealer(holder, boot)
		if err != nil {
			t.Fatal(err)
		}
		text := s.Seal([]byte("/proxy/view/1/"), in)
		if !bytes.HasPrefix(text, []byte("/proxy/view/1/")) {
			t.Fatalf("Seal overwrote what stood before: %q", text)
		}
		text = text[len("/proxy/view/1/"):]
		if len(text) > MaxText {
			t.Fatalf("%d characters, expected at most %d", len(text), MaxText)
		}
		if err := r.Open(&out, text, time.Unix(1500, 0)); err != nil {
			t.Fatal(err)
		}
		want := *in
		want.Holder, want.Boot = holder, boot
		want.Placement = want.Placement[:min(len(want.Placement), MaxPlacement)]
		want.Domain = want.Domain[:min(len(want.Domain), MaxDomain)]
		want.Topics = want.Topics[:min(len(want.Topics), MaxTopics)]
		if said(&out) != said(&want) {
			t.Fatalf("\n got %s\nwant %s", said(&out), said(&want))
		}
		// What was opened can be sealed again from the same Claims.
		if again := s.Seal(nil, &out); !bytes.Equal(again, text) {
			t.Fatalf("sealed again: %s, expected %s", again, text)
		}
	})
}

func TestLongestFits(t *testing.T) {
	r := testRing(t)
	c := &Claims{
		Seq: MaxSeq, Ad: 1<<32 - 1, Flight: 1<<32 - 1, Publisher: 1<<32 - 1, AdType: 1<<32 - 1,
		ViewPrice: -1, ClickPrice: -1, Issued: -1,
		Placement: bytes.Repeat([]byte("p"), MaxPlacement), Domain: bytes.Repeat([]byte("d"), MaxDomain), Topics: make([]uint16, MaxTopics),
	}
	text := testSealer(t, r).Seal(nil, c)
	if len(text) != MaxText {
		t.Errorf("the longest token has %d characters, MaxText is %d", len(text), MaxText)
	}
	var out Claims
	if err := r.Open(&out, text, time.Unix(0, 0)); err != nil {
		t.Error(err)
	}
	c.Seq = MaxSeq + 1
	if got := testSealer(t, r).Seal([]byte("x"), c); string(got) != "x" {
		t.Errorf("a sequence of 49 bits gave %q, expected no token", got)
	}
}

// Every change of one bit of the bytes and of one character of the text, every
// cut and every addition is refused.
func TestEveryChangeIsRefused(t *testing.T) {
	r := testRing(t)
	text := testSealer(t, r).Seal(nil, typical())
	raw, err := base64.RawURLEncoding.DecodeString(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var c Claims
	refused := func(what string, changed []byte) {
		t.Helper()
		err := r.Open(&c, changed, time.Unix(1500, 0))
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrForged) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s: error %v, expected one of the package's", what, err)
		}
		if said(&c) != nothing {
			t.Errorf("%s: a refused token left %s", what, said(&c))
		}
	}
	for bit := range len(raw) * 8 {
		changed := bytes.Clone(raw)
		changed[bit/8] ^= 1 << (bit % 8)
		refused(fmt.Sprintf("bit %d", bit), []byte(base64.RawURLEncoding.EncodeToString(changed)))
	}
	for i := range text {
		for ch := range 256 {
			if byte(ch) == text[i] {
				continue
			}
			changed := bytes.Clone(text)
			changed[i] = byte(ch)
			refused(fmt.Sprintf("character %d is %#02x", i, ch), changed)
		}
		refused(fmt.Sprintf("cut after %d", i), text[:i])
		for _, add := range []string{"\n", "\r", "=", "A", " ", "\x00"} {
			refused(fmt.Sprintf("%q added at %d", add, i), append(append(bytes.Clone(text[:i]), add...), text[i:]...))
		}
	}
	for _, add := range []string{"\n", "\r\n", "=", "==", "A", "AA", "AAA", "AAAA", strings.Repeat("A", 1<<16)} {
		refused(fmt.Sprintf("%.8q added at the end", add), append(bytes.Clone(text), add...))
	}
	if err := r.Open(&c, text, time.Unix(1500, 0)); err != nil {
		t.Errorf("the unchanged token: %v", err)
	}
}

// Nothing of a token can be carried over to another holder, boot, sequence or key.
func TestNothingCarriesOver(t *testing.T) {
	r := testRing(t)
	a := testSealer(t, r)
	b, err := r.Sealer(42, 0x0123456789abcdee)
	if err != nil {
		t.Fatal(err)
	}
	decode := func(text []byte) []byte {
		raw, err := base64.RawURLEncoding.DecodeString(string(text))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	other := typical()
	other.Seq++
	late := typical()
	late.Issued = 2_500_000
	one := decode(a.Seal(nil, typical()))
	for name, two := range map[string][]byte{
		"boot":     decode(b.Seal(nil, typical())),
		"sequence": decode(a.Seal(nil, other)),
		"key":      decode(a.Seal(nil, late)),
	} {
		mixed := append(bytes.Clone(two[:headerSize]), one[headerSize:]...)
		var c Claims
		err := r.Open(&c, []byte(base64.RawURLEncoding.EncodeToString(mixed)), time.Unix(2500, 0))
		if !errors.Is(err, ErrForged) {
			t.Errorf("body under another %s: %v, expected %v", name, err, ErrForged)
		}
	}
}

func TestWhichKeySeals(t *testing.T) {
	s := testSealer(t, testRing(t))
	for _, tt := range []struct {
		issued int64 // unix seconds
		key    uint16
		why    string
	}{
		{0, 7, "a clock far behind: the first key"},
		{999, 7, "a clock a little behind: the first key"},
		{1000, 7, "its window begins"},
		{1899, 7, "alone in its window"},
		{1900, 8, "both seal: the newer"},
		{2000, 8, "the older has ended"},
		{2999, 8, "last second"},
		{3000, 8, "no newer key ever came: go on with the last"},
		{99999, 8, "the same, much later"},
	} {
		if got := s.at(tt.issued).id; got != tt.key {
			t.Errorf("issued at %d: key %d, expected %d (%s)", tt.issued, got, tt.key, tt.why)
		}
	}
	gap, err := NewRing([]Key{
		{ID: 1, Secret: Secret{1}, SealFrom: 10, SealUntil: 20, VerifyUntil: 90},
		{ID: 2, Secret: Secret{2}, SealFrom: 15, SealUntil: 17, VerifyUntil: 90},
		{ID: 3, Secret: Secret{3}, SealFrom: 30, SealUntil: 40, VerifyUntil: 90},
	})
	if err != nil {
		t.Fatal(err)
	}
	s = testSealer(t, gap)
	for issued, key := range map[int64]uint16{9: 1, 10: 1, 14: 1, 15: 2, 16: 2, 17: 1, 19: 1, 25: 2, 30: 3, 50: 3} {
		if got := s.at(issued).id; got != key {
			t.Errorf("with a gap, issued at %d: key %d, expected %d", issued, got, key)
		}
	}
}

func TestWhichKeyOpens(t *testing.T) {
	r := testRing(t)
	text := testSealer(t, r).Seal(nil, typical()) // key 7, verifies until 5000
	for now, want := range map[int64]error{0: nil, 1500: nil, 5000: nil, 5001: ErrUnknownKey} {
		var c Claims
		if err := r.Open(&c, text, time.Unix(now, 999_999_999)); !errors.Is(err, want) {
			t.Errorf("at %d: %v, expected %v", now, err, want)
		}
	}
	without, err := NewRing(testKeys()[:1])
	if err != nil {
		t.Fatal(err)
	}
	var c Claims
	if err := without.Open(&c, text, time.Unix(1500, 0)); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("without its key: %v, expected %v", err, ErrUnknownKey)
	}
	changed := testKeys()
	changed[1].Secret[31] ^= 1
	imposter, err := NewRing(changed)
	if err != nil {
		t.Fatal(err)
	}
	if err := imposter.Open(&c, text, time.Unix(1500, 0)); !errors.Is(err, ErrForged) {
		t.Errorf("with another secret under its id: %v, expected %v", err, ErrForged)
	}
}

func TestRingRefusesBadKeys(t *testing.T) {
	good := Key{ID: 1, Secret: Secret{1}, SealFrom: 1, SealUntil: 2, VerifyUntil: 3}
	change := func(f func(*Key)) []Key {
		k := good
		f(&k)
		return []Key{k}
	}
	many := make([]Key, MaxKeys+1)
	for i := range many {
		many[i] = good
		many[i].ID = uint16(i)
	}
	for _, tt := range []struct {
		name, says string
		keys       []Key
	}{
		{"none", "0 keys", nil},
		{"too many", "17 keys", many},
		{"zero secret", "secret is all zero", change(func(k *Key) { k.Secret = Secret{} })},
		{"seals never", "seal_until 1", change(func(k *Key) { k.SealUntil = 1 })},
		{"seals for ever, verifies not", "verify_until 9", change(func(k *Key) { k.SealUntil, k.VerifyUntil = 0, 9 })},
		{"verifies too short", "verify_until 1", change(func(k *Key) { k.VerifyUntil = 1 })},
		{"twice", "key 1 appears twice", []Key{good, good}},
	} {
		_, err := NewRing(tt.keys)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, expected it to say %q", tt.name, err, tt.says)
		}
	}
	if _, err := NewRing([]Key{good}); err != nil {
		t.Errorf("a good key: %v", err)
	}
	open, err := NewRing(change(func(k *Key) { k.SealUntil, k.VerifyUntil = 0, 0 }))
	if err != nil {
		t.Fatalf("a key without an end: %v", err)
	}
	var c Claims
	s := testSealer(t, open)
	if err := open.Open(&c, s.Seal(nil, typical()), time.Unix(1<<40, 0)); err != nil {
		t.Errorf("a key without an end, opening: %v", err)
	}
	r, err := NewRing([]Key{good})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sealer(1, 0); err == nil {
		t.Error("a sealer for boot 0 was made")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	k := testKeys()[0]
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "secret", k.Secret)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", k.Secret)
	out := fmt.Sprintf("%v %+v %#v %x %d %s", k, k, k.Secret, k.Secret, k.Secret, k.Secret) + log.String()
	if n := strings.Count(out, "[secret]"); n < 8 {
		t.Errorf("placeholder %d times in %s", n, out)
	}
	for _, trace := range []string{"c8c7c6", "200 199", "200,199", "0xc8", "\xc8\xc7"} {
		if strings.Contains(out, trace) {
			t.Errorf("the secret shows as %q in %s", trace, out)
		}
	}
}

func TestDay(t *testing.T) {
	const day = 86_400_000
	for issued, want := range map[int64]int32{0: 0, day - 1: 0, day: 1, -1: -1, -day: -1, -day - 1: -2, 1_790_000_000_000: 20717} {
		if got := (&Claims{Issued: issued}).Day(); got != want {
			t.Errorf("issued %d: day %d, expected %d", issued, got, want)
		}
	}
}

// Forged tokens leave nothing in the cache; genuine ones never exceed its bound.
func TestCacheIsBounded(t *testing.T) {
	r := testRing(t)
	size := func() int { return len(*r.derived.Load()) }
	raw, err := base64.RawURLEncoding.DecodeString(string(testSealer(t, r).Seal(nil, typical())))
	if err != nil {
		t.Fatal(err)
	}
	var c Claims
	for i := range 1000 {
		raw[7], raw[8] = byte(i), byte(i>>8)
		if err := r.Open(&c, []byte(base64.RawURLEncoding.EncodeToString(raw)), time.Unix(1500, 0)); !errors.Is(err, ErrForged) {
			t.Fatal(err)
		}
	}
	if size() != 0 {
		t.Errorf("forged tokens left %d derived keys", size())
	}
	full := make(map[deriving]bool)
	for i := range maxCached + 10 {
		id := deriving{7, 1, uint64(i)}
		full[id] = true
		r.remember(id, nil)
		if size() > maxCached {
			t.Fatalf("%d derived keys, expected at most %d", size(), maxCached)
		}
	}
	if _, ok := r.cached(deriving{7, 1, maxCached + 9}); !ok {
		t.Error("the newest derived key is not in the cache")
	}
}

func TestManyAtOnce(t *testing.T) {
	r := testRing(t)
	s := testSealer(t, r)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			other, err := r.Sealer(uint32(g), uint64(g+1))
			if err != nil {
				t.Error(err)
				return
			}
			in, out := typical(), new(Claims)
			for i := range 200 {
				in.Seq = uint64(g*1000 + i)
				for _, s := range []*Sealer{s, other} {
					if err := r.Open(out, s.Seal(nil, in), time.Unix(1500, 0)); err != nil || out.Seq != in.Seq || out.Holder != s.holder {
						t.Errorf("holder %d sequence %d: opened %d %d, %v", s.holder, in.Seq, out.Holder, out.Seq, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := len(*r.derived.Load()); n != 9 {
		t.Errorf("%d derived keys, expected one for each of 9 holders", n)
	}
}

func TestAllocatesNothing(t *testing.T) {
	r := testRing(t)
	s := testSealer(t, r)
	in, out := typical(), new(Claims)
	dst := make([]byte, 0, MaxText)
	if n := testing.AllocsPerRun(100, func() { dst = s.Seal(dst[:0], in) }); n != 0 {
		t.Errorf("Seal allocates %v times", n)
	}
	now := time.Unix(1500, 0)
	if n := testing.AllocsPerRun(100, func() {
		if err := r.Open(out, dst, now); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Open allocates %v times", n)
	}
}

func FuzzOpen(f *testing.F) {
	r := testRing(f)
	s := testSealer(f, r)
	f.Add(s.Seal(nil, typical()))
	f.Add(s.Seal(nil, &Claims{}))
	f.Add([]byte("forced"))
	f.Add([]byte(""))
	f.Add([]byte("AQAHAAAAKgEjRWeJq83v"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Claims
		if err := r.Open(&c, text, time.Unix(1500, 0)); err != nil {
			if said(&c) != nothing {
				t.Fatalf("refused (%v), yet it says %s", err, said(&c))
			}
			return
		}
		// Whatever opens is one of ours, so sealing what it says gives it back.
		s, err := r.Sealer(c.Holder, c.Boot)
		if err != nil {
			t.Fatal(err)
		}
		if again := s.Seal(nil, &c); !bytes.Equal(again, text) {
			t.Fatalf("%q opens as what seals to %q", text, again)
		}
	})
}

// FuzzBody feeds the parser behind the seal, which no forger reaches.
func FuzzBody(f *testing.F) {
	f.Add(typical().appendBody(nil))
	f.Add((&Claims{}).appendBody(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		var c, again Claims
		if !c.readBody(body) {
			return
		}
		if !again.readBody(c.appendBody(nil)) || said(&again) != said(&c) {
			t.Fatalf("%x reads as %s, then as %s", body, said(&c), said(&again))
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s := testSealer(b, testRing(b))
	c, dst := typical(), make([]byte, 0, MaxText)
	b.ReportAllocs()
	for b.Loop() {
		c.Seq++
		dst = s.Seal(dst[:0], c)
	}
}

func BenchmarkOpen(b *testing.B) {
	r := testRing(b)
	text := testSealer(b, r).Seal(nil, typical())
	c, now := new(Claims), time.Unix(1500, 0)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Open(c, text, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenForged(b *testing.B) {
	r := testRing(b)
	text := testSealer(b, r).Seal(nil, typical())
	text[len(text)-3] ^= 1
	c, now := new(Claims), time.Unix(1500, 0)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Open(c, text, now); err == nil {
			b.Fatal("opened")
		}
	}
}
