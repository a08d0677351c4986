package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"

	"nearside/core/postgres/query"
)

// Advertiser pays for campaigns.
type Advertiser struct {
	Slug string `json:"slug" minLength:"1" maxLength:"200" pattern:"^[-a-zA-Z0-9_]+$" patternDescription:"letters, digits, hyphens and underscores" doc:"The name in paths; never changes." example:"sample-advertiser"`
	Name string `json:"name" minLength:"1" maxLength:"200" doc:"For people."`
	Written
}

func (v *Advertiser) slug() string { return v.Slug }
func (v *Advertiser) readOnly()    { v.Written = Written{} }

var advertisers = kind[Advertiser]{
	singular: "advertiser", plural: "advertisers", tag: "Advertisers", about: "An advertiser pays for campaigns.",
	fresh: func() Advertiser { return Advertiser{} },
	check: func(*write, *Advertiser, *faults) error { return nil },
	read: func(ctx context.Context, q *query.Queries, slug string) (row[Advertiser], error) {
		r, err := q.ReadAdvertiser(ctx, slug)
		return row[Advertiser]{r.ID, r.Version, Advertiser{Slug: r.Slug, Name: r.Name}}, err
	},
	list: func(ctx context.Context, q *query.Queries, _ string, after, n int32) ([]row[Advertiser], error) {
		rows, err := q.ListAdvertisers(ctx, after, n)
		return each(rows, func(r query.ListAdvertisersRow) (row[Advertiser], error) {
			return row[Advertiser]{r.ID, r.Version, Advertiser{Slug: r.Slug, Name: r.Name}}, nil
		}, err)
	},
	insert: func(w *write, v *Advertiser) (row[Advertiser], error) {
		r, err := w.q.InsertAdvertiser(w.ctx, v.Slug, v.Name)
		return row[Advertiser]{r.ID, r.Version, *v}, err
	},
	update: func(w *write, old row[Advertiser], v *Advertiser) (row[Advertiser], error) {
		version, err := w.q.UpdateAdvertiser(w.ctx, old.id, v.Name)
		return row[Advertiser]{old.id, version, *v}, err
	},
}

// PublisherGroup is what campaigns reach publishers by.
type PublisherGroup struct {
	Slug string `json:"slug" minLength:"1" maxLength:"200" pattern:"^[-a-zA-Z0-9_]+$" patternDescription:"letters, digits, hyphens and underscores" doc:"The name in paths; never changes." example:"sample"`
	Name string `json:"name" minLength:"1" maxLength:"200" doc:"For people."`
	Written
}

func (v *PublisherGroup) slug() string { return v.Slug }
func (v *PublisherGroup) readOnly()    { v.Written = Written{} }

var publisherGroups = kind[PublisherGroup]{
	singular: "publisher_group", plural: "publisher_groups", tag: "Publisher groups",
	about: "A publisher group joins publishers; a campaign reaches the publishers of its groups.",
	fresh: func() PublisherGroup { return PublisherGroup{} },
	check: func(*write, *PublisherGroup, *faults) error { return nil },
	read: func(ctx context.Context, q *query.Queries, slug string) (row[PublisherGroup], error) {
		r, err := q.ReadPublisherGroup(ctx, slug)
		return row[PublisherGroup]{r.ID, r.Version, PublisherGroup{Slug: r.Slug, Name: r.Name}}, err
	},
	list: func(ctx context.Context, q *query.Queries, _ string, after, n int32) ([]row[PublisherGroup], error) {
		rows, err := q.ListPublisherGroups(ctx, after, n)
		return each(rows, func(r query.ListPublisherGroupsRow) (row[PublisherGroup], error) {
			return row[PublisherGroup]{r.ID, r.Version, PublisherGroup{Slug: r.Slug, Name: r.Name}}, nil
		}, err)
	},
	insert: func(w *write, v *PublisherGroup) (row[PublisherGroup], error) {
		r, err := w.q.InsertPublisherGroup(w.ctx, v.Slug, v.Name)
		return row[PublisherGroup]{r.ID, r.Version, *v}, err
	},
	update: func(w *write, old row[PublisherGroup], v *PublisherGroup) (row[PublisherGroup], error) {
		version, err := w.q.UpdatePublisherGroup(w.ctx, old.id, v.Name)
		return row[PublisherGroup]{old.id, version, *v}, err
	},
}

