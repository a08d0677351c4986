package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/report"
	"nearside/sync/catalog"
)

const (
	longestReport = 400 * 24 * time.Hour
	longestCSV    = 100_000 // rows
)

type reportIn struct {
	From       string   `query:"from" maxLength:"40" doc:"Where the report begins: a date or an RFC 3339 time, UTC, rounded down to the hour. Default: 30 days before its end." example:"2025-09-01"`
	To         string   `query:"to" maxLength:"40" doc:"Where it ends: a date, that day included, or an RFC 3339 time, rounded up to the hour. Default: now." example:"2025-09-30"`
	GroupBy    []string `query:"group_by" maxItems:"9" uniqueItems:"true" enum:"hour,day,advertiser,campaign,flight,ad,publisher,region,country,topic" doc:"Dimensions, separated by commas; topic neither with ad nor with publisher. Without any the answer is one row."`
	Format     string   `query:"format" enum:"json,csv" default:"json" doc:"csv has all rows, at most 100000; json has pages."`
	Advertiser string   `query:"advertiser" maxLength:"200" doc:"Only this advertiser's."`
	Campaign   string   `query:"campaign" maxLength:"200" doc:"Only this campaign's."`
	Flight     string   `query:"flight" maxLength:"200" doc:"Only this flight's."`
	Publisher  string   `query:"publisher" maxLength:"200" doc:"Only this publisher's."`
	Region     string   `query:"region" maxLength:"100" doc:"Only what this region's edges counted."`
	Country    string   `query:"country" maxLength:"2" doc:"Only readers in this country."`
	Topic      string   `query:"topic" maxLength:"200" doc:"Only pages about this topic; neither with publisher nor by ad or publisher."`
	Limit      int64    `query:"limit" minimum:"1" maximum:"10000" default:"1000" doc:"How many rows at most, in JSON."`
	Cursor     string   `query:"cursor" maxLength:"100" doc:"The next of the previous answer; empty for the first."`
}

// reportRooms registers the reports.
func (a *API) reportRooms() {
	registry := a.huma.OpenAPI().Components.Schemas
	rows := registry.Schema(reflect.TypeFor[list[report.Row]](), true, "")
	register(a, huma.Operation{
		OperationID: "report-delivery", Method: http.MethodGet, Path: "/v1/reports/delivery", Tags: []string{"Reports"},
		Summary: "What was decided and delivered",
		Description: "Sums over whole hours (UTC). A report of the past can still grow while an edge has not reported. " +
			"Decisions and offers are not counted by ad; decisions without an ad stand in the row without a flight. " +
			"Refunds stand in the rows of their flight, in the hour in which they were given. " +
			"A page of several topics counts once for each of them, so that the rows of topics do not add up to the whole.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The rows.",
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: rows},
				"text/csv":         {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}, func(ctx context.Context, in *reportIn) (*huma.StreamResponse, error) {
		asked, err := a.asked(ctx, in)
		if err != nil {
			return nil, err
		}
		if in.Format == "csv" {
			return a.reportCSV(ctx, asked)
		}
		skip, err := Page{Cursor: in.Cursor}.after()
		if err != nil {
			return nil, err
		}
		asked.Skip, asked.Most = int32(min(skip, 1<<30)), int32(in.Limit+1)
		rows, err := report.Delivery(ctx, a.db, asked)
		if err != nil {
			return nil, err
		}
		rows, next := cut(rows, in.Limit, func(report.Row) int64 { return int64(asked.Skip) + in.Limit })
		text, err := json.Marshal(list[report.Row]{Items: rows, Next: next})
		if err != nil {
			return nil, fmt.Errorf("write the report: %w", err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			c.SetHeader("Content-Type", "application/json")
			_, _ = c.BodyWriter().Write(text)
		}}, nil
	})
}

