package creative

import (
	"encoding/json"
	"strings"
	"testing"

	"nearside/sync/catalog"
)

var (
	image = &catalog.AdType{ID: 1, Slug: "image-v1", HasImage: true, HasText: true}
	words = &catalog.AdType{ID: 2, Slug: "text-v1", HasText: true}
	pic   = &catalog.AdType{ID: 3, Slug: "pic-v1", HasImage: true}
)

func fill() *Fill {
	return &Fill{Base: []byte("https://eu.example.com"), Nonce: []byte("abc-_123"), Div: "a-div"}
}

func render(t *testing.T, ad *catalog.Ad, kind *catalog.AdType, pixel bool) *Offer {
	t.Helper()
	tmpl, err := NewTemplate(kind)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Render(ad, catalog.Paid, tmpl, pixel)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The body field by field, as the EthicalAds client and its server-side users
// read it.
func TestBody(t *testing.T) {
	ad := &catalog.Ad{
		ID: 77, Slug: "ad-slug", Headline: "Test headline", Content: "Test ad body", CTA: "Test CTA",
		Link: "http://example.com/path?utm=${publisher}", ImageURL: "https://img.example.com/a.png",
	}
	got := string(render(t, ad, image, false).Append(nil, fill()))
	text := `<a href=\"https://eu.example.com/proxy/click/77/abc-_123/\" rel=\"nofollow noopener sponsored\" target=\"_blank\">` +
		`<strong class=\"ea-headline\">Test headline </strong><span class=\"ea-body\">Test ad body</span><strong class=\"ea-cta\"> Test CTA</strong></a>`
	want := `{"id":"ad-slug","text":"` + text + `","body":"Test headline Test ad body Test CTA",` +
		`"html":"<div class=\"ea-content ethical-ad\"><a href=\"https://eu.example.com/proxy/click/77/abc-_123/\" rel=\"nofollow noopener sponsored\" target=\"_blank\">` +
		`<img src=\"https://img.example.com/a.png\" alt=\"\"></a><div class=\"ethical-text\">` + text + `</div></div>",` +
		`"copy":{"headline":"Test headline","cta":"Test CTA","content":"Test ad body"},"image":"https://img.example.com/a.png","logo":null,` +
		`"link":"https://eu.example.com/proxy/click/77/abc-_123/","link_domain":"example.com",` +
		`"view_url":"https://eu.example.com/proxy/view/77/abc-_123/","view_time_url":"https://eu.example.com/proxy/viewtime/77/abc-_123/",` +
		`"nonce":"abc-_123","display_type":"image-v1","campaign_type":"paid","div_id":"a-div"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

type body struct {
	ID, Text, Body, HTML string
	Copy                 struct{ Headline, CTA, Content string }
	Image, Logo          *string
	DivID                string `json:"div_id"`
	CPM, CPC             *json.Number
}

func decode(t *testing.T, b []byte) (out body) {
	t.Helper()
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("%s\n%v", b, err)
	}
	return out
}

func TestVariants(t *testing.T) {
	full := catalog.Ad{ID: 1, Slug: "a", Headline: "H", Content: "C", CTA: "X", ImageURL: "https://i/x.png"}
	tests := []struct {
		name  string
		ad    func(*catalog.Ad)
		kind  *catalog.AdType
		pixel bool
		check func(b body) bool
	}{
		{"no image is null", func(a *catalog.Ad) { a.ImageURL = "" }, image, false, func(b body) bool { return b.Image == nil && !strings.Contains(b.HTML, "<img") }},
		{"no logo is null", nil, image, false, func(b body) bool { return b.Logo == nil }},
		{"text ad types show no image", nil, words, false, func(b body) bool { return b.Image != nil && !strings.Contains(b.HTML, "<img") }},
		{"image ad types show no text", nil, pic, false, func(b body) bool { return strings.Contains(b.HTML, "<img") && !strings.Contains(b.HTML, "ea-body") }},
		{"image ad types without an image show text", func(a *catalog.Ad) { a.ImageURL = "" }, pic, false, func(b body) bool { return strings.Contains(b.HTML, "ea-body") }},
		{"without headline", func(a *catalog.Ad) { a.Headline = "" }, words, false, func(b body) bool { return b.Body == "C X" && !strings.Contains(b.Text, "ea-headline") }},
		{"without cta", func(a *catalog.Ad) { a.CTA = "" }, words, false, func(b body) bool { return b.Body == "H C" && !strings.Contains(b.Text, "ea-cta") }},
		{"without content, copy has the body", func(a *catalog.Ad) { a.Content = "" }, words, false, func(b body) bool { return b.Copy.Content == "H X" }},
		{"pixel", nil, words, true, func(b body) bool {
			return strings.Contains(b.HTML, `<img src="https://eu.example.com/proxy/view/1/abc-_123/" class="ethical-pixel"`)
		}},
		{"no pixel", nil, words, false, func(b body) bool { return !strings.Contains(b.HTML, "pixel") }},
		{"HTML in a field is text", func(a *catalog.Ad) { a.Content = `<script>"&'` }, words, false, func(b body) bool {
			return b.Copy.Content == `<script>"&'` && strings.Contains(b.Text, "&lt;script&gt;") && !strings.Contains(b.HTML, "<script")
		}},
		{"script image URLs are disarmed", func(a *catalog.Ad) { a.ImageURL = "javascript:alert(1)" }, image, false, func(b body) bool { return !strings.Contains(b.HTML, "javascript:") }},
		{"other scripts", func(a *catalog.Ad) { a.Headline = "日本語 \u2028 é" }, words, false, func(b body) bool { return b.Copy.Headline == "日本語 \u2028 é" }},
		{"not UTF-8", func(a *catalog.Ad) { a.Headline = "a\xffb" }, words, false, func(b body) bool { return b.Copy.Headline == "a\ufffdb" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ad := full
			if tt.ad != nil {
				tt.ad(&ad)
			}
			raw := render(t, &ad, tt.kind, tt.pixel).Append(nil, fill())
			if b := decode(t, raw); !tt.check(b) {
				t.Errorf("%s", raw)
			}
		})
	}
}

func TestBids(t *testing.T) {
	tests := []struct {
		cpm, cpc catalog.Micros
		want     string
	}{
		{0, 0, ``},
		{10_000_000, 0, `,"cpm":10.0`},
		{0, 2_500_000, `,"cpc":2.5`},
		{1_234_000, 10_000, `,"cpm":1.234,"cpc":0.01`},
		{1000, 1, `,"cpm":0.001,"cpc":0.000001`},
	}
	for _, tt := range tests {
		got := string(Bids(&catalog.Flight{CPM: tt.cpm, CPC: tt.cpc}))
		if got != tt.want {
			t.Errorf("cpm %d, cpc %d: got %s, want %s", tt.cpm, tt.cpc, got, tt.want)
		}
		f := fill()
		f.Bids = []byte(got)
		decode(t, render(t, &catalog.Ad{ID: 1}, words, false).Append(nil, f))
	}
}

func TestOwnTemplates(t *testing.T) {
	ad := &catalog.Ad{ID: 1, Slug: "a", Headline: "H", Content: "C", Link: "https://l.example/x"}
	tests := []struct{ name, template, html, problem string }{
		{"its own", `<p><a href="{{.Click}}">{{.Headline}}</a> {{.LinkDomain}}</p>`, `<p><a href="https://eu.example.com/proxy/click/1/abc-_123/">H</a> l.example</p>`, ""},
		{"the text as HTML", ` <p>{{.Text}}</p> `, `<p><a href="https://eu.example.com/proxy/click/1/abc-_123/" rel="nofollow noopener sponsored" target="_blank"><strong class="ea-headline">H </strong><span class="ea-body">C</span></a></p>`, ""},
		{"does not parse", `<p>{{.Click`, "", "unclosed action"},
		{"no such field", `<p>{{.Nonesuch}}</p>`, "", "Nonesuch"},
		{"a URL in a script", `<p><script>var u = {{.View}}</script></p>`, `<p><script>var u = "https://eu.example.com/proxy/view/1/abc-_123/"</script></p>`, ""},
		{"a URL in a query", `<p><a href="https://x.example/?u={{.Click}}">x</a></p>`, "", "where it would need escaping"},
		{"endless", `<p>{{range 100000000}}{{$.Headline}}{{end}}</p>`, "", "more than 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmpl, err := NewTemplate(&catalog.AdType{ID: 9, Slug: "own", HasText: true, Template: tt.template})
			o, renderErr := Render(ad, catalog.House, tmpl, false)
			if err == nil {
				err = renderErr
			}
			b := decode(t, o.Append(nil, fill()))
			if tt.problem == "" {
				if err != nil || b.HTML != tt.html {
					t.Errorf("got %s (%v), want %s", b.HTML, err, tt.html)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.problem) || !strings.Contains(err.Error(), "ad type own") {
				t.Errorf("error %v, want one with %q", err, tt.problem)
			}
			if !strings.HasPrefix(b.HTML, `<div class="ea-content`) {
				t.Errorf("instead of the built-in template: %s", b.HTML)
			}
		})
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	o := render(t, &catalog.Ad{ID: 1, Slug: "a", Content: "C"}, words, false)
	f := fill()
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { dst = o.Append(dst[:0], f) }); n != 0 {
		t.Errorf("allocates %v times", n)
	}
}

func TestSafeBase(t *testing.T) {
	for in, want := range map[string]bool{
		"https://eu.example.com": true, "http://127.0.0.1:8080": true, "http://[::1]:80": true, "https://a.b/c": true,
		"": false, "eu.example.com": false, "ftp://a": false, "https://": false, "https:///x": false, "https://a/": false,
		"https://a\"b": false, "https://a b": false, "https://<x>": false, "https://é.example": false,
		"https://a?x=1": false, "https://a#x": false, "https://u@h": false, "https://" + strings.Repeat("a", 256): false,
	} {
		if got := SafeBase([]byte(in)); got != want {
			t.Errorf("%q: got %v", in, got)
		}
	}
}

func TestLanding(t *testing.T) {
	v := &Variables{
		PublisherSlug: "test-publisher", PublisherName: "Test & Co", AdSlug: "ad-slug", AdName: "An ad",
		FlightSlug: "flight-slug", FlightName: "A flight", Country: "US", Continent: "NA",
	}
	tests := []struct{ name, link, want string }{
		{"plain", "http://example.com", "http://example.com?ea-publisher=test-publisher"},
		{"with a path", "http://example.com/a/", "http://example.com/a/?ea-publisher=test-publisher"},
		{"braced variables", "http://example.com?utm_source=${publisher}&ad=${advertisement}", "http://example.com?utm_source=test-publisher&ad=ad-slug&ea-publisher=test-publisher"},
		{"bare variables", "http://example.com?f=$flight&c=$country-$continent", "http://example.com?f=flight-slug&c=US-NA&ea-publisher=test-publisher"},
		{"slugs", "http://e.com?p=$publisher_slug&a=${advertisement_slug}&f=${flight_slug}", "http://e.com?p=test-publisher&a=ad-slug&f=flight-slug&ea-publisher=test-publisher"},
		{"names are escaped", "http://e.com?p=${publisher_name}&a=$advertisement_name&f=${flight_name}", "http://e.com?p=Test+%26+Co&a=An+ad&f=A+flight&ea-publisher=test-publisher"},
		{"unknown variables stay", "http://e.com?x=${test}publisher&y=$publishers", "http://e.com?x=%24%7Btest%7Dpublisher&y=%24publishers&ea-publisher=test-publisher"},
		{"escaped dollars are none", "http://e.com?utm_source=%24%7Btest%7Dpublisher&t=1", "http://e.com?utm_source=%24%7Btest%7Dpublisher&t=1&ea-publisher=test-publisher"},
		{"names are of one case", "http://e.com?x=$Publisher", "http://e.com?x=%24Publisher&ea-publisher=test-publisher"},
		{"two dollars are one", "http://e.com?x=$$publisher", "http://e.com?x=%24publisher&ea-publisher=test-publisher"},
		{"unclosed", "http://e.com?x=${publisher", "http://e.com?x=%24%7Bpublisher&ea-publisher=test-publisher"},
		{"variable after an unclosed one", "http://e.com?x=${a$country", "http://e.com?x=%24%7BaUS&ea-publisher=test-publisher"},
		{"blank parameters survive", "http://e.com?a=&b&c=1", "http://e.com?a=&b&c=1&ea-publisher=test-publisher"},
		{"repeated parameters survive", "http://e.com?a=1&a=2", "http://e.com?a=1&a=2&ea-publisher=test-publisher"},
		{"ea-publisher is ours", "http://e.com?ea-publisher=x&a=1&ea%2Dpublisher=y", "http://e.com?a=1&ea-publisher=test-publisher"},
		{"fragment stays behind", "http://e.com/a?b=1#frag", "http://e.com/a?b=1&ea-publisher=test-publisher#frag"},
		{"a question mark in the fragment", "http://e.com/a#b?c=1", "http://e.com/a?ea-publisher=test-publisher#b?c=1"},
		{"in the path", "http://e.com/${publisher_name}/x", "http://e.com/Test%20&%20Co/x?ea-publisher=test-publisher"},
		{"escapes are made uniform", "http://e.com?a=b%20c+d&e=%c3%a9", "http://e.com?a=b+c+d&e=%C3%A9&ea-publisher=test-publisher"},
		{"broken escapes", "http://e.com/%zz?a=%zz&b=%", "http://e.com/%zz?a=%25zz&b=%25&ea-publisher=test-publisher"},
		{"line breaks cannot split a header", "http://e.com/\r\nX: y?a=\r\n", "http://e.com/%0D%0AX:%20y?a=%0D%0A&ea-publisher=test-publisher"},
		{"empty", "", "?ea-publisher=test-publisher"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Landing(tt.link, v); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func FuzzLanding(f *testing.F) {
	for _, s := range []string{"http://example.com?a=${publisher}&b=$flight", "http://e.com/$", "${", "$$$$", "?&&=&=", "#?#?", "%", "%4", "http://e.com?ea-publisher=1", "\x00\xff", "a?b${publisher_name}=c"} {
		f.Add(s, "A & B=c#d")
	}
	f.Fuzz(func(t *testing.T, link, name string) {
		v := &Variables{PublisherSlug: "the-publisher", PublisherName: name, AdName: name, FlightName: name}
		got := Landing(link, v)
		for i := range len(got) {
			if got[i] <= ' ' || got[i] >= 0x7f {
				t.Fatalf("%q: byte %#x in %q", link, got[i], got)
			}
		}
		before, _, _ := strings.Cut(got, "#")
		_, query, _ := strings.Cut(before, "?")
		var found, params int
		for piece := range strings.SplitSeq(query, "&") {
			params++
			if key, value, _ := strings.Cut(piece, "="); key == "ea-publisher" {
				found++
				if value != "the-publisher" {
					t.Fatalf("%q: %q", link, got)
				}
			}
		}
		beforeLink, _, _ := strings.Cut(link, "#")
		_, asked, _ := strings.Cut(beforeLink, "?")
		if found != 1 && !strings.Contains(asked, "$") {
			t.Fatalf("%q: %d ea-publisher in %q", link, found, got)
		}
		if params > strings.Count(asked, "&")+2 {
			t.Fatalf("%q: a value added a parameter: %q", link, got)
		}
	})
}

func FuzzBody(f *testing.F) {
	f.Add("headline", "content", "cta", "https://e.com/x.png", "div")
	f.Add("\xff\u2028</script>", `"\`, "{{.Click}}", "javascript:alert(1)", "<&>\x00")
	tmpl, err := NewTemplate(image)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, headline, content, cta, img, divID string) {
		ad := &catalog.Ad{ID: 1, Slug: "a", Headline: headline, Content: content, CTA: cta, ImageURL: img, Link: img}
		o, err := Render(ad, catalog.Paid, tmpl, true)
		if err != nil && o == nil {
			return // longer than a template may write
		}
		fl := fill()
		fl.Div = divID
		b := decode(t, o.Append(nil, fl))
		valid := func(s string) string { return string([]rune(s)) }
		if b.Copy.Headline != valid(headline) || b.DivID != valid(divID) {
			t.Errorf("got %q, %q", b.Copy.Headline, b.DivID)
		}
	})
}

func TestDomain(t *testing.T) {
	for in, want := range map[string]string{
		"http://example.com": "example.com", "https://a.b:80/c?d": "a.b:80", "https://a?b": "a", "nonsense": "", "": "",
	} {
		if got := Domain(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
