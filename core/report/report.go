// Package report sums what was decided and delivered, by any of a few
// dimensions, over whole hours (UTC).
//
// Views, clicks and money are what the ledger applied exactly once, so they
// agree with the budgets to the event once every edge has reported. Decisions
// and offers may lack what an edge lost. Both reach the core some seconds after
// they happened, and late where an edge was cut off: a report of the past can
// still grow. Decisions and offers are not counted by ad: where ads are a
// dimension, they stand in the rows without one. A decision without an ad
// stands in the rows without a flight. Refunds are known by flight alone, and
// count when they are given.
//
// Topics have counts of their own, without ads and publishers. A page of several
// topics counts once for each of them: what all topics had must not be added up.
package report

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"time"

	"nearside/core/postgres"
	"nearside/core/postgres/query"
)

// Dimension is what rows can be grouped by.
type Dimension string

// The dimensions, in the order of a row's fields.
const (
	Hour       Dimension = "hour"
	Day        Dimension = "day"
	Advertiser Dimension = "advertiser"
	Campaign   Dimension = "campaign"
	Flight     Dimension = "flight"
	Ad         Dimension = "ad"
	Publisher  Dimension = "publisher"
	Region     Dimension = "region"
	Country    Dimension = "country"
	Topic      Dimension = "topic"
)

// Dimensions are all of them.
var Dimensions = []Dimension{Hour, Day, Advertiser, Campaign, Flight, Ad, Publisher, Region, Country, Topic}

// Asked says what to report. Ids of 0 and empty strings do not filter.
type Asked struct {
	From, To   time.Time // from is in the report, to is not; both on the hour
	GroupBy    []Dimension
	Advertiser int32
	Campaign   int32
	Flight     int32
	Publisher  int32
	Region     string
	Country    string
	Topic      int32
	Skip, Most int32 // rows
}

// Row is what was counted in one group. Dimensions that were not asked for are
// nil; one that is empty is what has none.
type Row struct {
	Hour       *time.Time `json:"hour,omitempty" doc:"Its start."`
	Day        *string    `json:"day,omitempty" format:"date"`
	Advertiser *string    `json:"advertiser,omitempty"`
	Campaign   *string    `json:"campaign,omitempty"`
	Flight     *string    `json:"flight,omitempty" doc:"Empty: decisions without an ad."`
	Ad         *string    `json:"ad,omitempty" doc:"Empty: decisions and offers, which are not counted by ad."`
	Publisher  *string    `json:"publisher,omitempty"`
	Region     *string    `json:"region,omitempty" doc:"Where the edge runs."`
	Country    *string    `json:"country,omitempty" doc:"Where the reader is; empty: unknown."`
	Topic      *string    `json:"topic,omitempty" doc:"What the page is about; empty: none of the topics. A page of several topics counts in the row of each, so rows of topics must not be added up."`

	Decisions      int64 `json:"decisions"`
	Offers         int64 `json:"offers"`
	Views          int64 `json:"views"`
	Clicks         int64 `json:"clicks"`
	UnbilledViews  int64 `json:"unbilled_views"`
	UnbilledClicks int64 `json:"unbilled_clicks"`
	SpentMicros    int64 `json:"spent_micros" doc:"What the counted views and clicks cost, refunded ones included."`

	RefundedViews  int64 `json:"refunded_views" doc:"Refunds count in the hour in which they were given. They are known by flight alone: where publishers, ads, regions or countries are a dimension they stand in the row without one, and topics do not tell them."`
	RefundedClicks int64 `json:"refunded_clicks"`
	RefundedMicros int64 `json:"refunded_micros" doc:"What is not charged of spent_micros, of this time or of an earlier one."`

	FillRate   *float64 `json:"fill_rate" doc:"offers / decisions; null where there was none."`
	ViewRate   *float64 `json:"view_rate" doc:"views / offers; null where there was none."`
	CTR        *float64 `json:"ctr" doc:"clicks / views; null where there was none."`
	ECPMMicros *int64   `json:"ecpm_micros" doc:"What 1000 views cost, rounded down; null where there was none."`
}

