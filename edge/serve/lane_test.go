package serve

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"nearside/sync/token"
)

const laneLine = "GET " + decisionPath + "?" + ask1 + " HTTP/1.1\r\n"

func newLaneServer(t testing.TB, change ...func(*Config)) *Server {
	t.Helper()
	cfg := config()
	cfg.DebugHeaders, cfg.Now = false, func() time.Time { return noon }
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg, newJudge(t), silentTally{}, who, func() bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	c, err := compile(newBooks())
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(c)
	t.Cleanup(s.Close)
	return s
}

// viaLane and viaServer are the whole answers to a request as it was sent; nil
// where the lane leaves it to the server.
func viaLane(s *Server, b []byte) []byte {
	return bytes.Clone(s.lane(s.works.Get().(*work), netip.MustParseAddr("192.0.2.1"), b))
}

func viaServer(s *Server, b []byte) ([]byte, error) {
	ctx := &fasthttp.RequestCtx{}
	ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, silent{})
	r := bufio.NewReaderSize(bytes.NewReader(b), maxHeaders)
	if err := ctx.Request.Read(r); err != nil {
		return nil, err
	}
	if r.Buffered() > 0 {
		return nil, errors.New("it is more than one request")
	}
	if ctx.Request.ConnectionClose() {
		return nil, errors.New("it closes the connection")
	}
	ctx.Response.Header.SetNoDefaultContentType(true)
	s.Handle(ctx)
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	if err := errors.Join(ctx.Response.Write(w), w.Flush()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

var (
	nonceInAnswer  = regexp.MustCompile(`"nonce":"([A-Za-z0-9_-]*)"`)
	differsByTime  = regexp.MustCompile(`(?m)^(Date: |Server-Timing: decide;dur=)[^\r]*|^(Content-Length: )[0-9]+`)
	lengthInAnswer = regexp.MustCompile(`\r\nContent-Length: ([0-9]+)\r\n`)
)

// told is an answer without what no two answers have in common: the time, and the
// nonce, in place of which what it promises is returned.
func told(t testing.TB, s *Server, answer []byte) (rest string, promised token.Claims) {
	t.Helper()
	head, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	if m := lengthInAnswer.FindSubmatch(answer); m == nil || string(m[1]) != strconv.Itoa(len(body)) {
		t.Fatalf("a body of %d bytes in %s", len(body), answer)
	}
	if m := nonceInAnswer.FindSubmatch(body); m != nil {
		var c token.Claims
		if err := s.judge.Open(&c, m[1], s.now()); err != nil && string(m[1]) != "forced" {
			t.Fatalf("nonce %s: %v", m[1], err)
		}
		promised = token.Claims{
			Ad: c.Ad, Flight: c.Flight, Publisher: c.Publisher, AdType: c.AdType, Country: c.Country, State: c.State, OS: c.OS, Browser: c.Browser,
			Rotation: c.Rotation, ViewPrice: c.ViewPrice, ClickPrice: c.ClickPrice, Flags: c.Flags,
			Placement: bytes.Clone(c.Placement), Domain: bytes.Clone(c.Domain),
		}
		body = bytes.ReplaceAll(body, m[1], []byte("NONCE"))
	}
	return differsByTime.ReplaceAllString(string(head), "$1$2") + "\r\n\r\n" + string(body), promised
}

// agree checks that the lane answers as the server does.
func agree(t testing.TB, s *Server, request []byte) (laned bool) {
	t.Helper()
	sent := bytes.Clone(request)
	answer := viaLane(s, request)
	if !bytes.Equal(request, sent) {
		t.Fatalf("the lane has changed the request:\n%q\n%q", sent, request)
	}
	if answer == nil {
		return false
	}
	want, err := viaServer(s, request)
	if err != nil {
		t.Fatalf("the lane has answered what the server does not: %v\n%q\n%s", err, sent, answer)
	}
	got, promised := told(t, s, answer)
	expected, alike := told(t, s, want)
	for tries := 0; got != expected && tries < 100; tries++ { // of several ads, each draws its own
		if want, err = viaServer(s, request); err != nil {
			t.Fatal(err)
		}
		expected, alike = told(t, s, want)
	}
	if got != expected {
		t.Errorf("%q:\nthe lane:   %q\nthe server: %q", sent, got, expected)
	}
	promised.Placement, alike.Placement = append(promised.Placement, '|'), append(alike.Placement, '|')
	if string(promised.Placement)+string(promised.Domain) != string(alike.Placement)+string(alike.Domain) {
		t.Errorf("%q: the lane's nonce is for %s%s, the server's for %s%s", sent, promised.Placement, promised.Domain, alike.Placement, alike.Domain)
	}
	promised.Placement, promised.Domain, alike.Placement, alike.Domain = nil, nil, nil, nil
	if a, b := claims(&promised), claims(&alike); a != b {
		t.Errorf("%q: the lane's nonce says %+v, the server's %+v", sent, a, b)
	}
	return true
}

// claims is what of a token can be compared.
func claims(c *token.Claims) any {
	return [...]any{c.Ad, c.Flight, c.Publisher, c.AdType, c.Country, c.State, c.OS, c.Browser, c.Rotation, c.ViewPrice, c.ClickPrice, c.Flags}
}

// What the lane answers, and what it leaves to the server. All of it is answered
// alike.
func TestLane(t *testing.T) {
	const host = "Host: ads.example.com\r\n"
	get := func(query string) string { return "GET " + decisionPath + "?" + query + " HTTP/1.1\r\n" + host }
	tests := []struct {
		name, request string // without the last empty line
		laned         bool
	}{
		{"as browsers send it", laneLine + host + "User-Agent: " + chrome + "\r\nX-Forwarded-For: " + american + "\r\nAccept: */*\r\nReferer: https://docs.example.com/a\r\nCookie: a=b\r\nDNT: 1\r\nSec-GPC: 1\r\nConnection: keep-alive\r\nX-Forwarded-Proto: https\r\n", true},
		{"with nothing but a host", laneLine + host, true},
		{"with a port", laneLine + "Host: ads.example.com:8080\r\n", true},
		{"an address for a host", laneLine + "Host: 127.0.0.1:8080\r\n", true},
		{"names of headers in any case", laneLine + "hOST: ads.example.com\r\nuser-agent: " + phone + "\r\nX-FORWARDED-FOR: " + dutch + "\r\n", true},
		{"no ad", get("publisher=open&div_ids=a&ad_types=nothing"), true},
		{"several placements", get("publisher=open&div_ids=a|b&ad_types=nothing|image-v1&priorities=1|10"), true},
		{"a Dutch reader", get("publisher=open&div_ids=a&ad_types=text-v1") + "X-Forwarded-For: 8.8.8.8, " + dutch + "\r\n", true},
		{"words with escapes", get("publisher=open&div_ids=a%22b%3c&ad_types=text-v1&keywords=dock%65r|x%20y+z&url=https%3A%2F%2Fdocs.example.com%2F"), true},
		{"escapes that are none", get("publisher=open&div_ids=a%zz%4&ad_types=image-v1&keywords=%"), true},
		{"a page with a host", get("publisher=open&div_ids=a&ad_types=text-v1&url=https://docs.example.com/x"), true},
		{"the referer for a page", get("publisher=open&div_ids=a&ad_types=text-v1") + "Referer: https://docs.example.com/x\r\n", true},
		{"a referer that is none", get("publisher=open&div_ids=a&ad_types=text-v1") + "Referer: docs\r\n", true},
		{"parameters that nobody knows", get("x&=&&y=1=2&" + ask1 + "&"), true},
		{"the last of two counts", get("publisher=gone&" + ask1), true},
		{"a forced ad", get(ask1 + "&force_ad=ad-views"), true},
		{"a reader's address is for servers", get(ask1 + "&user_ip=1.2.3.4"), true},
		{"a publisher's bids", get("publisher=bids&div_ids=a&ad_types=image-v1"), true},
		{"a word that is not ASCII", laneLine + host + "User-Agent: \xc3\xa4\xff\r\n", true},
		{"rotations", get(ask1 + "&rotations=3&placement_index=0"), true},

		{"another method", "HEAD " + laneLine[4:] + host, false},
		{"another path", "GET /api/v1/decision?" + ask1 + " HTTP/1.1\r\n" + host, false},
		{"another version", laneLine[:len(laneLine)-3] + "0\r\n" + host, false},
		{"no host", laneLine, false},
		{"two hosts", laneLine + host + host, false},
		{"a host in capitals", laneLine + "Host: ADS.example.com\r\n", false},
		{"a host that cannot be used", laneLine + "Host: a/b\r\n", false},
		{"two agents", laneLine + host + "User-Agent: a\r\nUser-Agent: b\r\n", false},
		{"two lists of proxies", laneLine + host + "X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: " + dutch + "\r\n", false},
		{"a token", laneLine + host + "Authorization: Token closed-token\r\n", false},
		{"a body", laneLine + host + "Content-Length: 0\r\n", false},
		{"a body in pieces", laneLine + host + "Transfer-Encoding: chunked\r\n", false},
		{"who closes", laneLine + host + "Connection: close\r\n", false},
		{"who upgrades", laneLine + host + "Upgrade: h2c\r\n", false},
		{"who expects", laneLine + host + "Expect: 100-continue\r\n", false},
		{"a folded header", laneLine + host + "X: a\r\n b\r\n", false},
		{"a bare line feed", laneLine + "Host: ads.example.com\nX: a\r\n", false},
		{"a bare carriage return", laneLine + host + "X: a\rb\r\n", false},
		{"a control character", laneLine + host + "X: a\x01b\r\n", false},
		{"a tab", laneLine + host + "X: a\tb\r\n", false},
		{"a space before the colon", laneLine + host + "X : a\r\n", false},
		{"no space after it", laneLine + host + "X:a\r\n", false},
		{"two spaces after it", laneLine + host + "X:  a\r\n", false},
		{"a space at the end", laneLine + host + "X: a \r\n", false},
		{"an empty header", laneLine + host + "Referer: \r\n", false},
		{"a header without a name", laneLine + host + ": a\r\n", false},
		{"a header without a colon", laneLine + host + "X\r\n", false},
		{"JSONP", get(ask1 + "&format=jsonp"), false},
		{"a callback", get(ask1 + "&callback=x"), false},
		{"an escape in a name", get("publishe%72=open&" + ask1), false},
		{"a fragment", get(ask1 + "#x"), false},
		{"a byte that is not ASCII", get(ask1 + "&x=\xc3\xa4"), false},
		{"two spaces", "GET " + decisionPath + "?" + ask1 + "  HTTP/1.1\r\n" + host, false},
		{"an unknown publisher", get("publisher=nobody&div_ids=a&ad_types=image-v1"), false},
		{"a publisher that needs a token", get("publisher=closed&div_ids=a&ad_types=image-v1"), false},
		{"no publisher", get("div_ids=a&ad_types=image-v1"), false},
		{"no placement", get("publisher=open"), false},
		{"a bad number", get(ask1 + "&rotations=x"), false},
		{"a bad page", get(ask1 + "&url=x"), false},
	}
	s := newLaneServer(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := agree(t, s, []byte(tt.request+"\r\n")); got != tt.laned {
				t.Errorf("by the lane: %v, want %v", got, tt.laned)
			}
		})
	}
	whole := []byte(laneLine + host + "X-Forwarded-For: " + american + "\r\n\r\n")
	for n := range whole {
		if viaLane(s, whole[:n]) != nil {
			t.Errorf("the lane has answered the first %d bytes of a request", n)
		}
	}
	if viaLane(s, append(bytes.Clone(whole), 'G')) != nil {
		t.Error("the lane has answered one request of two")
	}
	if n := s.Stats().Panics.Load(); n != 0 {
		t.Errorf("%d panics", n)
	}
}

