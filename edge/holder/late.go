package holder

import "fmt"

// Late is what a record after the last applied batch hands in: an event that
// the core must judge, since the batch that told of it was never applied. ok is
// false for a record that says nothing of the kind; foreign events that came
// through the core are not handed in, the core has them.
func Late(rec []byte) (e Event, ok bool, err error) {
	var r record
	if err := r.decode(rec); err != nil {
		return Event{}, false, fmt.Errorf("late record: %w", err)
	}
	return r.event, r.kind == recJudged && r.position == 0 || r.kind == recForeign || r.kind == recHeld, nil
}
