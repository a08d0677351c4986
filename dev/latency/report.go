package latency

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// Report is a measurement with what it was made on.
type Report struct {
	Taken   string   `json:"taken"` // day
	Machine string   `json:"machine"`
	Central string   `json:"central"` // region
	Samples int      `json:"samples"` // of each cell
	Readers int      `json:"readers_at_a_time"`
	Ways    []Way    `json:"ways"`
	Cells   []Cell   `json:"cells"`
	Regions []string `json:"regions"`
}

// Way is how far two regions' readers and edges are apart.
type Way struct {
	From   string  `json:"from"` // readers' region
	To     string  `json:"to"`   // edges' region
	RTT    float64 `json:"rtt_ms"`
	Jitter float64 `json:"jitter_ms"` // at most, each way
}

// The names of the files that Write makes.
const (
	TableFile   = "latency.md"
	FiguresFile = "latency.json"
	PictureFile = "latency.svg"
)

// Write puts the report into a directory, in three forms.
func (r *Report) Write(dir string) error {
	figures, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		FiguresFile: append(figures, '\n'), TableFile: r.Table(), PictureFile: r.Picture(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// Read is what Write wrote.
func Read(dir string) (*Report, error) {
	text, err := os.ReadFile(filepath.Join(dir, FiguresFile))
	if err != nil {
		return nil, err
	}
	r := &Report{}
	return r, json.Unmarshal(text, r)
}

func (r *Report) cell(region, place, connection, request string) Cell {
	i := slices.IndexFunc(r.Cells, func(c Cell) bool {
		return c.Region == region && c.Place == place && c.Connection == connection && c.Request == request
	})
	if i < 0 {
		return Cell{}
	}
	return r.Cells[i]
}

func (r *Report) rtt(from, to string) Way {
	for _, w := range r.Ways {
		if w.From == from && w.To == to {
			return w
		}
	}
	return Way{}
}

// Table is the report for people, in Markdown.
func (r *Report) Table() []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# What a reader waits for")
	p("")
	p("<!-- written by make latency from latency.json -->")
	p("")
	p("The question that this project began with: readers an ocean away wait 80 to 230 ms")
	p("longer, and it is physics. It is, for as long as one place has to be asked. Here are")
	p("the same readers asking the one central region (%s), and asking an edge in their own.", r.Central)
	p("")
	p("![Median time of an ad request, central and near](%s)", PictureFile)
	p("")
	p("## In short")
	p("")
	p("A decision, median, in milliseconds:")
	p("")
	p("| readers in | new connection: central | near | gone | kept connection: central | near | gone |")
	p("|---|---:|---:|---:|---:|---:|---:|")
	for _, region := range r.Regions {
		row := "| " + region
		for _, connection := range Connections {
			far, near := r.cell(region, "central", connection, "decision"), r.cell(region, "near", connection, "decision")
			row += fmt.Sprintf(" | %.1f | %.1f | **%.0f**", far.P50, near.P50, math.Max(0, math.Round(far.P50-near.P50)))
		}
		p("%s |", row)
	}
	p("")
	p("Readers in %s are the control: for them both are the same edge.", r.Central)
	p("")
	p("## All of it")
	p("")
	p("Milliseconds, from before the connection (new) or the request (kept) to the last byte.")
	for _, connection := range Connections {
		p("")
		p("### Over a %s connection", connection)
		p("")
		p("| readers in | request | central p50 | p95 | p99 | near p50 | p95 | p99 | p50 near/central |")
		p("|---|---|---:|---:|---:|---:|---:|---:|---:|")
		for _, region := range r.Regions {
			for _, request := range Requests {
				far, near := r.cell(region, "central", connection, request), r.cell(region, "near", connection, request)
				p("| %s | %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f | %.2f |", region, request,
					far.P50, far.P95, far.P99, near.P50, near.P95, near.P99, near.P50/far.P50)
			}
		}
	}
	p("")
	p("## How it was measured")
	p("")
	p("`make latency` (Linux, root), on %s: %s.", r.Taken, r.Machine)
	p("")
	p("- The built binaries: one core with Postgres in %s, one edge in each region, each in a", r.Central)
	p("  network namespace, joined by a user-space WAN. All of it, the readers and the WAN share")
	p("  this one machine, so the tails are its scheduler's as much as nearside's; on machines of")
	p("  their own they are smaller. \"Central\" is the very same edge program in %s, so what", r.Central)
	p("  differs is the distance alone: a server that asked a database for each decision would")
	p("  add its own time to the central column.")
	p("- The distances: great circle × 1.4 at 200 km/ms, plus 1 ms, one way; and 4 ms one way")
	p("  between any reader and anything, for the line from a home. Round trips, without jitter:")
	p("")
	p("  | readers in | to their own edge | to %s | jitter, each way |", r.Central)
	p("  |---|---:|---:|---:|")
	for _, region := range r.Regions {
		p("  | %s | %.1f ms | %.1f ms | ≤ %.2f ms |", region, r.rtt(region, region).RTT, r.rtt(region, r.Central).RTT, r.rtt(region, r.Central).Jitter)
	}
	p("")
	p("- %d samples in each cell, by %d readers at a time in each region; near and central, new", r.Samples, r.Readers)
	p("  and kept take turns in each reader's hands. Every decision was filled, every view and")
	p("  click billed: a view or click that is answered is on the edge's disk.")
	p("- Plain HTTP. TLS 1.3 adds one round trip to each new connection: to the central column")
	p("  the distance once more, to the near one the last mile. DNS is left out; so is the")
	p("  browser.")
	return b.Bytes()
}

// Picture draws the medians of a decision as bars, in SVG.
func (r *Report) Picture() []byte {
	const (
		width, left, panel, gap = 860, 118, 318, 44
		top, row, bar           = 92, 66, 20
	)
	longest := 0.0
	for _, c := range r.Cells {
		if c.Request == "decision" {
			longest = math.Max(longest, c.P50)
		}
	}
	height := top + row*len(r.Regions) + 34
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="system-ui, -apple-system, 'Segoe UI', sans-serif">`, width, height, width, height)
	p(`<title>Median time of an ad request, asked of the central region and of an edge nearby</title>`)
	p(`<rect width="%d" height="%d" rx="10" fill="#ffffff" stroke="#d8dee4"/>`, width, height)
	p(`<text x="24" y="34" font-size="18" font-weight="600" fill="#1f2328">An ad request, median, in milliseconds</text>`)
	p(`<rect x="%d" y="20" width="14" height="14" rx="3" fill="#afb8c1"/><text x="%d" y="32" font-size="13" fill="#59636e">asked of %s, far away</text>`, 460, 480, html.EscapeString(r.Central))
	p(`<rect x="%d" y="20" width="14" height="14" rx="3" fill="#1a7f5a"/><text x="%d" y="32" font-size="13" fill="#59636e">asked of the near side</text>`, 672, 692)
	for i, connection := range Connections {
		x := left + i*(panel+gap)
		title := "on a new connection"
		if connection == "kept" {
			title = "on one that is open"
		}
		p(`<text x="%d" y="70" font-size="13" fill="#59636e">%s</text>`, x, title)
		for j, region := range r.Regions {
			y := top + j*row
			if i == 0 {
				p(`<text x="%d" y="%d" font-size="13" text-anchor="end" fill="#1f2328">%s</text>`, left-12, y+bar+5, html.EscapeString(region))
			}
			for k, place := range Places {
				ms := r.cell(region, place, connection, "decision").P50
				long := math.Max(2, ms/longest*(panel-52))
				fill, weight := "#afb8c1", "400"
				if place == "near" {
					fill, weight = "#1a7f5a", "600"
				}
				p(`<rect x="%d" y="%d" width="%.1f" height="%d" rx="3" fill="%s"/>`, x, y+k*(bar+3), long, bar, fill)
				p(`<text x="%.1f" y="%d" font-size="13" font-weight="%s" fill="#1f2328">%s</text>`, float64(x)+long+6, y+k*(bar+3)+15, weight, ms0(ms))
			}
		}
	}
	p(`<text x="24" y="%d" font-size="12" fill="#59636e">Readers 4 ms from the nearest exchange; real programs over a WAN on one machine, without TLS. Method: docs/latency.md</text>`, height-14)
	p(`</svg>`)
	return b.Bytes()
}

func ms0(ms float64) string {
	return fmt.Sprintf("%.0f", ms)
}