// The lane knows the headers that an operator has named.
func TestLaneReadsNamedHeaders(t *testing.T) {
	s := newLaneServer(t, func(c *Config) {
		c.Addresses.Header, c.CountryHeader, c.PublicURL = "CF-Connecting-IP", "cf-ipcountry", "https://eu.example.com/ads/"
	})
	const dutchOnly = "GET " + decisionPath + "?publisher=open&div_ids=a&ad_types=text-v1 HTTP/1.1\r\nHost: x\r\n"
	for headers, laned := range map[string]bool{
		"cf-connecting-ip: " + dutch + "\r\n":                              true,
		"CF-Connecting-IP: " + american + "\r\nCF-IPCountry: NL\r\n":       true,
		"CF-Connecting-IP: " + american + "\r\nCF-IPCountry: XX\r\n":       true,
		"CF-IPCountry: nl\r\n":                                             true,
		"CF-IPCountry: NL\r\nCF-IPCountry: US\r\n":                         false,
		"CF-Connecting-IP: 8.8.8.8\r\nCF-Connecting-IP: " + dutch + "\r\n": false,
	} {
		if got := agree(t, s, []byte(dutchOnly+headers+"\r\n")); got != laned {
			t.Errorf("%q: by the lane: %v, want %v", headers, got, laned)
		}
	}
}

