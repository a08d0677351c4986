package sample

import (
	"fmt"
	"strings"
)

var groups = []Named{
	{"sample", "Sample sites"},
	{"learning", "Courses and tutorials"},
	{"news", "News and magazines"},
}

var publishers = []Publisher{
	{
		Slug: "sample-docs", Name: "Sample documentation", Groups: []string{"sample"}, UnauthedAdDecisions: true,
		AllowPaidCampaigns: true, AllowAffiliateCampaigns: true, AllowCommunityCampaigns: true, AllowHouseCampaigns: true,
		AllowAPIKeywords: true, AllowMultiplePlacements: true, RevenueSharePercentage: 70,
	},
	{
		Slug: "sample-blog", Name: "Sample blog, on desktops only", Groups: []string{"sample"}, UnauthedAdDecisions: true,
		AllowPaidCampaigns: true, AllowHouseCampaigns: true, AllowAPIKeywords: true, IgnoreMobileTraffic: true, RevenueSharePercentage: 70,
	},
	{
		Slug: "sample-tutorials", Name: "Sample tutorials, about Python", Groups: []string{"sample", "learning"}, UnauthedAdDecisions: true,
		AllowPaidCampaigns: true, AllowAffiliateCampaigns: true, AllowCommunityCampaigns: true, AllowHouseCampaigns: true,
		DefaultKeywords: []string{"python", "pytest"}, DailyCapMicros: 500 * currency, SendBidRate: true, RevenueSharePercentage: 65,
	},
	{
		Slug: "sample-magazine", Name: "Sample magazine, with sticky ads", Groups: []string{"news"}, UnauthedAdDecisions: true,
		AllowPaidCampaigns: true, AllowAffiliateCampaigns: true, AllowCommunityCampaigns: true, AllowHouseCampaigns: true,
		AllowAPIKeywords: true, CacheAds: true, CacheAdsDurationSeconds: 5, RevenueSharePercentage: 60,
	},
	{
		Slug: "sample-community", Name: "Sample forum, without paid ads", Groups: []string{"sample", "learning"}, UnauthedAdDecisions: true,
		AllowCommunityCampaigns: true, AllowHouseCampaigns: true, AllowAPIKeywords: true, RevenueSharePercentage: 70,
	},
	{
		Slug: "sample-private", Name: "Sample site that asks with its token", Groups: []string{"sample"},
		AllowPaidCampaigns: true, AllowAffiliateCampaigns: true, AllowCommunityCampaigns: true, AllowHouseCampaigns: true,
		AllowAPIKeywords: true, RevenueSharePercentage: 70,
	},
	{Slug: "sample-closed", Name: "Sample site that has left", Groups: []string{"sample"}, Disabled: true, RevenueSharePercentage: 70},
}

var advertisers = []Named{
	{"sample-advertiser", "Sample Advertiser"},
	{"sample-cloud", "Sample Cloud"},
	{"sample-books", "Sample Books"},
	{"sample-foundation", "Sample Foundation"},
}

var campaigns = []Campaign{
	{Slug: "sample-paid", Name: "Sample paid", Advertiser: "sample-advertiser", CampaignType: "paid", PublisherGroups: []string{"sample"}},
	{Slug: "sample-affiliate", Name: "Sample affiliate", Advertiser: "sample-advertiser", CampaignType: "affiliate", PublisherGroups: []string{"sample"}},
	{Slug: "sample-community", Name: "Sample community", Advertiser: "sample-advertiser", CampaignType: "community", PublisherGroups: []string{"sample"}},
	{Slug: "sample-publisher-house", Name: "Sample publisher house", Advertiser: "sample-advertiser", CampaignType: "publisher-house", PublisherGroups: []string{"sample"}},
	{Slug: "sample-house", Name: "Sample house", Advertiser: "sample-advertiser", CampaignType: "house", PublisherGroups: []string{"sample"}},
	{Slug: "cloud-everywhere", Name: "Cloud everywhere", Advertiser: "sample-cloud", CampaignType: "paid", PublisherGroups: []string{"learning", "news", "sample"}, ExcludePublishers: []string{"sample-blog"}},
	{Slug: "cloud-news", Name: "Cloud for readers of news", Advertiser: "sample-cloud", CampaignType: "paid", PublisherGroups: []string{"news"}},
	{Slug: "books-partners", Name: "Books from partners", Advertiser: "sample-books", CampaignType: "affiliate", PublisherGroups: []string{"learning", "news"}},
	{Slug: "foundation-events", Name: "Events of the foundation", Advertiser: "sample-foundation", CampaignType: "community", PublisherGroups: []string{"learning", "news", "sample"}},
	{Slug: "network-house", Name: "The network's own", Advertiser: "sample-foundation", CampaignType: "house", PublisherGroups: []string{"learning", "news"}},
}

