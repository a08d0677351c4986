package bench

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"time"
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

// script is what a client says. Its functions are called by one goroutine at a
// time.
type script struct {
	next   func() []byte     // the next request, nil where there is none left
	heard  func(body []byte) // told of each answer's body, which is only good during the call; may be nil
	sleeps bool              // while nothing has arrived
}

// inTurn sends the requests one after the other, over and over.
func inTurn(requests [][]byte) script {
	i := 0
	return script{next: func() []byte {
		i++
		return requests[(i-1)%len(requests)]
	}}
}

// rounds sends each of the requests so many times.
func rounds(requests [][]byte, times int) script {
	turn, left := inTurn(requests), times*len(requests)
	return script{next: func() []byte {
		if left == 0 {
			return nil
		}
		left--
		return turn.next()
	}}
}

// drive follows the script over so many kept-alive connections for the given
// time, or until there is nothing left to send. Any answer but 200 ends it with
// an error.
func drive(ctx context.Context, addr string, s script, connections int, lasting time.Duration) (*sample, error) {
	total := &sample{}
	start := time.Now()
	err := talk(ctx, addr, s, connections, start.Add(lasting), total)
	total.elapsed = time.Since(start)
	slices.Sort(total.times)
	return total, err
}

// note counts one answer.
func (s *sample) note(body []byte, took time.Duration) {
	s.times = append(s.times, took)
	s.requests++
	s.bytes += len(body)
	if len(body) > len("{}\n") {
		s.filled++
	}
}

// answered finds one whole answer at the head of what was read: its body, and
// how long it is with its header; 0 where some of it is still to come.
func answered(b []byte) (body []byte, length int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, 0, nil
	}
	header := b[:end+2]
	n := -1
	if at := bytes.Index(header, []byte("\r\nContent-Length: ")); at >= 0 {
		for n, at = 0, at+len("\r\nContent-Length: "); header[at] >= '0' && header[at] <= '9' && n < 1<<30; at++ {
			n = n*10 + int(header[at]-'0')
		}
	}
	if n < 0 {
		return nil, 0, fmt.Errorf("an answer without a length:\n%s", header)
	}
	if length = end + 4 + n; len(b) < length {
		return nil, 0, nil
	}
	body = b[end+4 : length]
	if !bytes.HasPrefix(header, []byte("HTTP/1.1 200 ")) {
		status, _, _ := bytes.Cut(header, []byte("\r\n"))
		return nil, 0, fmt.Errorf("an answer %s: %s", status, body[:min(len(body), 500)])
	}
	return body, length, nil
}

// maxAnswer is the most that one answer may have, header included.
const maxAnswer = 64 << 10

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
