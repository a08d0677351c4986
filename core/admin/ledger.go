package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// closedFor is how long a closed holder is still listed.
const closedFor = 7 * 24 * time.Hour

// HeldLease is what one edge may spend of one of a flight's budgets.
type HeldLease struct {
	Holder    uint32    `json:"holder" doc:"The number of the edge's state directory."`
	Region    string    `json:"region"`
	Node      string    `json:"node"`
	State     string    `json:"state" enum:"open,fenced,closed" doc:"Of the holder: what a fenced one holds stays set aside until it has reported or is closed."`
	LastSeen  time.Time `json:"last_seen"`
	Kind      string    `json:"kind" enum:"views,clicks,day" doc:"Which of the flight's budgets."`
	Unit      string    `json:"unit" enum:"events,micros"`
	Day       string    `json:"day,omitempty" format:"date" doc:"Of a budget of one day."`
	Granted   int64     `json:"granted" doc:"All that it was ever given."`
	Spent     int64     `json:"spent" doc:"What of that it reported as spent."`
	Returned  int64     `json:"returned" doc:"What of that it gave back."`
	Available int64     `json:"available" doc:"What it may still spend, as far as it has reported: granted − spent − returned."`
	Velocity  int64     `json:"velocity_milli" doc:"How fast it would spend, in thousandths of an event per second."`
}

// RefusalCount says how often a reason kept a flight from being offered.
type RefusalCount struct {
	Reason    string `json:"reason" example:"include_countries"`
	Region    string `json:"region"`
	N         int64  `json:"n" doc:"How often. Reasons that are the same for every request of a kind are counted by samples."`
	Diagnosis string `json:"diagnosis" doc:"What the reason means, in a sentence."`
}

// RefusalReport is why a flight was not offered.
type RefusalReport struct {
	Since time.Time      `json:"since"`
	Items []RefusalCount `json:"items" doc:"The most frequent first."`
}

// EdgeRegion is where edges run.
type EdgeRegion struct {
	Region string     `json:"region"`
	Nodes  []EdgeNode `json:"nodes"`
}

// EdgeNode is one edge, as the core has last heard of it.
type EdgeNode struct {
	Node           string     `json:"node"`
	Holder         uint32     `json:"holder" doc:"The number of its state directory."`
	State          string     `json:"state" enum:"open,fenced,closed"`
	Reason         string     `json:"reason,omitempty" doc:"Of a state other than open."`
	PublicURL      string     `json:"public_url"`
	Version        string     `json:"version" doc:"Of its program."`
	LastSeen       time.Time  `json:"last_seen"`
	AppliedCatalog uint64     `json:"applied_catalog" doc:"The catalog version that it decides with."`
	AppliedControl uint64     `json:"applied_control" doc:"The control version that it keeps to."`
	Boots          uint64     `json:"boots" doc:"How often it has started on this state directory."`
	Alone          bool       `json:"alone" doc:"Its journal is on one disk only."`
	JoinedAt       time.Time  `json:"joined_at"`
	ClosedAt       *time.Time `json:"closed_at,omitempty"`
}

type refusalsIn struct {
	BySlug
	Since string `query:"since" maxLength:"40" doc:"From when on: a date or an RFC 3339 time, UTC, rounded down to the hour; at most 31 days ago. Default: 24 hours ago."`
}

// ledgerRooms registers what the ledger and the edges have said.
func (a *API) ledgerRooms() {
	register(a, huma.Operation{
		OperationID: "list-flight-leases", Method: http.MethodGet, Path: "/v1/flights/{slug}/leases", Tags: []string{flights.tag},
		Summary: "Who holds what of a flight's budgets", Description: "The leases of its budgets of views, of clicks and of today, by region and node.",
		Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *BySlug) (*listed[HeldLease], error) {
		found, err := flights.find(ctx, a.db.Queries(), in.Slug)
		if err != nil {
			return nil, err
		}
		held, err := a.db.FlightLeases(ctx, uint32(found.id), a.today())
		if err != nil {
			return nil, err
		}
		out := &listed[HeldLease]{Body: list[HeldLease]{Items: make([]HeldLease, len(held))}}
		for i, l := range held {
			out.Body.Items[i] = HeldLease{
				Holder: l.Holder, Region: l.Region, Node: l.Node, State: l.State, LastSeen: l.SeenAt,
				Kind: budgetKind(l.Budget), Unit: budgetUnit(l.Budget), Day: budgetDay(l.Budget),
				Granted: l.Granted, Spent: l.Spent, Returned: l.Returned, Available: l.Available(), Velocity: l.Velocity,
			}
		}
		return out, nil
	})

	register(a, huma.Operation{
		OperationID: "list-flight-refusals", Method: http.MethodGet, Path: "/v1/flights/{slug}/refusals", Tags: []string{flights.tag},
		Summary: "Why a flight was not offered", Description: "How often each reason refused it, in each region. What an edge counted and could not report is missing.",
		Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *refusalsIn) (*item[RefusalReport], error) {
		since := a.now().UTC().Add(-24 * time.Hour).Truncate(time.Hour)
		if in.Since != "" {
			f := &faults{at: "query"}
			since = moment(f, "since", in.Since, false)
			if len(f.list) == 0 && a.now().Sub(since) > 31*24*time.Hour {
				f.add("since", in.Since, "expected at most 31 days ago")
			}
			if err := f.problem(); err != nil {
				return nil, err
			}
		}
		found, err := flights.find(ctx, a.db.Queries(), in.Slug)
		if err != nil {
			return nil, err
		}
		refusals, err := a.db.FlightRefusals(ctx, uint32(found.id), since)
		if err != nil {
			return nil, err
		}
		counts := map[[2]string]int64{}
		for _, r := range refusals {
			counts[[2]string{r.Reason, r.Region}] += r.N
		}
		out := &item[RefusalReport]{Body: RefusalReport{Since: since, Items: make([]RefusalCount, 0, len(counts))}}
		for key, n := range counts {
			out.Body.Items = append(out.Body.Items, RefusalCount{Reason: key[0], Region: key[1], N: n, Diagnosis: diagnosis(key[0])})
		}
		slices.SortFunc(out.Body.Items, func(x, y RefusalCount) int {
			if x.N != y.N {
				return int(max(min(y.N-x.N, 1), -1))
			}
			return strings.Compare(x.Reason+"\x00"+x.Region, y.Reason+"\x00"+y.Region)
		})
		return out, nil
	})

	register(a, huma.Operation{
		OperationID: "list-edges", Method: http.MethodGet, Path: "/v1/edges", Tags: []string{"Edges"},
		Summary: "Where edges run, and how they are", Description: "Every region with its nodes: those that are open or fenced, and those closed in the last seven days.",
	}, func(ctx context.Context, _ *struct{}) (*listed[EdgeRegion], error) {
		holders, err := a.db.Holders(ctx, a.now().Add(-closedFor))
		if err != nil {
			return nil, err
		}
		out := &listed[EdgeRegion]{Body: list[EdgeRegion]{Items: []EdgeRegion{}}}
		regions := map[string]int{}
		for n := range holders {
			h := &holders[n]
			i, ok := regions[h.Region]
			if !ok {
				i = len(out.Body.Items)
				regions[h.Region] = i
				out.Body.Items = append(out.Body.Items, EdgeRegion{Region: h.Region})
			}
			out.Body.Items[i].Nodes = append(out.Body.Items[i].Nodes, edgeNode(h))
		}
		return out, nil
	})
}

