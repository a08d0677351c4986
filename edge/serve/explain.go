package serve

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"nearside/edge/decision"
)

// explainRates are how often the holder of one token may have a decision
// explained: it looks at every flight, many decisions' worth of work.
var explainRates = []Rate{{10, 10}, {120, 600}}

const (
	// maxLines is how many flights one explanation lists, those that may be
	// offered first; the query's flight=SLUG, repeated, asks for some.
	maxLines = 1000
	maxAsked = 100
)

// explanation is what POST /v1/decisions/explain answers: how the request would
// be decided now, with all its placements as alternatives for one slot, and who
// this node takes the reader for.
type explanation struct {
	*decision.Explanation
	LeftOff int              `json:"left_off,omitempty"` // flights, for want of room
	At      time.Time        `json:"at"`
	Country string           `json:"country"` // "" if not known
	State   string           `json:"state"`
	Metro   int32            `json:"metro"`
	Mobile  bool             `json:"mobile"`
	Bot     bool             `json:"bot"`
	Record  *decision.Record `json:"record,omitempty"` // for operators: what nearside-edge replay takes
}

// explain answers POST /v1/decisions/explain. It makes no offer, counts nothing
// and changes nothing but what its own rate limit remembers.
func (s *Server) explain(ctx *fasthttp.RequestCtx, w *work, start time.Time) {
	l, who, hash, publisher, _ := s.nativeAsk(ctx, w)
	operator := who == known && s.operator(hash)
	switch {
	case publisher == nil:
		return
	case who == anonymous:
		unauthorized(ctx, "expected a token of the publisher, or an operator's, in the Authorization header")
		return
	case !operator && !mayAsk(publisher, hash):
		problem(ctx, fasthttp.StatusForbidden, "the token is neither an operator's nor one of the publisher's")
		return
	}
	var slugs []string
	for _, slug := range ctx.QueryArgs().PeekMulti("flight") {
		slugs = append(slugs, string(slug))
	}
	if len(slugs) > maxAsked {
		problem(ctx, fasthttp.StatusUnprocessableEntity, "the query is not what was expected", fault{"expected at most 100 flights", "query.flight"})
		return
	}
	if s.explains.over(binary.LittleEndian.Uint64(hash[:]), start.Unix()) || !s.explaining.TryLock() {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "10")
		problem(ctx, fasthttp.StatusTooManyRequests, "too many explanations: expected at most 10 in 10 s and 120 in 10 minutes, one at a time")
		return
	}
	defer s.explaining.Unlock()

	s.visit(ctx, &w.visit)
	w.wanted = &w.ask.wanted
	agent, client, counted := s.meet(w, l, publisher, start)
	defer w.release()
	if s.cfg.DebugHeaders {
		debugVisitor(&ctx.Response.Header, w.visit.addr.String(), client, w.visit.place)
	}
	r := &w.request
	if counted {
		w.capped = s.frequencies.capped(w.capped[:0], client, l.catalog, start.Unix())
		r.Capped = w.capped
	}
	record := l.catalog.DecideAndRecord(r, &w.scratch, start.UnixMilli(), 0, &w.outcome)
	s.records.keep(record)
	s.stats.Explained.Add(1)
	e := explanation{
		Explanation: l.catalog.Explain(r, start.UnixMilli(), slugs...),
		At:          start.UTC(), Country: code(r.Country[:]), State: code(r.State[:]), Metro: r.Metro, Mobile: r.Mobile, Bot: agent.Bot,
	}
	if operator {
		e.Record = record
	} else {
		e.Flights = slices.DeleteFunc(e.Flights, notTheirs)
	}
	if len(e.Flights) > maxLines {
		slices.SortStableFunc(e.Flights, func(a, b decision.Line) int { return refusedLast(a) - refusedLast(b) })
		e.LeftOff, e.Flights = len(e.Flights)-maxLines, e.Flights[:maxLines]
	}
	body, err := json.Marshal(&e)
	if err != nil {
		problem(ctx, fasthttp.StatusInternalServerError, "the explanation cannot be written")
		return
	}
	answer(ctx, fasthttp.StatusOK, body)
}

// notTheirs reports a flight that is no matter of the publisher's: its campaign
// is not meant for it.
func notTheirs(l decision.Line) bool {
	return l.Reason == decision.Group.String() || l.Reason == decision.CampaignExcludes.String()
}

func refusedLast(l decision.Line) int {
	if l.Reason == decision.None.String() {
		return 0
	}
	return 1
}

// code is a code without its zero padding.
func code(b []byte) string {
	if orNone(b) == "None" {
		return ""
	}
	return orNone(b)
}
