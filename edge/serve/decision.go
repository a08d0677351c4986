package serve

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"nearside/edge/creative"
	"nearside/edge/decision"
	"nearside/edge/visitor"
	"nearside/sync/catalog"
	"nearside/sync/token"
)

const allowDecision = "GET, POST, OPTIONS"

// maxReferer is how long a Referer may be that stands in for the page's URL.
const maxReferer = 2048

// credentials is what the Authorization header says.
type credentials uint8

const (
	anonymous credentials = iota
	known                 // a token that may ask for some publisher
	wrong
)

// decision answers /api/v1/decision/. What is checked first, and so answered
// first: credentials, method, body, fields, permission.
func (s *Server) decision(ctx *fasthttp.RequestCtx, w *work) {
	if ctx.IsOptions() {
		ctx.Response.Header.Set(fasthttp.HeaderAllow, allowDecision)
		ctx.SetStatusCode(fasthttp.StatusNoContent)
		return
	}
	start := s.now()
	w.took = 0
	s.observe(w, s.decide(ctx, w, start), start)
}

// observe counts what became of a decision request, and how long that took.
func (s *Server) observe(w *work, a Answer, start time.Time) {
	s.stats.Answers[a].Add(1)
	if w.took == 0 {
		w.took = s.now().Sub(start)
	}
	s.stats.Latency.observe(w.took)
}

func (s *Server) decide(ctx *fasthttp.RequestCtx, w *work, start time.Time) Answer {
	args := ctx.QueryArgs()
	badCallback := w.readCallback(args)
	l := s.loaded.Load()
	if l == nil {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		w.fail(ctx, fasthttp.StatusServiceUnavailable, "This node has no catalog yet.")
		return NotReady
	}
	who, hash, problem := l.authenticate(ctx.Request.Header.Peek(fasthttp.HeaderAuthorization))
	if who == wrong {
		ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Token")
		w.fail(ctx, fasthttp.StatusUnauthorized, problem)
		return Unauthorized
	}

	a := &w.ask
	a.reset()
	switch {
	case ctx.IsGet():
		a.readQuery(args)
	case ctx.IsPost():
		if answer, ok := w.readBody(ctx); !ok {
			return answer
		}
	default:
		notAllowed(ctx, allowDecision)
		return Malformed
	}
	if badCallback {
		w.send(ctx, fasthttp.StatusBadRequest, append(w.body(ctx), `{"callback":["Enter a valid JavaScript name."]}`...))
		return Refused
	}
	publisher := a.resolve(l.catalog)
	if a.failed() {
		w.send(ctx, fasthttp.StatusBadRequest, a.appendErrors(w.body(ctx)))
		return Refused
	}
	if !publisher.UnauthedAdDecisions {
		switch {
		case who == anonymous:
			ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Token")
			w.fail(ctx, fasthttp.StatusUnauthorized, "Authentication credentials were not provided.")
			return Unauthorized
		case !mayAsk(publisher, hash):
			w.fail(ctx, fasthttp.StatusForbidden, "You do not have permission to perform this action.")
			return Unauthorized
		}
	}
	base := s.publicBase(ctx, w)
	if base == nil {
		w.fail(ctx, fasthttp.StatusBadRequest, "The Host header is not usable.")
		return Malformed
	}
	s.visit(ctx, &w.visit)
	w.wanted = &a.wanted
	defer w.release() // what is pooled keeps no catalog alive
	body, answer := s.choose(w.body(ctx), w, l, publisher, base, start)
	if s.cfg.DebugHeaders {
		w.debug(ctx, answer)
	}
	w.finish(ctx, body, s.now().Sub(start))
	return answer
}