func FuzzLane(f *testing.F) {
	const host = "Host: ads.example.com\r\n"
	f.Add([]byte(laneLine + host + "User-Agent: " + chrome + "\r\nX-Forwarded-For: " + american + ", 1.1.1.1\r\nReferer: https://docs.example.com/\r\nDNT: 1\r\nConnection: keep-alive\r\n\r\n"))
	f.Add([]byte("GET " + decisionPath + "?publisher=open&div_ids=a%20b|c&ad_types=text-v1|image-v1&priorities=2|3&keywords=docker|%zz+&url=https%3a%2f%2fdocs.example.com%2f&rotations=2&campaign_types=paid|house HTTP/1.1\r\n" + host + "\r\n"))
	f.Add([]byte("GET " + decisionPath + "?publisher=many&div_ids=a&ad_types=image-v1&placement_index=3&force_campaign=house-campaign&&=&x HTTP/1.1\r\nhost: a:1\r\nX-Forwarded-Proto: https\r\n\r\n"))
	f.Add([]byte(laneLine + host + "X: a\r\n b\r\n\r\n"))
	s := newLaneServer(f)
	f.Fuzz(func(t *testing.T, request []byte) {
		agree(t, s, request)
		if n := s.Stats().Panics.Load(); n != 0 {
			t.Fatalf("%d panics", n)
		}
	})
}

