package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// sample is what one run of the client saw.
type sample struct {
	requests int
	filled   int // answers with a body beyond {}
	bytes    int // of all bodies
	elapsed  time.Duration
	times    []time.Duration // sorted
}

func (s *sample) perSecond() float64 { return float64(s.requests) / s.elapsed.Seconds() }

// quantile is the time that a share q of the requests did not exceed.
func (s *sample) quantile(q float64) time.Duration {
	if len(s.times) == 0 {
		return 0
	}
	return s.times[int(math.Ceil(q*float64(len(s.times))))-1]
}

// drive sends the prepared requests, in turn, over so many kept-alive
// connections for the given time. Any answer but 200 ends it with an error.
func drive(ctx context.Context, addr string, requests [][]byte, connections int, lasting time.Duration) (*sample, error) {
	ctx, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	var (
		mu    sync.Mutex
		total sample
		errs  []error
		wg    sync.WaitGroup
	)
	start := time.Now()
	for i := range connections {
		wg.Go(func() {
			s, err := driveOne(ctx, addr, requests, i*len(requests)/connections)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			total.requests += s.requests
			total.filled += s.filled
			total.bytes += s.bytes
			total.times = append(total.times, s.times...)
		})
	}
	wg.Wait()
	total.elapsed = time.Since(start)
	slices.Sort(total.times)
	return &total, errors.Join(errs...)
}

func driveOne(ctx context.Context, addr string, requests [][]byte, next int) (s sample, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return s, fmt.Errorf("connect to the server: %w", err)
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 16<<10)
	var header fasthttp.ResponseHeader
	for ctx.Err() == nil {
		sent := time.Now()
		if _, err := conn.Write(requests[next%len(requests)]); err != nil {
			return s, fmt.Errorf("send a request: %w", err)
		}
		next++
		if err := header.Read(in); err != nil {
			return s, fmt.Errorf("read an answer: %w", err)
		}
		n := header.ContentLength()
		if header.StatusCode() != fasthttp.StatusOK || n < 0 {
			body, _ := io.ReadAll(io.LimitReader(in, int64(max(0, min(n, 500)))))
			return s, fmt.Errorf("an answer with status %d, length %d: %s", header.StatusCode(), n, body)
		}
		if _, err := in.Discard(n); err != nil {
			return s, fmt.Errorf("read a body: %w", err)
		}
		s.times = append(s.times, time.Since(sent))
		s.requests++
		s.bytes += n
		if n > len("{}\n") {
			s.filled++
		}
	}
	return s, nil
}

// decisions are request lines as readers of many countries send them, for a
// catalog of n flights.
func decisions(n int, addresses map[string]string) [][]byte {
	agents := []string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
	}
	groups, keywords := max(1, n/1000), max(40, n/4)
	var out [][]byte
	for i := range 4000 {
		country := countries[i%len(countries)]
		var b bytes.Buffer
		fmt.Fprintf(&b, "GET /api/v1/decision/?publisher=publisher-%d&div_ids=ad&ad_types=image-v1&keywords=%s|%s&url=https%%3A%%2F%%2Fdocs.example.com%%2Fpage%%2F%d&campaign_types=paid HTTP/1.1\r\n",
			i%groups+1, keyword(i*7%keywords), keyword(i*13%keywords), i%50)
		fmt.Fprintf(&b, "Host: ads.example.com\r\nUser-Agent: %s\r\nX-Forwarded-For: %s\r\nAccept: application/json\r\n\r\n", agents[i%len(agents)], addresses[country])
		out = append(out, b.Bytes())
	}
	return out
}
