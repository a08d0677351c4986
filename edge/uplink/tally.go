package uplink

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"nearside/edge/keeper"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// maxKeys is how many different counts one shard of a Tally keeps between two
// exchanges; what does not fit is counted without its country and topics, then dropped.
const (
	shards  = 8
	maxKeys = 8192
)

// Tally counts decisions and refusals for reports, which may be lost: a crash
// loses those of the last interval. Decision and Refusals take a lock for a few
// nanoseconds and do not allocate once there is room for what they count.
type Tally struct {
	seed   uint64
	names  []string // of reasons
	room   []uint8  // the reasons that say that only room was lacking
	shards [shards]shard
}

type shard struct {
	mu        sync.Mutex
	decisions counts
	topics    map[topicKey]decided // that did not reach the core
	refusals  map[refusalKey]int64
	again     map[refusalKey]int64 // that did not reach the core; their demand was told
	dropped   int64
}

type decisionKey struct {
	hour      int64 // unix seconds; 0 until it is taken
	publisher uint32
	flight    uint32 // 0: no ad
	country   [2]byte
	topics    token.Topics // of the page; told apart from the rest
}

type topicKey struct {
	hour    int64 // unix seconds
	topic   uint16
	flight  uint32
	country [2]byte
}

type decided struct{ decisions, offers int64 }

func (d decided) plus(o decided) decided {
	return decided{d.decisions + o.decisions, d.offers + o.offers}
}

type refusalKey struct {
	flight uint32
	reason uint8
}

// NewTally makes a tally. names are those of the reasons, by their number; room
// are the reasons which say that the flight would have been offered if more of it
// could be spent here now.
func NewTally(names []string, room ...uint8) *Tally {
	t := &Tally{seed: rand.Uint64(), names: names, room: room}
	for i := range t.shards {
		t.shards[i].topics = map[topicKey]decided{}
		t.shards[i].refusals = map[refusalKey]int64{}
		t.shards[i].again = map[refusalKey]int64{}
	}
	return t
}

// Decision counts one decision; flight 0 says that there was no ad.
func (t *Tally) Decision(publisher uint32, country [2]byte, flight uint32, topics token.Topics) {
	s := &t.shards[(flight^publisher*31)%shards]
	d := decided{decisions: 1}
	if flight != 0 {
		d.offers = 1
	}
	s.mu.Lock()
	s.add(&decisionKey{publisher: publisher, flight: flight, country: country, topics: topics}, t.seed, d)
	s.mu.Unlock()
}

func (s *shard) add(key *decisionKey, seed uint64, d decided) {
	if s.decisions.add(key, seed, d, maxKeys) {
		return
	}
	key.country, key.topics = [2]byte{}, token.Topics{}
	if !s.decisions.add(key, seed, d, 2*maxKeys) {
		s.dropped += d.decisions
	}
}

func (s *shard) refuse(key refusalKey, n int64) {
	if _, ok := s.refusals[key]; !ok && len(s.refusals) >= 2*maxKeys {
		s.dropped += n
		return
	}
	s.refusals[key] += n
}

// Refusals counts n refusals of a flight for one reason; flight 0 is about none in
// particular.
func (t *Tally) Refusals(flight uint32, reason uint8, n int64) {
	s := &t.shards[flight%shards]
	s.mu.Lock()
	s.refuse(refusalKey{flight, reason}, n)
	s.mu.Unlock()
}

// Dropped is how many decisions and refusals were not counted for want of
// room.
func (t *Tally) Dropped() int64 {
	n := int64(0)
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.dropped
		s.mu.Unlock()
	}
	return n
}

// report is what was counted between two exchanges.
type report struct {
	decisions *wire.DecisionCounts
	topics    *wire.TopicDecisions
	refusals  *wire.Refusals

	reasons []uint8
}