// wired is a connection that the lane looks at, and its other end.
func wired(t *testing.T, s *Server) (*conn, net.Conn) {
	t.Helper()
	d, c, client := accepted(t)
	d.now.Store(time.Now().UnixNano())
	c.server, c.between = s, true
	return c, client
}

// A connection hands on what is not for the lane, whatever was before it.
func TestLaneOfAConnection(t *testing.T) {
	s := newLaneServer(t)
	c, client := wired(t, s)
	answers := bufio.NewReader(client)
	const plain = laneLine + "Host: ads.example.com\r\n\r\n"
	const other = "GET /readyz HTTP/1.1\r\nHost: ads.example.com\r\n\r\n"
	type read struct {
		n   int
		err error
	}
	done := make(chan read)
	b := make([]byte, maxHeaders)
	go func() {
		n, err := c.Read(b)
		done <- read{n, err}
	}()
	for range 3 {
		if _, err := io.WriteString(client, plain); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), `"id":"ad-views"`) {
			t.Fatalf("%d %s %v", res.StatusCode, body, err)
		}
	}
	if _, err := io.WriteString(client, other); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.err != nil || string(b[:got.n]) != other {
		t.Fatalf("%q, %v", b[:got.n], got.err)
	}
	// Within a request nothing begins, whatever it looks like.
	c.between = false
	if _, err := io.WriteString(client, plain); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(b); err != nil || string(b[:n]) != plain {
		t.Fatalf("%q, %v", b[:n], err)
	}
	c.between = true
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

// Who says no more after a request is answered, and then the connection is at its
// end, whether that came with the request or after it.
func TestLaneOfAConnectionThatEnds(t *testing.T) {
	s := newLaneServer(t)
	for range 3 {
		c, client := wired(t, s)
		if _, err := io.WriteString(client, laneLine+"Host: ads.example.com\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := client.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, maxHeaders)); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("%d, %v, want the end", n, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(client)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(string(answer), "}") {
			t.Errorf("%q, %v", answer, err)
		}
	}
	// A limit ends a wait of the lane too.
	c, client := wired(t, s)
	if err := c.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, maxHeaders)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want the limit's error", err)
	}
	// So does a client that is gone.
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(client.(*net.TCPConn).SetLinger(0), client.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, maxHeaders)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want that the client is gone", err)
	}
}

// An answer for which the socket has no room waits until the client has read.
func TestTheLaneWaitsForRoom(t *testing.T) {
	c, client := wired(t, newLaneServer(t))
	answer := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error)
	go func() {
		err := raw.Control(func(fd uintptr) { sent <- c.send(fd, answer) })
		sent <- errors.Join(err, c.Close())
	}()
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(client)
		got <- b
	}()
	if err := errors.Join(<-sent, <-sent); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(<-got, answer) {
		t.Error("it has arrived as something else")
	}
}

// Who closes a connection while the lane is answering lets the answer be sent.
func TestClosingLetsTheLaneAnswer(t *testing.T) {
	s := newLaneServer(t)
	c, client := wired(t, s)
	now := s.now
	s.now = func() time.Time { // it is called while the lane is answering
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		return now()
	}
	if _, err := io.WriteString(client, laneLine+"Host: ads.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, maxHeaders)); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%d, %v, want that the connection is closed", n, err)
	}
	if err := c.Close(); err != nil { // as the server does then
		t.Error(err)
	}
	answer, err := io.ReadAll(client)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 OK\r\n") || !strings.Contains(string(answer), `"id":"ad-views"`) {
		t.Errorf("%q, %v", answer, err)
	}
}

