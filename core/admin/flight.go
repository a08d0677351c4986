package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5/pgtype"

	"nearside/core/postgres/query"
	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// defaultWindow is a day, in seconds.
const defaultWindow = 24 * 60 * 60

// Flight is a dated, budgeted, targeted line of a campaign.
type Flight struct {
	Slug                  string `json:"slug" minLength:"1" maxLength:"200" pattern:"^[-a-zA-Z0-9_]+$" patternDescription:"letters, digits, hyphens and underscores" doc:"The name in paths; never changes." example:"autumn-python"`
	Name                  string `json:"name" minLength:"1" maxLength:"200" doc:"For people."`
	Campaign              string `json:"campaign" maxLength:"200" doc:"Slug of the campaign." example:"sample-paid"`
	Live                  bool   `json:"live" required:"false" default:"false" doc:"Only live flights are offered."`
	StartDate             string `json:"start_date" format:"date" doc:"The first day (UTC)."`
	EndDate               string `json:"end_date" format:"date" doc:"The last day (UTC), that day included. What is not delivered by then goes on, unless hard_stop."`
	HardStop              bool   `json:"hard_stop" required:"false" default:"false" doc:"Nothing is offered after the end date."`
	CPMMicros             int64  `json:"cpm_micros" required:"false" minimum:"0" maximum:"1000000000000" multipleOf:"1000" doc:"Price of 1000 views; a multiple of 1000, so that one view costs whole micros."`
	SoldViews             int64  `json:"sold_views" required:"false" minimum:"0" maximum:"1000000000000" doc:"How many views are to be delivered; 0 where views are not what it sells."`
	CPCMicros             int64  `json:"cpc_micros" required:"false" minimum:"0" maximum:"1000000000000" doc:"Price of one click."`
	SoldClicks            int64  `json:"sold_clicks" required:"false" minimum:"0" maximum:"1000000000000" doc:"How many clicks are to be delivered; 0 where clicks are not what it sells."`
	DailyCapMicros        int64  `json:"daily_cap_micros" required:"false" minimum:"0" maximum:"1000000000000000" doc:"The most that may be spent in one day (UTC); 0 for none. A cap that a flight did not have starts tomorrow."`
	Pacing                string `json:"pacing" required:"false" enum:"even,traffic,asap" default:"even" doc:"Along which curve the budget is released: evenly, along the flight's own demand, or as fast as requests come."`
	PacingIntervalSeconds int32  `json:"pacing_interval_seconds" required:"false" minimum:"60" maximum:"31536000" default:"3600" doc:"The step in which need is reckoned."`
	PriorityMultiplier    int32  `json:"priority_multiplier" required:"false" minimum:"1" maximum:"1000000" default:"1" doc:"Makes the flight that much likelier among others of its tier."`
	PrioritizeAdsCTR      bool   `json:"prioritize_ads_ctr" required:"false" default:"false" doc:"Ads that are clicked more are shown more."`
	FlightSettings
	TrafficCap Shares    `json:"traffic_cap" required:"false" doc:"The most that one country, geo region or publisher may have of the flight's traffic, from 0 to 1."`
	Targeting  Targeting `json:"targeting" required:"false" doc:"Where it may show; empty for everywhere."`

	State       string    `json:"state,omitempty" readOnly:"true" enum:"run,pause,kill" doc:"What was said by pause, resume and kill."`
	Delivery    *Delivery `json:"delivery,omitempty" readOnly:"true" doc:"What was counted so far."`
	Budgets     []Budget  `json:"budgets,omitzero" readOnly:"true" doc:"Who may still spend what."`
	SampledCTR  *CTR      `json:"sampled_ctr,omitempty" readOnly:"true" doc:"Of the last seven days with 1000 views in them; absent until there was one such night."`
	TrafficFill *Fill     `json:"traffic_fill,omitempty" readOnly:"true" doc:"Of a paid flight: which share of all its views its countries, geo regions and publishers had last night. The largest 20 of each from 0.01 up, and those with a traffic_cap."`
	Demand      *Demand   `json:"demand,omitempty" readOnly:"true" doc:"Of a traffic-paced flight: how much it is asked for in each hour of a week."`
	Control     int64     `json:"control_version,omitempty" readOnly:"true" doc:"The control version that set state; 0 where nothing did."`
	Written

	id       int32
	campaign int32
	start    catalog.Day
	end      catalog.Day
	capStart pgtype.Date
}

