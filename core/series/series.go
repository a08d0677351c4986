// Package series keeps plan against delivery of each flight under way: a sample
// a minute, for Keep, ready to be plotted.
//
// # What a sample says
//
// Planned is how much of what was sold should have been delivered by then: the
// schedule of sync/pacing, which is what edges release leases along, from the
// flight's start, with the demand that was learnt and the numbers sold as they
// were that minute. Delivered and spent are what the core had counted by then,
// from the flight's start too; edges report a second or so later than it
// happens, and much later when they are cut off.
//
// # Cost
//
// Sample is a job of the core: once a minute one core reads the flights under
// way with their totals and writes one row for each, in one statement; nothing
// is written by event. A row is some 100 bytes with its index, so 1000 flights
// are 150 MB a day. Rows lie in partitions of a day, which core/postgres makes
// ahead and drops after Keep.
//
// # Gaps
//
// A minute in which no core ran has no sample. Read gives such steps as points
// without numbers: nothing is put in between.
package series

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"nearside/core/jobs"
	"nearside/core/postgres"
	"nearside/core/postgres/query"
	"nearside/sync/catalog"
	"nearside/sync/pacing"
)

const (
	// Keep is how long samples are kept.
	Keep = 30 * 24 * time.Hour
	// Resolution is the time between samples, and the least step.
	Resolution = time.Minute
	// MostPoints is how many Read gives: Keep at Resolution, and some.
	MostPoints = 45_000
)

// Job samples once a minute.
func Job(db *postgres.DB) jobs.Job {
	return jobs.Job{
		Name: "flight-series", About: "Samples plan and delivery of each flight under way, for its plot.",
		Every: Resolution,
		Run: func(ctx context.Context, now time.Time) (string, error) {
			n, err := Sample(ctx, db, now)
			return fmt.Sprintf("%d flights", n), err
		},
	}
}

// Sample writes down where each flight under way is in the minute of now, and
// says how many there are. A minute that has its sample keeps it.
func Sample(ctx context.Context, db *postgres.DB, now time.Time) (int64, error) {
	now = now.UTC().Truncate(Resolution)
	flights, err := db.Queries().FlightsUnderWay(ctx, pgtype.Date{Time: now.Truncate(24 * time.Hour), Valid: true})
	if err != nil {
		return 0, fmt.Errorf("read the flights under way: %w", err)
	}
	p := query.InsertSeriesParams{At: now}
	for _, f := range flights {
		schedule, err := scheduleOf(&f)
		if err != nil {
			return 0, fmt.Errorf("flight %d: %w", f.ID, err)
		}
		p.Flights = append(p.Flights, f.ID)
		p.PlannedViews = append(p.PlannedViews, schedule.Planned(f.SoldViews, now.UnixMilli()))
		p.PlannedClicks = append(p.PlannedClicks, schedule.Planned(f.SoldClicks, now.UnixMilli()))
		p.Views = append(p.Views, f.Views)
		p.Clicks = append(p.Clicks, f.Clicks)
		p.SpentMicros = append(p.SpentMicros, f.SpentMicros)
	}
	n, err := db.Queries().InsertSeries(ctx, p)
	if err != nil {
		return 0, fmt.Errorf("write the samples of %s: %w", now.Format(time.RFC3339), err)
	}
	return n, nil
}

func scheduleOf(f *query.FlightsUnderWayRow) (pacing.Schedule, error) {
	of := catalog.Flight{
		StartDate: catalog.DayOf(f.StartDate.Time), EndDate: catalog.DayOf(f.EndDate.Time), HardStop: f.HardStop,
		PacingInterval: f.PacingIntervalSeconds,
	}
	for _, weight := range f.Demand {
		of.Demand = append(of.Demand, uint32(weight))
	}
	err := of.Pacing.UnmarshalText([]byte(f.Pacing))
	return pacing.ScheduleOf(&of), err
}

// Unit is what of a flight is planned and delivered.
type Unit string

// What flights sell.
const (
	Views  Unit = "views"
	Clicks Unit = "clicks"
)

// Point is where a flight was at the end of a step. Without a sample in it
// there are no numbers.
type Point struct {
	Time        time.Time `json:"time" doc:"When the step begins."`
	Planned     *int64    `json:"planned" doc:"What should have been delivered by the last minute of the step, since the flight's start; null where nobody looked."`
	Delivered   *int64    `json:"delivered" doc:"What was counted by then."`
	SpentMicros *int64    `json:"spent_micros" doc:"What that had cost."`
}

// Range puts a range on the steps that hold its ends, which are whole seconds
// since 1970; step is a multiple of Resolution. It says how many points it has.
func Range(from, to time.Time, step time.Duration) (time.Time, time.Time, int) {
	begin, end := from.Unix(), to.Unix()
	width := int64(step / time.Second)
	begin -= begin % width
	if over := end % width; over != 0 {
		end += width - over
	}
	return time.Unix(begin, 0).UTC(), time.Unix(end, 0).UTC(), int(max(0, end-begin) / width)
}

// Read gives a point for each step of a range made by Range.
func Read(ctx context.Context, db *postgres.DB, flight int32, unit Unit, from, to time.Time, step time.Duration) ([]Point, error) {
	rows, err := db.Queries().FlightSeries(ctx, query.FlightSeriesParams{
		Flight: flight, Since: from, Until: to, Step: step.Seconds(),
	})
	if err != nil {
		return nil, fmt.Errorf("read the series of flight %d: %w", flight, err)
	}
	points := make([]Point, 0, int(to.Sub(from)/step))
	for at := from; at.Before(to); at = at.Add(step) {
		p := Point{Time: at}
		if len(rows) > 0 && rows[0].Begins.Equal(at) {
			r := &rows[0]
			rows = rows[1:]
			p.Planned, p.Delivered, p.SpentMicros = &r.PlannedViews, &r.Views, &r.SpentMicros
			if unit == Clicks {
				p.Planned, p.Delivered = &r.PlannedClicks, &r.Clicks
			}
		}
		points = append(points, p)
	}
	return points, nil
}

// WriteCSV writes points under a heading of their names in JSON; where there
// are no numbers, fields are empty.
func WriteCSV(to io.Writer, points []Point) error {
	w := csv.NewWriter(to)
	if err := w.Write([]string{"time", "planned", "delivered", "spent_micros"}); err != nil {
		return err
	}
	text := func(n *int64) string {
		if n == nil {
			return ""
		}
		return strconv.FormatInt(*n, 10)
	}
	for _, p := range points {
		if err := w.Write([]string{p.Time.Format(time.RFC3339), text(p.Planned), text(p.Delivered), text(p.SpentMicros)}); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
