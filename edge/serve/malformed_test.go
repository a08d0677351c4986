package serve

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// raw sends bytes as they are and returns what comes back until the server
// closes or has answered.
func (w *world) raw(send string) (status int, body string) {
	w.Helper()
	c, err := w.listen.Dial()
	if err != nil {
		w.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, send); err != nil {
		return 0, err.Error()
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// What is not HTTP, or too much of it, is answered and leaves the server well.
func TestMalformedRequests(t *testing.T) {
	w := newWorld(t)
	const head = "Host: ads.example.com\r\nConnection: close\r\n"
	tests := []struct {
		name, send string
		status     int // 0: closed without an answer
	}{
		{"nonsense", "nonsense\r\n\r\n", 400},
		{"binary", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400},
		{"no version", "GET /readyz\r\n\r\n", 400},
		{"a header without a colon", "GET /readyz HTTP/1.1\r\n" + head + "X\r\n\r\n", 400},
		{"headers without end", "GET /readyz HTTP/1.1\r\n" + head + "X: " + strings.Repeat("a", maxHeaders) + "\r\n\r\n", 431},
		{"many headers", "GET /readyz HTTP/1.1\r\n" + head + strings.Repeat("X: a\r\n", maxHeaders/6) + "\r\n", 431},
		{"a long path", "GET /" + strings.Repeat("a", maxHeaders) + " HTTP/1.1\r\n" + head + "\r\n", 431},
		{"a length that is none", "POST " + decisionPath + " HTTP/1.1\r\n" + head + "Content-Length: x\r\n\r\n", 400},
		{"a negative length", "POST " + decisionPath + " HTTP/1.1\r\n" + head + "Content-Length: -1\r\n\r\n", 400},
		{"a length beyond the limit", "POST " + decisionPath + " HTTP/1.1\r\n" + head + "Content-Length: 99999999999\r\n\r\n", 413},
		{"chunks beyond the limit", "POST " + decisionPath + " HTTP/1.1\r\n" + head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("8000\r\n"+strings.Repeat(" ", 0x8000)+"\r\n", 3) + "0\r\n\r\n", 413},
		{"a chunk that is none", "POST " + decisionPath + " HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"a form in parts", "POST " + decisionPath + " HTTP/1.1\r\n" + head + "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 2\r\n\r\n--", 415},
		{"path climbing", "GET /proxy/../../etc/passwd HTTP/1.1\r\n" + head + "\r\n", 404},
		{"encoded slashes", "GET /proxy/view/101%2fx%2f HTTP/1.1\r\n" + head + "\r\n", 200},
		{"a null byte in the path", "GET /proxy/view/101/%00/ HTTP/1.1\r\n" + head + "\r\n", 200},
		{"a line break in the nonce", "GET /proxy/click/101/a%0d%0aX:%20y/ HTTP/1.1\r\n" + head + "\r\n", 302},
		{"HTTP/1.0 without a host", "GET /readyz HTTP/1.0\r\n\r\n", 200},
		{"bad escapes", "GET " + decisionPath + "?publisher=%zz&%=%& HTTP/1.1\r\n" + head + "\r\n", 400},
		{"another protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := w.raw(tt.send)
			if status != tt.status && tt.status != 0 || status >= 500 {
				t.Errorf("got %d %.200s, want %d", status, body, tt.status)
			}
			if status >= 400 && !json.Valid([]byte(body)) {
				t.Errorf("the answer is not JSON: %.200s", body)
			}
		})
	}
	if r := w.get("/readyz"); r.status != 200 {
		t.Errorf("afterwards: %d", r.status)
	}
	if n := w.server.Stats().Panics.Load(); n != 0 {
		t.Errorf("%d panics", n)
	}
}

// A client that sends nothing, or too slowly, is not waited for.
func TestSlowClients(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.ReadTimeout = 50 * time.Millisecond })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.server.Serve(l) }() // until the world is shut down
	for _, send := range []string{"", "GET /readyz HTTP/1.1\r\nHost: x", "POST " + decisionPath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, send); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Errorf("%q: %v, expected the server to close", send, err)
		}
		c.Close()
	}
}

// A panic costs one request, says nothing, and is counted.
func TestPanic(t *testing.T) {
	w := newWorld(t)
	w.server.tally = nil
	if r := w.get(decisionPath + "?" + ask1); r.status != 500 || r.body != `{"detail":"Internal error."}` {
		t.Errorf("got %d %s", r.status, r.body)
	}
	if r := w.get("/readyz"); r.status != 200 || w.server.Stats().Panics.Load() != 1 {
		t.Errorf("afterwards: %d, %d panics", r.status, w.server.Stats().Panics.Load())
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		ask1, "", "publisher=open&div_ids=a|b|c&ad_types=image-v1|x&priorities=1|99|x&keywords=a||b&campaign_types=paid|x",
		"format=jsonp&callback=a.b&publisher=%00", "url=http://[::1]:80/&rotations=1.0&placement_index=+1", "div_ids=%ff|&ad_types=|", "a=b=c&&&=;",
	} {
		f.Add(s, "Token x", american, chrome)
	}
	w := newFuzzWorld(f)
	f.Fuzz(func(t *testing.T, query, authorization, forwarded, ua string) {
		ctx := &fasthttp.RequestCtx{}
		ctx.Request.Header.SetRequestURI(decisionPath)
		ctx.Request.URI().SetQueryString(query)
		ctx.Request.Header.SetHost("x.example")
		ctx.Request.Header.Set("Authorization", authorization)
		ctx.Request.Header.Set("X-Forwarded-For", forwarded)
		ctx.Request.Header.Set("User-Agent", ua)
		check(t, w, ctx)
	})
}

func FuzzJSONBody(f *testing.F) {
	for _, s := range []string{
		`{"publisher":"open","placements":[{"div_id":"a","ad_type":"image-v1","priority":1}],"keywords":["a"],"campaign_types":["paid"],"url":"https://e.com/","user_ip":"1.1.1.1","user_ua":"x","rotations":1,"placement_index":0,"force_ad":"a","force_campaign":"b"}`,
		`{"placements":[[],{},1,null,{"div_id":[]}],"publisher":{}}`, `[]`, `null`, `{`, `{"keywords":[null,1,true,"\ud800"]}`, `{"a":{"b":[[[[]]]]}}`, "\xff", ``, `{"url":1e999}`,
	} {
		f.Add([]byte(s))
	}
	w := newFuzzWorld(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		ctx := &fasthttp.RequestCtx{}
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.SetRequestURI(decisionPath)
		ctx.Request.Header.SetHost("x.example")
		ctx.Request.Header.SetContentType("application/json")
		ctx.Request.SetBody(body)
		check(t, w, ctx)
	})
}

var callbackName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$.]{0,127}$`)

func FuzzCallback(f *testing.F) {
	for _, s := range []string{"callback", "a.b", "$", "1a", "a b", "alert(1)", "é", "", strings.Repeat("a", 129), "a\n"} {
		f.Add(s)
	}
	w := newFuzzWorld(f)
	f.Fuzz(func(t *testing.T, name string) {
		ctx := &fasthttp.RequestCtx{}
		ctx.Request.SetRequestURI(decisionPath + "?" + ask1 + "&format=jsonp")
		ctx.QueryArgs().Set("callback", name)
		ctx.Request.Header.SetHost("x.example")
		w.Handle(ctx)
		body := string(ctx.Response.Body())
		if callbackName.MatchString(name) {
			if ctx.Response.StatusCode() != 200 || !strings.HasPrefix(body, name+"({") || !strings.HasSuffix(body, "});") {
				t.Errorf("%q: %d %s", name, ctx.Response.StatusCode(), body)
			}
		} else if ctx.Response.StatusCode() != 400 || !json.Valid([]byte(body)) {
			t.Errorf("%q: %d %s", name, ctx.Response.StatusCode(), body)
		}
	})
}

func FuzzBeacon(f *testing.F) {
	for _, s := range []string{"view/101/x/", "click/101/forced/", "viewtime/101/x/?view_time=1", "view/1/2/3/", "click//", "view/101/\xff\x00"} {
		f.Add(s, american, chrome)
	}
	w := newFuzzWorld(f)
	f.Fuzz(func(t *testing.T, rest, forwarded, ua string) {
		ctx := &fasthttp.RequestCtx{}
		ctx.Request.Header.SetHost("x.example")
		ctx.Request.SetRequestURI("/proxy/" + rest)
		ctx.Request.Header.Set("X-Forwarded-For", forwarded)
		ctx.Request.Header.Set("User-Agent", ua)
		w.Handle(ctx)
		switch status := ctx.Response.StatusCode(); status {
		case 200, 404:
		case 302:
			if location := string(ctx.Response.Header.Peek("Location")); !strings.HasPrefix(location, "https://") || strings.ContainsAny(location, " \r\n") {
				t.Errorf("Location %q", location)
			}
		default:
			t.Errorf("%q: %d", rest, status)
		}
		if w.stats.Panics.Load() > 0 {
			t.Fatal("panic")
		}
	})
}

// check answers a decision and demands one of its answers, in JSON.
func check(t *testing.T, w *Server, ctx *fasthttp.RequestCtx) {
	t.Helper()
	w.Handle(ctx)
	body := ctx.Response.Body()
	if _, inside, ok := strings.Cut(string(body), "({"); ok && strings.HasPrefix(string(ctx.Response.Header.ContentType()), "text/javascript") {
		body = []byte("{" + strings.TrimSuffix(inside, ");"))
	}
	switch status := ctx.Response.StatusCode(); status {
	case 200, 400, 401, 403:
	default:
		t.Errorf("status %d: %s", status, body)
	}
	var object map[string]any
	if err := json.Unmarshal(body, &object); err != nil {
		t.Errorf("%s: %v", body, err)
	}
	if w.stats.Panics.Load() > 0 {
		t.Fatal("panic")
	}
}

// newFuzzWorld is a server without a listener.
func newFuzzWorld(f *testing.F) *Server {
	f.Helper()
	b := newBooks()
	cfg := config()
	cfg.Now = func() time.Time { return noon }
	s, err := New(cfg, newJudge(f), silentTally{}, who, func() bool { return true })
	if err != nil {
		f.Fatal(err)
	}
	c, err := compile(b)
	if err != nil {
		f.Fatal(err)
	}
	s.Apply(c)
	f.Cleanup(s.Close)
	return s
}
