package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample uses every field once.
func sample() *Snapshot {
	day := func(s string) Day {
		d, err := ParseDay(s)
		if err != nil {
			panic(err)
		}
		return d
	}
	demand := make([]uint32, HoursPerWeek)
	for i := range demand {
		demand[i] = uint32(i % 24)
	}
	return &Snapshot{
		Version:     42,
		PublishedAt: 1_772_000_000_000,
		Advertisers: []Advertiser{{1, "acme", "Acme"}, {4, "bolt", "Bolt"}},
		Groups:      []Group{{2, "main", "Main"}, {3, "side", "Side"}},
		Publishers: []Publisher{
			{
				ID: 1, Slug: "docs", Name: "Docs", Groups: []uint32{2, 3}, UnauthedAdDecisions: true,
				AllowPaid: true, AllowAffiliate: true, AllowCommunity: true, AllowHouse: true, AllowAPIKeywords: true,
				DefaultKeywords: []string{"go", "größe"}, IgnoreMobileTraffic: true, AllowMultiplePlacements: true,
				DailyCap: 10_000_000, DailyCapFrom: day("2026-03-05"), CacheAds: true, CacheAdsDurationSeconds: 5,
				SendBidRate: true, RenderPixel: true, AllowedDomains: []string{"docs.example"}, SampledCTR: 0.12,
				TokenHashes: [][]byte{bytes.Repeat([]byte{7}, 32)}, RevenueSharePercentage: 70,
			},
			{ID: 9, Slug: "blog", Name: "Blog", Groups: []uint32{}, Disabled: true},
		},
		Campaigns: []Campaign{
			{1, "paid", "Paid", 1, Paid, []uint32{2}, []uint32{9}},
			{2, "own", "Own", 4, PublisherHouse, []uint32{2, 3}, nil},
		},
		Flights: []Flight{
			{
				ID: 1, Slug: "spring", Name: "Spring", Campaign: 1, Live: true, StartDate: day("2026-03-01"), EndDate: day("2026-03-31"),
				HardStop: true, CPM: 5_000_000, CPC: 2_500_000, SoldViews: 100_000, SoldClicks: 1000,
				DailyCap: 50_000_000, DailyCapFrom: day("2026-03-02"), Pacing: Traffic, PacingInterval: 86400, PriorityMultiplier: 3,
				PrioritizeAdsCTR: true, SampledCTR: 0.1,
				Targeting: Targeting{
					IncludeCountries: []string{"US", "CA"}, ExcludeCountries: []string{"MX"}, IncludeStateProvinces: []string{"NY"},
					IncludeMetroCodes: []int32{501}, IncludeRegions: []string{"us-ca"}, ExcludeRegions: []string{"eu"},
					IncludeKeywords: []string{"go"}, ExcludeKeywords: []string{"php"}, IncludeTopics: []string{"web"}, MobileTraffic: "exclude",
					IncludePublishers: []string{"docs"}, ExcludePublishers: []string{"blog"}, IncludeDomains: []string{"docs.example"},
					ExcludeDomains: []string{"old.example"}, Days: []string{"monday"}, NicheTargeting: 0.5,
				},
				TrafficCap:   Shares{Countries: map[string]float64{"US": 0.5}, GeoRegions: map[string]float64{"us-ca": 0.6}, Publishers: map[string]float64{"docs": 0.7}},
				TrafficFill:  Shares{Countries: map[string]float64{"US": 0.1}, GeoRegions: map[string]float64{"us-ca": 0.2}, Publishers: map[string]float64{"docs": 0.3}},
				FrequencyCap: 3, FrequencyWindow: 3600, Roadblock: true, Demand: demand, State: Pause, Control: 8,
			},
			{ID: 5, Slug: "rest", Name: "Rest", Campaign: 2, StartDate: day("2026-03-01"), EndDate: day("2026-03-01"), PacingInterval: 3600, Pacing: ASAP, State: Kill},
		},
		Ads: []Ad{
			{1, "spring-1", "Spring", 1, []uint32{1, 2}, "Headline", "Content", "Go", "https://acme.example/?a=${publisher}", "https://img.example/1.png", true, 0.2},
			{2, "spring-2", "Spring", 1, []uint32{}, "", "", "", "https://acme.example/", "", false, 0},
		},
		AdTypes:    []AdType{{1, "image", "Image", true, true, 100, "<b>{{.Headline}}</b>"}, {2, "text", "Text", false, true, 0, ""}},
		Topics:     []Topic{{1, "web", "Web", []string{"css", "html"}}},
		GeoRegions: []GeoRegion{{1, "eu", "Europe", []string{"DE"}}, {2, "us-ca", "US and Canada", []string{"US", "CA"}}},
		Pages: []Page{{
			Publisher: 1, URL: "https://docs.example/a", Keywords: []string{"sql"},
			Distances: map[string]float64{"acme": 0.2}, Similarities: map[string]float64{"spring-1": 0.7},
		}},
	}
}

// TestGolden holds the format still: bytes written in the past must go on
// being read as what they were, and the JSON inside must be written as it was.
func TestGolden(t *testing.T) {
	text, err := json.MarshalIndent(sample(), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/golden.json", append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/golden.bin", b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wantText, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(text) + "\n"; got != string(wantText) {
		t.Errorf("JSON is not as it was; got\n%s", got)
	}
	old, err := os.ReadFile("testdata/golden.bin")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"golden.bin": old, "Encode": b} {
		s, err := Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, _ := json.MarshalIndent(s, "", "\t")
		if string(got)+"\n" != string(wantText) {
			t.Errorf("%s decodes to\n%s", name, got)
		}
		if version, err := Version(b); version != 42 || err != nil {
			t.Errorf("%s: version %d, %v", name, version, err)
		}
	}
	sum, err := Checksum(old)
	if err != nil || !bytes.Equal(sum[:], old[24:56]) {
		t.Errorf("checksum %x, %v", sum, err)
	}
	// The header, spelled out.
	if string(old[:4]) != "NSCT" || binary.BigEndian.Uint32(old[4:]) != 1 || binary.BigEndian.Uint64(old[8:]) != 42 {
		t.Errorf("header is %x", old[:24])
	}
	whole := sha256.Sum256(append(append([]byte(nil), old[:24]...), old[56:]...))
	if !bytes.Equal(whole[:], old[24:56]) {
		t.Error("the checksum is not of the bytes around it")
	}
}

// forge writes published bytes around any text, with a right checksum.
func forge(version, size uint64, text []byte) []byte {
	encoder, _ := zstd.NewWriter(nil)
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.BigEndian.PutUint32(b[4:], format)
	binary.BigEndian.PutUint64(b[8:], version)
	binary.BigEndian.PutUint64(b[16:], size)
	b = encoder.EncodeAll(text, b)
	sum := checksum(b)
	copy(b[24:], sum[:])
	return b
}

func TestDecodeRefuses(t *testing.T) {
	good, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int, x byte) []byte {
		b := bytes.Clone(good)
		b[at] ^= x
		return b
	}
	for _, row := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"nothing", nil, "fewer than 56 bytes"},
		{"a header cut short", good[:55], "fewer than 56 bytes"},
		{"other bytes", changed(0, 1), "does not begin with NSCT"},
		{"a later format", changed(7, 3), "format 2, can read 1"},
		{"another version", changed(15, 1), "checksum is wrong"},
		{"a changed checksum", changed(30, 1), "checksum is wrong"},
		{"a changed payload", changed(len(good)-1, 1), "checksum is wrong"},
		{"cut short", good[:len(good)-1], "checksum is wrong"},
		{"more at the end", append(bytes.Clone(good), 0), "checksum is wrong"},
		{"no JSON", forge(1, 3, []byte("abc")), "invalid character"},
		{"a version that is not the header's", forge(2, 2, []byte("{}")), "holds version 0"},
		{"longer than it says", forge(0, 1, []byte("{}")), "other than the 1 bytes"},
		{"shorter than it says", forge(0, 3, []byte("{}")), "other than the 3 bytes"},
		{"a size beyond all bounds", forge(0, 1<<40, []byte("{}")), "bytes of JSON, more than"},
		{"a snapshot that is not valid", forge(0, 26, []byte(`{"advertisers":[{"id":0}]}`)), "advertisers[0].id: 0 is not an id"},
	} {
		s, err := Decode(row.bytes)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, %v; want %q", row.name, s, err, row.want)
		}
	}
	if s, err := Decode(forge(0, 31, []byte(`{"field_of_the_future":{"a":1}}`))); err != nil || s == nil {
		t.Errorf("a field of the future: %v", err)
	}
}

func TestValidate(t *testing.T) {
	if err := sample().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		want  string
		spoil func(s *Snapshot)
	}{
		{"published_at: -1 is before 1970", func(s *Snapshot) { s.PublishedAt = -1 }},
		{"advertisers[1].id: 1 after 1: not sorted or repeated", func(s *Snapshot) { s.Advertisers[1].ID = 1 }},
		{"groups[0].id: 0 is not an id", func(s *Snapshot) { s.Groups[0].ID = 0 }},
		{"topics[0].slug: empty", func(s *Snapshot) { s.Topics[0].Slug = "" }},
		{`ads[1].slug: "spring-1" is repeated`, func(s *Snapshot) { s.Ads[1].Slug = "spring-1" }},
		{`publishers[0] ("docs"): groups[1]: 7 does not exist`, func(s *Snapshot) { s.Publishers[0].Groups[1] = 7 }},
		{`publishers[0] ("docs"): groups[1]: 2 after 3: not sorted`, func(s *Snapshot) { s.Publishers[0].Groups = []uint32{3, 2} }},
		{`publishers[0] ("docs"): groups[1]: 2 after 2: not sorted or repeated`, func(s *Snapshot) { s.Publishers[0].Groups = []uint32{2, 2} }},
		{`publishers[0] ("docs"): daily_cap_micros: -5 is negative`, func(s *Snapshot) { s.Publishers[0].DailyCap = -5 }},
		{`publishers[0] ("docs"): sampled_ctr: NaN is not from 0 to 100`, func(s *Snapshot) { s.Publishers[0].SampledCTR = math.NaN() }},
		{`publishers[0] ("docs"): token_hashes[0]: 3 bytes, not 32`, func(s *Snapshot) { s.Publishers[0].TokenHashes[0] = []byte("abc") }},
		{`campaigns[0] ("paid"): advertiser: 3 does not exist`, func(s *Snapshot) { s.Campaigns[0].Advertiser = 3 }},
		{`campaigns[0] ("paid"): campaign_type: 9 is none of 5`, func(s *Snapshot) { s.Campaigns[0].Type = 9 }},
		{`campaigns[0] ("paid"): exclude_publishers[0]: 8 does not exist`, func(s *Snapshot) { s.Campaigns[0].ExcludePublishers[0] = 8 }},
		{`flights[0] ("spring"): campaign: 3 does not exist`, func(s *Snapshot) { s.Flights[0].Campaign = 3 }},
		{`flights[0] ("spring"): cpm_micros: 1500 is not a multiple of 1000`, func(s *Snapshot) { s.Flights[0].CPM = 1500 }},
		{`flights[0] ("spring"): cpc_micros: -1 is negative`, func(s *Snapshot) { s.Flights[0].CPC = -1 }},
		{`flights[0] ("spring"): sold_views: -1 is negative`, func(s *Snapshot) { s.Flights[0].SoldViews = -1 }},
		{`flights[0] ("spring"): pacing_interval_seconds: 0 is not positive`, func(s *Snapshot) { s.Flights[0].PacingInterval = 0 }},
		{`flights[0] ("spring"): priority_multiplier: -2 is negative`, func(s *Snapshot) { s.Flights[0].PriorityMultiplier = -2 }},
		{`flights[0] ("spring"): end_date: day 2147483647 is outside`, func(s *Snapshot) { s.Flights[0].EndDate = math.MaxInt32 }},
		{`flights[0] ("spring"): demand: 3 hours, not 168`, func(s *Snapshot) { s.Flights[0].Demand = make([]uint32, 3) }},
		{`flights[0] ("spring"): pacing: 3 is none of 3`, func(s *Snapshot) { s.Flights[0].Pacing = 3 }},
		{`flights[0] ("spring"): state: 3 is none of 3`, func(s *Snapshot) { s.Flights[0].State = 3 }},
		{`flights[0] ("spring"): targeting.include_countries[1]: "usa" is not two upper-case letters`, func(s *Snapshot) { s.Flights[0].Targeting.IncludeCountries[1] = "usa" }},
		{`flights[0] ("spring"): targeting.mobile_traffic: "yes" is neither only nor exclude`, func(s *Snapshot) { s.Flights[0].Targeting.MobileTraffic = "yes" }},
		{`flights[0] ("spring"): targeting.days[0]: day "Monday" is none of`, func(s *Snapshot) { s.Flights[0].Targeting.Days[0] = "Monday" }},
		{`flights[0] ("spring"): targeting.niche_targeting: 1 is not from 0 to below 1`, func(s *Snapshot) { s.Flights[0].Targeting.NicheTargeting = 1 }},
		{`flights[0] ("spring"): targeting.include_keywords[0]: empty`, func(s *Snapshot) { s.Flights[0].Targeting.IncludeKeywords[0] = "" }},
		{`flights[0] ("spring"): traffic_cap.countries["US"]: -1 is not from 0`, func(s *Snapshot) { s.Flights[0].TrafficCap.Countries["US"] = -1 }},
		{`flights[0] ("spring"): traffic_fill.countries: "us" is not two`, func(s *Snapshot) { s.Flights[0].TrafficFill.Countries["us"] = 0 }},
		{`ads[0] ("spring-1"): flight: 4 does not exist`, func(s *Snapshot) { s.Ads[0].Flight = 4 }},
		{`ads[0] ("spring-1"): ad_types[0]: 9 does not exist`, func(s *Snapshot) { s.Ads[0].AdTypes[0] = 9 }},
		{`geo_regions[0] ("eu"): countries[0]: "d" is not two`, func(s *Snapshot) { s.GeoRegions[0].Countries[0] = "d" }},
		{`pages[0] ("https://docs.example/a"): publisher: 2 does not exist`, func(s *Snapshot) { s.Pages[0].Publisher = 2 }},
		{`pages[0] ("https://docs.example/a"): distances["acme"]: NaN is not from 0`, func(s *Snapshot) { s.Pages[0].Distances["acme"] = math.NaN() }},
	} {
		s := sample()
		row.spoil(s)
		if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%v; want %s", err, row.want)
		}
		if _, err := Encode(s); err == nil {
			t.Errorf("encoded in spite of %s", row.want)
		}
	}
}

