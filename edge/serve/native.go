package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"nearside/edge/creative"
	"nearside/edge/decision"
	"nearside/edge/visitor"
)

// The native API: the page's placements in one call.
const (
	nativePath  = "/v1/decisions"
	explainPath = "/v1/decisions/explain"
	allowNative = "POST, OPTIONS"

	maxSlots = 20 // of one call
	maxCount = 5  // offers for one of them
)

// native answers for what the native API's paths have in common, and reports
// whether there is a request to answer.
func native(ctx *fasthttp.RequestCtx) bool {
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	switch {
	case ctx.IsPost():
		return true
	case ctx.IsOptions():
		h.Set(fasthttp.HeaderAllow, allowNative)
		h.Set(fasthttp.HeaderAccessControlAllowMethods, allowNative)
		h.Set(fasthttp.HeaderAccessControlAllowHeaders, "Authorization, Content-Type")
		h.Set(fasthttp.HeaderAccessControlMaxAge, "86400")
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	default:
		h.Set(fasthttp.HeaderAllow, allowNative)
		problem(ctx, fasthttp.StatusMethodNotAllowed, "expected POST")
	}
	return false
}

// page answers POST /v1/decisions.
func (s *Server) page(ctx *fasthttp.RequestCtx, w *work, start time.Time) Answer {
	l, who, hash, publisher, refused := s.nativeAsk(ctx, w)
	if publisher == nil {
		return refused
	}
	if !publisher.UnauthedAdDecisions {
		switch {
		case who == anonymous:
			unauthorized(ctx, "expected a token of the publisher in the Authorization header")
			return Unauthorized
		case !mayAsk(publisher, hash):
			problem(ctx, fasthttp.StatusForbidden, "the token is not one of the publisher's")
			return Unauthorized
		}
	}
	base := s.publicBase(ctx, w)
	if base == nil {
		problem(ctx, fasthttp.StatusBadRequest, "the Host header is not usable")
		return Malformed
	}
	s.visit(ctx, &w.visit)
	w.wanted = &w.ask.wanted
	agent, client, counted := s.meet(w, l, publisher, start)
	defer w.release()
	if s.cfg.DebugHeaders {
		debugVisitor(&ctx.Response.Header, w.visit.addr.String(), client, w.visit.place)
	}

	a, r := &w.ask, &w.request
	r.Taken = w.taken[:0]
	answer := Empty
	body := append(w.body(ctx), `{"decisions":{`...)
	for i := range a.placements {
		div := a.placements[i].DivID
		if !w.takeSlot(i) {
			continue
		}
		if body[len(body)-1] != '{' {
			body = append(body, ',')
		}
		body = append(creative.AppendEscaped(append(body, '"'), div), '"', ':', '[')
		r.Placements = w.slot
		for n := range w.count {
			if n > 0 {
				body = append(body, ',')
			}
			before := len(body)
			if body = s.appendOffer(body, w, l, agent, client, counted, base, start); len(body) == before {
				if n > 0 {
					body = body[:before-1]
				}
				break
			}
			answer = Filled
		}
		body = append(body, ']')
	}
	w.taken = r.Taken
	w.finish(ctx, append(body, '}', '}'), s.now().Sub(start))
	return answer
}

// takeSlot gathers the slot that the i-th placement is the first of: all
// placements of one div id are alternatives for it. It is false where the slot
// has been answered already.
func (w *work) takeSlot(i int) bool {
	all := w.ask.placements
	w.slot, w.count = w.slot[:0], 1
	for j := range all {
		if all[j].DivID != all[i].DivID {
			continue
		}
		if j < i {
			return false
		}
		w.slot = append(w.slot, all[j])
		w.count = max(w.count, w.ask.counts[j])
	}
	return true
}

// appendOffer appends one offer for the slot in w.request, and notes who is on
// the page now. It appends nothing where there is no ad.
func (s *Server) appendOffer(body []byte, w *work, l *loaded, agent visitor.Agent, client uint64, counted bool, base []byte, start time.Time) []byte {
	r, out, now := &w.request, &w.outcome, start.UnixMilli()
	if counted {
		w.capped = s.frequencies.capped(w.capped[:0], client, l.catalog, start.Unix())
		r.Capped = w.capped
	}
	s.chooseAd(w, l, now, rand.Uint64())
	if !out.Filled && r.Alone != 0 { // what a roadblock cannot fill, others may
		alone := r.Alone
		r.Alone = 0
		s.chooseAd(w, l, now, rand.Uint64())
		r.Alone = alone
	}
	w.topics = l.catalog.Topics(&w.scratch)
	s.noteRefusals(w, l, now)
	filled := body
	if out.Filled {
		if nonce := s.seal(w, l, out, agent, now); nonce != nil {
			if o := s.rendered(w, l, out.Ad, out.Placement, nonce, base); o != nil {
				filled = o.Append(body, &w.fill)
			}
		}
	}
	if len(filled) == len(body) {
		s.tally.Decision(r.Publisher.ID, r.Country, 0, w.topics)
		return body
	}
	flight := out.Flight
	s.tally.Decision(r.Publisher.ID, r.Country, flight.ID, w.topics)
	if counted && flight.FrequencyCap > 0 {
		s.frequencies.count(client, flight, start.Unix())
	}
	if flight.Roadblock && len(r.Taken) == 0 && !out.Forced {
		r.Alone = flight.ID
	}
	if !slices.Contains(r.Taken, flight.Advertiser.ID) {
		r.Taken = append(r.Taken, flight.Advertiser.ID)
	}
	return filled
}