func millis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func budgetDay(b lease.Budget) string {
	if b.Day() == 0 {
		return ""
	}
	return catalog.Day(b.Day()).String()
}

// diagnosis says what a reason of the edges means. An edge may be newer than
// this core, so a reason may be new.
func diagnosis(reason string) string {
	if sentence, ok := diagnoses[reason]; ok {
		return sentence
	}
	return fmt.Sprintf("This core does not know the reason %q; an edge is newer than it.", short(reason))
}

var diagnoses = map[string]string{
	"campaign_type":               "The request asked for other campaign types, or the publisher does not allow this one.",
	"publisher_daily_cap":         "The publisher has earned its daily cap, so it shows no paid campaigns until tomorrow.",
	"publisher_group":             "The flight's campaign shares no publisher group with the publisher.",
	"campaign_excludes_publisher": "The flight's campaign excludes the publisher.",
	"not_live":                    "The flight is not live.",
	"paused":                      "The flight is paused.",
	"killed":                      "The flight was killed.",
	"not_started":                 "The flight's start date is not reached (UTC).",
	"ad_type":                     "The flight has no live ad of a type that the page asked for.",
	"include_countries":           "The reader is not in a country that the flight includes, or the country is not known.",
	"include_state_provinces":     "The reader is not in a state or province that the flight includes, or it is not known.",
	"include_metro_codes":         "The reader is not in a metro area that the flight includes, or it is not known.",
	"exclude_countries":           "The reader is in a country that the flight excludes.",
	"include_regions":             "The reader's country is in none of the geo regions that the flight includes.",
	"exclude_regions":             "The reader's country is in a geo region that the flight excludes.",
	"country_traffic_cap":         "The reader's country has had its share of the flight's traffic.",
	"region_traffic_cap":          "A geo region of the reader's country has had its share of the flight's traffic.",
	"include_keywords":            "The page has none of the keywords that the flight includes.",
	"exclude_keywords":            "The page has a keyword that the flight excludes.",
	"include_topics":              "The page has no keyword of the topics that the flight includes.",
	"mobile_traffic":              "The flight is for mobile clients only, or for others only, and the reader's is not one.",
	"include_publishers":          "The publisher is not one that the flight includes.",
	"exclude_publishers":          "The flight excludes the publisher.",
	"publisher_traffic_cap":       "The publisher has had its share of the flight's traffic.",
	"include_domains":             "The page's host is not one that the flight includes.",
	"exclude_domains":             "The flight excludes the page's host.",
	"exhausted":                   "Everything that was sold is delivered.",
	"ended":                       "The flight's end date is past and it has a hard stop.",
	"on_pace":                     "The flight is on pace: what its plan has due by now is delivered; more is let go as time passes.",
	"days":                        "Today (UTC) is not a day on which the flight shows.",
	"niche_targeting":             "The page is not near enough to the advertiser, or its distance is not known.",
	"daily_cap":                   "The flight has spent its daily cap.",
	"broker":                      "Little remains of the flight, so one node of the region, its broker, holds the region's lease and offers it: this was another node.",
	"lease":                       "The edge has nothing left to spend of the flight, or of one of the kinds that it sells, until the core grants it more.",
	"frequency_cap":               "The reader has seen the flight as often as its frequency cap allows.",
	"competing":                   "Another ad of the same advertiser is on the page.",
	"lower_tier":                  "A flight of a higher tier was offered instead.",
}
