package serve

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"nearside/edge/visitor"
	"nearside/sync/token"
)

// Every reason, in the order of http.md: each row also has what the rows below
// it object to, so that the order is what is tested.
func TestReasons(t *testing.T) {
	const evil = "http://evil.example.com/"
	w := newWorld(t, func(c *Config) {
		c.RateLimits = true
		c.InternalIPs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		c.BlockedIPs = []netip.Prefix{netip.MustParsePrefix("9.9.9.9/32"), netip.MustParsePrefix("9.9.8.0/24")}
		c.BlockedAgents = []*regexp.Regexp{regexp.MustCompile("Firefox")}
		c.BlockedReferrers = []*regexp.Regexp{regexp.MustCompile("evil")}
	})
	// Without a publisher in the catalog.
	orphan := func(c *token.Claims) { c.Publisher = 999 }
	wrongOS := func(c *token.Claims) { c.OS = uint8(visitor.OtherOS) }
	wrongBrowser := func(c *token.Claims) { c.Browser = uint8(visitor.OtherBrowser) }
	both := func(c *token.Claims) { wrongOS(c); wrongBrowser(c) }
	dutchOnly := func(c *token.Claims) { c.Ad, c.Flight = 103, 3 }
	tests := []struct {
		reason  string
		name    string
		claims  func(*token.Claims)
		age     time.Duration
		headers []string
	}{
		{"Unknown offer", "a token of another ad", func(c *token.Claims) { c.Ad = 102 }, 3 * time.Hour, []string{"User-Agent", "Googlebot"}},
		{"Old/Invalid nonce", "after two hours", orphan, 2*time.Hour + time.Second, []string{"User-Agent", "Googlebot"}},
		{"Old/Invalid nonce", "from the future", orphan, -time.Hour, nil},
		{"Bot impression", "a crawler inside", orphan, 0, []string{"User-Agent", "Googlebot/2.1", "X-Forwarded-For", "10.1.1.1"}},
		{"Internal IP", "nonsense inside", orphan, 0, []string{"User-Agent", "Unrecognized UA", "X-Forwarded-For", "10.1.1.1"}},
		{"Unrecognized user agent", "nonsense with a token", orphan, 0, []string{"User-Agent", "Unrecognized UA", "Authorization", "Token closed-token"}},
		{"Known user impression", "a publisher at his own page", orphan, 0, []string{"User-Agent", firefox, "Authorization", "Token closed-token"}},
		{"Blocked UA impression", "blocked in every way", orphan, 0, []string{"User-Agent", firefox, "Referer", evil, "X-Forwarded-For", "9.9.9.9"}},
		{"Blocked referrer impression", "from a blocked page and address", orphan, 0, []string{"Referer", evil, "X-Forwarded-For", "9.9.9.9"}},
		{"Blocked IP impression", "a blocked address", orphan, 0, []string{"X-Forwarded-For", "9.9.9.9"}},
		{"Blocked IP impression", "a blocked network", orphan, 0, []string{"X-Forwarded-For", "9.9.8.7"}},
		{"Unknown publisher", "nobody's", func(c *token.Claims) { orphan(c); dutchOnly(c) }, 0, nil},
		{"Invalid targeting impression", "an American at a Dutch flight", func(c *token.Claims) { dutchOnly(c); both(c) }, 0, nil},
		{"Mismatched OS", "both changed", both, 0, []string{"X-Forwarded-For", "7.0.0.1"}},
		{"Mismatched browser", "the browser changed", wrongBrowser, 0, []string{"X-Forwarded-For", "7.0.0.2"}},
		{"Billed view", "nobody had looked at the agent", func(c *token.Claims) { c.OS, c.Browser = 0, 0 }, 0, []string{"X-Forwarded-For", "7.0.0.3"}},
		{"Billed view", "right", nil, 0, []string{"X-Forwarded-For", "7.0.0.4"}},
		{"Billed view", "just in time", nil, 2 * time.Hour, []string{"X-Forwarded-For", "7.0.0.5"}},
	}
	agent := w.server.visitors.Agents.Of([]byte(chrome), noon)
	for i, tt := range tests {
		t.Run(tt.reason+": "+tt.name, func(t *testing.T) {
			c := token.Claims{
				Seq: uint64(1000 + i), Ad: 101, Flight: 1, Publisher: 1, AdType: 1, OS: uint8(agent.OS), Browser: uint8(agent.Browser),
				Issued: noon.Add(-tt.age).UnixMilli(), Flags: token.FlagViews,
			}
			if tt.claims != nil {
				tt.claims(&c)
			}
			at := 101
			if strings.HasPrefix(tt.name, "an American") || tt.reason == "Unknown publisher" {
				at = 103
			}
			nonce := w.judge.sealer.Seal(nil, &c)
			r := w.get(fmt.Sprintf("/proxy/view/%d/%s/", at, nonce), tt.headers...)
			if r.status != 200 || r.reason() != tt.reason {
				t.Errorf("got %d %q, want %q", r.status, r.reason(), tt.reason)
			}
		})
	}
	for name, nonce := range map[string]string{"nonsense": "invalidnonce", "the nonce of a forced ad": "forced", "too long": strings.Repeat("a", token.MaxText+1)} {
		if r := w.get("/proxy/view/101/" + nonce + "/"); r.status != 200 || r.reason() != "Unknown offer" {
			t.Errorf("%s: %d %q", name, r.status, r.reason())
		}
	}
}

