package world

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// testCore answers each exchange with its number.
func testCore(t *testing.T) (url string, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s came over %s, want HTTP/2", r.URL.Path, r.Proto)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %d %s", r.Header.Get("Authorization"), calls.Add(1), body)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, calls
}

func h2() *http.Client {
	only2 := new(http.Protocols)
	only2.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: only2}}
}

func TestProxyFaults(t *testing.T) {
	core, calls := testCore(t)
	p, err := NewProxy(core, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Late = 30 * time.Millisecond
	client := h2()
	defer client.CloseIdleConnections()
	after := 0
	p.After(func() { after++ })
	for _, step := range []struct {
		fault Fault
		want  string // "": the connection breaks
		calls int64  // that the core has had
	}{
		{Pass, "me 1 hello", 1},
		{DropRequest, "", 1},
		{DropReply, "", 2},
		{Stale, "me 2 hello", 3},
		{Repeat, "me 5 hello", 5},
		{Delay, "me 6 hello", 6},
		{Pass, "me 7 hello", 7},
	} {
		p.Choose(func() Fault { return step.fault })
		start := time.Now()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+"/nearside.sync.v1.Exchange/Sync", bytes.NewReader([]byte("hello")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "me")
		resp, err := client.Do(req)
		got := ""
		if err == nil {
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			got = string(body)
			resp.Body.Close()
		}
		if got != step.want {
			t.Errorf("%s: %q, want %q (%v)", step.fault, got, step.want, err)
		}
		if n := calls.Load(); n != step.calls {
			t.Errorf("%s: the core has had %d, want %d", step.fault, n, step.calls)
		}
		if step.fault == Delay && time.Since(start) < p.Late {
			t.Errorf("it was delayed by %s", time.Since(start))
		}
		if step.fault != Pass && p.Done(step.fault) != 1 {
			t.Errorf("%s was done %d times", step.fault, p.Done(step.fault))
		}
	}
	if after != 6 {
		t.Errorf("After was called %d times, want once for each exchange that reached the core", after)
	}
}

func TestProxyCut(t *testing.T) {
	core, _ := testCore(t)
	p, err := NewProxy(core, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	client := h2()
	defer client.CloseIdleConnections()
	get := func() error {
		resp, err := client.Get(p.URL() + "/anything")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		return err
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	p.Cut(true)
	if err := get(); err == nil {
		t.Error("a request passed the cut")
	}
	p.Cut(false)
	if err := get(); err != nil {
		t.Errorf("after the cut: %v", err)
	}
}