// A line is a row of the table below: one flight, and what its ads say.
type line struct {
	campaign string
	slug     string
	sold     sold
	pitch    string
	target   Targeting
	more     func(*Flight)
}

// sold is what a flight sells and at what price.
type sold struct {
	views, clicks int64
	cpm, cpc      int64
}

func cpm(micros, views int64) sold  { return sold{views: views, cpm: micros} }
func cpc(micros, clicks int64) sold { return sold{clicks: clicks, cpc: micros} }
func free(views int64) sold         { return sold{views: views} }

func asap(f *Flight) { f.Pacing = "asap" }

func (l line) flight() Flight {
	f := Flight{
		Slug: l.slug, Name: l.pitch, Campaign: l.campaign, Live: true, Pacing: "even", PacingIntervalSeconds: 3600, PriorityMultiplier: 1,
		CPMMicros: l.sold.cpm, SoldViews: l.sold.views, CPCMicros: l.sold.cpc, SoldClicks: l.sold.clicks, Targeting: l.target,
	}
	if l.more != nil {
		l.more(&f)
	}
	return f
}

// ads are two ads: one that fits both ad types, and one of text alone.
func (l line) ads(f Flight) []Ad {
	head, rest, _ := strings.Cut(l.pitch, ": ")
	link := "https://www.example.com/" + f.Slug + "?ref=${publisher}&country=${country}"
	return []Ad{
		{
			Slug: f.Slug + "-image", Name: f.Name + ", with an image", Flight: f.Slug, AdTypes: []string{"image-v1", "text-v1"}, Live: true,
			Headline: head, Content: rest, CTA: "Find out more", Link: link, ImageURL: fmt.Sprintf("https://images.example.com/%s.png", f.Slug),
		},
		{
			Slug: f.Slug + "-text", Name: f.Name + ", text alone", Flight: f.Slug, AdTypes: []string{"text-v1"}, Live: true,
			Headline: head, Content: rest, CTA: "Read on", Link: link,
		},
	}
}

