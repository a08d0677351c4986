//go:build linux

package wan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world makes one, or skips where this machine cannot: CI runs as root with
// iproute2 and so runs these tests.
func world(t *testing.T, names []string, between func(a, b string) Link) *World {
	t.Helper()
	if err := Missing(); err != nil {
		t.Skip(err)
	}
	w, err := New(fmt.Sprintf("t%d", os.Getpid()%100000), names, between)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if out, _ := exec.Command("ip", "netns", "list").Output(); strings.Contains(string(out), w.hosts[0].netns) {
			t.Errorf("a namespace is left: %s", out)
		}
	})
	return w
}

// echo answers every connection with what it reads.
func echo(t *testing.T, h *Host) string {
	t.Helper()
	l, err := h.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func roundTrip(c net.Conn, text string) (time.Duration, error) {
	start := time.Now()
	if _, err := io.WriteString(c, text); err != nil {
		return 0, err
	}
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil {
		return 0, err
	}
	if string(buf) != text {
		return 0, fmt.Errorf("came back as %q", buf)
	}
	return time.Since(start), nil
}

func TestNothingArrivesEarly(t *testing.T) {
	const delay = 30 * time.Millisecond
	w := world(t, []string{"a", "b"}, func(string, string) Link { return Link{Delay: delay, Jitter: 5 * time.Millisecond} })
	c, err := w.Host("a").Dial(t.Context(), "tcp", echo(t, w.Host("b")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 5 {
		rtt, err := roundTrip(c, fmt.Sprint("packet ", i))
		if err != nil {
			t.Fatal(err)
		}
		if rtt < 2*delay {
			t.Errorf("round trip %d took %v, less than the %v of the two ways", i, rtt, 2*delay)
		}
	}
}

func TestACutDropsAndAHealRestores(t *testing.T) {
	w := world(t, []string{"a", "b", "c"}, nil)
	addr := echo(t, w.Host("b"))
	c, err := w.Host("a").Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := roundTrip(c, "before"); err != nil {
		t.Fatal(err)
	}
	if err := w.Cut("a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := roundTrip(c, "during"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("over a cut link: %v, want silence", err)
	}
	if _, dropped := w.Carried("a", "b"); dropped == 0 {
		t.Error("the cut link counted no dropped packet")
	}
	other, err := w.Host("c").Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatalf("another link was cut too: %v", err)
	}
	_ = other.Close()
	if err := w.Heal("a", "b"); err != nil {
		t.Fatal(err)
	}
	// TCP sends the lost bytes again by itself.
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len("during"))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "during" {
		t.Fatalf("after the heal: %q, %v", buf, err)
	}
}

func TestAProgramRunsOnAHostAndReachesNothingElse(t *testing.T) {
	w := world(t, []string{"a", "b"}, nil)
	out, err := w.Host("a").Command(t.Context(), "ip", "-4", "-brief", "addr").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), w.Host("a").Addr.String()) || strings.Contains(string(out), "eth0") {
		t.Errorf("addresses of host a:\n%s", out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if c, err := w.Host("a").Dial(ctx, "tcp", "192.0.2.1:80"); err == nil {
		_ = c.Close()
		t.Error("an address outside the world was reached")
	}
}

func TestLossDropsItsShare(t *testing.T) {
	w := world(t, []string{"a", "b"}, func(string, string) Link { return Link{Loss: 1} })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if c, err := w.Host("a").Dial(ctx, "tcp", w.Host("b").Addr.String()+":7"); err == nil {
		_ = c.Close()
		t.Error("a link that loses everything carried a connection")
	}
	if carried, dropped := w.Carried("a", "b"); carried != 0 || dropped == 0 {
		t.Errorf("carried %d, dropped %d", carried, dropped)
	}
}

func TestWrongWorldsAreRefused(t *testing.T) {
	w := world(t, []string{"a", "b"}, nil)
	for what, err := range map[string]error{
		"cut of an unknown host": w.Cut("a", "x"),
		"cut of itself":          w.Cut("a", "a"),
		"loss above 1":           w.Set("a", "b", Link{Loss: 2}),
		"isolating nobody":       w.Isolate("x"),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if _, err := New("toolongprefix", []string{"a"}, nil); err == nil {
		t.Error("a prefix of 13 characters was taken")
	}
	if _, err := New("tw", []string{"a", "a"}, nil); err == nil {
		t.Error("two hosts of one name were taken")
	}
}

func TestDistancesAreNearPublishedMedians(t *testing.T) {
	for _, row := range []struct {
		a, b     string
		min, max time.Duration // round trip
	}{
		{"us-east", "eu-west", 65 * time.Millisecond, 90 * time.Millisecond},
		{"us-east", "ap-southeast", 200 * time.Millisecond, 240 * time.Millisecond},
		{"eu-west", "ap-southeast", 150 * time.Millisecond, 190 * time.Millisecond},
		{"us-east", "us-west", 50 * time.Millisecond, 75 * time.Millisecond},
	} {
		link, err := Between(row.a, row.b)
		if err != nil {
			t.Fatal(err)
		}
		if rtt := 2 * link.Delay; rtt < row.min || rtt > row.max {
			t.Errorf("%s to %s: %v round trip, want %v to %v", row.a, row.b, rtt, row.min, row.max)
		}
	}
	if _, err := Between("us-east", "atlantis"); err == nil {
		t.Error("an unknown place has a distance")
	}
}

// What a killed world left goes with the next one; what lives stays.
func TestAKilledWorldIsSweptByTheNext(t *testing.T) {
	alive := world(t, []string{"a"}, nil)
	const dead = "tdead" // as if its process had been killed: a claim without a lock
	if err := errors.Join(ip("netns", "add", dead+"-a"), os.WriteFile(claims+"/"+dead, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	stranger := fmt.Sprintf("s%d-a", os.Getpid()%100000)
	if err := ip("netns", "add", stranger); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ip("netns", "del", stranger); err != nil {
			t.Errorf("a namespace that no world had claimed was removed: %v", err)
		}
	})
	next, err := New(fmt.Sprintf("n%d", os.Getpid()%100000), []string{"b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{dead + "-a": false, alive.hosts[0].netns: true, stranger: true} {
		if _, err := os.Stat(netnsDir + name); (err == nil) != want {
			t.Errorf("namespace %s: %v, want it there: %v", name, err, want)
		}
	}
	if _, err := New(strings.TrimSuffix(alive.hosts[0].netns, "-a"), []string{"a"}, nil); err == nil || !strings.Contains(err.Error(), "another world") {
		t.Errorf("a second world of one prefix: %v", err)
	}
}
