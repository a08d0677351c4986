package visitor

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClientAddress(t *testing.T) {
	const remote = "10.0.0.1"
	tests := []struct {
		name      string
		addresses Addresses
		header    string
		forwarded []string
		want      string
	}{
		{"no proxy: the connection's", Addresses{}, "", nil, remote},
		{"no proxy: the header is whatever a client says", Addresses{}, "", []string{"8.8.8.8"}, remote},
		{"one proxy: its entry is the last", Addresses{Proxies: 1}, "", []string{"8.8.8.8"}, "8.8.8.8"},
		{"one proxy: what the client forged is to the left", Addresses{Proxies: 1}, "", []string{"1.1.1.1, 8.8.8.8"}, "8.8.8.8"},
		{"one proxy: forged in a header of its own", Addresses{Proxies: 1}, "", []string{"1.1.1.1", "8.8.8.8"}, "8.8.8.8"},
		{"two proxies: the second from the right", Addresses{Proxies: 2}, "", []string{"9.9.9.9,8.8.8.8 , 10.1.1.1"}, "8.8.8.8"},
		{"two proxies, two headers", Addresses{Proxies: 2}, "", []string{"9.9.9.9,8.8.8.8", "10.1.1.1"}, "8.8.8.8"},
		{"two proxies, one took part", Addresses{Proxies: 2}, "", []string{"8.8.8.8"}, "8.8.8.8"},
		{"one proxy, no header", Addresses{Proxies: 1}, "", nil, remote},
		{"one proxy, empty header", Addresses{Proxies: 1}, "", []string{""}, remote},
		{"one proxy, nonsense", Addresses{Proxies: 1}, "", []string{"8.8.8.8, nonsense"}, remote},
		{"one proxy, trailing comma", Addresses{Proxies: 1}, "", []string{"8.8.8.8,"}, remote},
		{"port", Addresses{Proxies: 1}, "", []string{"8.8.8.8:1234"}, "8.8.8.8"},
		{"IPv6", Addresses{Proxies: 1}, "", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 with port", Addresses{Proxies: 1}, "", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"IPv4 in IPv6", Addresses{Proxies: 1}, "", []string{"::ffff:8.8.8.8"}, "8.8.8.8"},
		{"zone", Addresses{Proxies: 1}, "", []string{"fe80::1%eth0"}, remote},
		{"named header", Addresses{Header: "CF-Connecting-IP"}, "8.8.4.4", []string{"1.1.1.1"}, "8.8.4.4"},
		{"named header wins over proxies", Addresses{Header: "CF-Connecting-IP", Proxies: 1}, "8.8.4.4", []string{"1.1.1.1"}, "8.8.4.4"},
		{"named header missing", Addresses{Header: "CF-Connecting-IP", Proxies: 1}, "", []string{"1.1.1.1"}, remote},
		{"named header with a list", Addresses{Header: "CF-Connecting-IP"}, "8.8.4.4, 1.1.1.1", nil, remote},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var forwarded [][]byte
			for _, f := range tt.forwarded {
				forwarded = append(forwarded, []byte(f))
			}
			got := tt.addresses.Client(netip.MustParseAddr(remote), []byte(tt.header), forwarded)
			if got != netip.MustParseAddr(tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// With one trusted proxy, whatever a client wrote before it changes nothing.
func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"", "1.2.3.4", "1.2.3.4,5.6.7.8", "[::1]:80", "fe80::1%25eth0", ",,,,", "a, b", "1.2.3.4:99999999", "::ffff:1.2.3.4", "[", "[]", "[1.2.3.4]", ":", "1:2"} {
		f.Add(s, 1)
		f.Add(s, 3)
	}
	remote := netip.MustParseAddr("192.0.2.1")
	f.Fuzz(func(t *testing.T, s string, proxies int) {
		a := Addresses{Proxies: int(uint(proxies) % 5)}
		got := a.Client(remote, nil, [][]byte{[]byte(s)})
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%q: got %v", s, got)
		}
		a.Proxies = 1
		if got := a.Client(remote, nil, [][]byte{[]byte(s + ", 8.8.8.8")}); got != netip.MustParseAddr("8.8.8.8") {
			t.Fatalf("%q moved the trusted entry: %v", s, got)
		}
	})
}

func TestPlaces(t *testing.T) {
	places, err := OpenPlaces("")
	if err != nil {
		t.Fatal(err)
	}
	defer places.Close()
	tests := []struct{ addr, country, continent string }{
		{"8.8.8.8", "US", "NA"},
		{"193.0.6.139", "NL", "EU"},
		{"202.12.29.205", "AU", "OC"},
		{"2001:4860:4860::8888", "US", "NA"},
		{"::ffff:193.0.6.139", "NL", "EU"},
		{"127.0.0.1", "", ""},
		{"10.1.2.3", "", ""},
		{"::1", "", ""},
	}
	for range 2 { // decoded, then from the cache
		for _, tt := range tests {
			var want Place
			copy(want.Country[:], tt.country)
			copy(want.Continent[:], tt.continent)
			if got := places.Of(netip.MustParseAddr(tt.addr)); got != want {
				t.Errorf("%s: got %s/%s, want %s/%s", tt.addr, got.Country, got.Continent, tt.country, tt.continent)
			}
		}
		places.cache.Wait()
	}
	if got := places.Of(netip.Addr{}); got != (Place{}) {
		t.Errorf("no address: got %v", got)
	}
	if !strings.Contains(places.Describe(), " of 20") {
		t.Errorf("Describe() = %q", places.Describe())
	}
	addr := netip.MustParseAddr("8.8.8.8")
	if n := testing.AllocsPerRun(100, func() { places.Of(addr) }); n != 0 {
		t.Errorf("a known place allocates %v times", n)
	}
}

func TestOpenPlacesFails(t *testing.T) {
	if _, err := OpenPlaces("/does/not/exist"); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := placesOf([]byte("not a database")); err == nil {
		t.Error("nonsense: no error")
	}
}

func TestContinents(t *testing.T) {
	for country, want := range map[string]string{
		"US": "NA", "CA": "NA", "MX": "NA", "CU": "NA", "BR": "SA", "AR": "SA", "DE": "EU", "RU": "EU", "GB": "EU", "IN": "AS",
		"JP": "AS", "TR": "AS", "ZA": "AF", "EG": "AF", "AU": "OC", "NZ": "OC", "AQ": "AN", "ZZ": "\x00\x00", "T1": "\x00\x00",
	} {
		if got := ContinentOf([2]byte{country[0], country[1]}); string(got[:]) != want {
			t.Errorf("%s: got %q, want %q", country, got[:], want)
		}
	}
}

func TestParseCountry(t *testing.T) {
	for in, want := range map[string]string{
		"US": "US", "us": "US", "T1": "T1", "XX": "", "": "", "U": "", "USA": "", "U1": "", "\xff\xff": "",
	} {
		got, ok := ParseCountry([]byte(in))
		if ok != (want != "") || ok && string(got[:]) != want {
			t.Errorf("%q: got %q %v, want %q", in, got[:], ok, want)
		}
	}
}

const (
	chromeMac     = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_13_4) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/66.0.3359.181 Safari/537.36"
	chromeWindows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	firefoxLinux  = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0"
	iPhone        = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1"
	iPad          = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1"
	pixel         = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36"
	galaxyTab     = "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	firefoxMobile = "Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0"
	googlebot     = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	applebot      = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)"
	lighthouse    = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Chrome-Lighthouse"
	edge          = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0"
)