func (a *API) reportCSV(ctx context.Context, asked report.Asked) (*huma.StreamResponse, error) {
	asked.Most = longestCSV + 1
	rows, err := report.Delivery(ctx, a.db, asked)
	if err != nil {
		return nil, err
	}
	if len(rows) > longestCSV {
		return nil, huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{
			Message: fmt.Sprintf("expected what makes at most %d rows: shorten from and to, or ask for fewer dimensions", longestCSV), Location: "query.group_by",
		})
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "text/csv; charset=utf-8")
		c.SetHeader("Content-Disposition", `attachment; filename="delivery.csv"`)
		_ = report.WriteCSV(c.BodyWriter(), asked.GroupBy, rows) // who went away needs no report
	}}, nil
}

// asked checks what a report is to hold.
func (a *API) asked(ctx context.Context, in *reportIn) (report.Asked, error) {
	f := &faults{at: "query"}
	asked := report.Asked{Region: in.Region, Country: in.Country}
	for _, d := range in.GroupBy {
		asked.GroupBy = append(asked.GroupBy, report.Dimension(d))
	}
	if slices.Contains(in.GroupBy, "hour") && slices.Contains(in.GroupBy, "day") {
		f.add("group_by", nil, "expected hour or day, not both")
	}
	asked.To = a.now().UTC().Truncate(time.Hour).Add(time.Hour)
	if in.To != "" {
		asked.To = moment(f, "to", in.To, true)
	}
	asked.From = asked.To.Add(-30 * 24 * time.Hour)
	if in.From != "" {
		asked.From = moment(f, "from", in.From, false)
	}
	if len(f.list) == 0 {
		switch {
		case !asked.From.Before(asked.To):
			f.add("to", in.To, "expected a time after from")
		case asked.To.Sub(asked.From) > longestReport:
			f.add("from", in.From, "expected at most %d days before to", int(longestReport.Hours()/24))
		}
	}
	q := a.db.Queries()
	for _, filter := range []struct {
		path, what, slug string
		find             func() (map[string]int32, error)
		id               *int32
	}{
		{"advertiser", "an advertiser", in.Advertiser, func() (map[string]int32, error) { return known(ctx, q.AdvertisersBySlug, []string{in.Advertiser}) }, &asked.Advertiser},
		{"campaign", "a campaign", in.Campaign, func() (map[string]int32, error) { return known(ctx, q.CampaignsBySlug, []string{in.Campaign}) }, &asked.Campaign},
		{"flight", "a flight", in.Flight, func() (map[string]int32, error) { return known(ctx, q.AnyFlightsBySlug, []string{in.Flight}) }, &asked.Flight},
		{"topic", "a topic", in.Topic, func() (map[string]int32, error) { return known(ctx, q.TopicsBySlug, []string{in.Topic}) }, &asked.Topic},
		{"publisher", "a publisher", in.Publisher, func() (map[string]int32, error) { return known(ctx, q.PublishersBySlug, []string{in.Publisher}) }, &asked.Publisher},
	} {
		if filter.slug == "" {
			continue
		}
		ids, err := filter.find()
		if err != nil {
			return asked, err
		}
		id, ok := ids[filter.slug]
		if !ok {
			f.add(filter.path, filter.slug, "expected the slug of %s that exists", filter.what)
		}
		*filter.id = id
	}
	if slices.Contains(in.GroupBy, "topic") || in.Topic != "" {
		if in.Publisher != "" {
			f.add("publisher", in.Publisher, "expected none with topics, which are not counted by publisher")
		}
		for i, d := range in.GroupBy {
			if d == "ad" || d == "publisher" {
				f.add(fmt.Sprintf("group_by[%d]", i), d, "expected no %s with topics, which are not counted by it", d)
			}
		}
	}
	if in.Country != "" {
		country(f, "country", in.Country)
	}
	return asked, f.problem()
}

// moment reads a date or a time as an hour; a date that ends a report is in it.
func moment(f *faults, path, text string, end bool) time.Time {
	if d, err := catalog.ParseDay(text); err == nil && d >= firstDay && d <= lastDay {
		if end {
			d++
		}
		return d.Start()
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 2000 || t.Year() > 2199 {
		f.add(path, text, "expected a date or an RFC 3339 time from %s to %s", firstDay, lastDay)
		return time.Time{}
	}
	t = t.UTC()
	hour := t.Truncate(time.Hour)
	if end && hour.Before(t) {
		hour = hour.Add(time.Hour)
	}
	return hour
}
