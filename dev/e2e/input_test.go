package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Bad input of every kind that the edge's public API names is answered with
// the stated error; no panic, nothing lost: the same process goes on.
func TestBadInput(t *testing.T) {
	f := newFlight(t, line{views: 1000, cpm: 1_000_000})
	edge := edges[0]
	pid := here.Edges[0].PID()
	good := f.offer(t, edge)

	with := func(changes ...string) url.Values {
		q := f.query()
		for i := 0; i < len(changes); i += 2 {
			q.Set(changes[i], changes[i+1])
		}
		return q
	}
	without := func(name string) url.Values {
		q := f.query()
		q.Del(name)
		return q
	}
	keywords := func(n int) string { return strings.TrimSuffix(strings.Repeat("k|", n), "|") }

	for _, c := range []struct {
		about  string
		query  url.Values
		status int
		field  string // that the body blames; "": none
	}{
		{"a good request", with(), 200, ""},
		{"no publisher", without("publisher"), 400, "publisher"},
		{"unknown publisher", with("publisher", "nobody"), 400, "publisher"},
		{"disabled publisher", with("publisher", "sample-closed"), 400, "publisher"},
		{"publisher that asks for a token", with("publisher", "sample-private"), 401, "detail"},
		{"no div_ids", without("div_ids"), 400, "placements"},
		{"no ad_types", without("ad_types"), 400, "placements"},
		{"101 keywords", with("keywords", keywords(101)), 400, "keywords"},
		{"100 keywords", with("keywords", keywords(100)), 200, ""},
		{"url is no URL", with("url", "not a url"), 400, "url"},
		{"url too long", with("url", "https://docs.example.com/"+strings.Repeat("a", 256)), 400, "url"},
		{"rotations 0", with("rotations", "0"), 400, "rotations"},
		{"rotations 10", with("rotations", "10"), 400, "rotations"},
		{"rotations a word", with("rotations", "many"), 400, "rotations"},
		{"placement_index -1", with("placement_index", "-1"), 400, "placement_index"},
		{"placement_index 1000", with("placement_index", "1000"), 400, "placement_index"},
		{"priority 0", with("priorities", "0"), 400, "placements"},
		{"priority 11", with("priorities", "11"), 400, "placements"},
		{"unknown campaign type", with("campaign_types", "paid|charity"), 400, "campaign_types"},
		{"user_ip that is none", with("user_ip", "999.1.2.3", "user_ua", "x"), 400, "user_ip"},
		{"unknown ad type", with("ad_types", "hologram-v9"), 200, ""},
		{"unknown forced ad", with("force_ad", "nothing"), 200, ""},
		{"unknown forced campaign", with("force_campaign", "nothing"), 200, ""},
		{"JSONP with a callback that is code", with("format", "jsonp", "callback", "alert(1)//"), 400, "-"},
		{"a thousand parameters", func() url.Values {
			q := with()
			for i := range 1000 {
				q.Set(fmt.Sprint("x", i), "y")
			}
			return q
		}(), 200, "?"},
	} {
		answer, err := browser.Get(t.Context(), edge.Public+"/api/v1/decision/?"+c.query.Encode(), reader())
		if err != nil {
			t.Errorf("%s: %v", c.about, err)
			continue
		}
		if answer.Status != c.status && c.field != "?" || answer.Status >= 500 {
			t.Errorf("%s: status %d, want %d: %.200s", c.about, answer.Status, c.status, answer.Body)
			continue
		}
		if c.status == http.StatusOK || c.field == "-" {
			continue
		}
		var blamed map[string]any
		if err := json.Unmarshal(answer.Body, &blamed); err != nil {
			t.Errorf("%s: the body is not JSON: %.200s", c.about, answer.Body)
		} else if _, ok := blamed[c.field]; !ok {
			t.Errorf("%s: the body does not blame %s: %.200s", c.about, c.field, answer.Body)
		}
	}

	other, err := browser.Decide(t.Context(), edge.Public, url.Values{
		"publisher": {"sample-docs"}, "div_ids": {"a"}, "ad_types": {"text-v1"}, "force_ad": {"house-advertise-text"},
	}, reader())
	if err != nil || !other.Filled() {
		t.Fatalf("no other ad: %v", err)
	}
	// path is a beacon's, with another token.
	path := func(beacon, had, nonce string) string {
		return strings.Replace(strings.TrimPrefix(beacon, edge.Public), had, nonce, 1)
	}
	for _, c := range []struct {
		about, method, path, body string
		header                    http.Header
		status                    int
	}{
		{"a wrong token, where none is needed", "GET", "/api/v1/decision/?" + with().Encode(), "", http.Header{"Authorization": {"Token nonsense"}}, 401},
		{"POST of a good request", "POST", "/api/v1/decision/", `{"publisher":"` + f.publisher + `","placements":[{"div_id":"a","ad_type":"image-v1"}]}`, nil, 200},
		{"POST of half an object", "POST", "/api/v1/decision/", `{"publisher":`, nil, 400},
		{"POST of a list", "POST", "/api/v1/decision/", `[]`, nil, 400},
		{"POST of nothing", "POST", "/api/v1/decision/", ``, nil, 400},
		{"POST without placements", "POST", "/api/v1/decision/", `{"publisher":"` + f.publisher + `"}`, nil, 400},
		{"POST with placements that are none", "POST", "/api/v1/decision/", `{"publisher":"` + f.publisher + `","placements":"all"}`, nil, 400},
		{"POST of deep brackets", "POST", "/api/v1/decision/", strings.Repeat("[", 10_000), nil, 400},
		{"DELETE", "DELETE", "/api/v1/decision/", "", nil, 405},
		{"no such page", "GET", "/api/v1/other/", "", nil, 404},
		{"a view of an ad that is not there", "GET", "/proxy/view/999999999/" + good.Nonce + "/", "", nil, 404},
		{"a click on an ad that is not there", "GET", "/proxy/click/nothing/" + good.Nonce + "/", "", nil, 404},
		{"a view with nonsense for a token", "GET", path(good.ViewURL, good.Nonce, "nonsense"), "", nil, 200},
		{"a click with nonsense for a token", "GET", path(good.Link, good.Nonce, "nonsense"), "", nil, 302},
		{"a view with a very long token", "GET", path(good.ViewURL, good.Nonce, strings.Repeat("A", 3000)), "", nil, 200},
		{"a view time that is none", "GET", path(good.ViewTimeURL, good.Nonce, good.Nonce) + "?view_time=soon", "", nil, 200},
		{"a view of another ad's token", "GET", path(other.ViewURL, other.Nonce, good.Nonce), "", nil, 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, edge.Public+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range c.header {
			req.Header[name] = values
		}
		if c.method == http.MethodPost {
			req.Header.Set("Content-Type", "application/json")
		}
		answer, err := browser.Do(req, reader())
		if err != nil {
			t.Errorf("%s: %v", c.about, err)
		} else if answer.Status != c.status {
			t.Errorf("%s: status %d, want %d: %.200s", c.about, answer.Status, c.status, answer.Body)
		}
		if reason := answer.Reason(); strings.HasPrefix(reason, "Billed") {
			t.Errorf("%s: %s", c.about, reason)
		}
	}

	t.Run("bytes that are no HTTP", func(t *testing.T) {
		for _, raw := range []string{
			"\x00\x01\x02\x03\r\n\r\n",
			"GET / HTTP/9.9\r\n\r\n",
			"GET /api/v1/decision/?publisher=%zz%00%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
			"POST /api/v1/decision/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
			"POST /api/v1/decision/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
			"POST /api/v1/decision/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
			"GET /api/v1/decision/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
		} {
			answer := shout(t, edge.Public, raw)
			if status, ok := strings.CutPrefix(answer, "HTTP/1.1 "); ok && !strings.HasPrefix(status, "4") {
				t.Errorf("%.60q is answered with %.30q", raw, answer)
			}
		}
	})

	t.Run("a body without end", func(t *testing.T) {
		conn := dial(t, edge.Public)
		defer conn.Close()
		fmt.Fprint(conn, "POST /api/v1/decision/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<16, bytes.Repeat([]byte("x"), 1<<16))
		sent := 0
		for ; sent < 64<<20; sent += 1 << 16 {
			if _, err := io.WriteString(conn, chunk); err != nil {
				break // it hung up
			}
		}
		if sent >= 64<<20 {
			t.Error("it took 64 MB of a body")
		}
	})

	if now := here.Edges[0].PID(); now != pid {
		t.Fatalf("the edge is not the same process any more (pid %d, then %d)", pid, now)
	}
	if err := seen(t.Context(), good); err != nil {
		t.Error(err)
	}
	f.wantTotals(t, 5*time.Second, "views 1+0 clicks 0+0 micros 1000")
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// shout sends bytes and returns the first line of what comes back.
func shout(t *testing.T, address, raw string) string {
	t.Helper()
	conn := dial(t, address)
	defer conn.Close()
	_, _ = io.WriteString(conn, raw) // it may hang up before the end
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return line
}