// AdTypeSettings are the fields of an ad type that only rendering reads, by
// their names in the catalog.
type AdTypeSettings struct {
	HasImage      bool   `json:"has_image" required:"false" default:"true" doc:"Ads of this type show their image."`
	HasText       bool   `json:"has_text" required:"false" default:"true" doc:"Ads of this type show their text."`
	MaxTextLength int32  `json:"max_text_length" required:"false" minimum:"0" maximum:"10000" doc:"The most characters that headline, content and cta may have together; 0 for no limit."`
	Template      string `json:"template" required:"false" maxLength:"20000" doc:"An html/template over the ad; empty for the built-in one."`
}

// AdType is a shape an ad can be shown in.
type AdType struct {
	Slug string `json:"slug" minLength:"1" maxLength:"200" pattern:"^[-a-zA-Z0-9_]+$" patternDescription:"letters, digits, hyphens and underscores" doc:"The name in paths and in publishers' pages; never changes." example:"image-v1"`
	Name string `json:"name" minLength:"1" maxLength:"200" doc:"For people."`
	AdTypeSettings
	Written
}

func (v *AdType) slug() string { return v.Slug }
func (v *AdType) readOnly()    { v.Written = Written{} }

func adType(id int32, version int64, slug, name string, settings []byte) (row[AdType], error) {
	v := AdType{Slug: slug, Name: name}
	err := json.Unmarshal(settings, &v.AdTypeSettings)
	return row[AdType]{id, version, v}, err
}

var adTypes = kind[AdType]{
	singular: "ad_type", plural: "ad_types", tag: "Ad types", about: "An ad type is a shape that an ad can be shown in.",
	fresh: func() AdType { return AdType{AdTypeSettings: AdTypeSettings{HasImage: true, HasText: true}} },
	check: func(_ *write, v *AdType, f *faults) error {
		if !v.HasImage && !v.HasText {
			f.add("has_text", false, "expected has_text or has_image, or both")
		}
		if _, err := template.New("ad").Parse(v.Template); err != nil {
			f.add("template", nil, "expected an html/template: %v", err)
		}
		return nil
	},
	read: func(ctx context.Context, q *query.Queries, slug string) (row[AdType], error) {
		r, err := q.ReadAdType(ctx, slug)
		if err != nil {
			return row[AdType]{}, err
		}
		return adType(r.ID, r.Version, r.Slug, r.Name, r.Settings)
	},
	list: func(ctx context.Context, q *query.Queries, _ string, after, n int32) ([]row[AdType], error) {
		rows, err := q.ListAdTypes(ctx, after, n)
		return each(rows, func(r query.ListAdTypesRow) (row[AdType], error) {
			return adType(r.ID, r.Version, r.Slug, r.Name, r.Settings)
		}, err)
	},
	insert: func(w *write, v *AdType) (row[AdType], error) {
		settings, err := json.Marshal(v.AdTypeSettings)
		if err != nil {
			return row[AdType]{}, err
		}
		r, err := w.q.InsertAdType(w.ctx, v.Slug, v.Name, settings)
		return row[AdType]{r.ID, r.Version, *v}, err
	},
	update: func(w *write, old row[AdType], v *AdType) (row[AdType], error) {
		settings, err := json.Marshal(v.AdTypeSettings)
		if err != nil {
			return old, err
		}
		version, err := w.q.UpdateAdType(w.ctx, old.id, v.Name, settings)
		return row[AdType]{old.id, version, *v}, err
	},
}

// Topic is a named set of keywords.
type Topic struct {
	Slug     string   `json:"slug" minLength:"1" maxLength:"200" pattern:"^[-a-zA-Z0-9_]+$" patternDescription:"letters, digits, hyphens and underscores" doc:"The name in paths and in include_topics; never changes." example:"data-science"`
	Name     string   `json:"name" minLength:"1" maxLength:"200" doc:"For people."`
	Keywords []string `json:"keywords" required:"false" maxItems:"10000" doc:"Words; kept in lower case, sorted."`
	Written
}

func (v *Topic) slug() string { return v.Slug }
func (v *Topic) readOnly()    { v.Written = Written{} }