func TestAgents(t *testing.T) {
	agents, err := NewAgents()
	if err != nil {
		t.Fatal(err)
	}
	defer agents.Close()
	tests := []struct {
		name, ua, os, browser string
		flags                 string // m mobile, t tablet, b bot, r recognized
	}{
		{"Chrome on a Mac", chromeMac, "Mac OS X", "Chrome", "r"},
		{"Chrome on Windows", chromeWindows, "Windows", "Chrome", "r"},
		{"Edge", edge, "Windows", "Edge", "r"},
		{"Firefox on Ubuntu", firefoxLinux, "Ubuntu", "Firefox", "r"},
		{"iPhone", iPhone, "iOS", "Mobile Safari", "mr"},
		{"iPad: a tablet, not mobile", iPad, "iOS", "Mobile Safari", "tr"},
		{"Android phone", pixel, "Android", "Chrome Mobile", "mr"},
		{"Android tablet: Mobile Safari is missing", galaxyTab, "Android", "Chrome", "tr"},
		{"Firefox on Android", firefoxMobile, "Android", "Firefox Mobile", "mr"},
		{"Googlebot", googlebot, "Other", "Googlebot", "b"},
		{"Applebot looks like Safari", applebot, "Mac OS X", "Applebot", "br"},
		{"a crawler without bot in its name", lighthouse, "Mac OS X", "Chrome", "br"},
		{"curl", "curl/8.5.0", "Other", "curl", "b"},
		{"nonsense", "Unrecognized UA", "Other", "Other", ""},
		{"empty", "", "Other", "Other", ""},
		{"binary", "\xff\x00\xfe", "Other", "Other", ""},
	}
	now := time.Now()
	for range 2 {
		for _, tt := range tests {
			now = now.Add(time.Second) // the budget is another test's
			t.Run(tt.name, func(t *testing.T) {
				a := agents.Of([]byte(tt.ua), now)
				flags := ""
				for _, f := range []struct {
					on   bool
					name string
				}{{a.Mobile, "m"}, {a.Tablet, "t"}, {a.Bot, "b"}, {a.Recognized(), "r"}} {
					if f.on {
						flags += f.name
					}
				}
				if flags != tt.flags {
					t.Errorf("flags %q, want %q", flags, tt.flags)
				}
				if tt.flags == "b" || strings.Contains(tt.name, "bot") {
					return // a bot's families are whatever ua-parser calls them
				}
				if a.OS.String() != tt.os || a.Browser.String() != tt.browser {
					t.Errorf("got %s on %s, want %s on %s", a.Browser, a.OS, tt.browser, tt.os)
				}
			})
		}
		agents.cache.Wait()
	}
	ua := []byte(chromeMac)
	if n := testing.AllocsPerRun(100, func() { agents.Of(ua, now) }); n != 0 {
		t.Errorf("a known agent allocates %v times", n)
	}
}

