package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"nearside/sync/catalog"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's worker pool looks every 10 s whether it was stopped, and
		// its clock for the Date header runs as long as the process.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

func TestReadsWhatGoTestPrints(t *testing.T) {
	lines := parseGoBench([]byte(`goos: linux
BenchmarkDecide/1k/seen-2         	 1000000	      2100 ns/op	       0 B/op	       0 allocs/op
BenchmarkDecide/1k/unseen-2       	  200000	      8000.5 ns/op	       0 B/op	       0 allocs/op
BenchmarkDecide/1k/unseen-2       	  200000	      9000 ns/op	       0 B/op	       0 allocs/op
BenchmarkAcks/256                 	     100	     12345 ns/op	     36000 acks/s
PASS
`))
	for _, row := range []struct {
		suffix, unit string
		want         []float64
	}{
		{"/1k/seen", "ns/op", []float64{2100}},
		{"/1k/unseen", "ns/op", []float64{8000.5, 9000}},
		{"/256", "acks/s", []float64{36000}},
		{"/256", "rows/s", nil},
		{"/none", "ns/op", nil},
	} {
		if got := lines.of(row.suffix, row.unit); !slices.Equal(got, row.want) {
			t.Errorf("%s in %s: %v, want %v", row.suffix, row.unit, got, row.want)
		}
	}
}

func TestWritesATableAndAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.json")
	var table bytes.Buffer
	in := []Result{{"edge_http_1k_flights", 60, "requests/s", 80, 0.75}, {"journal_acks", 5, "acks/s", 0, 0}}
	if err := Write(in, &table, file); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"edge_http_1k_flights", "0.750", "journal_acks"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
	const row = "| 1000 | - | - | 60 | 0.75 | - | - | - | - | - |"
	if !strings.Contains(table.String(), row) {
		t.Errorf("the table of sizes lacks %s:\n%s", row, table.String())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []Result
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(in, out) {
		t.Errorf("the file holds %v, want %v", out, in)
	}
}

func TestRoundsEnd(t *testing.T) {
	var sent []string
	for s := rounds([][]byte{[]byte("a"), []byte("b")}, 2); ; {
		request := s.next()
		if request == nil {
			break
		}
		sent = append(sent, string(request))
	}
	if got := strings.Join(sent, ""); got != "abab" {
		t.Errorf("sent %s, want abab", got)
	}
}

// The client must count what the server answered, or every ratio is wrong.
func TestTheClientCountsWhatIsAnswered(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered := 0
	srv := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		answered++
		if answered%2 == 0 {
			ctx.SetBodyString("{}")
		} else {
			ctx.SetBodyString(`{"id":"an ad"}`)
		}
	}}
	go func() { _ = srv.Serve(l) }() // ends with the shutdown
	requests := [][]byte{[]byte("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("GET /b HTTP/1.1\r\nHost: x\r\n\r\n")}
	s, err := drive(t.Context(), l.Addr().String(), inTurn(requests), 1, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if s.requests == 0 || s.requests != answered || s.filled != (answered+1)/2 || len(s.times) != answered {
		t.Errorf("the client saw %d answers, %d with an ad; the server gave %d", s.requests, s.filled, answered)
	}
	if s.quantile(0.5) > s.quantile(0.99) || s.quantile(1) != s.times[len(s.times)-1] {
		t.Error("quantiles are out of order")
	}
}

func TestAnswersAreFoundInWhatHasArrived(t *testing.T) {
	const whole = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello"
	for _, row := range []struct {
		arrived, body string
		length        int
		wrong         string
	}{
		{whole, "hello", len(whole), ""},
		{whole + "HTTP/1.1", "hello", len(whole), ""},
		{whole[:len(whole)-1], "", 0, ""},
		{whole[:20], "", 0, ""},
		{"", "", 0, ""},
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", 38, ""},
		{"HTTP/1.1 200 OK\r\n\r\n", "", 0, "without a length"},
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", "", 0, "404 Not Found: none"},
	} {
		body, length, err := answered([]byte(row.arrived))
		if string(body) != row.body || length != row.length || (err != nil) != (row.wrong != "") ||
			err != nil && !strings.Contains(err.Error(), row.wrong) {
			t.Errorf("%q: %q, %d, %v, want %q, %d, %q", row.arrived, body, length, err, row.body, row.length, row.wrong)
		}
	}
}

func TestAFailingServerIsNoFigure(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.Error("broken", 500) }}
	go func() { _ = srv.Serve(l) }()
	_, err = drive(context.Background(), l.Addr().String(), inTurn([][]byte{[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")}), 2, time.Second)
	if err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("answers of status 500 gave %v, want an error that names it", err)
	}
	if err := srv.Shutdown(); err != nil {
		t.Fatal(err)
	}
}

func TestViewsAreAskedForAsTheirOffersSay(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.SetBodyString(`{"id":"an ad","view_url":"http://ads.example.com/proxy/view/7/nonce/","nonce":"nonce"}`)
	}}
	go func() { _ = srv.Serve(l) }() // ends with the shutdown
	w := &world{edge: &process{addr: l.Addr().String()}}
	conf := &Config{Each: 20 * time.Millisecond}
	views, err := w.offers(t.Context(), [][]byte{[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")}, []byte("Host: x\r\n\r\n"), conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if got, want := string(views[0]), "GET /proxy/view/7/nonce/ HTTP/1.1\r\nHost: x\r\n\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCatalogsAreValidAtEachSize(t *testing.T) {
	for _, n := range []int{10, 1000} {
		b, err := catalog.Encode(shape(n, time.Unix(1.8e9, 0)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := catalog.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Flights) != n {
			t.Errorf("%d flights, want %d", len(s.Flights), n)
		}
	}
}

func TestTheGenerousCoreStopsWhole(t *testing.T) {
	_, stop, err := serveCore(1, []byte("catalog"))
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestBareSaysWhereItListens(t *testing.T) {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Bare(ctx, 10, w) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	line := make([]byte, 64)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	addr, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "listening ")
	if !ok {
		t.Fatalf("it said %q", line[:n])
	}
	res, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(res.Body)
	if _ = res.Body.Close(); err != nil || len(body) != 10 {
		t.Errorf("a body of %d bytes, %v, want 10", len(body), err)
	}
}
