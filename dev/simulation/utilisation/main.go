// Command utilisation measures how much of a budget is billed when many nodes
// spend it: keepers with their journals, decisions and the ledger are the code
// that ships; what is played is time, the network between them, disks and
// readers. With -write it puts its table into docs/proof.md.
//
// A world lives through the one day of its flights, one flight of each size,
// paced evenly with a hard stop at the day's end. Everything moves in steps of 5
// seconds: nodes tick, the requests of a step come together, views come on the
// step after their delay. A node exchanges every 10 seconds. Both make leases
// larger, and news of them older, than the second of a real fleet does.
//
// Readers are Poisson: four requests for each view that a flight has sold, and
// at least one every five seconds at each node. Of the offers 85 % are viewed,
// 1.5 s later in the mean; of the views 1 % come later, after a minute in the
// mean, some after ten.
//
// With faults the core is away for 4 h, then a region is cut off for 30 minutes,
// and two nodes lose their disks; others take their names after five minutes,
// and after half an hour an operator closes the holders that are gone.
//
// It leaves out what dev/simulation plays: lost and repeated messages, kills,
// wrong memberships, several budgets to an event.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// The fleets of the table, the budgets, and what is asked of them.
var (
	fleets = []shape{
		{name: "3 regions of 5 nodes", regions: 3, nodes: 5, life: 24 * time.Hour},
		{name: "10 regions of 20 nodes", regions: 10, nodes: 20, life: 24 * time.Hour},
		{name: "30 regions of 2 nodes (30 brokers)", regions: 30, nodes: 2, life: 24 * time.Hour},
	}
	budgets = []int64{100, 1000, 10_000, 1_000_000}
)

// asked is the least part of a budget that has to be billed; 0: none is named.
func asked(sold int64) float64 {
	switch {
	case sold >= 10_000:
		return 0.999
	case sold >= 1000:
		return 0.99
	}
	return 0
}

// mostUnbilled is the largest part of the views that may go unbilled.
const mostUnbilled = 0.0001

func main() {
	write := flag.Bool("write", false, "write the table into docs/proof.md")
	seed := flag.Uint64("seed", 1, "of the worlds")
	flag.Parse()
	if err := run(*seed, *write); err != nil {
		fmt.Fprintln(os.Stderr, "utilisation:", err)
		os.Exit(1)
	}
}

func run(seed uint64, write bool) error {
	var shapes []shape
	for _, s := range fleets {
		broken := s
		broken.faults = true
		shapes = append(shapes, s, broken)
	}
	rows, failed := make([][]string, len(shapes)), make([]error, len(shapes))
	var worlds sync.WaitGroup
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, s := range shapes {
		worlds.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			w, err := play(s, seed, budgets)
			if err != nil {
				failed[i] = fmt.Errorf("%s, faults %v: %w", s.name, s.faults, err)
				return
			}
			for _, f := range w.flights {
				rows[i] = append(rows[i], f.row(&s))
			}
		})
	}
	worlds.Wait()
	lines := []string{"| fleet | faults | sold | billed | of the sold | unbilled, of the views | reached |", "|---|---|---:|---:|---:|---:|---|"}
	for i := range rows {
		if failed[i] != nil {
			return failed[i]
		}
		lines = append(lines, rows[i]...)
	}
	table := strings.Join(lines, "\n") + "\n"
	fmt.Print(table)
	if !write {
		return nil
	}
	return put("docs/proof.md", table)
}

// play runs a world to its end.
func play(s shape, seed uint64, sold []int64) (*world, error) {
	w, err := newWorld(s, seed, sold)
	if err != nil {
		return nil, err
	}
	return w, w.run()
}

// misses says what was asked of a flight and not reached; a few unbilled views
// are let pass where they are more than their part of a small budget by chance.
func (f *flight) misses(few int64) []string {
	var list []string
	if f.overspent > 0 {
		list = append(list, fmt.Sprintf("overspent by %d", f.overspent))
	}
	if part := float64(f.settled) / float64(f.sold); part < asked(f.sold) {
		list = append(list, fmt.Sprintf("billed %.2f %%, asked %.1f %%", 100*part, 100*asked(f.sold)))
	}
	if part := float64(f.unbilled) / float64(max(f.seen, 1)); part > mostUnbilled && f.unbilled > few {
		list = append(list, fmt.Sprintf("unbilled %.3f %%, asked %.2f %%", 100*part, 100*mostUnbilled))
	}
	return list
}

func (f *flight) row(s *shape) string {
	faults, reached := "none", "yes"
	if s.faults {
		faults = "core, region, disks"
	}
	if missed := f.misses(0); len(missed) > 0 {
		reached = strings.Join(missed, "; ")
	}
	return fmt.Sprintf("| %s | %s | %d | %d | %.3f %% | %d (%.4f %%) | %s |", s.name, faults, f.sold, f.settled,
		100*float64(f.settled)/float64(f.sold), f.unbilled, 100*float64(f.unbilled)/float64(max(f.seen, 1)), reached)
}

const (
	begin = "<!-- written by make utilisation -->\n"
	end   = "<!-- end of utilisation -->\n"
)

// put replaces what stands between the two marks of a page.
func put(page, table string) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no place for the table", page)
	}
	return os.WriteFile(page, []byte(before+begin+table+end+after), 0o644) //nolint:gosec // a page for all to read
}
