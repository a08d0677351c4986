package admin

import (
	"context"
	"fmt"

	"nearside/core/postgres/query"
)

// Campaign groups flights of one advertiser.
type Campaign struct {
	Slug              string   `json:"slug" minLength:"1" maxLength:"200" pattern:"^[-a-zA-Z0-9_]+$" patternDescription:"letters, digits, hyphens and underscores" doc:"The name in paths; never changes." example:"sample-paid"`
	Name              string   `json:"name" minLength:"1" maxLength:"200" doc:"For people."`
	Advertiser        string   `json:"advertiser" maxLength:"200" doc:"Slug of the advertiser." example:"sample-advertiser"`
	CampaignType      string   `json:"campaign_type" required:"false" enum:"paid,affiliate,community,publisher-house,house" default:"paid" doc:"The tier in which its flights are considered, in this order."`
	PublisherGroups   []string `json:"publisher_groups" required:"false" maxItems:"1000" doc:"Slugs of the publisher groups that it reaches; kept sorted."`
	ExcludePublishers []string `json:"exclude_publishers" required:"false" maxItems:"1000" doc:"Slugs of publishers that it does not reach; kept sorted."`
	Written

	advertiser    int32
	groups        []int32
	notPublishers []int32
}

func (v *Campaign) slug() string { return v.Slug }
func (v *Campaign) readOnly()    { v.Written = Written{} }

func campaign(r query.ReadCampaignRow) row[Campaign] {
	return row[Campaign]{r.ID, r.Version, Campaign{
		Slug: r.Slug, Name: r.Name, Advertiser: r.Advertiser, CampaignType: r.CampaignType,
		PublisherGroups: tidy(r.PublisherGroups), ExcludePublishers: tidy(r.ExcludePublishers),
	}}
}

type ofAdvertiser struct {
	Page
	Advertiser string `query:"advertiser" maxLength:"200" doc:"Only those of this advertiser."`
}

func (o *ofAdvertiser) asked() (Page, string) { return o.Page, o.Advertiser }

var campaigns = kind[Campaign]{
	singular: "campaign", plural: "campaigns", tag: "Campaigns", about: "A campaign groups flights of one advertiser and says which publishers they reach.",
	fresh: func() Campaign {
		return Campaign{CampaignType: "paid", PublisherGroups: []string{}, ExcludePublishers: []string{}}
	},
	check: func(w *write, v *Campaign, f *faults) (err error) {
		if v.advertiser, err = reference(w.ctx, f, "advertiser", "an advertiser", w.q.AdvertisersBySlug, v.Advertiser); err != nil {
			return err
		}
		if v.groups, err = references(w.ctx, f, "publisher_groups", "a publisher group", w.q.PublisherGroupsBySlug, v.PublisherGroups); err != nil {
			return err
		}
		v.notPublishers, err = references(w.ctx, f, "exclude_publishers", "a publisher", w.q.PublishersBySlug, v.ExcludePublishers)
		v.PublisherGroups, v.ExcludePublishers = tidy(v.PublisherGroups), tidy(v.ExcludePublishers)
		return err
	},
	read: func(ctx context.Context, q *query.Queries, slug string) (row[Campaign], error) {
		r, err := q.ReadCampaign(ctx, slug)
		return campaign(r), err
	},
	list: func(ctx context.Context, q *query.Queries, advertiser string, after, n int32) ([]row[Campaign], error) {
		if advertiser == "" {
			rows, err := q.ListCampaigns(ctx, after, n)
			return each(rows, func(r query.ListCampaignsRow) (row[Campaign], error) { return campaign(query.ReadCampaignRow(r)), nil }, err)
		}
		rows, err := q.ListCampaignsOf(ctx, after, advertiser, n)
		return each(rows, func(r query.ListCampaignsOfRow) (row[Campaign], error) {
			return campaign(query.ReadCampaignRow(r)), nil
		}, err)
	},
	insert: func(w *write, v *Campaign) (row[Campaign], error) {
		r, err := w.q.InsertCampaign(w.ctx, query.InsertCampaignParams{
			Slug: v.Slug, Name: v.Name, Advertiser: v.advertiser, CampaignType: v.CampaignType,
		})
		if err != nil {
			return row[Campaign]{}, err
		}
		return row[Campaign]{r.ID, r.Version, *v}, reach(w, r.ID, v)
	},
	update: func(w *write, old row[Campaign], v *Campaign) (row[Campaign], error) {
		version, err := w.q.UpdateCampaign(w.ctx, query.UpdateCampaignParams{
			ID: old.id, Name: v.Name, Advertiser: v.advertiser, CampaignType: v.CampaignType,
		})
		if err != nil {
			return old, err
		}
		return row[Campaign]{old.id, version, *v}, reach(w, old.id, v)
	},
}

// reach writes which publishers the campaign reaches.
func reach(w *write, id int32, v *Campaign) error {
	if err := w.q.ClearCampaignGroups(w.ctx, id); err != nil {
		return fmt.Errorf("publisher groups: %w", err)
	}
	if err := w.q.AddCampaignGroups(w.ctx, id, v.groups); err != nil {
		return fmt.Errorf("publisher groups: %w", err)
	}
	if err := w.q.ClearCampaignExclusions(w.ctx, id); err != nil {
		return fmt.Errorf("excluded publishers: %w", err)
	}
	if err := w.q.AddCampaignExclusions(w.ctx, id, v.notPublishers); err != nil {
		return fmt.Errorf("excluded publishers: %w", err)
	}
	return nil
}
