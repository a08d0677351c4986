package pacing

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// A plot is two panels over the same hours: plan and delivery, and below them
// how far they are apart, in per cent of the day's units.
const (
	width, height = 720, 330
	left, right   = 70, 14
	top, middle   = 34, 214 // of the first panel
	lower, bottom = 236, 300
)

// Mark is a time to be seen in a plot.
type Mark struct {
	From, To int64 // unix milliseconds; a moment where they are the same
	Label    string
}

// SVG draws a flight's day.
func SVG(title string, m *Meter, marks ...Mark) string {
	var b strings.Builder
	points := thinned(m.Points)
	from, to := points[0].At, points[len(points)-1].At
	x := func(at int64) float64 { return left + float64(at-from)/float64(to-from)*(width-left-right) }
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		low, high = min(low, float64(p.Delivered)), max(high, float64(p.Delivered))
		if m.planned() {
			low, high = min(low, float64(p.Plan)), max(high, float64(p.Plan))
		}
	}
	low, high, step := nice(low, high, 4)
	y := func(v float64) float64 { return middle - (v-low)/(high-low)*(middle-top) }

	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="%d" y="18" font-size="13" fill="#222">%s</text>`+"\n", left, escape(title))
	for _, k := range marks {
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#f3c9a5" fill-opacity="0.6"/>`+"\n", x(k.From), top, max(x(k.To)-x(k.From), 1.5), bottom-top)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#8a4b12">%s</text>`+"\n", x(k.To)+4, middle-6, escape(k.Label))
	}
	for v := low; v <= high+step/2; v += step {
		rule(&b, y(v), "#e4e4e4")
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end" fill="#555">%s</text>`+"\n", left-6, y(v)+4, amount(v))
	}
	for at := from; at <= to; at += max(hour, (to-from)/8/hour*hour) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#555">%s</text>`+"\n", x(at), bottom+16, time.UnixMilli(at).UTC().Format("15:04"))
	}
	if m.planned() {
		line(&b, points, x, func(p Point) float64 { return y(float64(p.Plan)) }, `stroke="#999" stroke-width="3" stroke-dasharray="5 4"`)
	}
	line(&b, points, x, func(p Point) float64 { return y(float64(p.Delivered)) }, `stroke="#1664a5" stroke-width="1.6"`)
	if m.planned() && m.Units() > 0 {
		off := func(p Point) float64 { return 100 * float64(p.Delivered-p.Plan) / float64(m.Units()) }
		most := 0.0
		for _, p := range points {
			if p.At > m.from {
				most = max(most, math.Abs(off(p)))
			}
		}
		_, most, _ = nice(0, max(most, 0.1), 1)
		yy := func(v float64) float64 {
			return (lower+bottom)/2 - min(max(v, -most), most)/most*(bottom-lower)/2
		}
		for _, v := range []float64{-most, 0, most} {
			rule(&b, yy(v), "#e4e4e4")
			fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end" fill="#555">%+.3g %%</text>`+"\n", left-6, yy(v)+4, v)
		}
		line(&b, points, x, func(p Point) float64 { return yy(off(p)) }, `stroke="#b3261e" stroke-width="1.2"`)
	}
	legend := `delivered (blue)`
	if m.planned() {
		legend = `plan (grey) and delivered (blue); below, their difference in % of the day's units`
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#555">%s, UTC</text>`+"\n</svg>\n", left, height-2, escape(legend))
	return b.String()
}

// thinned leaves about 300 points.
func thinned(points []Point) []Point {
	each := max(1, len(points)/288)
	var kept []Point
	for i := 0; i < len(points); i += each {
		kept = append(kept, points[i])
	}
	return kept
}

func rule(b *strings.Builder, y float64, color string) {
	fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="%s"/>`+"\n", left, y, width-right, color)
}

func line(b *strings.Builder, points []Point, x func(int64) float64, y func(Point) float64, style string) {
	fmt.Fprintf(b, `<polyline fill="none" %s points="`, style)
	for _, p := range points {
		fmt.Fprintf(b, "%.1f,%.1f ", x(p.At), y(p))
	}
	b.WriteString("\"/>\n")
}

// nice widens a range to round numbers, with a step between them.
func nice(low, high float64, steps int) (from, to, step float64) {
	if high <= low {
		high = low + 1
	}
	raw := (high - low) / float64(steps)
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, k := range []float64{1, 2, 2.5, 5, 10} {
		if step = k * unit; step >= raw {
			break
		}
	}
	return math.Floor(low/step) * step, math.Ceil(high/step) * step, step
}

func amount(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.4gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace
