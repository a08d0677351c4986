package serve

import (
	"bytes"
	"errors"
	"net/netip"
	"regexp"
	"time"

	"github.com/valyala/fasthttp"

	"nearside/edge/creative"
	"nearside/edge/decision"
	"nearside/edge/visitor"
	"nearside/sync/token"
)

const (
	nonceLife   = 2 * time.Hour
	clockSkew   = 5 * time.Minute // how far another node's clock may be ahead
	maxViewTime = 300             // seconds
	allowBeacon = "GET, HEAD"
)

var (
	svgType = []byte("image/svg+xml")
	pixel   = []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>`)
)

// beacon answers /proxy/{view,click,viewtime}/<ad>/<nonce>/.
func (s *Server) beacon(ctx *fasthttp.RequestCtx, w *work, e Event, rest []byte) {
	id, nonce, ok := splitBeacon(rest)
	if !ok {
		notFound(ctx)
		return
	}
	head := ctx.IsHead()
	if !ctx.IsGet() && !head {
		notAllowed(ctx, allowBeacon)
		return
	}
	l := s.loaded.Load()
	if l == nil {
		// The reader loses nothing that a retry would not bring.
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		answer(ctx, fasthttp.StatusServiceUnavailable, appendDetail(nil, "This node has no catalog yet."))
		return
	}
	ad := l.catalog.AdByID(id)
	if ad == nil {
		notFound(ctx)
		return
	}
	now := s.now()
	b := beacon{event: e, ad: ad, now: now, catalog: l.catalog, loaded: l}
	b.addr = s.client(ctx)
	var said []byte
	if s.cfg.CountryHeader != "" {
		said = ctx.Request.Header.Peek(s.cfg.CountryHeader)
	}
	b.place = s.place(b.addr, said)
	reason := s.judgeBeacon(ctx, w, &b, nonce)
	if !head {
		s.stats.Beacons[e][reason].Add(1)
		if s.cfg.DebugHeaders {
			ctx.Response.Header.Set("X-Adserver-Reason", reason.For(e))
		}
	}
	noStore(ctx)
	switch {
	case e == Click:
		ctx.Response.Header.Set(fasthttp.HeaderLocation, b.landing())
		ctx.SetStatusCode(fasthttp.StatusFound)
	case reason == NotRecorded:
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		answer(ctx, fasthttp.StatusServiceUnavailable, appendDetail(nil, "The view cannot be recorded now."))
	default:
		ctx.Response.Header.SetContentTypeBytes(svgType)
		ctx.Response.Header.SetCanonical(contentTypeOptions, nosniff)
		ctx.SetBody(pixel)
	}
}

// splitBeacon reads "<ad>/<nonce>/", the last slash optional.
func splitBeacon(b []byte) (ad uint32, nonce []byte, ok bool) {
	id, nonce, ok := bytes.Cut(b, []byte("/"))
	if !ok || len(id) == 0 || len(id) > 10 {
		return 0, nil, false
	}
	n := uint64(0)
	for _, c := range id {
		if c < '0' || c > '9' {
			return 0, nil, false
		}
		n = n*10 + uint64(c-'0')
	}
	nonce = bytes.TrimSuffix(nonce, []byte("/"))
	if n > 1<<32-1 || len(nonce) == 0 || bytes.IndexByte(nonce, '/') >= 0 {
		return 0, nil, false
	}
	return uint32(n), nonce, true
}

// beacon is what is known of one beacon while it is judged.
type beacon struct {
	event     Event
	ad        *decision.Ad
	publisher *decision.Publisher // nil until the offer is known
	catalog   *decision.Catalog
	loaded    *loaded
	now       time.Time
	addr      netip.Addr
	place     visitor.Place
}

// judgeBeacon is the order in which reasons are looked for. A HEAD changes
// nothing and has no reason.
func (s *Server) judgeBeacon(ctx *fasthttp.RequestCtx, w *work, b *beacon, nonce []byte) Reason {
	c := &w.claims
	if len(nonce) > token.MaxText {
		return b.invalid(UnknownOffer)
	}
	switch err := s.judge.Open(c, nonce, b.now); {
	case errors.Is(err, token.ErrUnknownKey):
		return b.invalid(OldNonce)
	case errors.Is(err, ErrNoKeys):
		return b.invalid(NotRecorded)
	case err != nil || c.Ad != b.ad.ID:
		return b.invalid(UnknownOffer)
	}
	b.publisher = b.catalog.PublisherByID(c.Publisher)
	issued := time.UnixMilli(c.Issued)
	if age := b.now.Sub(issued); age > nonceLife || age < -clockSkew {
		return b.invalid(OldNonce)
	}
	if ctx.IsHead() {
		return b.invalid(OldNonce)
	}
	if b.event == ViewTime {
		seconds, ok := viewTime(ctx.QueryArgs().Peek("view_time"))
		if !ok || !s.judge.ViewTime(c, seconds) {
			return InvalidViewTime
		}
		return UpdatedViewTime
	}

	done := false // set already: nothing that follows can count it again
	if known, viewed, clicked := s.judge.Peek(c); known {
		done = b.event == View && viewed || b.event == Click && clicked
	}
	if !done {
		if reason, refused := s.refuse(ctx, b, c); refused {
			return reason
		}
	}
	// Not the request's context: it ends with the server, and this must not.
	until := s.patience.until(b.now)
	verdict := s.judge.View
	if b.event == Click {
		verdict = s.judge.Click
	}
	reason, err := verdict(until, c, b.now.UnixMilli())
	if err != nil {
		return NotRecorded
	}
	return reason
}

// ErrNoKeys is what a Judge answers that has no keys to open tokens with.
var ErrNoKeys = errors.New("no token keys yet")

// invalid is the reason a beacon without a usable offer gets: view times have
// only one.
func (b *beacon) invalid(r Reason) Reason {
	if b.event == ViewTime {
		return InvalidViewTime
	}
	return r
}

// refuse finds the reason why a valid event does not count.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, b *beacon, c *token.Claims) (Reason, bool) {
	header := &ctx.Request.Header
	ua := ctx.UserAgent()
	agent := s.visitors.Agents.Of(ua, b.now)
	switch {
	case agent.Bot:
		return Bot, true
	case contains(s.cfg.InternalIPs, b.addr):
		return InternalIP, true
	case !agent.Recognized():
		return UnrecognizedAgent, true
	}
	if who, _, _ := b.loaded.authenticate(header.Peek(fasthttp.HeaderAuthorization)); who == known {
		return KnownUser, true
	}
	switch {
	case matches(s.cfg.BlockedAgents, ua):
		return BlockedAgent, true
	case matches(s.cfg.BlockedReferrers, ctx.Referer()):
		return BlockedReferrer, true
	case s.blocked[b.addr] || contains(s.cfg.BlockedIPs, b.addr):
		return BlockedIP, true
	case b.publisher == nil:
		return UnknownPublisher, true
	case !b.ad.Of.ShowsTo(b.place.Country, b.place.State, b.place.Metro):
		return InvalidTargeting, true
	}
	now := b.now.Unix()
	if s.cfg.LimitedASNs[b.place.ASN] && s.asns.over(uint64(b.place.ASN), now) {
		return RateLimitedASN, true
	}
	if key, ok := prefix(b.addr); ok && s.cfg.RateLimits {
		limit := s.views
		if b.event == Click {
			limit = s.clicks
		}
		if limit.over(key, now) {
			return RateLimited, true
		}
	}
	// Where nobody could look at the agent when the offer was made, there is
	// nothing to compare with.
	switch {
	case c.OS != uint8(visitor.UnseenOS) && c.OS != uint8(agent.OS):
		return MismatchedOS, true
	case c.Browser != uint8(visitor.UnseenBrowser) && c.Browser != uint8(agent.Browser):
		return MismatchedBrowser, true
	}
	return 0, false
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// maxMatched is how much of a header the operator's expressions see.
const maxMatched = 1024

func matches(expressions []*regexp.Regexp, b []byte) bool {
	b = b[:min(len(b), maxMatched)]
	for _, re := range expressions {
		if len(b) > 0 && re.Match(b) {
			return true
		}
	}
	return false
}

// viewTime reads a positive whole number of seconds, at most maxViewTime.
func viewTime(b []byte) (seconds int, ok bool) {
	b = bytes.TrimSpace(b)
	if len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		seconds = min(seconds*10+int(c-'0'), maxViewTime)
	}
	return seconds, seconds > 0
}

// landing is where a click leads.
func (b *beacon) landing() string {
	v := creative.Variables{
		PublisherSlug: "unknown", PublisherName: "unknown",
		AdSlug: b.ad.Slug, AdName: b.ad.Name,
		FlightSlug: b.ad.Of.Slug, FlightName: b.ad.Of.Name,
		Country: orNone(b.place.Country[:]), Continent: orNone(b.place.Continent[:]),
	}
	if b.publisher != nil {
		v.PublisherSlug, v.PublisherName = b.publisher.Slug, b.publisher.Name
	}
	return creative.Landing(b.ad.Link, &v)
}