// FlightSettings are the fields of a flight that only edges read, by their
// names in the catalog.
type FlightSettings struct {
	FrequencyCap           int32 `json:"frequency_cap" required:"false" minimum:"0" maximum:"1000" doc:"How often one client is offered it in a window, as far as a region can tell; 0 for no limit."`
	FrequencyWindowSeconds int32 `json:"frequency_window_seconds" required:"false" minimum:"60" maximum:"2592000" default:"86400" doc:"How long that window is."`
	Roadblock              bool  `json:"roadblock" required:"false" default:"false" doc:"It may have all places of a page that it matches, not only one."`
}

// Delivery is what was counted of a flight.
type Delivery struct {
	Views          int64      `json:"views" doc:"Views within the budgets."`
	Clicks         int64      `json:"clicks" doc:"Clicks within the budgets."`
	SpentMicros    int64      `json:"spent_micros" doc:"What they cost."`
	UnbilledViews  int64      `json:"unbilled_views" doc:"Views that were valid but beyond what was left."`
	UnbilledClicks int64      `json:"unbilled_clicks" doc:"Clicks that were valid but beyond what was left."`
	RefundedViews  int64      `json:"refunded_views" doc:"Of the views, those that were given back: they are not charged."`
	RefundedClicks int64      `json:"refunded_clicks" doc:"Of the clicks, those that were given back."`
	RefundedMicros int64      `json:"refunded_micros" doc:"Of spent_micros, what was given back."`
	AsOf           *time.Time `json:"as_of" doc:"When edges last reported any of it; null where they never did."`
}

// Budget is an account that a flight's events are debited from:
// limit + refunded = unleased + outstanding + settled.
type Budget struct {
	Kind        string `json:"kind" enum:"views,clicks,day" doc:"What it limits."`
	Unit        string `json:"unit" enum:"events,micros"`
	Limit       int64  `json:"limit" doc:"The limit in force."`
	Unleased    int64  `json:"unleased" doc:"What no edge holds."`
	Outstanding int64  `json:"outstanding" doc:"What edges hold and have not reported as spent."`
	Refunded    int64  `json:"refunded" doc:"Of what is settled, what was given back."`
	Settled     int64  `json:"settled" doc:"What edges reported as spent."`
}

func (v *Flight) slug() string { return v.Slug }
func (v *Flight) readOnly() {
	v.Written, v.State, v.Delivery, v.Budgets, v.Control = Written{}, "", nil, nil, 0
	v.SampledCTR, v.TrafficFill, v.Demand = nil, nil, nil
}

func flight(r query.ReadFlightRow) (row[Flight], error) {
	v := Flight{
		Slug: r.Slug, Name: r.Name, Campaign: r.Campaign, Live: r.Live,
		StartDate: r.StartDate.Time.Format(time.DateOnly), EndDate: r.EndDate.Time.Format(time.DateOnly), HardStop: r.HardStop,
		CPMMicros: r.CpmMicros, SoldViews: r.SoldViews, CPCMicros: r.CpcMicros, SoldClicks: r.SoldClicks,
		DailyCapMicros: r.DailyCapMicros, Pacing: r.Pacing, PacingIntervalSeconds: r.PacingIntervalSeconds,
		PriorityMultiplier: r.PriorityMultiplier, PrioritizeAdsCTR: r.PrioritizeAdsCtr,
		FlightSettings: FlightSettings{FrequencyWindowSeconds: defaultWindow}, // where it was saved without
		State:          r.State, Control: r.Control, id: r.ID, capStart: r.DailyCapFrom,
	}
	if err := json.Unmarshal(r.Settings, &v.FlightSettings); err != nil {
		return row[Flight]{}, fmt.Errorf("settings of flight %s: %w", r.Slug, err)
	}
	if err := json.Unmarshal(r.TrafficCap, &v.TrafficCap); err != nil {
		return row[Flight]{}, fmt.Errorf("traffic cap of flight %s: %w", r.Slug, err)
	}
	if err := json.Unmarshal(r.Targeting, &v.Targeting); err != nil {
		return row[Flight]{}, fmt.Errorf("targeting of flight %s: %w", r.Slug, err)
	}
	return row[Flight]{r.ID, r.Version, v}, nil
}

type ofCampaign struct {
	Page
	Campaign string `query:"campaign" maxLength:"200" doc:"Only those of this campaign."`
}

func (o *ofCampaign) asked() (Page, string) { return o.Page, o.Campaign }