// nativeAsk reads who asks, and what for. Where something is wrong it has
// answered, and publisher is nil.
func (s *Server) nativeAsk(ctx *fasthttp.RequestCtx, w *work) (l *loaded, who credentials, hash [32]byte, publisher *decision.Publisher, refused Answer) {
	if l = s.loaded.Load(); l == nil {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		problem(ctx, fasthttp.StatusServiceUnavailable, "this node has no catalog yet")
		return l, who, hash, nil, NotReady
	}
	if who, hash = s.bearer(l, ctx.Request.Header.Peek(fasthttp.HeaderAuthorization)); who == wrong {
		unauthorized(ctx, "the token in the Authorization header is not valid")
		return l, who, hash, nil, Unauthorized
	}
	if !isJSON(ctx) {
		problem(ctx, fasthttp.StatusUnsupportedMediaType, "expected a body of application/json")
		return l, who, hash, nil, Malformed
	}
	a := &w.ask
	a.reset()
	a.native = true
	err := a.readJSON(ctx.PostBody())
	a.native = false
	var notObj notObject
	switch {
	case errors.As(err, &notObj):
		problem(ctx, fasthttp.StatusUnprocessableEntity, "the body is not what was expected", fault{"expected an object, not " + string(notObj), "body"})
		return l, who, hash, nil, Refused
	case err != nil:
		problem(ctx, fasthttp.StatusBadRequest, "the body is not one JSON object in UTF-8")
		return l, who, hash, nil, Malformed
	}
	if slots := a.slots(); slots > maxSlots {
		a.fail(placementsField, "Ensure this field has no more than "+strconv.Itoa(maxSlots)+" div ids.")
	}
	publisher = a.resolve(l.catalog)
	if a.failed() {
		problem(ctx, fasthttp.StatusUnprocessableEntity, "the body is not what was expected", a.faults()...)
		return l, who, hash, nil, Refused
	}
	return l, who, hash, publisher, 0
}

// slots is how many div ids the placements have.
func (a *ask) slots() (n int) {
	for i := range a.placements {
		div := a.placements[i].DivID
		if !slices.ContainsFunc(a.placements[:i], func(p decision.Placement) bool { return p.DivID == div }) {
			n++
		}
	}
	return n
}

// fault is one thing that is wrong with a body, and where.
type fault struct {
	Message  string `json:"message"`
	Location string `json:"location"`
}

// maxFaults bounds what one answer lists.
const maxFaults = 20

// faults are what is wrong with the fields, with a place for each.
func (a *ask) faults() []fault {
	var all []fault
	for f, value := range a.wrong {
		var v any
		if value != "" && json.Unmarshal([]byte(value), &v) == nil {
			all = appendFaults(all, "body."+fieldNames[f], v)
		}
	}
	return all[:min(len(all), maxFaults)]
}

// appendFaults flattens what the compatible API says of one field: messages,
// in lists and objects that have its shape.
func appendFaults(all []fault, at string, v any) []fault {
	switch v := v.(type) {
	case string:
		return append(all, fault{v, at})
	case []any:
		for i, item := range v {
			if _, message := item.(string); message {
				all = appendFaults(all, at, item)
			} else {
				all = appendFaults(all, at+"["+strconv.Itoa(i)+"]", item)
			}
		}
	case map[string]any:
		for _, name := range placementNames {
			switch {
			case v[name] == nil:
			case name == "non_field_errors":
				all = appendFaults(all, at, v[name])
			default:
				all = appendFaults(all, at+"."+name, v[name])
			}
		}
		for i := range maxKeywords { // of a list: by number
			if item := v[strconv.Itoa(i)]; item != nil {
				all = appendFaults(all, at+"["+strconv.Itoa(i)+"]", item)
			}
		}
	}
	return all
}

// problem answers with a problem document (RFC 9457), of the same members as
// the core's.
func problem(ctx *fasthttp.RequestCtx, status int, detail string, faults ...fault) {
	body, err := json.Marshal(struct {
		Title  string  `json:"title"`
		Status int     `json:"status"`
		Detail string  `json:"detail"`
		Errors []fault `json:"errors,omitempty"`
	}{fasthttp.StatusMessage(status), status, detail, faults})
	if err != nil { // of strings and a number there is none
		status = fasthttp.StatusInternalServerError
	}
	answer(ctx, status, body)
	ctx.SetContentType("application/problem+json")
}

func unauthorized(ctx *fasthttp.RequestCtx, detail string) {
	ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
	problem(ctx, fasthttp.StatusUnauthorized, detail)
}

// bearer is authenticate for the schemes Bearer and Token alike; operators'
// tokens are known too.
func (s *Server) bearer(l *loaded, header []byte) (who credentials, hash [32]byte) {
	if scheme, secret, _ := bytes.Cut(header, []byte(" ")); equalFold(scheme, "bearer") {
		header = append([]byte("Token "), secret...)
	}
	who, hash, _ = l.authenticate(header)
	if who == wrong && s.operator(hash) {
		who = known
	}
	return who, hash
}

// operator reports whether a token is an operator's. What is compared are
// hashes, which an outsider cannot aim at.
func (s *Server) operator(hash [32]byte) bool { return slices.Contains(*s.operators.Load(), hash) }

// Operators replaces Config.OperatorTokens.
func (s *Server) Operators(hashes [][32]byte) { s.operators.Store(&hashes) }
