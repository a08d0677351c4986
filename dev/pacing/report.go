package pacing

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"nearside/sync/catalog"
)

// Bound is the pacing error that no judged flight may have.
const Bound = 0.02

// Large is how much a flight sells that is judged.
const Large = 10_000

// Judged reports whether the verdict is about a flight: it is large, has a plan
// and readers enough for it.
func (m *Meter) Judged() bool {
	return m.Flight.Class == Served && m.planned() && m.Flight.sold >= Large
}

func (m *Meter) planned() bool { return m.Flight.Pacing != catalog.ASAP }

// Verdict says what is wrong with a day; nothing where all is well.
func (r *Result) Verdict() []string {
	wrong := slices.Clone(r.Broken)
	for _, m := range r.Meters {
		if e := m.RMSE(); m.Judged() && e > Bound {
			wrong = append(wrong, fmt.Sprintf("%s: a pacing error of %.2f %%", m.Flight.Slug, 100*e))
		}
	}
	return wrong
}

// Of is the meter of a flight.
func (r *Result) Of(slug string) *Meter {
	i := slices.IndexFunc(r.Meters, func(m *Meter) bool { return m.Flight.Slug == slug })
	if i < 0 {
		return nil
	}
	return r.Meters[i]
}

// Markdown is what a day came to, in tables.
func (r *Result) Markdown() string {
	var b strings.Builder
	var judged []*Meter
	for _, m := range r.Meters {
		if m.Judged() {
			judged = append(judged, m)
		}
	}
	slices.SortFunc(judged, func(a, b *Meter) int { return cmp.Compare(a.RMSE(), b.RMSE()) })
	units := int64(0)
	for _, m := range r.Meters {
		units += m.Delivered - m.Before
	}
	fmt.Fprintf(&b, "%d flights, %d regions of %d nodes, %.0f requests a second on average, %d hours from %s, %d units delivered.\n\n",
		len(r.Meters), regions, r.Options.Nodes, r.Options.Requests, r.Options.Lasts/hour, utc(r.Options.Start, "2006-01-02 15:04"), units)
	if len(judged) > 0 {
		worst := judged[len(judged)-1]
		fmt.Fprintf(&b, "**Verdict**: of %d flights that sell at least %d and have readers enough, the pacing error (RMSE) is %s at the median, %s at the worst (`%s`); the bound is %s. ",
			len(judged), Large, percent(judged[len(judged)/2].RMSE()), percent(worst.RMSE()), worst.Flight.Slug, percent(Bound))
	}
	if wrong := r.Verdict(); len(wrong) == 0 {
		b.WriteString("Kept; nothing was overspent, and the ledger's sums hold.\n\n")
	} else {
		fmt.Fprintf(&b, "**Not kept**: %s.\n\n", strings.Join(wrong, "; "))
	}
	fmt.Fprintf(&b, "%d valid views and clicks came when nothing was left to bill them to (unbilled): %.4f %% of what was delivered.\n\n", r.Beyond, 100*float64(r.Beyond)/float64(max(units, 1)))

	b.WriteString("| class | flights | units | RMSE median | RMSE worst | furthest behind | furthest ahead |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, c := range []Class{Served, Short, Contested, Late, Changed, Fast} {
		r.classRow(&b, c)
	}
	return b.String()
}

func (r *Result) classRow(b *strings.Builder, c Class) {
	var errors []float64
	lag, lead, units, n := 0.0, 0.0, int64(0), 0
	for _, m := range r.Meters {
		if m.Flight.Class != c {
			continue
		}
		n++
		units += m.Delivered - m.Before
		if m.planned() && m.Units() > 0 {
			errors = append(errors, m.RMSE())
			lag, lead = max(lag, float64(m.Lag)/float64(m.Units())), max(lead, float64(m.Lead)/float64(m.Units()))
		}
	}
	if n == 0 {
		return
	}
	slices.Sort(errors)
	if len(errors) == 0 || c == Changed {
		fmt.Fprintf(b, "| %s | %d | %d | – | – | – | – |\n", c, n, units)
		return
	}
	fmt.Fprintf(b, "| %s | %d | %d | %s | %s | %s | %s |\n", c, n, units,
		percent(errors[len(errors)/2]), percent(errors[len(errors)-1]), percent(lag), percent(lead))
}

// Table has a row for each flight that keep accepts.
func (r *Result) Table(keep func(*Meter) bool) string {
	var b strings.Builder
	b.WriteString("| flight | class | pacing | interval | sold | in the day | RMSE | behind | ahead | left | busiest minute | of its readers |\n|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, m := range r.Meters {
		if !keep(m) {
			continue
		}
		f := m.Flight
		kind := "views"
		if f.SoldClicks > 0 {
			kind = "clicks"
		}
		rmse, lag, lead, peak := "–", "–", "–", "–"
		if m.planned() && f.Class != Changed {
			rmse, lag, lead = percent(m.RMSE()), fmt.Sprint(m.Lag), fmt.Sprint(m.Lead)
		}
		if p := m.Peak(); p > 0 && m.planned() {
			peak = fmt.Sprintf("× %.2f", p)
		}
		left := fmt.Sprintf("%+d to plan", -m.Behind())
		if m.AtEnd >= 0 {
			left = fmt.Sprintf("%d at its end", f.sold-m.AtEnd)
		} else if !m.planned() {
			left = fmt.Sprint(f.sold - m.Delivered)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d s | %d %s | %d | %s | %s | %s | %s | %s | %.1f %% |\n",
			f.Slug, f.Class, f.Pacing, f.PacingInterval, f.sold, kind, m.Delivered-m.Before, rmse, lag, lead, left, peak, 100*f.Supply)
	}
	return b.String()
}

func percent(part float64) string {
	if math.Abs(part) < 0.1 {
		return fmt.Sprintf("%.2f %%", 100*part)
	}
	return fmt.Sprintf("%.1f %%", 100*part)
}
