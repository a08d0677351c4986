// Package creative turns ads into what a publisher gets: the JSON body of an
// offer, rendered once for an ad and an ad type, with holes for what differs
// from offer to offer; and the link that a click leads to.
//
// # Templates
//
// An ad type may bring an html/template of its own, executed over View. Without
// one, or where it fails, the built-in template is used; Render says so. The
// result must have one root element, because the EthicalAds client shows the
// first one only. URLs may stand wherever escaping leaves them as they are: in
// attributes, in text, as a script's string. Elsewhere, such as inside another
// URL's query, they would need what a hole cannot give, and the template is
// refused.
//
// # What it promises
//
// A body is valid JSON whatever the ad says and whatever div id a publisher
// sends, and its HTML shows every field of an ad as text. Append allocates
// nothing where dst has room.
//
// # What it leaves out
//
// It loads no images, checks no link and knows no nonce: the caller brings the
// nonce and a base URL whose bytes are safe (SafeBase).
package creative

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"unicode/utf8"

	"nearside/sync/catalog"
)

// View is what an ad type's template sees. Every string is escaped for the
// place where it stands.
type View struct {
	Headline, Content, CTA string
	Body                   string // the three joined by spaces
	Image                  string // URL, "" if there is none
	LinkDomain             string
	Click, View, ViewTime  string        // URLs of the edge
	Text                   template.HTML // headline, content and cta as one link
	Pixel                  bool          // the publisher wants views counted by an image in the HTML
}

// The address and the nonce while a template runs. They look like what they
// stand for, so that escaping leaves them alone, and nobody can write them into
// an ad to get hold of a nonce.
var (
	holeHost  = strings.ToLower(rand.Text()) + ".invalid"
	baseHole  = "https://" + holeHost
	nonceHole = rand.Text()
)

// maxHTML bounds what a template may write.
const maxHTML = 64 << 10

var textTemplate = template.Must(template.New("text").Parse(
	`<a href="{{.Click}}" rel="nofollow noopener sponsored" target="_blank">` +
		`{{with .Headline}}<strong class="ea-headline">{{.}} </strong>{{end}}` +
		`<span class="ea-body">{{.Content}}</span>` +
		`{{with .CTA}}<strong class="ea-cta"> {{.}}</strong>{{end}}</a>`))

const (
	imagePart = `{{if .Image}}<a href="{{.Click}}" rel="nofollow noopener sponsored" target="_blank"><img src="{{.Image}}" alt=""></a>{{end}}`
	textPart  = `<div class="ethical-text">{{.Text}}</div>`
	pixelPart = `{{if .Pixel}}<img src="{{.View}}" class="ethical-pixel" alt="">{{end}}`
)

var (
	imageTemplate = builtIn(imagePart)
	wordsTemplate = builtIn(textPart)
	bothTemplate  = builtIn(imagePart + textPart)
)

func builtIn(parts string) *template.Template {
	return template.Must(template.New("ad").Parse(`<div class="ea-content ethical-ad">` + parts + pixelPart + `</div>`))
}

// Template is the HTML of one ad type.
type Template struct {
	own  *template.Template // nil where the type has none, or one that does not parse
	kind *catalog.AdType
}

// NewTemplate parses the type's own template. The error says what is wrong with
// it; the Template works all the same, with the built-in one.
func NewTemplate(t *catalog.AdType) (*Template, error) {
	out := &Template{kind: t}
	if t.Template == "" {
		return out, nil
	}
	own, err := template.New(t.Slug).Parse(t.Template)
	if err != nil {
		return out, fmt.Errorf("template of ad type %s: %w", t.Slug, err)
	}
	out.own = own
	return out, nil
}

func (t *Template) builtIn(v *View) *template.Template {
	switch {
	case t.kind.HasImage && t.kind.HasText:
		return bothTemplate
	case t.kind.HasImage && v.Image != "":
		return imageTemplate
	}
	return wordsTemplate
}

// Offer is the JSON body of an offer of one ad in one ad type.
//
// With many ads, what is read of one has to be fetched from far. So the cuts are
// small, and lie beside what points to them unless a template makes very many.
type Offer struct {
	text string // all that is the same in every offer
	cuts []cut  // in order
	few  [24]cut
}

// cut is where a hole is in the text, and which one.
type cut uint32

func cutAt(at int, h hole) cut { return cut(at<<2 | int(h)) }

func (c cut) at() int    { return int(c >> 2) }
func (c cut) hole() hole { return hole(c & 3) }

// hole is what goes into a cut.
type hole uint8

const (
	base hole = iota
	nonce
	bids
	div
)

// Fill is what goes into the holes.
type Fill struct {
	Base  []byte // scheme and host, SafeBase
	Nonce []byte // base64url, or "forced"
	Div   string // as the publisher sent it
	Bids  []byte // Bids of the flight, where the publisher has send_bid_rate; else nil
}

// Render makes the body. Where the ad type's own template fails on this ad, the
// Offer is made with the built-in one, and the error says why.
func Render(ad *catalog.Ad, kind catalog.CampaignType, t *Template, pixel bool) (*Offer, error) {
	id := strconv.FormatUint(uint64(ad.ID), 10)
	v := &View{
		Headline:   ad.Headline,
		Content:    ad.Content,
		CTA:        ad.CTA,
		Body:       joinWords(ad.Headline, ad.Content, ad.CTA),
		Image:      ad.ImageURL,
		LinkDomain: Domain(ad.Link),
		Click:      baseHole + "/proxy/click/" + id + "/" + nonceHole + "/",
		View:       baseHole + "/proxy/view/" + id + "/" + nonceHole + "/",
		ViewTime:   baseHole + "/proxy/viewtime/" + id + "/" + nonceHole + "/",
		Pixel:      pixel,
	}
	var text bytes.Buffer
	if err := textTemplate.Execute(&text, v); err != nil {
		return nil, fmt.Errorf("ad %s: text: %w", ad.Slug, err)
	}
	v.Text = template.HTML(text.String())
	html, problem := t.html(v)
	if problem != nil {
		var err error
		problem = fmt.Errorf("ad %s in ad type %s: %w", ad.Slug, t.kind.Slug, problem)
		if html, err = execute(t.builtIn(v), v); err != nil {
			return nil, fmt.Errorf("ad %s in ad type %s: %w", ad.Slug, t.kind.Slug, err)
		}
	}

	b := appendField(nil, '{', "id", ad.Slug)
	b = appendField(b, ',', "text", text.String())
	b = appendField(b, ',', "body", v.Body)
	b = appendField(b, ',', "html", html)
	b = append(b, `,"copy":`...)
	b = appendField(b, '{', "headline", v.Headline)
	b = appendField(b, ',', "cta", v.CTA)
	b = appendField(b, ',', "content", orElse(v.Content, v.Body))
	b = append(b, '}')
	if v.Image == "" {
		b = append(b, `,"image":null`...)
	} else {
		b = appendField(b, ',', "image", v.Image)
	}
	b = append(b, `,"logo":null`...)
	b = appendField(b, ',', "link", v.Click)
	b = appendField(b, ',', "link_domain", v.LinkDomain)
	b = appendField(b, ',', "view_url", v.View)
	b = appendField(b, ',', "view_time_url", v.ViewTime)
	b = appendField(b, ',', "nonce", nonceHole)
	b = appendField(b, ',', "display_type", t.kind.Slug)
	b = appendField(b, ',', "campaign_type", kind.String())

	return offerOf(string(b)), problem
}

// html runs the ad type's own template, or the built-in one where it has none.
func (t *Template) html(v *View) (string, error) {
	if t.own == nil {
		return execute(t.builtIn(v), v)
	}
	s, err := execute(t.own, v)
	if err != nil {
		return "", err
	}
	// A hole that escaping has changed would never be filled.
	if strings.Contains(strings.ReplaceAll(s, baseHole+"/", ""), holeHost) {
		return "", errors.New("the template puts a URL of the edge where it would need escaping; let it be a whole attribute or text")
	}
	return strings.TrimSpace(s), nil
}

func execute(t *template.Template, v *View) (string, error) {
	w := limited{left: maxHTML}
	if err := t.Execute(&w, v); err != nil {
		return "", err
	}
	return w.b.String(), nil
}

// limited stops a template that writes without end.
type limited struct {
	b    strings.Builder
	left int
}

func (w *limited) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, fmt.Errorf("the template writes more than %d bytes", maxHTML)
	}
	return w.b.Write(p)
}

// offerOf splits a body at its holes, and appends what ends every body.
func offerOf(s string) *Offer {
	o := &Offer{}
	o.cuts = o.few[:0]
	text := make([]byte, 0, len(s)+16)
	add := func(part string, h hole) {
		text = append(text, part...)
		o.cuts = append(o.cuts, cutAt(len(text), h))
	}
	for {
		b, n := strings.Index(s, baseHole), strings.Index(s, nonceHole)
		if b < 0 && n < 0 {
			break
		}
		if n < 0 || b >= 0 && b < n {
			add(s[:b], base)
			s = s[b+len(baseHole):]
		} else {
			add(s[:n], nonce)
			s = s[n+len(nonceHole):]
		}
	}
	add(s, bids)
	add(`,"div_id":"`, div)
	o.text = string(append(text, `"}`...))
	return o
}

// Append appends the body to dst.
func (o *Offer) Append(dst []byte, f *Fill) []byte {
	from := 0
	for _, c := range o.cuts {
		at := c.at()
		dst = append(dst, o.text[from:at]...)
		from = at
		switch c.hole() {
		case base:
			dst = append(dst, f.Base...)
		case nonce:
			dst = append(dst, f.Nonce...)
		case bids:
			dst = append(dst, f.Bids...)
		case div:
			dst = AppendEscaped(dst, f.Div)
		}
	}
	return append(dst, o.text[from:]...)
}

// Bids are a flight's prices as fields of the body, for Fill.Bids.
func Bids(f *catalog.Flight) []byte {
	var b []byte
	if f.CPM > 0 {
		b = appendMoney(append(b, `,"cpm":`...), f.CPM)
	}
	if f.CPC > 0 {
		b = appendMoney(append(b, `,"cpc":`...), f.CPC)
	}
	return b
}

// appendMoney writes micros as a decimal number of currency units, exactly.
func appendMoney(dst []byte, m catalog.Micros) []byte {
	const unit = 1_000_000
	dst = strconv.AppendInt(dst, int64(m/unit), 10)
	fraction := strings.TrimRight(fmt.Sprintf("%06d", m%unit), "0")
	return append(append(dst, '.'), orElse(fraction, "0")...)
}

func joinWords(words ...string) string {
	var kept []string
	for _, w := range words {
		if w != "" {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func appendField(dst []byte, before byte, name, value string) []byte {
	dst = append(append(append(dst, before, '"'), name...), `":"`...)
	return append(appendEscaped(dst, value, false), '"')
}

const hexDigits = "0123456789abcdef"

// AppendEscaped appends what an outsider sent as the inside of a JSON string
// which is also a string of JavaScript and harmless where somebody takes it for
// HTML. Bytes that are not UTF-8 become U+FFFD.
func AppendEscaped(dst []byte, s string) []byte { return appendEscaped(dst, s, true) }

// appendEscaped leaves HTML as it is where markup is false.
func appendEscaped(dst []byte, s string, markup bool) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f && (!markup || c != '<' && c != '>' && c != '&') {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, `\n`...)
			case '\r':
				dst = append(dst, `\r`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029': // line ends in JavaScript before 2019
			dst = append(append(dst, s[start:i]...), '\\', 'u', '2', '0', '2', hexDigits[r&15])
			start = i + size
		}
		i += size
	}
	return append(dst, s[start:]...)
}

// SafeBase reports whether b can fill the base hole: a scheme, a host and
// perhaps a port and a path, in bytes that need no escaping anywhere.
func SafeBase(b []byte) bool {
	rest, ok := bytes.CutPrefix(b, []byte("https://"))
	if !ok {
		rest, ok = bytes.CutPrefix(b, []byte("http://"))
	}
	if !ok || len(rest) == 0 || len(rest) > 255 || rest[0] == '/' {
		return false
	}
	for _, c := range rest {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']' || c == '/':
		default:
			return false
		}
	}
	return rest[len(rest)-1] != '/'
}