// choose makes the offer to who asks in w, and appends it to body, "{}" where
// there is none.
func (s *Server) choose(body []byte, w *work, l *loaded, publisher *decision.Publisher, base []byte, start time.Time) ([]byte, Answer) {
	now := start.UnixMilli()
	agent, client, counted := s.meet(w, l, publisher, start)

	a, r := w.wanted, &w.request
	forced := a.forceAd != "" || a.forceCampaign != ""
	var key uint64
	if publisher.CacheAds && !forced {
		key = s.stickyKey(w, client)
		if c := &w.sticky; s.stickies.get(key, now, l, c) && c.ad.Of.State() == catalog.Run {
			if o := s.rendered(w, l, c.ad, c.placement, c.nonce[:c.length], base); o != nil {
				return o.Append(body, &w.fill), Sticky
			}
		}
	}

	if counted {
		w.capped = s.frequencies.capped(w.capped[:0], client, l.catalog, start.Unix())
		r.Capped = w.capped
	}
	out := &w.outcome
	s.chooseAd(w, l, now, rand.Uint64())
	w.topics = l.catalog.Topics(&w.scratch)
	s.noteRefusals(w, l, now)
	var nonce []byte
	if out.Filled {
		nonce = s.seal(w, l, out, agent, now)
	}
	var offer *creative.Offer
	if nonce != nil {
		offer = s.rendered(w, l, out.Ad, out.Placement, nonce, base)
	}
	if offer == nil {
		s.tally.Decision(publisher.ID, r.Country, 0, w.topics)
		return append(body, '{', '}'), Empty
	}
	body = offer.Append(body, &w.fill)
	s.tally.Decision(publisher.ID, r.Country, out.Flight.ID, w.topics)
	if counted && out.Flight.FrequencyCap > 0 {
		s.frequencies.count(client, out.Flight, start.Unix())
	}
	if key != 0 {
		s.keep(w, key, l, publisher, out, nonce, now)
	}
	return body, Filled
}

// visit is what a request says of who asks, besides its parameters, and what is
// found out about that.
type visit struct {
	addr    netip.Addr
	country []byte // in a trusted CDN's header
	agent   []byte
	referer []byte
	signals visitor.Signals

	place  visitor.Place
	client uint64 // 0 where nothing needs it
}

// visit reads who asks.
func (s *Server) visit(ctx *fasthttp.RequestCtx, v *visit) {
	h := &ctx.Request.Header
	*v = visit{
		addr: s.client(ctx), agent: ctx.UserAgent(), referer: ctx.Referer(),
		signals: visitor.ReadSignals(h.Peek("DNT"), h.Peek("Sec-GPC")),
	}
	if s.cfg.CountryHeader != "" {
		v.country = h.Peek(s.cfg.CountryHeader)
	}
}

// meet finds out who asks and fills w.request; client is 0 where nothing needs
// it, counted says whether frequency caps apply.
func (s *Server) meet(w *work, l *loaded, publisher *decision.Publisher, start time.Time) (agent visitor.Agent, client uint64, counted bool) {
	a, v := w.wanted, &w.visit
	if a.userIP.IsValid() {
		v.addr = a.userIP
		v.place = s.visitors.Places.Of(v.addr)
	} else {
		v.place = s.place(v.addr, v.country)
	}
	if a.userUA != nil {
		v.agent = a.userUA
	}
	agent = s.visitors.Agents.Of(v.agent, start)

	page := a.url
	if page == "" && len(v.referer) > 0 && len(v.referer) <= maxReferer && validURL(v.referer) {
		page = text(v.referer)
	}
	place := &v.place
	w.request = decision.Request{
		Publisher: publisher, Placements: a.placements, Keywords: a.keywords, Known: a.known, CampaignTypes: a.types,
		URL: page, Host: hostOf(page), Country: place.Country, State: place.State, Metro: place.Metro,
		Mobile: agent.Mobile, PlacementIndex: a.placementIndex, ForceAd: a.forceAd, ForceCampaign: a.forceCampaign,
	}
	forced := a.forceAd != "" || a.forceCampaign != ""
	// Who asks not to be tracked is not counted over time.
	counted = l.caps && !forced && v.signals == 0
	if publisher.CacheAds && !forced || counted || s.cfg.DebugHeaders {
		v.client = s.visitors.Pseudonyms.Client(v.addr, v.agent, int32(catalog.DayOfMillis(start.UnixMilli())))
	}
	return agent, v.client, counted
}

