// Command plots runs the days of dev/pacing and writes docs/pacing.md, of which
// only the part between its marks, and docs/pacing/*.svg. It fails where the
// verdict is not kept.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"nearside/dev/pacing"
)

const (
	page  = "docs/pacing.md"
	dir   = "docs/pacing"
	begin = "<!-- make plots writes from here -->\n"
	end   = "<!-- to here -->\n"
	hour  = int64(time.Hour / time.Millisecond)
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "plots:", err)
		os.Exit(1)
	}
}

// days are the day itself, and two smaller ones in which something is away.
func days() (day, cut, alone pacing.Options) {
	day = pacing.Day()
	cut, alone = pacing.Day(), pacing.Day()
	for _, o := range []*pacing.Options{&cut, &alone} {
		o.Flights, o.Requests, o.Workers = 40, 40, 1
	}
	cut.Outages = []pacing.Outage{{Region: "eu-west", From: cut.Start + 4*hour, To: cut.Start + 5*hour}}
	alone.Outages = []pacing.Outage{{From: alone.Start + 4*hour, To: alone.Start + 6*hour}}
	return day, cut, alone
}

func run() error {
	old, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("%w (run it from the module's root)", err)
	}
	began := time.Now()
	say := func(what string) func(string, ...any) {
		return func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, "%s: %s, %v\n", what, fmt.Sprintf(format, args...), time.Since(began).Round(time.Second))
		}
	}
	day, cut, alone := days()
	var results [3]*pacing.Result
	var g errgroup.Group
	g.Go(func() (err error) { results[0], err = pacing.Run(day, say("day")); return err })
	g.Go(func() (err error) { results[1], err = pacing.Run(cut, say("region cut")); return err })
	g.Go(func() (err error) { results[2], err = pacing.Run(alone, say("core away")); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := plots(results); err != nil {
		return err
	}
	if err := write(old, text(results)); err != nil {
		return err
	}
	var wrong []error
	for _, r := range results {
		for _, w := range r.Verdict() {
			wrong = append(wrong, errors.New(w))
		}
	}
	return errors.Join(wrong...)
}

func outages(o pacing.Options) (marks []pacing.Mark) {
	for _, x := range o.Outages {
		label := "core away"
		if x.Region != "" {
			label = x.Region + " cut off"
		}
		marks = append(marks, pacing.Mark{From: x.From, To: x.To, Label: label})
	}
	return marks
}

func plots(results [3]*pacing.Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	day, cut, alone := results[0], results[1], results[2]
	draw := func(name, title string, r *pacing.Result, slug string, marks ...pacing.Mark) error {
		m := r.Of(slug)
		if m == nil {
			return fmt.Errorf("no flight %s", slug)
		}
		return os.WriteFile(filepath.Join(dir, name+".svg"), []byte(pacing.SVG(title, m, append(marks, outages(r.Options)...)...)), 0o644)
	}
	moment := func(at int64, label string) pacing.Mark { return pacing.Mark{From: at, To: at, Label: label} }
	late, doubled, asap := day.Of("late"), day.Of("sold-doubled"), day.Of("asap")
	return errors.Join(
		draw("even", "even: 1 000 000 views in ten days", day, "even"),
		draw("traffic", "traffic: 1 000 000 views in ten days, by its readers' hours", day, "traffic"),
		draw("clicks", "clicks: 40 000 in thirteen days", day, "clicks"),
		draw("ends", "even, ends at midnight", day, "even-ends-at-midnight"),
		draw("asap", "asap: 60 000 views in one region", day, "asap", moment(asap.Flight.LiveAt, "live")),
		draw("starved", "starved: more planned than it has readers by night", day, "starved"),
		draw("late", "late: goes live eight hours into the day", day, "late", moment(late.Flight.LiveAt, "live")),
		draw("doubled", "twice as much is sold from 20:00 on", day, "sold-doubled", moment(doubled.Flight.Edits[0].At, "sold doubled")),
		draw("region-cut", "a region is cut off for an hour", cut, "even"),
		draw("core-away", "the core is away for two hours", alone, "even"),
		draw("core-away-traffic", "the core is away for two hours: traffic", alone, "traffic"),
	)
}

func text(results [3]*pacing.Result) string {
	var b strings.Builder
	day, cut, alone := results[0], results[1], results[2]
	b.WriteString("\n## The day\n\n" + day.Markdown() + "\n")
	caught := func(r *pacing.Result, slug string, from int64) string {
		d, ok := r.Of(slug).CaughtUp(from)
		if !ok {
			return "not by the end of the day"
		}
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	fmt.Fprintf(&b, "Back within 1 %% of the day's units of plan: `late` %s after it went live, `sold-doubled` %s and `ends-sooner` %s after the change.\n\n",
		caught(day, "late", day.Of("late").Flight.LiveAt), caught(day, "sold-doubled", day.Of("sold-doubled").Flight.Edits[0].At), caught(day, "ends-sooner", day.Of("ends-sooner").Flight.Edits[0].At))
	b.WriteString("## A region cut off for an hour\n\n" + cut.Markdown() + "\n" + cut.Table(plotted) + "\n")
	b.WriteString("## The core away for two hours\n\n" + alone.Markdown() + "\n" + alone.Table(plotted) + "\n")
	b.WriteString("## Every flight of the day\n\n" + day.Table(func(*pacing.Meter) bool { return true }) + "\n")
	return b.String()
}

func plotted(m *pacing.Meter) bool { return !strings.HasPrefix(m.Flight.Slug, "flight-") }

func write(old []byte, text string) error {
	before, rest, ok := bytes.Cut(old, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return fmt.Errorf("%s: expected the lines %q and %q", page, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(page, []byte(string(before)+begin+text+end+string(after)), 0o644)
}
