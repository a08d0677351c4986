package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"nearside/dev/load"
)

// An offer that is viewed and clicked at one edge appears in the admin API
// within 3 s, once, with the money right to the micro. The same beacons again,
// and beacons with a changed token, change nothing.
func TestMoneyIsRightToTheMicro(t *testing.T) {
	f := newFlight(t, line{views: 1000, cpm: 2_345_000, clicks: 50, cpc: 1_234_567})
	o := f.offer(t, edges[1])
	if reason := beacon(t, o.ViewURL, http.StatusOK); reason != "Billed view" {
		t.Errorf("the view: %s", reason)
	}
	if reason := beacon(t, o.Link, http.StatusFound); reason != "Billed click" {
		t.Errorf("the click: %s", reason)
	}
	const want = "views 1+0 clicks 1+0 micros 1236912" // 2 345 for the view, 1 234 567 for the click
	f.wantTotals(t, 3*time.Second, want)

	for range 3 {
		if reason := beacon(t, o.ViewURL, http.StatusOK); reason == "Billed view" {
			t.Error("the same view is billed again")
		}
		if reason := beacon(t, o.Link, http.StatusFound); reason == "Billed click" {
			t.Error("the same click is billed again")
		}
	}
	fresh := f.offer(t, edges[1])
	for i := range len(fresh.Nonce) {
		forged := flip(fresh.Nonce, i)
		if reason := beacon(t, strings.Replace(fresh.ViewURL, fresh.Nonce, forged, 1), http.StatusOK); strings.HasPrefix(reason, "Billed") {
			t.Fatalf("a view is billed whose token was changed at %d", i)
		}
	}
	f.wantTotals(t, 3*time.Second, want)
	if reason := beacon(t, fresh.ViewURL, http.StatusOK); reason != "Billed view" {
		t.Errorf("after all the forgeries the true view: %s", reason)
	}
	f.wantTotals(t, 3*time.Second, "views 2+0 clicks 1+0 micros 1239257")
}

// flip changes one character of a token to another that tokens are made of.
func flip(nonce string, i int) string {
	b := []byte(nonce)
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

// A click counts once and only after its view. One that comes before it waits, and
// counts when the view has come, be it by way of another region.
func TestAClickNeedsItsView(t *testing.T) {
	f := newFlight(t, line{clicks: 100, cpc: 2_000_000})
	for i, view := range []func(o load.Offer) string{
		func(o load.Offer) string { return o.ViewURL },
		func(o load.Offer) string { return strings.Replace(o.ViewURL, edges[0].Public, edges[1].Public, 1) },
	} {
		o := f.offer(t, edges[0])
		f.wantTotals(t, 3*time.Second, fmt.Sprintf("views %d+0 clicks %[1]d+0 micros %d", i, 2_000_000*i))
		if reason := beacon(t, o.Link, http.StatusFound); reason != "Waits for its view" {
			t.Errorf("a click before its view: %s", reason)
		}
		if reason := beacon(t, o.Link, http.StatusFound); reason != "Old/Invalid nonce" {
			t.Errorf("the same click: %s", reason)
		}
		f.wantTotals(t, 3*time.Second, fmt.Sprintf("views %d+0 clicks %[1]d+0 micros %d", i, 2_000_000*i))
		beacon(t, view(o), http.StatusOK)
		f.wantTotals(t, 15*time.Second, fmt.Sprintf("views %d+0 clicks %[1]d+0 micros %d", i+1, 2_000_000*(i+1)))
		if reason := beacon(t, o.Link, http.StatusFound); reason != "Old/Invalid nonce" {
			t.Errorf("the click after the view: %s", reason)
		}
	}
}

// 200 concurrent copies of one view bill one.
func TestConcurrentCopiesOfAViewBillOne(t *testing.T) {
	f := newFlight(t, line{views: 1000, cpm: 1_000_000})
	o := f.offer(t, edges[2])
	reasons := make([]string, 200)
	each(t, len(reasons), len(reasons), func(i int) error {
		answer, err := browser.Get(t.Context(), o.ViewURL, reader())
		reasons[i] = answer.Reason()
		return err
	})
	billed := 0
	for _, reason := range reasons {
		if reason == "Billed view" {
			billed++
		}
	}
	if billed != 1 {
		t.Errorf("%d of %d copies were told that they are billed", billed, len(reasons))
	}
	f.wantTotals(t, 5*time.Second, "views 1+0 clicks 0+0 micros 1000")
}

// A view that comes to another region than its offer is billed once, by its home.
func TestAViewInAnotherRegionIsBilledOnce(t *testing.T) {
	f := newFlight(t, line{views: 1000, cpm: 1_000_000})
	o := f.offer(t, edges[0])
	astray := strings.Replace(o.ViewURL, edges[0].Public, edges[1].Public, 1)
	if astray == o.ViewURL {
		t.Fatalf("the view's address %s is not on the edge's own %s", o.ViewURL, edges[0].Public)
	}
	for range 3 {
		beacon(t, astray, http.StatusOK)
	}
	beacon(t, o.ViewURL, http.StatusOK)
	f.wantTotals(t, 15*time.Second, "views 1+0 clicks 0+0 micros 1000")
}