var topics = kind[Topic]{
	singular: "topic", plural: "topics", tag: "Topics", about: "A topic is a named set of keywords that flights are targeted by.",
	fresh: func() Topic { return Topic{Keywords: []string{}} },
	check: func(_ *write, v *Topic, f *faults) error {
		v.Keywords = tidy(words(f, "keywords", v.Keywords))
		return nil
	},
	read: func(ctx context.Context, q *query.Queries, slug string) (row[Topic], error) {
		r, err := q.ReadTopic(ctx, slug)
		return row[Topic]{r.ID, r.Version, Topic{Slug: r.Slug, Name: r.Name, Keywords: r.Keywords}}, err
	},
	list: func(ctx context.Context, q *query.Queries, _ string, after, n int32) ([]row[Topic], error) {
		rows, err := q.ListTopics(ctx, after, n)
		return each(rows, func(r query.ListTopicsRow) (row[Topic], error) {
			return row[Topic]{r.ID, r.Version, Topic{Slug: r.Slug, Name: r.Name, Keywords: r.Keywords}}, nil
		}, err)
	},
	insert: func(w *write, v *Topic) (row[Topic], error) {
		r, err := w.q.InsertTopic(w.ctx, v.Slug, v.Name, v.Keywords)
		return row[Topic]{r.ID, r.Version, *v}, err
	},
	update: func(w *write, old row[Topic], v *Topic) (row[Topic], error) {
		version, err := w.q.UpdateTopic(w.ctx, old.id, v.Name, v.Keywords)
		return row[Topic]{old.id, version, *v}, err
	},
}

// GeoRegion is a named set of countries.
type GeoRegion struct {
	Slug      string   `json:"slug" minLength:"1" maxLength:"200" pattern:"^[-a-zA-Z0-9_]+$" patternDescription:"letters, digits, hyphens and underscores" doc:"The name in paths and in include_regions; never changes." example:"western-europe"`
	Name      string   `json:"name" minLength:"1" maxLength:"200" doc:"For people."`
	Countries []string `json:"countries" required:"false" maxItems:"300" doc:"ISO 3166-1 alpha-2 codes in upper case; kept sorted."`
	Written
}

func (v *GeoRegion) slug() string { return v.Slug }
func (v *GeoRegion) readOnly()    { v.Written = Written{} }

var geoRegions = kind[GeoRegion]{
	singular: "geo_region", plural: "geo_regions", tag: "Geo regions",
	about: "A geo region is a named set of countries. (A region is where edges run.)",
	fresh: func() GeoRegion { return GeoRegion{Countries: []string{}} },
	check: func(_ *write, v *GeoRegion, f *faults) error {
		countries(f, "countries", v.Countries)
		v.Countries = tidy(v.Countries)
		return nil
	},
	read: func(ctx context.Context, q *query.Queries, slug string) (row[GeoRegion], error) {
		r, err := q.ReadGeoRegion(ctx, slug)
		return row[GeoRegion]{r.ID, r.Version, GeoRegion{Slug: r.Slug, Name: r.Name, Countries: r.Countries}}, err
	},
	list: func(ctx context.Context, q *query.Queries, _ string, after, n int32) ([]row[GeoRegion], error) {
		rows, err := q.ListGeoRegions(ctx, after, n)
		return each(rows, func(r query.ListGeoRegionsRow) (row[GeoRegion], error) {
			return row[GeoRegion]{r.ID, r.Version, GeoRegion{Slug: r.Slug, Name: r.Name, Countries: r.Countries}}, nil
		}, err)
	},
	insert: func(w *write, v *GeoRegion) (row[GeoRegion], error) {
		r, err := w.q.InsertGeoRegion(w.ctx, v.Slug, v.Name, v.Countries)
		return row[GeoRegion]{r.ID, r.Version, *v}, err
	},
	update: func(w *write, old row[GeoRegion], v *GeoRegion) (row[GeoRegion], error) {
		version, err := w.q.UpdateGeoRegion(w.ctx, old.id, v.Name, v.Countries)
		return row[GeoRegion]{old.id, version, *v}, err
	},
}

// each makes resources of what a query returned.
func each[R, T any](rows []R, convert func(R) (row[T], error), err error) ([]row[T], error) {
	if err != nil {
		return nil, err
	}
	out := make([]row[T], len(rows))
	for i, r := range rows {
		if out[i], err = convert(r); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
	}
	return out, nil
}

// words folds a list of keywords or domains to lower case, in its order.
func words(f *faults, path string, list []string) []string {
	folded := make([]string, len(list))
	for i, word := range list {
		folded[i] = strings.ToLower(strings.TrimSpace(word))
		if folded[i] == "" || len(folded[i]) > 200 {
			f.add(fmt.Sprintf("%s[%d]", path, i), word, "expected 1 to 200 characters")
		}
	}
	return folded
}