var flights = kind[Flight]{
	singular: "flight", plural: "flights", tag: "Flights", about: "A flight is a dated, budgeted, targeted line of a campaign; it sells views, clicks or both.",
	fresh: func() Flight {
		return Flight{Pacing: "even", PacingIntervalSeconds: 3600, PriorityMultiplier: 1, FlightSettings: FlightSettings{FrequencyWindowSeconds: defaultWindow}}
	},
	check: checkFlight,
	read: func(ctx context.Context, q *query.Queries, slug string) (row[Flight], error) {
		r, err := q.ReadFlight(ctx, slug)
		if err != nil {
			return row[Flight]{}, err
		}
		return flight(r)
	},
	list: func(ctx context.Context, q *query.Queries, campaign string, after, n int32) ([]row[Flight], error) {
		if campaign == "" {
			rows, err := q.ListFlights(ctx, after, n)
			return each(rows, func(r query.ListFlightsRow) (row[Flight], error) { return flight(query.ReadFlightRow(r)) }, err)
		}
		rows, err := q.ListFlightsOf(ctx, after, campaign, n)
		return each(rows, func(r query.ListFlightsOfRow) (row[Flight], error) { return flight(query.ReadFlightRow(r)) }, err)
	},
	insert: insertFlight,
	update: updateFlight,
	more:   showDelivery,
}

// The days that a flight may have. Budgets and pacing reckon in days from
// 1970; the upper end keeps a slip of the keyboard out.
var firstDay, lastDay = must(catalog.ParseDay("2000-01-01")), must(catalog.ParseDay("2199-12-31"))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func checkFlight(w *write, v *Flight, f *faults) (err error) {
	day := func(path, text string) catalog.Day {
		d, err := catalog.ParseDay(text)
		if err != nil || d < firstDay || d > lastDay {
			f.add(path, text, "expected a date from %s to %s", firstDay, lastDay)
		}
		return d
	}
	v.start, v.end = day("start_date", v.StartDate), day("end_date", v.EndDate)
	if v.end < v.start {
		f.add("end_date", v.EndDate, "expected a date that is not before start_date")
	}
	if v.campaign, err = reference(w.ctx, f, "campaign", "a campaign", w.q.CampaignsBySlug, v.Campaign); err != nil {
		return err
	}
	if err := v.Targeting.check(w, f); err != nil {
		return err
	}
	if err := v.TrafficCap.check(w, f); err != nil {
		return err
	}
	// What edges would not take must not be saved: it would keep every later
	// catalog from being published.
	if len(f.list) == 0 {
		edge := catalog.Flight{
			StartDate: v.start, EndDate: v.end, CPM: catalog.Micros(v.CPMMicros), CPC: catalog.Micros(v.CPCMicros),
			SoldViews: v.SoldViews, SoldClicks: v.SoldClicks, DailyCap: catalog.Micros(v.DailyCapMicros),
			PacingInterval: v.PacingIntervalSeconds, PriorityMultiplier: v.PriorityMultiplier,
			Targeting: catalog.Targeting(v.Targeting), TrafficCap: catalog.Shares(v.TrafficCap),
		}
		if err := edge.Validate(); err != nil {
			f.add("", nil, "expected what edges take: %v", err)
		}
	}
	return nil
}

func insertFlight(w *write, v *Flight) (row[Flight], error) {
	targeting, shares, settings, err := v.documents()
	if err != nil {
		return row[Flight]{}, err
	}
	if v.DailyCapMicros > 0 {
		// Nothing was offered yet that the cap could have missed.
		v.capStart = date(catalog.DayOf(w.now))
	}
	r, err := w.q.InsertFlight(w.ctx, query.InsertFlightParams{
		Slug: v.Slug, Name: v.Name, Campaign: v.campaign, Live: v.Live, StartDate: date(v.start), EndDate: date(v.end),
		HardStop: v.HardStop, CpmMicros: v.CPMMicros, CpcMicros: v.CPCMicros, SoldViews: v.SoldViews, SoldClicks: v.SoldClicks,
		DailyCapMicros: v.DailyCapMicros, DailyCapFrom: v.capStart, Pacing: v.Pacing,
		PacingIntervalSeconds: v.PacingIntervalSeconds, PriorityMultiplier: v.PriorityMultiplier,
		PrioritizeAdsCtr: v.PrioritizeAdsCTR, Targeting: targeting, TrafficCap: shares, Settings: settings,
	})
	if err != nil {
		return row[Flight]{}, err
	}
	v.id, v.State = r.ID, catalog.Run.String()
	setBudgets(w, r.ID, &Flight{}, v)
	return row[Flight]{r.ID, r.Version, *v}, nil
}