// take empties the tally, and tells the keeper of the demand that found no
// room, once. Decisions count in the hour in which they are taken.
func (t *Tally) take(now time.Time, k *keeper.Keeper) report {
	hour := now.Truncate(time.Hour).Unix()
	decisions, topics := map[decisionKey]decided{}, map[topicKey]decided{}
	var refused []refusalKey
	counts := map[refusalKey]int64{}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for key, d := range s.decisions.all() {
			key.hour = cmp.Or(key.hour, hour)
			for _, topic := range key.topics.All() {
				k := topicKey{key.hour, topic, key.flight, key.country}
				topics[k] = topics[k].plus(d)
			}
			key.topics = token.Topics{}
			decisions[key] = decisions[key].plus(d)
		}
		for key, d := range s.topics {
			topics[key] = topics[key].plus(d)
		}
		for key, n := range s.refusals {
			refused = append(refused, key)
			counts[key] = n
			if slices.Contains(t.room, key.reason) {
				k.Lacked(key.flight, n)
			}
		}
		for key, n := range s.again {
			if _, ok := counts[key]; !ok {
				refused = append(refused, key)
			}
			counts[key] += n
		}
		s.decisions.clear()
		clear(s.topics)
		clear(s.refusals)
		clear(s.again)
		s.mu.Unlock()
	}
	var r report
	r.decide(decisions)
	r.decideTopics(topics)
	if len(refused) > 0 {
		slices.SortFunc(refused, func(a, b refusalKey) int {
			return cmp.Or(cmp.Compare(a.flight, b.flight), cmp.Compare(a.reason, b.reason))
		})
		r.refusals = &wire.Refusals{}
		for _, key := range refused {
			if int(key.reason) >= len(t.names) {
				continue
			}
			r.refusals.Flight = append(r.refusals.Flight, key.flight)
			r.refusals.Reason = append(r.refusals.Reason, t.names[key.reason])
			r.refusals.N = append(r.refusals.N, counts[key])
			r.reasons = append(r.reasons, key.reason)
		}
	}
	return r
}

func (r *report) decide(decisions map[decisionKey]decided) {
	if len(decisions) == 0 {
		return
	}
	d := &wire.DecisionCounts{}
	r.decisions = d
	for _, key := range slices.SortedFunc(maps.Keys(decisions), func(a, b decisionKey) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.publisher, b.publisher), cmp.Compare(a.flight, b.flight), slices.Compare(a.country[:], b.country[:]))
	}) {
		d.Hour = append(d.Hour, key.hour)
		d.Publisher = append(d.Publisher, key.publisher)
		d.Country = append(d.Country, countryText(key.country))
		d.Flight = append(d.Flight, key.flight)
		d.Decisions = append(d.Decisions, decisions[key].decisions)
		d.Offers = append(d.Offers, decisions[key].offers)
	}
}

func (r *report) decideTopics(topics map[topicKey]decided) {
	if len(topics) == 0 {
		return
	}
	d := &wire.TopicDecisions{}
	r.topics = d
	for _, key := range slices.SortedFunc(maps.Keys(topics), func(a, b topicKey) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.topic, b.topic), cmp.Compare(a.flight, b.flight), slices.Compare(a.country[:], b.country[:]))
	}) {
		d.Hour = append(d.Hour, key.hour)
		d.Topic = append(d.Topic, uint32(key.topic))
		d.Country = append(d.Country, countryText(key.country))
		d.Flight = append(d.Flight, key.flight)
		d.Decisions = append(d.Decisions, topics[key].decisions)
		d.Offers = append(d.Offers, topics[key].offers)
	}
}

func countryText(c [2]byte) string {
	if c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z' {
		return ""
	}
	return string(c[:])
}

// giveBack counts again what did not reach the core.
func (t *Tally) giveBack(r report) {
	d := r.decisions
	for i := range d.GetHour() {
		key := decisionKey{hour: d.Hour[i], publisher: d.Publisher[i], flight: d.Flight[i]}
		copy(key.country[:], d.Country[i])
		s := &t.shards[(key.flight^key.publisher*31)%shards]
		s.mu.Lock()
		s.add(&key, t.seed, decided{d.Decisions[i], d.Offers[i]})
		s.mu.Unlock()
	}
	b := r.topics
	for i := range b.GetHour() {
		key := topicKey{hour: b.Hour[i], topic: uint16(b.Topic[i]), flight: b.Flight[i]}
		copy(key.country[:], b.Country[i])
		s := &t.shards[key.flight%shards]
		s.mu.Lock()
		if have, ok := s.topics[key]; ok || len(s.topics) < 2*maxKeys {
			s.topics[key] = have.plus(decided{b.Decisions[i], b.Offers[i]})
		}
		s.mu.Unlock()
	}
	for i := range r.reasons {
		key := refusalKey{r.refusals.Flight[i], r.reasons[i]}
		s := &t.shards[key.flight%shards]
		s.mu.Lock()
		if _, ok := s.again[key]; ok || len(s.again) < 2*maxKeys {
			s.again[key] += r.refusals.N[i]
		} else {
			s.dropped += r.refusals.N[i]
		}
		s.mu.Unlock()
	}
}