func TestNormalize(t *testing.T) {
	got := Targeting{
		IncludeCountries: []string{"us", " CA", "US"}, IncludeKeywords: []string{"Go", "go ", ""}, IncludeMetroCodes: []int32{5, 3, 5},
		IncludeStateProvinces: []string{"ny"}, MobileTraffic: " Only", Days: []string{"Monday"}, IncludeDomains: []string{"A.Example"},
	}
	got.Normalize()
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	text, _ := json.Marshal(got)
	want := `{"include_countries":["CA","US"],"include_state_provinces":["NY"],"include_metro_codes":[3,5],` +
		`"include_keywords":["go"],"mobile_traffic":"only","include_domains":["a.example"],"days":["monday"]}`
	if string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
}

func TestNames(t *testing.T) {
	for _, x := range CampaignTypes() {
		if back, err := ParseCampaignType(x.String()); back != x || err != nil {
			t.Errorf("%v: %v, %v", x, back, err)
		}
	}
	for x := Even; x <= ASAP; x++ {
		if back, err := ParsePacing(x.String()); back != x || err != nil {
			t.Errorf("%v: %v, %v", x, back, err)
		}
	}
	for x := Run; x <= Kill; x++ {
		if back, err := ParseState(x.String()); back != x || err != nil {
			t.Errorf("%v: %v, %v", x, back, err)
		}
	}
	if _, err := ParseCampaignType("Paid"); err == nil || !strings.Contains(err.Error(), `campaign type "Paid" is none of ["paid" "affiliate"`) {
		t.Error(err)
	}
	if _, err := json.Marshal(State(7)); err == nil {
		t.Error("a state without a name was written")
	}
	if CampaignType(9).String() != "campaign type 9" {
		t.Error(CampaignType(9).String())
	}
}