func updateFlight(w *write, old row[Flight], v *Flight) (row[Flight], error) {
	targeting, shares, settings, err := v.documents()
	if err != nil {
		return old, err
	}
	v.id, v.State, v.Control = old.id, old.value.State, old.value.Control
	v.capStart = capStart(old.value.capStart, old.value.DailyCapMicros, v.DailyCapMicros, w.now)
	version, err := w.q.UpdateFlight(w.ctx, query.UpdateFlightParams{
		ID: old.id, Name: v.Name, Campaign: v.campaign, Live: v.Live, StartDate: date(v.start), EndDate: date(v.end),
		HardStop: v.HardStop, CpmMicros: v.CPMMicros, CpcMicros: v.CPCMicros, SoldViews: v.SoldViews, SoldClicks: v.SoldClicks,
		DailyCapMicros: v.DailyCapMicros, DailyCapFrom: v.capStart, Pacing: v.Pacing,
		PacingIntervalSeconds: v.PacingIntervalSeconds, PriorityMultiplier: v.PriorityMultiplier,
		PrioritizeAdsCtr: v.PrioritizeAdsCTR, Targeting: targeting, TrafficCap: shares, Settings: settings,
	})
	if err != nil {
		return old, err
	}
	setBudgets(w, old.id, &old.value, v)
	return row[Flight]{old.id, version, *v}, nil
}

// setBudgets asks the ledger for what the flight sells. A budget that was
// never asked for is not made for 0.
func setBudgets(w *write, id int32, was, is *Flight) {
	if was.SoldViews != is.SoldViews {
		w.budgets[lease.Of(lease.FlightViews, uint32(id), 0)] = is.SoldViews
	}
	if was.SoldClicks != is.SoldClicks {
		w.budgets[lease.Of(lease.FlightClicks, uint32(id), 0)] = is.SoldClicks
	}
	if was.CPMMicros != is.CPMMicros || was.CPCMicros != is.CPCMicros || was.Live != is.Live {
		w.priced = true
	}
	if was.DailyCapMicros != is.DailyCapMicros {
		w.dayCaps[lease.Of(lease.FlightDay, uint32(id), 0)] = is.DailyCapMicros
	}
}

// showDelivery adds what the ledger knows of flights.
func showDelivery(ctx context.Context, a *API, rows []row[Flight]) error {
	ids := make([]uint32, len(rows))
	for i, r := range rows {
		ids[i] = uint32(r.id)
	}
	deliveries, err := a.db.FlightDeliveries(ctx, ids)
	if err != nil {
		return err
	}
	budgets, err := a.db.BudgetsOfFlights(ctx, ids, a.today())
	if err != nil {
		return err
	}
	refunded, err := a.db.RefundedOf(ctx, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		f, d := &rows[i].value, deliveries[id]
		f.Delivery = &Delivery{
			Views: d.Views, Clicks: d.Clicks, SpentMicros: d.SpentMicros, UnbilledViews: d.UnbilledViews, UnbilledClicks: d.UnbilledClicks,
			RefundedViews: refunded[id].Views, RefundedClicks: refunded[id].Clicks, RefundedMicros: refunded[id].Micros,
		}
		if !d.AsOf.IsZero() {
			f.Delivery.AsOf = &d.AsOf
		}
		f.Budgets = []Budget{}
		for _, b := range budgets[id] {
			f.Budgets = append(f.Budgets, Budget{
				Kind: budgetKind(b.ID), Unit: budgetUnit(b.ID),
				Limit: b.Limit, Unleased: b.Unleased, Outstanding: b.Outstanding, Settled: b.Settled, Refunded: b.Refunded,
			})
		}
	}
	return showLearnt(ctx, a, rows)
}

// budgetKind is what a flight's budget limits, in the API's words.
func budgetKind(b lease.Budget) string {
	switch b.Kind() {
	case lease.FlightViews:
		return "views"
	case lease.FlightClicks:
		return "clicks"
	}
	return "day"
}

func budgetUnit(b lease.Budget) string {
	if b.Micros() {
		return "micros"
	}
	return "events"
}