// One offer from beginning to end, as the client and the reader's browser do.
func TestOfferViewClick(t *testing.T) {
	w := newWorld(t)
	o, second := w.offer(ask1), w.offer(ask1)
	view, click, viewTime := path(o, "view_url"), path(o, "link"), path(o, "view_time_url")
	for _, step := range []struct {
		name, path string
		headers    []string
		status     int
		reason     string
	}{
		{"click before the view", click, nil, 302, "Waits for its view"},
		{"click before the view, again", click, nil, 302, "Old/Invalid nonce"},
		{"view time before the view", viewTime + "?view_time=10", nil, 200, "Invalid view time"},
		{"view", view, nil, 200, "Billed view"},
		{"view again", view, nil, 200, "Old/Invalid nonce"},
		{"view again, as a bot", view, []string{"User-Agent", "Googlebot"}, 200, "Old/Invalid nonce"},
		{"no view time", viewTime, nil, 200, "Invalid view time"},
		{"view time that is no number", viewTime + "?view_time=a", nil, 200, "Invalid view time"},
		{"negative view time", viewTime + "?view_time=-1", nil, 200, "Invalid view time"},
		{"view time of nothing", viewTime + "?view_time=0", nil, 200, "Invalid view time"},
		{"view time of another offer", "/proxy/viewtime/101/nonsense/?view_time=10", nil, 200, "Invalid view time"},
		{"view time, clamped", viewTime + "?view_time=99999999999999999999", nil, 200, "Updated view time"},
		{"view time again", viewTime + "?view_time=10", nil, 200, "Invalid view time"},
		{"the click that came before the view", click, nil, 302, "Old/Invalid nonce"},
		{"another view", path(second, "view_url"), nil, 200, "Billed view"},
		{"another click", path(second, "link"), nil, 302, "Billed click"},
		{"click again", path(second, "link"), nil, 302, "Old/Invalid nonce"},
		{"without the last slash", strings.TrimSuffix(click, "/"), nil, 302, "Old/Invalid nonce"},
		{"click of a wrong nonce", "/proxy/click/101/nonsense/", nil, 302, "Unknown offer"},
		{"unknown ad", "/proxy/view/9999/nonsense/", nil, 404, ""},
		{"unknown ad", "/proxy/click/9999/nonsense/", nil, 404, ""},
	} {
		r := w.get(step.path, step.headers...)
		if r.status != step.status || r.reason() != step.reason {
			t.Errorf("%s: got %d %q, want %d %q", step.name, r.status, r.reason(), step.status, step.reason)
		}
		if r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", step.name, r.header.Get("Cache-Control"))
		}
		switch {
		case r.status == 200 && (r.header.Get("Content-Type") != "image/svg+xml" || !strings.HasPrefix(r.body, "<svg")):
			t.Errorf("%s: %s %s", step.name, r.header.Get("Content-Type"), r.body)
		case r.status == 302 && !strings.HasPrefix(r.header.Get("Location"), "https://views.example.com/landing?utm_source="):
			t.Errorf("%s: Location %s", step.name, r.header.Get("Location"))
		}
	}
}