// ByTopic reports whether what was asked for is counted by topic.
func (a *Asked) ByTopic() bool { return a.Topic != 0 || slices.Contains(a.GroupBy, Topic) }

// Delivery reports what was asked for. Without dimensions it is one row, also
// where nothing was counted. By topic it knows neither ads nor publishers.
func Delivery(ctx context.Context, db *postgres.DB, a Asked) ([]Row, error) {
	by := func(d Dimension) bool { return slices.Contains(a.GroupBy, d) }
	if a.ByTopic() {
		rows, err := db.Queries().TopicReport(ctx, query.TopicReportParams{
			Since: a.From, Until: a.To, Skip: a.Skip, N: a.Most,
			Region: a.Region, Country: a.Country, Topic: some(a.Topic),
			Flight: some(a.Flight), Campaign: some(a.Campaign), Advertiser: some(a.Advertiser),
			ByHour: by(Hour), ByDay: by(Day), ByRegion: by(Region), ByCountry: by(Country),
			ByAdvertiser: by(Advertiser), ByCampaign: by(Campaign), ByFlight: by(Flight),
		})
		if err != nil {
			return nil, fmt.Errorf("report delivery by topic: %w", err)
		}
		counted := make([]counted, len(rows))
		for i, r := range rows {
			counted[i].topic = r.Topic
			counted[i].DeliveryReportRow = query.DeliveryReportRow{
				At: r.At, Region: r.Region, Country: r.Country, Advertiser: r.Advertiser, Campaign: r.Campaign, Flight: r.Flight,
				Decisions: r.Decisions, Offers: r.Offers, Views: r.Views, Clicks: r.Clicks,
				UnbilledViews: r.UnbilledViews, UnbilledClicks: r.UnbilledClicks, SpentMicros: r.SpentMicros,
			}
		}
		return a.rows(counted), nil
	}
	rows, err := db.Queries().DeliveryReport(ctx, query.DeliveryReportParams{
		Since: a.From, Until: a.To, Skip: a.Skip, N: a.Most,
		Region: a.Region, Country: a.Country,
		Flight: some(a.Flight), Publisher: some(a.Publisher), Campaign: some(a.Campaign), Advertiser: some(a.Advertiser),
		ByHour: by(Hour), ByDay: by(Day), ByRegion: by(Region), ByCountry: by(Country), ByPublisher: by(Publisher),
		ByAdvertiser: by(Advertiser), ByCampaign: by(Campaign), ByFlight: by(Flight), ByAd: by(Ad),
	})
	if err != nil {
		return nil, fmt.Errorf("report delivery: %w", err)
	}
	counted := make([]counted, len(rows))
	for i, r := range rows {
		counted[i].DeliveryReportRow = r
	}
	return a.rows(counted), nil
}

// counted is a row as it was read.
type counted struct {
	query.DeliveryReportRow
	topic string
}