func (v *Flight) documents() (targeting, shares, settings []byte, err error) {
	if targeting, err = json.Marshal(v.Targeting); err != nil {
		return nil, nil, nil, err
	}
	if shares, err = json.Marshal(v.TrafficCap); err != nil {
		return nil, nil, nil, err
	}
	settings, err = json.Marshal(v.FlightSettings)
	return targeting, shares, settings, err
}

// capStart is the first day of a daily cap: unchanged while there is one,
// tomorrow for one that is new, since today's offers went out without it.
func capStart(old pgtype.Date, was, is int64, now time.Time) pgtype.Date {
	switch {
	case is == 0:
		return pgtype.Date{}
	case was > 0 && old.Valid:
		return old
	}
	return date(catalog.DayOf(now) + 1)
}

func date(d catalog.Day) pgtype.Date { return pgtype.Date{Time: d.Start(), Valid: true} }

// control says state of a flight to every edge.
func (w *write) control(f row[Flight], state catalog.State) (row[Flight], error) {
	if f.value.State == state.String() {
		return f, nil
	}
	if err := w.change(); err != nil {
		return f, err
	}
	version, err := w.q.RaiseControlVersion(w.ctx)
	if err != nil {
		return f, fmt.Errorf("raise the control version: %w", err)
	}
	w.controlled = true
	err = w.q.InsertControl(w.ctx, query.InsertControlParams{Version: version, Flight: f.id, State: state.String(), Actor: w.actor})
	if err != nil {
		return f, fmt.Errorf("%s flight %s: %w", state, f.value.Slug, err)
	}
	if f.version, err = w.q.SetFlightState(w.ctx, f.id, state.String(), version); err != nil {
		return f, fmt.Errorf("%s flight %s: %w", state, f.value.Slug, err)
	}
	f.value.State, f.value.Control = state.String(), version
	return f, w.audit(state.String(), "flights/"+f.value.Slug, map[string]any{"control_version": version})
}

// flightRooms registers what only flights have.
func (a *API) flightRooms() {
	for _, c := range []struct {
		verb, summary, about string
		state                catalog.State
	}{
		{"pause", "Pause a flight", "No edge offers it from the moment it hears so, within a second as a rule. Views in flight still count.", catalog.Pause},
		{"resume", "Resume a flight", "Takes back pause or kill.", catalog.Run},
		{"kill", "Kill a flight", "As pause, and views in flight are not billed either.", catalog.Kill},
	} {
		register(a, huma.Operation{
			OperationID: c.verb + "-flight", Method: http.MethodPost, Path: "/v1/flights/{slug}/" + c.verb, Tags: []string{flights.tag},
			Summary:     c.summary,
			Description: c.about + " The answer's control_version can be looked up in /v1/controls/{version}/receipts. Saying it again changes nothing.",
			Errors:      []int{http.StatusNotFound},
		}, func(ctx context.Context, in *BySlug) (*answered[Flight], error) {
			var changed row[Flight]
			version, err := a.write(ctx, asker(ctx).String(), func(w *write) error {
				found, err := flights.find(ctx, w.q, in.Slug)
				if err == nil {
					changed, err = w.control(found, c.state)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
			return written(ctx, a, &flights, changed, version)
		})
	}
	register(a, huma.Operation{
		OperationID: "delete-flight", Method: http.MethodDelete, Path: "/v1/flights/{slug}", Tags: []string{flights.tag},
		Summary: "Delete a flight", DefaultStatus: http.StatusNoContent,
		Description: "Kills it and hides it. Its delivery stays in reports, its budgets stay until edges hold nothing of them, and its slug stays taken.",
		Errors:      []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, func(ctx context.Context, in *removeIn) (*removed, error) {
		version, err := a.write(ctx, asker(ctx).String(), func(w *write) error {
			found, err := flights.find(ctx, w.q, in.Slug)
			if err != nil {
				return err
			}
			if !matches(in.IfMatch, found.version) {
				return preconditionFailed(found.version)
			}
			if _, err := w.control(found, catalog.Kill); err != nil {
				return err
			}
			if err := w.change(); err != nil {
				return err
			}
			if err := w.q.HideFlight(w.ctx, found.id); err != nil {
				return fmt.Errorf("hide flight %s: %w", in.Slug, err)
			}
			return w.audit("delete", "flights/"+in.Slug, nil)
		})
		return &removed{CatalogVersion: fmt.Sprint(version)}, err
	})
}

type removed struct {
	CatalogVersion string `header:"Nearside-Catalog-Version" doc:"The catalog version that includes the write."`
}
