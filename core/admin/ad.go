package admin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/postgres/query"
)

// Ad is one creative of a flight.
type Ad struct {
	Slug       string   `json:"slug" minLength:"1" maxLength:"200" pattern:"^[-a-zA-Z0-9_]+$" patternDescription:"letters, digits, hyphens and underscores" doc:"The name in paths; never changes."`
	Name       string   `json:"name" minLength:"1" maxLength:"200" doc:"For people."`
	Flight     string   `json:"flight" maxLength:"200" doc:"Slug of the flight."`
	AdTypes    []string `json:"ad_types" minItems:"1" maxItems:"100" doc:"Slugs of the ad types that it can be shown in; kept sorted." example:"[\"image-v1\"]"`
	Headline   string   `json:"headline" required:"false" maxLength:"200"`
	Content    string   `json:"content" required:"false" maxLength:"2000"`
	CTA        string   `json:"cta" required:"false" maxLength:"200" doc:"The call to action."`
	Link       string   `json:"link" minLength:"1" maxLength:"1024" doc:"Where a click leads: an http or https URL, in which ${publisher}, ${advertisement}, ${flight}, ${country} and ${continent} are filled in." example:"https://example.com/"`
	ImageURL   string   `json:"image_url" required:"false" maxLength:"1024" doc:"An http or https URL; empty for none."`
	Live       bool     `json:"live" required:"false" default:"true" doc:"Only live ads are offered."`
	SampledCTR *CTR     `json:"sampled_ctr,omitempty" readOnly:"true" doc:"Of the last seven days with 1000 views in them; absent until there was one such night."`
	Written

	flight int32
	types  []int32
}

func (v *Ad) slug() string { return v.Slug }
func (v *Ad) readOnly()    { v.Written, v.SampledCTR = Written{}, nil }

func ad(r query.ReadAdRow) row[Ad] {
	return row[Ad]{r.ID, r.Version, Ad{
		Slug: r.Slug, Name: r.Name, Flight: r.Flight, AdTypes: tidy(r.AdTypes), Headline: r.Headline, Content: r.Content,
		CTA: r.Cta, Link: r.Link, ImageURL: r.ImageUrl, Live: r.Live,
	}}
}

type ofFlight struct {
	Page
	Flight string `query:"flight" maxLength:"200" doc:"Only those of this flight."`
}

func (o *ofFlight) asked() (Page, string) { return o.Page, o.Flight }

var ads = kind[Ad]{
	singular: "ad", plural: "ads", tag: "Ads", about: "An ad is one creative of a flight.",
	fresh: func() Ad { return Ad{Live: true} },
	check: func(w *write, v *Ad, f *faults) (err error) {
		webAddress(f, "link", v.Link)
		if v.ImageURL != "" {
			webAddress(f, "image_url", v.ImageURL)
		}
		if v.flight, err = reference(w.ctx, f, "flight", "a flight", w.q.FlightsBySlug, v.Flight); err != nil {
			return err
		}
		if v.types, err = references(w.ctx, f, "ad_types", "an ad type", w.q.AdTypesBySlug, v.AdTypes); err != nil {
			return err
		}
		if err := v.fits(w, f); err != nil {
			return err
		}
		v.AdTypes = tidy(v.AdTypes)
		return nil
	},
	read: func(ctx context.Context, q *query.Queries, slug string) (row[Ad], error) {
		r, err := q.ReadAd(ctx, slug)
		return ad(r), err
	},
	list: func(ctx context.Context, q *query.Queries, flight string, after, n int32) ([]row[Ad], error) {
		if flight == "" {
			rows, err := q.ListAds(ctx, after, n)
			return each(rows, func(r query.ListAdsRow) (row[Ad], error) { return ad(query.ReadAdRow(r)), nil }, err)
		}
		rows, err := q.ListAdsOf(ctx, after, flight, n)
		return each(rows, func(r query.ListAdsOfRow) (row[Ad], error) { return ad(query.ReadAdRow(r)), nil }, err)
	},
	insert: func(w *write, v *Ad) (row[Ad], error) {
		r, err := w.q.InsertAd(w.ctx, query.InsertAdParams{
			Slug: v.Slug, Name: v.Name, Flight: v.flight, Live: v.Live, Headline: v.Headline, Content: v.Content,
			Cta: v.CTA, Link: v.Link, ImageUrl: v.ImageURL,
		})
		if err != nil {
			return row[Ad]{}, err
		}
		return row[Ad]{r.ID, r.Version, *v}, w.q.AddAdTypes(w.ctx, r.ID, v.types)
	},
	update: func(w *write, old row[Ad], v *Ad) (row[Ad], error) {
		version, err := w.q.UpdateAd(w.ctx, query.UpdateAdParams{
			ID: old.id, Name: v.Name, Flight: v.flight, Live: v.Live, Headline: v.Headline, Content: v.Content,
			Cta: v.CTA, Link: v.Link, ImageUrl: v.ImageURL,
		})
		if err != nil {
			return old, err
		}
		if err := w.q.ClearAdTypes(w.ctx, old.id); err != nil {
			return old, fmt.Errorf("ad types: %w", err)
		}
		return row[Ad]{old.id, version, *v}, w.q.AddAdTypes(w.ctx, old.id, v.types)
	},
	more: showCTRs("ad", func(v *Ad) **CTR { return &v.SampledCTR }),
}

// fits says where an ad type is too small for the ad's text.
func (v *Ad) fits(w *write, f *faults) error {
	length := utf8.RuneCountInString(v.Headline) + utf8.RuneCountInString(v.Content) + utf8.RuneCountInString(v.CTA)
	for _, slug := range v.AdTypes {
		found, err := adTypes.find(w.ctx, w.q, slug)
		var missing huma.StatusError
		if errors.As(err, &missing) {
			continue // said already, by references
		}
		if err != nil {
			return err
		}
		if most := int(found.value.MaxTextLength); most > 0 && length > most {
			f.add("content", nil, "expected headline, content and cta of together at most %d characters for ad type %s, they have %d", most, slug, length)
		}
	}
	return nil
}

// webAddress says where text is not an absolute http or https URL.
func webAddress(f *faults, path, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		f.add(path, text, "expected an absolute http or https URL without a password")
	}
}