func TestDay(t *testing.T) {
	for _, row := range []struct {
		text    string
		day     Day
		weekday string
	}{
		{"1970-01-01", 0, "thursday"},
		{"1969-12-31", -1, "wednesday"},
		{"2026-03-04", 20516, "wednesday"},
		{"2024-02-29", 19782, "thursday"},
		{"0001-01-01", firstDay, "monday"},
		{"9999-12-31", lastDay, "friday"},
	} {
		d, err := ParseDay(row.text)
		if err != nil || d != row.day || d.String() != row.text {
			t.Errorf("%s: %d %s, %v", row.text, d, d, err)
		}
		if got := WeekdayName(d.Weekday()); got != row.weekday || d.Weekday() != d.Start().Weekday() {
			t.Errorf("%s is a %s, want %s", row.text, got, row.weekday)
		}
		if DayOf(d.Start()) != d || DayOf(d.End()) != d || DayOf(d.End().Add(time.Microsecond)) != d+1 {
			t.Errorf("%s: from %v to %v", row.text, d.Start(), d.End())
		}
		if DayOfMillis(d.StartMillis()) != d || DayOfMillis(d.StartMillis()-1) != d-1 {
			t.Errorf("%s starts at %d", row.text, d.StartMillis())
		}
	}
	for _, bad := range []string{"", "2026-3-4", "2026-02-30", "04.03.2026", "2026-03-04T00:00:00Z", "0000-12-31", strings.Repeat("9", 100)} {
		if d, err := ParseDay(bad); err == nil {
			t.Errorf("%q was read as %v", bad, d)
		}
	}
	for _, bad := range []Day{firstDay - 1, lastDay + 1, math.MinInt32, math.MaxInt32} {
		if b, err := bad.MarshalText(); err == nil {
			t.Errorf("day %d was written as %s", int32(bad), b)
		}
	}
}

// FuzzDecode: whatever comes in, Decode does not panic, and what it accepts
// survives being encoded and decoded again.
func FuzzDecode(f *testing.F) {
	good, err := Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:80])
	f.Add(forge(0, 2, []byte("{}")))
	f.Add(forge(0, 1<<29, bytes.Repeat([]byte(" "), 1<<20)))
	f.Fuzz(func(t *testing.T, b []byte) { decodeAgain(t, b) })
}

// FuzzParse is FuzzDecode behind checksum and compression.
func FuzzParse(f *testing.F) {
	text, err := json.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":42,"flights":[{"id":1,"slug":"a","campaign":1}]}`))
	f.Add([]byte(`{"version":42,"publishers":[{"id":1,"slug":"a","groups":null,"daily_cap_from":"2026-01-01"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parse(text)
		if err != nil {
			return
		}
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("parsed, but not written: %v", err)
		}
		again, err := parse(first)
		if err != nil {
			t.Fatalf("written, but not parsed: %v", err)
		}
		if second, _ := json.Marshal(again); !bytes.Equal(first, second) {
			t.Fatalf("%s became %s", first, second)
		}
	})
}

func decodeAgain(t *testing.T, b []byte) {
	s, err := Decode(b)
	if err != nil {
		return
	}
	again, err := Encode(s)
	if err != nil {
		t.Fatalf("decoded, but not encoded: %v", err)
	}
	s2, err := Decode(again)
	if err != nil {
		t.Fatalf("encoded, but not decoded: %v", err)
	}
	first, _ := json.Marshal(s)
	second, _ := json.Marshal(s2)
	if !bytes.Equal(first, second) {
		t.Fatalf("%s became %s", first, second)
	}
}