// Over a real port: answers go by the lane from the second request on, limits
// hold, and a shutdown closes connections.
func TestLaneBehindAPort(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.DebugHeaders = false })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.server.Serve(l) }() // until it is shut down
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	answers := bufio.NewReader(client)
	for i, request := range []string{
		laneLine + "Host: ads.example.com\r\n\r\n",
		laneLine + "Host: ads.example.com\r\n\r\n",
		"GET " + decisionPath + "?publisher=nobody HTTP/1.1\r\nHost: ads.example.com\r\n\r\n",
		laneLine + "Host: ads.example.com\r\n\r\n" + laneLine + "Host: ads.example.com\r\n\r\n",
		"",
		laneLine + "Host: ads.example.com\r\n\r\n",
	} {
		if _, err := io.WriteString(client, request); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 400, false: 200}[i == 2]; res.StatusCode != want {
			t.Errorf("answer %d: %d, want %d", i, res.StatusCode, want)
		}
	}
	if n := w.server.Stats().Answers[Filled].Load(); n != 5 {
		t.Errorf("%d answers with an ad, want 5", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := w.server.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := answers.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the shutdown: %v, want that it was closed", err)
	}
}

// The lane allocates nothing once its catalog is warm, whether the query has come
// before or not.
func TestLaneAllocates(t *testing.T) {
	if raceOn {
		t.Skip("under the race detector pools forget at random, so that allocations say nothing; this runs without it")
	}
	s := newLaneServer(t)
	w := s.works.Get().(*work)
	for name, query := range map[string]string{
		"filled":   ask1 + "&keywords=a|b|c&url=https%3A%2F%2Fdocs.example.com%2Fa&priorities=1",
		"sticky":   "publisher=sticky&div_ids=a&ad_types=image-v1",
		"too long": ask1 + "&x=" + strings.Repeat("x", maxQuestion),
	} {
		request := []byte("GET " + decisionPath + "?" + query + " HTTP/1.1\r\nHost: ads.example.com\r\nUser-Agent: " + chrome + "\r\nX-Forwarded-For: " + american + "\r\n\r\n")
		ask := func() {
			if s.lane(w, netip.MustParseAddr("192.0.2.1"), request) == nil {
				t.Fatal(name + ": not by the lane")
			}
		}
		for range 100 { // caches fill beside the requests
			ask()
			s.candidates.Wait()
		}
		if n := testing.AllocsPerRun(200, ask); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// What is kept of queries is of each query alone, and only of those that come
// again.
func TestQuestions(t *testing.T) {
	var q questions
	var a ask
	seed := maphash.MakeSeed()
	kept := func() (n int) {
		for i := range q.known {
			if q.known[i].Load() != nil {
				n++
			}
		}
		return n
	}
	query := func(div string) []byte {
		return []byte("publisher=open&div_ids=" + div + "&ad_types=image-v1&keywords=a%20" + div + "|b&rotations=2&url=https://e.com/" + div + " ")
	}
	for round := range 4 {
		for i := range 1000 {
			div := "d" + strconv.Itoa(i)
			asked := q.answerOf(query(div), seed, &a)
			if asked == nil || asked.publisher != "open" || len(asked.placements) != 1 || asked.placements[0].DivID != div ||
				len(asked.keywords) != 2 || asked.keywords[0] != "a "+div || asked.rotations != 2 || asked.url != "https://e.com/"+div {
				t.Fatalf("round %d: %s: %+v", round, query(div), asked)
			}
			if round == 0 && asked != &a.wanted {
				t.Fatalf("%s was answered from memory, and had never come", query(div))
			}
		}
		if n := kept(); round == 0 && n != 0 || round > 0 && n < 700 {
			t.Errorf("round %d: %d queries are kept", round, n)
		}
	}
	long := append([]byte("x="+strings.Repeat("x", maxQuestion)+"&"), query("a")...)
	many := query("a|b|c|d|e")
	before := kept()
	for range 3 {
		if q.answerOf(long, seed, &a) != &a.wanted {
			t.Error("a long query was kept")
		}
		if q.answerOf(bytes.ReplaceAll(many, []byte("image-v1"), []byte("a|b|c|d|e")), seed, &a) != &a.wanted {
			t.Error("a query of many placements was kept")
		}
		if q.answerOf([]byte("publisher=open&div_ids=&ad_types=x "), seed, &a) != nil {
			t.Error("a wrong query was answered")
		}
	}
	if kept() != before {
		t.Errorf("%d queries are kept, %d before", kept(), before)
	}
}