// Only the first 256 bytes count, so that a long agent costs no more.
func TestAgentIsCut(t *testing.T) {
	agents, err := NewAgents()
	if err != nil {
		t.Fatal(err)
	}
	defer agents.Close()
	long := []byte(chromeMac + strings.Repeat(" ", maxAgent) + "bot")
	if agents.Of(long, time.Now()).Bot {
		t.Error("what follows the first 256 bytes was read")
	}
}

func TestBudget(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBudget()
	if !b.take(now) {
		t.Fatal("a fresh budget is empty")
	}
	b.spend(budgetBurst)
	if b.take(now) {
		t.Error("spent, and still granted")
	}
	if b.take(now.Add(-time.Hour)) {
		t.Error("a clock that went back filled it")
	}
	if !b.take(now.Add(10 * time.Millisecond)) {
		t.Error("not refilled")
	}
	b.spend(10 * time.Millisecond)
	if b.take(now.Add(10 * time.Millisecond)) {
		t.Error("refilled by more than its share")
	}
	if b.take(now.Add(time.Hour)); b.left != budgetBurst {
		t.Errorf("after an hour %v, want %v", b.left, budgetBurst)
	}
	b.spend(time.Hour)
	if b.left < -budgetBurst {
		t.Errorf("debt %v grows beyond %v", b.left, budgetBurst)
	}
}

// Over the budget an unseen agent is nobody's, and is not remembered as such.
func TestOverBudget(t *testing.T) {
	agents, err := NewAgents()
	if err != nil {
		t.Fatal(err)
	}
	defer agents.Close()
	now := time.Now()
	agents.budget.take(now)
	agents.budget.spend(budgetBurst)
	if a := agents.Of([]byte(chromeMac), now); a != (Agent{}) || a.Recognized() {
		t.Errorf("over the budget: %+v", a)
	}
	if a := agents.Of([]byte(chromeMac), now.Add(time.Minute)); !a.Recognized() {
		t.Errorf("later: %+v", a)
	}
}

