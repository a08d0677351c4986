package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/series"
	"nearside/sync/catalog"
)

type seriesIn struct {
	BySlug
	From   string `query:"from" maxLength:"40" doc:"Where the series begins: a date or an RFC 3339 time, UTC, at most 30 days ago. Default: a day before its end." example:"2025-09-01T12:00:00Z"`
	To     string `query:"to" maxLength:"40" doc:"Where it ends: a date, that day included, or an RFC 3339 time. Default: now."`
	Step   int64  `query:"step" minimum:"60" maximum:"86400" multipleOf:"60" default:"60" doc:"Seconds from one point to the next."`
	Unit   string `query:"unit" enum:"views,clicks" doc:"What is planned and delivered. Default: views, or clicks where it sells no views."`
	Format string `query:"format" enum:"json,csv" default:"json" doc:"csv has the columns time, planned, delivered and spent_micros."`
}

// Series is plan against delivery of a flight.
type Series struct {
	Flight      string         `json:"flight"`
	Unit        string         `json:"unit" enum:"views,clicks"`
	From        time.Time      `json:"from"`
	To          time.Time      `json:"to"`
	StepSeconds int64          `json:"step_seconds"`
	Points      []series.Point `json:"points" doc:"One for each step from the flight's start on."`
}

// seriesRooms registers plan against delivery.
func (a *API) seriesRooms() {
	register(a, huma.Operation{
		OperationID: "read-flight-series", Method: http.MethodGet, Path: "/v1/flights/{slug}/series", Tags: []string{flights.tag},
		Summary: "Plan against delivery of a flight",
		Description: "A point for each step, ready to be plotted: what should have been delivered by then along the flight's pacing, what was, and what it had cost, each since the flight's start. " +
			"The core looks once a minute and keeps 30 days. A step in which it did not look has a point without numbers (in CSV, empty fields).",
		Errors: []int{http.StatusNotFound},
		Responses: map[string]*huma.Response{"200": {
			Description: "The points.",
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Series](), true, "")},
				"text/csv":         {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}, func(ctx context.Context, in *seriesIn) (*huma.StreamResponse, error) {
		found, err := flights.find(ctx, a.db.Queries(), in.Slug)
		if err != nil {
			return nil, err
		}
		out := Series{Flight: in.Slug, Unit: in.Unit, StepSeconds: in.Step, Points: []series.Point{}}
		if out.Unit == "" {
			out.Unit = string(series.Views)
			if found.value.SoldViews == 0 && found.value.SoldClicks > 0 {
				out.Unit = string(series.Clicks)
			}
		}
		if err := a.seriesRange(in, &found.value, &out); err != nil {
			return nil, err
		}
		if out.From.Before(out.To) {
			out.Points, err = series.Read(ctx, a.db, found.id, series.Unit(out.Unit), out.From, out.To, time.Duration(in.Step)*time.Second)
			if err != nil {
				return nil, err
			}
		}
		if in.Format == "csv" {
			return &huma.StreamResponse{Body: func(c huma.Context) {
				c.SetHeader("Content-Type", "text/csv; charset=utf-8")
				c.SetHeader("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.csv"`, in.Slug))
				_ = series.WriteCSV(c.BodyWriter(), out.Points) // who went away needs no report
			}}, nil
		}
		text, err := json.Marshal(out)
		if err != nil {
			return nil, fmt.Errorf("write the series of flight %s: %w", in.Slug, err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			c.SetHeader("Content-Type", "application/json")
			_, _ = c.BodyWriter().Write(text)
		}}, nil
	})
}

// seriesRange puts the range that is asked for on whole steps, from the
// flight's start to now.
func (a *API) seriesRange(in *seriesIn, of *Flight, out *Series) error {
	f := &faults{at: "query"}
	now := a.now().UTC()
	latest := now.Truncate(series.Resolution).Add(series.Resolution) // the present minute may have its sample
	to := latest
	if in.To != "" {
		to = minute(f, "to", in.To, true)
	}
	from := to.Add(-24 * time.Hour)
	if in.From != "" {
		from = minute(f, "from", in.From, false)
	}
	if len(f.list) == 0 && !from.Before(to) {
		f.add("to", in.To, "expected a time after from")
	}
	if len(f.list) == 0 && in.From != "" && now.Sub(from) > series.Keep+24*time.Hour {
		f.add("from", in.From, "expected at most %d days ago", int(series.Keep.Hours()/24))
	}
	if to.After(latest) {
		to = latest
	}
	start, err := catalog.ParseDay(of.StartDate)
	if err != nil {
		return fmt.Errorf("start date of flight %s: %w", of.Slug, err)
	}
	if from.Before(start.Start()) {
		from = start.Start()
	}
	begin, end, points := series.Range(from, to, time.Duration(in.Step)*time.Second)
	out.From, out.To = begin, end
	if len(f.list) == 0 && points > series.MostPoints {
		f.add("step", in.Step, "expected what makes at most %d points, not %d", series.MostPoints, points)
	}
	return f.problem()
}

// minute reads a date or a time; a date that ends a series is in it.
func minute(f *faults, path, text string, end bool) time.Time {
	if t, err := time.Parse(time.RFC3339, text); err == nil && t.Year() >= 2000 && t.Year() <= 2199 {
		return t.UTC()
	}
	return moment(f, path, text, end)
}