// forcedNonce stands for an offer that never counts.
var forcedNonce = []byte("forced")

// seal gives an offer its nonce, nil where none is to be had.
func (s *Server) seal(w *work, l *loaded, out *decision.Outcome, agent visitor.Agent, now int64) []byte {
	flight := out.Flight
	if out.Forced && flight.Campaign.Type == catalog.Paid {
		return forcedNonce
	}
	r, c := &w.request, &w.claims
	day := catalog.DayOfMillis(now)
	c.Topics, c.Flags, c.ViewPrice, c.ClickPrice = nil, 0, 0, 0
	if flight.SoldViews > 0 {
		c.Flags |= token.FlagViews
		c.ViewPrice = int64(flight.CPM / 1000)
	}
	if flight.SoldClicks > 0 {
		c.Flags |= token.FlagClicks
		c.ClickPrice = int64(flight.CPC)
	}
	if flight.DailyCap > 0 && day >= flight.DailyCapFrom {
		c.Flags |= token.FlagFlightDay
	}
	if p := r.Publisher; p.DailyCap > 0 && day >= p.DailyCapFrom {
		c.Flags |= token.FlagPublisherDay
	}
	sealer, seq, ok := s.judge.Offer(flight.ID, r.Publisher.ID, c.ViewPrice, now)
	if !ok {
		return nil
	}
	placement := &r.Placements[out.Placement]
	c.Seq = seq
	c.Ad, c.Flight, c.Publisher = out.Ad.ID, flight.ID, r.Publisher.ID
	c.AdType = 0
	if kind, _ := l.catalog.AdType(placement.AdType); kind != nil {
		c.AdType = kind.ID
	}
	c.Country, c.State = r.Country, r.State
	c.OS, c.Browser = uint8(agent.OS), uint8(agent.Browser)
	c.Rotation = uint8(w.wanted.rotations)
	c.Issued = now
	c.Topics = w.topics.All()
	w.number = append(append(w.number[:0], placement.DivID...), r.Host...)
	c.Placement, c.Domain = w.number[:len(placement.DivID)], w.number[len(placement.DivID):]
	w.nonce = sealer.Seal(w.nonce[:0], c)
	if len(w.nonce) == 0 {
		return nil // the numbers of this boot are used up
	}
	return w.nonce
}

// rendered is the body of an ad in a placement, with what fills its holes in
// w.fill; nil where it cannot be shown.
func (s *Server) rendered(w *work, l *loaded, ad *decision.Ad, placement int, nonce, base []byte) *creative.Offer {
	r := &w.request
	if placement >= len(r.Placements) {
		return nil
	}
	kind, number := l.catalog.AdType(r.Placements[placement].AdType)
	if kind == nil {
		return nil
	}
	w.fill.Base, w.fill.Nonce, w.fill.Div, w.fill.Bids = base, nonce, r.Placements[placement].DivID, nil
	if r.Publisher.SendBidRate {
		w.fill.Bids = l.bids[ad.Of.Index]
	}
	return l.offer(ad, kind, number, r.Publisher.RenderPixel, &s.stats)
}

// keep makes an offer sticky.
func (s *Server) keep(w *work, key uint64, l *loaded, p *decision.Publisher, out *decision.Outcome, nonce []byte, now int64) {
	seconds := int64(p.CacheAdsDurationSeconds)
	if seconds <= 0 {
		seconds = 5
	}
	c := &w.sticky
	c.key, c.until, c.loaded = key, now+1000*seconds, l
	c.ad, c.placement = out.Ad, out.Placement
	c.length = copy(c.nonce[:], nonce)
	s.stickies.put(c)
}

func (w *work) release() {
	w.request, w.outcome, w.visit = decision.Request{}, decision.Outcome{}, visit{}
	w.wanted = nil
	w.sticky.loaded, w.sticky.ad = nil, nil
}