func TestLandingOfClicks(t *testing.T) {
	w := newWorld(t)
	o := w.offer(ask1)
	if got, want := w.get(path(o, "link"), "X-Forwarded-For", dutch).header.Get("Location"),
		"https://views.example.com/landing?utm_source=open&c=NL-EU&ea-publisher=open"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := w.get("/proxy/click/101/nonsense/", "X-Forwarded-For", "127.0.0.1").header.Get("Location"),
		"https://views.example.com/landing?utm_source=unknown&c=None-None&ea-publisher=unknown"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestVerdicts(t *testing.T) {
	for verdict, want := range map[Reason]string{
		Billed: "Billed view", Exhausted: "Budget exhausted", Killed: "Flight killed", Passed: "Passed to its home", HomeLost: "Home lost", Waiting: "Waits for its view",
	} {
		w := newWorld(t)
		w.judge.verdict = verdict
		if r := w.get(path(w.offer(ask1), "view_url")); r.status != 200 || r.reason() != want {
			t.Errorf("%d: got %d %q, want %q", verdict, r.status, r.reason(), want)
		}
	}
}

// A view whose record cannot be kept is 503; a click leads on all the same.
func TestBrokenJournal(t *testing.T) {
	w := newWorld(t)
	o := w.offer(ask1)
	w.judge.broken = errors.New("no space left")
	if r := w.get(path(o, "view_url")); r.status != 503 || r.reason() != "Not recorded" || r.header.Get("Retry-After") == "" || strings.Contains(r.body, "space") {
		t.Errorf("view: %d %s %s", r.status, r.reason(), r.body)
	}
	w.judge.broken = nil
	if r := w.get(path(o, "view_url")); r.reason() != "Billed view" {
		t.Errorf("the retry: %s", r.reason())
	}
	w.judge.broken = errors.New("no space left")
	if r := w.get(path(o, "link")); r.status != 302 || r.reason() != "Not recorded" {
		t.Errorf("click: %d %s", r.status, r.reason())
	}
	w.judge.broken, w.judge.ring = nil, nil
	if r := w.get(path(o, "view_url")); r.status != 503 {
		t.Errorf("without keys: %d", r.status)
	}
}

// A HEAD, as scanners of links send it, is answered and counts nothing.
func TestHead(t *testing.T) {
	w := newWorld(t)
	o := w.offer(ask1)
	for _, name := range []string{"view_url", "link", "view_time_url"} {
		r := w.do("HEAD", path(o, name)+"?view_time=5", "")
		if r.status >= 400 || r.body != "" || r.reason() != "" {
			t.Errorf("%s: %d %q %q", name, r.status, r.body, r.reason())
		}
	}
	if r := w.get(path(o, "view_url")); r.reason() != "Billed view" {
		t.Errorf("view after HEAD: %s", r.reason())
	}
}

func TestRateLimits(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RateLimits = true })
	view := func(addr string) string {
		t.Helper()
		return w.get(path(w.offer(ask1), "view_url"), "X-Forwarded-For", addr).reason()
	}
	for i := range 5 {
		if got := view("7.7.7.7"); got != "Billed view" {
			t.Fatalf("view %d: %s", i+1, got)
		}
	}
	if got := view("7.7.7.7"); got != "Ratelimited view impression" {
		t.Errorf("sixth view: %s", got)
	}
	if got := view("7.7.7.8"); got != "Billed view" {
		t.Errorf("another address: %s", got)
	}
	w.clock.Add(5 * 60 * 1000)
	if got := view("7.7.7.7"); got != "Billed view" {
		t.Errorf("after five minutes: %s", got)
	}
	for i := range 5 {
		if got := view(fmt.Sprintf("2001:db8::%x", i)); got != "Billed view" {
			t.Fatalf("IPv6 view %d: %s", i+1, got)
		}
	}
	if got := view("2001:db8::ffff"); got != "Ratelimited view impression" {
		t.Errorf("another address of the same /64: %s", got)
	}

	click := func() string {
		t.Helper()
		o := w.offer(ask1)
		w.clock.Add(5 * 60 * 1000) // views are not what is limited here
		w.get(path(o, "view_url"), "X-Forwarded-For", "7.7.9.9")
		return w.get(path(o, "link"), "X-Forwarded-For", "7.7.9.9").reason()
	}
	clickNow := func() string {
		t.Helper()
		o := w.offer(ask1)
		w.judge.at(w.judge.seq.Load()).viewed = true
		return w.get(path(o, "link"), "X-Forwarded-For", "7.7.9.9").reason()
	}
	if got := click(); got != "Billed click" {
		t.Fatalf("first click: %s", got)
	}
	if got := clickNow(); got != "Ratelimited click impression" {
		t.Errorf("second click within a minute: %s", got)
	}
}