// rows are what was read, with what follows from it.
func (a *Asked) rows(rows []counted) []Row {
	if len(rows) == 0 && len(a.GroupBy) == 0 && a.Skip == 0 {
		rows = []counted{{}}
	}
	out := make([]Row, len(rows))
	for i, r := range rows {
		out[i] = Row{
			Decisions: r.Decisions, Offers: r.Offers, Views: r.Views, Clicks: r.Clicks,
			UnbilledViews: r.UnbilledViews, UnbilledClicks: r.UnbilledClicks, SpentMicros: r.SpentMicros,
			RefundedViews: r.RefundedViews, RefundedClicks: r.RefundedClicks, RefundedMicros: r.RefundedMicros,
			FillRate: ratio(r.Offers, r.Decisions), ViewRate: ratio(r.Views, r.Offers), CTR: ratio(r.Clicks, r.Views),
			ECPMMicros: ecpm(r.SpentMicros, r.Views),
		}
		at := r.At.UTC()
		day := at.Format(time.DateOnly)
		for _, d := range a.GroupBy {
			switch d {
			case Hour:
				out[i].Hour = &at
			case Day:
				out[i].Day = &day
			case Advertiser:
				out[i].Advertiser = &rows[i].Advertiser
			case Campaign:
				out[i].Campaign = &rows[i].Campaign
			case Flight:
				out[i].Flight = &rows[i].Flight
			case Ad:
				out[i].Ad = &rows[i].Ad
			case Publisher:
				out[i].Publisher = &rows[i].Publisher
			case Region:
				out[i].Region = &rows[i].Region
			case Country:
				out[i].Country = &rows[i].Country
			case Topic:
				out[i].Topic = &rows[i].topic
			}
		}
	}
	return out
}

func some(id int32) *int32 {
	if id == 0 {
		return nil
	}
	return &id
}

func ratio(part, whole int64) *float64 {
	if whole == 0 {
		return nil
	}
	r := float64(part) / float64(whole)
	return &r
}

// ecpm is spent × 1000 ÷ views, rounded down; at most what an int64 holds.
func ecpm(spent, views int64) *int64 {
	if views <= 0 || spent < 0 {
		return nil
	}
	price := int64(math.MaxInt64)
	if high, low := bits.Mul64(uint64(spent), 1000); high < uint64(views) {
		quotient, _ := bits.Div64(high, low, uint64(views))
		price = int64(min(quotient, math.MaxInt64))
	}
	return &price
}

// WriteCSV writes rows under a heading: the dimensions asked for, then the
// counts and rates, by their names in JSON. What is null is empty.
func WriteCSV(to io.Writer, groupBy []Dimension, rows []Row) error {
	w := csv.NewWriter(to)
	var heading []string
	dimensions := slices.DeleteFunc(slices.Clone(Dimensions), func(d Dimension) bool { return !slices.Contains(groupBy, d) })
	for _, d := range dimensions {
		heading = append(heading, string(d))
	}
	heading = append(heading, "decisions", "offers", "views", "clicks", "unbilled_views", "unbilled_clicks", "spent_micros",
		"fill_rate", "view_rate", "ctr", "ecpm_micros", "refunded_views", "refunded_clicks", "refunded_micros")
	if err := w.Write(heading); err != nil {
		return err
	}
	line := make([]string, 0, len(heading))
	for i := range rows {
		r := &rows[i]
		line = line[:0]
		for _, d := range dimensions {
			line = append(line, r.text(d))
		}
		for _, n := range []int64{r.Decisions, r.Offers, r.Views, r.Clicks, r.UnbilledViews, r.UnbilledClicks, r.SpentMicros} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		for _, rate := range []*float64{r.FillRate, r.ViewRate, r.CTR} {
			if rate == nil {
				line = append(line, "")
				continue
			}
			line = append(line, strconv.FormatFloat(*rate, 'f', 6, 64))
		}
		if r.ECPMMicros == nil {
			line = append(line, "")
		} else {
			line = append(line, strconv.FormatInt(*r.ECPMMicros, 10))
		}
		for _, n := range []int64{r.RefundedViews, r.RefundedClicks, r.RefundedMicros} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		if err := w.Write(line); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// text is the row's value of a dimension that was asked for.
func (r *Row) text(d Dimension) string {
	switch d {
	case Hour:
		return r.Hour.Format(time.RFC3339)
	case Day:
		return *r.Day
	case Advertiser:
		return *r.Advertiser
	case Campaign:
		return *r.Campaign
	case Flight:
		return *r.Flight
	case Ad:
		return *r.Ad
	case Publisher:
		return *r.Publisher
	case Region:
		return *r.Region
	case Country:
		return *r.Country
	case Topic:
		return *r.Topic
	}
	return ""
}