// stickyKey covers everything that can change the answer.
func (s *Server) stickyKey(w *work, client uint64) uint64 {
	r, h := &w.request, &w.hash
	h.SetSeed(s.seed)
	number := func(n uint64) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], n)
		_, _ = h.Write(b[:])
	}
	word := func(s string) {
		number(uint64(len(s)))
		_, _ = h.WriteString(s)
	}
	number(client)
	number(uint64(r.Publisher.ID))
	number(uint64(r.CampaignTypes)<<16 | uint64(r.PlacementIndex))
	number(uint64(len(r.Placements)))
	for i := range r.Placements {
		word(r.Placements[i].AdType)
		number(uint64(r.Placements[i].Priority))
	}
	number(uint64(len(r.Keywords)))
	for _, k := range r.Keywords {
		word(k)
	}
	word(r.Host)
	if key := h.Sum64(); key != 0 {
		return key
	}
	return 1
}

// resolve finds the publisher and checks that something was asked for.
func (a *ask) resolve(c *decision.Catalog) *decision.Publisher {
	if a.wrong[publisherField] != "" {
		return nil
	}
	p := c.Publisher(a.publisher)
	switch {
	case p == nil:
		a.fail(publisherField, noPublisher)
	case p.Disabled:
		a.fail(publisherField, disabled)
	}
	return p
}

// authenticate reads an Authorization header. Only the scheme Token is looked
// at, as the reference server does.
func (l *loaded) authenticate(header []byte) (who credentials, hash [32]byte, problem string) {
	if len(header) == 0 {
		return anonymous, hash, ""
	}
	scheme, rest, _ := bytes.Cut(bytes.TrimSpace(header), []byte(" "))
	if !equalFold(scheme, "token") {
		return anonymous, hash, ""
	}
	secret := bytes.TrimSpace(rest)
	switch {
	case len(secret) == 0:
		return wrong, hash, "Invalid token header. No credentials provided."
	case bytes.IndexByte(secret, ' ') >= 0:
		return wrong, hash, "Invalid token header. Token string should not contain spaces."
	}
	hash = sha256.Sum256(secret)
	if _, ok := l.tokens[hash]; !ok {
		return wrong, hash, "Invalid token."
	}
	return known, hash, ""
}

// readCallback finds out whether the answer is JSONP, and reports a callback
// that is no name.
func (w *work) readCallback(args *fasthttp.Args) (bad bool) {
	w.callback = w.callback[:0]
	if string(args.Peek("format")) != "jsonp" {
		return false
	}
	name := args.Peek("callback")
	if len(name) == 0 && !args.Has("callback") {
		name = []byte("callback")
	}
	if !validCallback(name) {
		return true
	}
	w.callback = append(w.callback, name...)
	return false
}

// validCallback reports whether b is ^[A-Za-z_$][A-Za-z0-9_$.]{0,127}$.
func validCallback(b []byte) bool {
	if len(b) == 0 || len(b) > 128 || '0' <= b[0] && b[0] <= '9' || b[0] == '.' {
		return false
	}
	for _, c := range b {
		if !isAlphaNumeric(c) && c != '_' && c != '$' && c != '.' {
			return false
		}
	}
	return true
}

// readBody reads a POST, or answers what is wrong with it.
func (w *work) readBody(ctx *fasthttp.RequestCtx) (Answer, bool) {
	body := ctx.PostBody()
	if len(body) > 0 && !isJSON(ctx) {
		w.fail(ctx, fasthttp.StatusUnsupportedMediaType, "Unsupported media type in request, expected application/json.")
		return Malformed, false
	}
	var notObj notObject
	switch err := w.ask.readJSON(body); {
	case errors.As(err, &notObj):
		b := append(w.body(ctx), `{"non_field_errors":["`...)
		w.send(ctx, fasthttp.StatusBadRequest, append(append(b, notObj.Error()...), `"]}`...))
		return Refused, false
	case err != nil:
		w.fail(ctx, fasthttp.StatusBadRequest, "JSON parse error: expected one JSON object in UTF-8.")
		return Malformed, false
	}
	return 0, true
}