func FuzzAgent(f *testing.F) {
	for _, s := range []string{chromeMac, iPhone, googlebot, "", "\xff", strings.Repeat("a(", 128), strings.Repeat("Mozilla/5.0 ", 40), "bot"} {
		f.Add([]byte(s))
	}
	agents, err := NewAgents()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(agents.Close)
	now := time.Now()
	f.Fuzz(func(t *testing.T, ua []byte) {
		now = now.Add(time.Second) // the budget is another test's
		a := agents.Of(ua, now)
		if strings.Contains(strings.ToLower(string(ua[:min(len(ua), maxAgent)])), "bot") && !a.Bot {
			t.Errorf("%q is not a bot", ua)
		}
		if a.OS.String() == "" || a.Browser.String() == "" {
			t.Errorf("%q: a family without a name", ua)
		}
	})
}

// Family numbers are in tokens: these must never change.
func TestFamilyNumbers(t *testing.T) {
	if osOf("Windows") != 3 || osOf("Xbox") != 48 || osOf("Other") != 1 || osOf("Nonesuch") != 2 {
		t.Errorf("OS: %d %d %d %d", osOf("Windows"), osOf("Xbox"), osOf("Other"), osOf("Nonesuch"))
	}
	if browserOf("Chrome") != 3 || browserOf("Ecosia Android") != 62 || browserOf("Other") != 1 || browserOf("Nonesuch") != 2 {
		t.Errorf("browser: %d %d %d %d", browserOf("Chrome"), browserOf("Ecosia Android"), browserOf("Other"), browserOf("Nonesuch"))
	}
	if len(osIDs) != len(osNames)+2 || len(browserIDs) != len(browserNames)+2 {
		t.Error("a family appears twice")
	}
}

func TestPseudonyms(t *testing.T) {
	p := NewPseudonyms([32]byte{1})
	a, b := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.8.9")
	ua := []byte(chromeMac)
	id := p.Client(a, ua, 20000)
	for name, other := range map[string]uint64{
		"another address": p.Client(b, ua, 20000),
		"another agent":   p.Client(a, []byte(iPad), 20000),
		"another day":     p.Client(a, ua, 20001),
		"another key":     NewPseudonyms([32]byte{2}).Client(a, ua, 20000),
	} {
		if other == id {
			t.Errorf("%s has the same id", name)
		}
	}
	if again := p.Client(a, ua, 20000); again != id {
		t.Errorf("the same client has two ids: %x, %x", id, again)
	}
	if n := testing.AllocsPerRun(100, func() { p.Client(a, ua, 20000) }); n != 0 {
		t.Errorf("allocates %v times", n)
	}
	p.Client(netip.Addr{}, nil, 0)
}

func TestReadSignals(t *testing.T) {
	for _, tt := range []struct {
		dnt, gpc string
		want     Signals
	}{{"", "", 0}, {"1", "", DNT}, {"", "1", GPC}, {"1", "1", DNT | GPC}, {"0", "0", 0}, {"11", "yes", 0}} {
		if got := ReadSignals([]byte(tt.dnt), []byte(tt.gpc)); got != tt.want {
			t.Errorf("DNT %q, GPC %q: got %d, want %d", tt.dnt, tt.gpc, got, tt.want)
		}
	}
}

func BenchmarkUnseenAgent(b *testing.B) {
	agents, err := NewAgents()
	if err != nil {
		b.Fatal(err)
	}
	defer agents.Close()
	for b.Loop() {
		agents.judge(chromeMac)
	}
}

func BenchmarkCrawlers(b *testing.B) {
	c, err := parseCrawlers(crawlerList)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d words, %d expressions", len(c.words), len(c.regexps))
	for b.Loop() {
		c.match(chromeMac)
	}
}