// The flights, by campaign. Prices are in the account's currency.
var lines = []line{
	// paid, sold by the thousand views
	{"sample-paid", "paid-run-of-site", cpm(2*currency, 2_000_000), "Sample Advertiser: a friendly database for small teams", Targeting{}, nil},
	{"sample-paid", "paid-us-ca", cpm(5*currency, 600_000), "Ship on Fridays: previews for every pull request", Targeting{IncludeRegions: []string{"us-ca"}}, nil},
	{"sample-paid", "paid-western-europe", cpm(4*currency, 600_000), "Data that stays here: hosting in your own country", Targeting{IncludeRegions: []string{"western-europe"}}, nil},
	{"sample-paid", "paid-dach", cpm(4500*1000, 200_000), "Rechnung statt Karte: invoices your accountant will like", Targeting{IncludeRegions: []string{"dach"}}, nil},
	{"sample-paid", "paid-india", cpm(1200*1000, 500_000), "Learn with us: a course that fits the evening train", Targeting{IncludeCountries: []string{"IN"}}, nil},
	{"sample-paid", "paid-south-asia", cpm(1100*1000, 500_000), "Remote first: jobs where the time zone is yours", Targeting{IncludeRegions: []string{"south-asia"}}, nil},
	{"sample-paid", "paid-japan-korea", cpm(3*currency, 300_000), "Fast in Tokyo: an API with a node around the corner", Targeting{IncludeCountries: []string{"JP", "KR"}}, nil},
	{"sample-paid", "paid-latin-america", cpm(1500*1000, 300_000), "Pay in your money: local prices, no surprises", Targeting{IncludeRegions: []string{"latin-america"}}, nil},
	{"sample-paid", "paid-not-us", cpm(1800*1000, 400_000), "Made abroad: support that speaks your language", Targeting{ExcludeCountries: []string{"US"}}, nil},
	{"sample-paid", "paid-careful", cpm(2200*1000, 400_000), "Compliance done: audits without the spreadsheet", Targeting{ExcludeRegions: []string{"exclude"}}, nil},
	{"sample-paid", "paid-california", cpm(8*currency, 100_000), "Meet us in Oakland: a conference for maintainers", Targeting{IncludeCountries: []string{"US"}, IncludeStateProvinces: []string{"CA"}}, nil},
	{"sample-paid", "paid-new-york-metro", cpm(8*currency, 80_000), "Meet us in Brooklyn: an evening about compilers", Targeting{IncludeCountries: []string{"US"}, IncludeMetroCodes: []int{501}}, nil},
	{"sample-paid", "paid-python", cpm(3500*1000, 400_000), "Python in production: errors before your users see them", Targeting{IncludeKeywords: []string{"python"}}, nil},
	{"sample-paid", "paid-topic-data-science", cpm(3800*1000, 400_000), "Notebooks that run: the same result on every machine", Targeting{IncludeTopics: []string{"data-science"}}, nil},
	{"sample-paid", "paid-topic-frontend", cpm(3200*1000, 400_000), "Pixels in order: visual tests for your components", Targeting{IncludeTopics: []string{"frontend-web"}}, nil},
	{"sample-paid", "paid-topic-backend-eu", cpm(4200*1000, 300_000), "Queues that drain: background jobs, hosted in the EU", Targeting{IncludeTopics: []string{"backend-web"}, IncludeRegions: []string{"eu"}}, nil},
	{"sample-paid", "paid-topic-security", cpm(5500*1000, 200_000), "Find it first: dependency checks that explain themselves", Targeting{IncludeTopics: []string{"security-privacy"}}, nil},
	{"sample-paid", "paid-not-blockchain", cpm(2*currency, 300_000), "No tokens here: a ledger that is only a ledger", Targeting{ExcludeKeywords: []string{"blockchain", "solidity"}}, nil},
	{"sample-paid", "paid-phones", cpm(1600*1000, 300_000), "In your pocket: incident calls without a laptop", Targeting{MobileTraffic: "only"}, nil},
	{"sample-paid", "paid-desktops", cpm(2600*1000, 400_000), "A better terminal: it finds what you ran last week", Targeting{MobileTraffic: "exclude"}, nil},
	{"sample-paid", "paid-docs-only", cpm(2800*1000, 300_000), "For readers of docs: search that knows your version", Targeting{IncludePublishers: []string{"sample-docs"}}, nil},
	{"sample-paid", "paid-not-tutorials", cpm(2400*1000, 300_000), "For those who know: profilers without the training wheels", Targeting{ExcludePublishers: []string{"sample-tutorials"}}, nil},
	{"sample-paid", "paid-on-api-docs", cpm(3*currency, 200_000), "Your API, tested: contracts checked on every deploy", Targeting{IncludeDomains: []string{"api.docs.example.com"}}, nil},
	{"sample-paid", "paid-not-on-archive", cpm(2*currency, 300_000), "New releases only: upgrades that open their own pull request", Targeting{ExcludeDomains: []string{"archive.docs.example.com"}}, nil},
	{"sample-paid", "paid-weekdays", cpm(3*currency, 400_000), "From nine to five: people who answer, on working days", Targeting{Days: []string{"monday", "tuesday", "wednesday", "thursday", "friday"}}, nil},
	{"sample-paid", "paid-weekend", cpm(1400*1000, 300_000), "Weekend projects: a server for less than a coffee", Targeting{Days: []string{"saturday", "sunday"}}, nil},
	{"sample-paid", "paid-niche", cpm(6*currency, 100_000), "Close to the subject: tools for people who write parsers", Targeting{NicheTargeting: 0.4}, nil},
	{"sample-paid", "paid-daily-cap", cpm(2500*1000, 900_000), "A little each day: backups that you have restored once", Targeting{}, func(f *Flight) { f.DailyCapMicros = 20 * currency }},
	{"sample-paid", "paid-shared-fairly", cpm(2100*1000, 500_000), "Something for all: a status page in forty languages", Targeting{}, func(f *Flight) {
		f.TrafficCap = &Shares{Countries: map[string]float64{"US": 0.4}, GeoRegions: map[string]float64{"western-europe": 0.5}, Publishers: map[string]float64{"sample-docs": 0.8}}
	}},
	{"sample-paid", "paid-first-choice", cpm(3*currency, 500_000), "In a hurry: certificates before the meeting ends", Targeting{}, func(f *Flight) { f.PriorityMultiplier = 5 }},
	{"sample-paid", "paid-now", cpm(2*currency, 5_000_000), "Today only: the talk is live, the chat is open", Targeting{}, asap},
	{"sample-paid", "paid-traffic-curve", cpm(2*currency, 600_000), "When you are there: autoscaling that follows the sun", Targeting{}, func(f *Flight) { f.Pacing = "traffic" }},
	{"sample-paid", "paid-hard-stop", cpm(2300*1000, 300_000), "Until the doors close: tickets for the spring conference", Targeting{}, func(f *Flight) { f.HardStop = true }},
	{"sample-paid", "paid-not-live", cpm(2*currency, 300_000), "Not yet: this one waits for its contract", Targeting{}, func(f *Flight) { f.Live = false }},

	// paid, sold by the click, and both
	{"sample-paid", "click-run-of-site", cpc(2*currency, 20_000), "Try it once: a debugger that steps backwards", Targeting{}, nil},
	{"sample-paid", "click-us-devops", cpc(4*currency, 5_000), "Fewer alerts: monitoring that waits before it wakes you", Targeting{IncludeCountries: []string{"US"}, IncludeTopics: []string{"devops"}}, nil},
	{"sample-paid", "click-best-ad", cpc(2500*1000, 8_000), "Read less code: reviews that start with the risky part", Targeting{}, func(f *Flight) { f.PrioritizeAdsCTR = true }},
	{"sample-paid", "click-day-by-day", cpc(1500*1000, 9_000), "One lesson a day: statistics without the fear", Targeting{}, func(f *Flight) { f.DailyCapMicros = 150 * currency; f.PacingIntervalSeconds = 24 * 3600 }},
	{"sample-paid", "both-run-of-site", sold{views: 300_000, clicks: 1_000, cpm: 1 * currency, cpc: 1 * currency}, "Either way: a support desk that reads the logs", Targeting{}, nil},
	{"cloud-everywhere", "cloud-global", cpm(2400*1000, 1_500_000), "Sample Cloud: machines that bill by the second", Targeting{ExcludeRegions: []string{"exclude"}}, nil},
	{"cloud-everywhere", "cloud-australia", cpm(4800*1000, 150_000), "Close to Sydney: a region on your side of the ocean", Targeting{IncludeRegions: []string{"aus-nz"}}, nil},
	{"cloud-everywhere", "cloud-games", cpc(3*currency, 4_000), "Servers for players: matches that start in a second", Targeting{IncludeTopics: []string{"game-dev"}, MobileTraffic: "exclude"}, nil},
	{"cloud-news", "cloud-news-readers", cpm(3*currency, 300_000), "As you read: the outage that did not happen", Targeting{}, nil},
	{"cloud-news", "cloud-news-africa", cpm(1700*1000, 150_000), "From Lagos to Nairobi: cables that are already there", Targeting{IncludeRegions: []string{"africa"}}, nil},

	// affiliate
	{"sample-affiliate", "affiliate-books", free(800_000), "On the shelf: books about systems that last", Targeting{}, nil},
	{"sample-affiliate", "affiliate-courses", free(800_000), "A course a month: with exercises that somebody reads", Targeting{IncludeTopics: []string{"backend-web", "frontend-web", "python"}}, nil},
	{"sample-affiliate", "affiliate-keyboards", free(400_000), "Quiet keys: for offices with thin walls", Targeting{MobileTraffic: "exclude", IncludeRegions: []string{"us-ca", "western-europe"}}, nil},
	{"books-partners", "books-learning", free(400_000), "Read first: the chapter on concurrency is free", Targeting{}, nil},
	{"books-partners", "books-tech-writing", free(200_000), "Write it down: a handbook for people who document", Targeting{IncludeTopics: []string{"techwriting"}}, nil},

	// community
	{"sample-community", "community-donate", free(600_000), "Keep it running: the tools you use have maintainers", Targeting{}, nil},
	{"sample-community", "community-accessibility", free(400_000), "For everybody: check your page with a screen reader", Targeting{IncludeTopics: []string{"frontend-web"}}, nil},
	{"sample-community", "community-not-mobile", free(300_000), "Write the test: a survey about how you work", Targeting{MobileTraffic: "exclude"}, nil},
	{"foundation-events", "events-europe", free(300_000), "Come by train: a conference in Lisbon", Targeting{IncludeRegions: []string{"western-europe", "eastern-europe"}}, nil},
	{"foundation-events", "events-asia", free(300_000), "Close to home: meetups from Taipei to Jakarta", Targeting{IncludeRegions: []string{"wider-apac"}}, nil},

	// publisher house
	{"sample-publisher-house", "publisher-newsletter", free(600_000), "Our newsletter: what changed this month", Targeting{}, nil},
	{"sample-publisher-house", "publisher-upgrade", free(400_000), "Read without ads: a subscription for your team", Targeting{IncludePublishers: []string{"sample-blog", "sample-docs"}}, nil},

	// house
	{"sample-house", "house-advertise", free(400_000_000), "Your name here: ads that do not follow anybody", Targeting{}, asap},
	{"sample-house", "house-publish", free(100_000_000), "Earn with your docs: join the network", Targeting{ExcludePublishers: []string{"sample-community"}}, nil},
	{"network-house", "network-about", free(400_000_000), "Who we are: a network without tracking", Targeting{}, asap},
	{"network-house", "network-jobs", free(50_000_000), "Work with us: we look for a second pair of eyes", Targeting{Days: []string{"monday", "wednesday", "friday"}}, nil},
}