// isJSON reports whether the body says that it is JSON.
func isJSON(ctx *fasthttp.RequestCtx) bool {
	kind, _, _ := bytes.Cut(ctx.Request.Header.ContentType(), []byte(";"))
	return equalFold(bytes.TrimSpace(kind), "application/json")
}

// body is the response's own buffer, begun as JSONP where that was asked for.
func (w *work) body(ctx *fasthttp.RequestCtx) []byte {
	b := ctx.Response.SwapBody(nil)[:0]
	if len(w.callback) > 0 {
		b = append(append(b, w.callback...), '(')
	}
	return b
}

var (
	jsonType   = []byte("application/json")
	scriptType = []byte("text/javascript; charset=utf-8")
)

// send answers with what body began.
func (w *work) send(ctx *fasthttp.RequestCtx, status int, body []byte) {
	h := &ctx.Response.Header
	if len(w.callback) > 0 {
		body = append(body, ')', ';')
		h.SetContentTypeBytes(scriptType)
	} else {
		h.SetContentTypeBytes(jsonType)
	}
	h.SetCanonical(cacheControl, noStoreValue)
	h.SetCanonical(contentTypeOptions, nosniff)
	ctx.SetStatusCode(status)
	ctx.Response.SwapBody(body)
}

var (
	cacheControl       = []byte(fasthttp.HeaderCacheControl)
	noStoreValue       = []byte("no-store")
	contentTypeOptions = []byte(fasthttp.HeaderXContentTypeOptions)
	nosniff            = []byte("nosniff")
	serverTiming       = []byte(fasthttp.HeaderServerTiming)
)

// finish answers 200 and says how long that took.
func (w *work) finish(ctx *fasthttp.RequestCtx, body []byte, took time.Duration) {
	w.took = took
	w.number = appendTiming(w.number[:0], took)
	ctx.Response.Header.SetCanonical(serverTiming, w.number)
	w.send(ctx, fasthttp.StatusOK, body)
}

// appendTiming appends what Server-Timing says of a decision.
func appendTiming(b []byte, took time.Duration) []byte {
	micros := uint64(max(took, 0) / time.Microsecond)
	b = strconv.AppendUint(append(b, "decide;dur="...), micros/1000, 10)
	micros %= 1000
	return append(b, '.', byte('0'+micros/100), byte('0'+micros/10%10), byte('0'+micros%10))
}

// fail answers with an error about the request as a whole.
func (w *work) fail(ctx *fasthttp.RequestCtx, status int, detail string) {
	w.send(ctx, status, appendDetail(w.body(ctx), detail))
}

// debug says what is known of a visitor, and why there is no ad.
func (w *work) debug(ctx *fasthttp.RequestCtx, a Answer) {
	h, v := &ctx.Response.Header, &w.visit
	if out := &w.outcome; a == Empty {
		reason := out.Reason.String()
		if out.Filled {
			reason = "no_offers_now"
		}
		h.Set("X-Adserver-Reason", reason)
	}
	debugVisitor(h, v.addr.String(), v.client, v.place)
}

func debugVisitor(h *fasthttp.ResponseHeader, addr string, client uint64, p visitor.Place) {
	h.Set("X-Adserver-RealIP", addr)
	h.Set("X-Adserver-ClientID", strconv.FormatUint(client, 16))
	h.Set("X-Adserver-Country", orNone(p.Country[:]))
	h.Set("X-Adserver-Region", orNone(p.State[:]))
	h.Set("X-Adserver-Metro", strconv.Itoa(int(p.Metro)))
	h.Set("X-Adserver-Continent", orNone(p.Continent[:]))
}

// orNone is a code without its zero padding, "None" where it is not known: the
// reference server's word.
func orNone(code []byte) string {
	if code = bytes.TrimRight(code, "\x00"); len(code) > 0 {
		return string(code)
	}
	return "None"
}