// The four rates of clicks, each with the minute that passes between two.
func TestClickRates(t *testing.T) {
	l := newLimiter(clickRates)
	now := int64(1_000_000)
	click := func(after int64) bool { now += after; return !l.over(1, now) }
	counted := 0
	for range 100 {
		if click(200) { // at most three in ten minutes, ten in an hour
			counted++
		}
	}
	// 100 clicks 200 s apart are 5.5 hours: no more than 10 an hour and 25 a day.
	if counted != 25 {
		t.Errorf("%d clicks in a day, want 25", counted)
	}
	if click(24 * 3600); !click(61) {
		t.Error("a day later")
	}
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter(viewRates)
	for i := range uint64(200_000) {
		l.over(i, int64(i))
	}
	held := 0
	for i := range l.sets {
		for _, set := range l.sets[i] {
			for _, c := range set {
				if c.key != 0 {
					held++
				}
			}
		}
	}
	if most := limiterShards * limiterSets * limiterWays; held > most || held < most/2 {
		t.Errorf("%d keys held, of at most %d", held, most)
	}
	if n := testing.AllocsPerRun(100, func() { l.over(1, 1) }); n != 0 {
		t.Errorf("allocates %v times", n)
	}
}

func TestRateLimitOfASN(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.LimitedASNs = map[uint32]bool{0: true} // the built-in database knows none
		c.ASNRates = []Rate{{1, 60}}
	})
	if r := w.get(path(w.offer(ask1), "view_url")); r.reason() != "Billed view" {
		t.Errorf("first: %s", r.reason())
	}
	if r := w.get(path(w.offer(ask1), "view_url")); r.reason() != "ASN Ratelimited impression" {
		t.Errorf("second: %s", r.reason())
	}
}

// The home of the offer is another node: Peek knows nothing, and the verdict
// is what the Judge says.
func TestForeignOffers(t *testing.T) {
	w := newWorld(t)
	w.judge.blind = true
	o := w.offer(ask1)
	for i, want := range []string{"Billed view", "Old/Invalid nonce"} {
		if r := w.get(path(o, "view_url")); r.reason() != want {
			t.Errorf("view %d: %s, want %s", i+1, r.reason(), want)
		}
	}
}

func TestConcurrentCopiesOfAView(t *testing.T) {
	w := newWorld(t)
	view := path(w.offer(ask1), "view_url")
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for range 50 {
		wg.Go(func() {
			r := w.get(view)
			mu.Lock()
			got[r.reason()]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if got["Billed view"] != 1 || got["Old/Invalid nonce"] != 49 {
		t.Errorf("%v", got)
	}
}

// Clicks of an ad that went lead nowhere; those of an ended flight still do.
func TestClickAfterCatalogChange(t *testing.T) {
	w := newWorld(t)
	o := w.offer(ask1)
	s := sample()
	s.Flights[0].Live = false
	w.apply(s)
	if r := w.get(path(o, "view_url")); r.reason() != "Billed view" {
		t.Errorf("view of an ended flight: %s", r.reason())
	}
	s = sample()
	s.Ads = s.Ads[1:]
	w.apply(s)
	if r := w.get(path(o, "link")); r.status != 404 {
		t.Errorf("click of an ad that went: %d", r.status)
	}
}
