package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/sync/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errLine = errors.New("the line is down")

// region is one holder and its peers, on disks in memory.
type region struct {
	t     fataler
	now   time.Time
	rng   *rand.Rand
	disk  *faultfs.FS
	j     *journal.Journal
	line  *Line
	peers map[string]*station
	names []string
	loss  float64
	kept  []string // what was appended, by position
	late  []*wire.AppendRequest
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// station is a peer.
type station struct {
	r     *region
	disk  *faultfs.FS
	store *Store
	down  bool
}

func newRegion(t fataler, seed uint64, peers ...string) *region {
	r := &region{t: t, now: time.UnixMilli(1_700_000_000_000), rng: rand.New(rand.NewPCG(seed, 1)), disk: faultfs.New(seed), peers: map[string]*station{}, names: peers}
	for i, name := range peers {
		s := &station{r: r, disk: faultfs.New(seed + uint64(i) + 1)}
		r.peers[name] = s
		s.open()
	}
	r.line = NewLine(LineConfig{Peers: r.others, Call: r, Now: func() time.Time { return r.now }})
	r.open()
	return r
}

func (r *region) others() (list []Peer) {
	for _, n := range r.names {
		list = append(list, Peer{n, n, 1})
	}
	return list
}

func (r *region) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%v", err)
	}
}

// open is a start of the holder's process.
func (r *region) open() {
	r.t.Helper()
	var err error
	r.j, err = journal.Open("journal", journal.Options{FS: r.disk, SegmentSize: 16 << 10, Inline: true, Tail: 2 << 10, Rand: random{r.rng}})
	r.must(err)
	pos := journal.Position(0)
	if state, at, _ := r.j.Checkpoint(); at > 0 {
		pos = at
		if string(state) != fmt.Sprint("state of ", at) {
			r.t.Fatalf("checkpoint %q at %d", state, at)
		}
	}
	r.must(r.j.Replay(func(at journal.Position, rec []byte) error {
		pos = at
		if r.kept[at-1] != string(rec) {
			r.t.Fatalf("record %d is %q, appended was %q", at, rec, r.kept[at-1])
		}
		return nil
	}, func(journal.Position, journal.Hash) error { return nil }))
	r.kept = r.kept[:pos]
	r.line.Use(7, r.j)
}

func (s *station) open() {
	s.r.t.Helper()
	var err error
	s.store, err = OpenStore(StoreConfig{
		Dir: "copies", FS: s.disk, Reserve: 1, Now: func() time.Time { return s.r.now }, Session: func() uint64 { return s.r.rng.Uint64() | 1 },
		Journal: journal.Options{SegmentSize: 32 << 10, Inline: true, Rand: random{s.r.rng}},
	})
	s.r.must(err)
}

type random struct{ rng *rand.Rand }

func (r random) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.rng.Uint32())
	}
	return len(p), nil
}

// Follow and Append are Caller: a line that loses questions and answers, and
// brings old ones late.
func (r *region) Follow(ctx context.Context, p Peer, q *wire.FollowRequest) (*wire.FollowResponse, error) {
	s := r.peers[p.Addr]
	if s.down || r.rng.Float64() < r.loss {
		return nil, errLine
	}
	a, err := s.store.Follow(ctx, q)
	if r.rng.Float64() < r.loss {
		return nil, errLine
	}
	return a, err
}

func (r *region) Append(ctx context.Context, p Peer, q *wire.AppendRequest) (*wire.AppendResponse, error) {
	s := r.peers[p.Addr]
	if r.loss > 0 {
		r.late = append(r.late, q)
		for r.rng.Float64() < 3*r.loss { // something from long ago arrives
			_, _ = s.store.Append(ctx, r.late[r.rng.IntN(len(r.late))])
		}
	}
	if s.down || r.rng.Float64() < r.loss {
		return nil, errLine
	}
	a, err := s.store.Append(ctx, q)
	if r.rng.Float64() < r.loss {
		return nil, errLine
	}
	return a, err
}

func (r *region) append(n int) {
	r.t.Helper()
	for range n {
		rec := fmt.Sprintf("record %d %x", len(r.kept)+1, r.rng.Uint64())
		pos, err := r.j.Append([]byte(rec))
		r.must(err)
		r.kept = append(r.kept, rec)
		if int(pos) != len(r.kept) {
			r.t.Fatalf("position %d, expected %d", pos, len(r.kept))
		}
	}
}

// steps lets the line work until it has nothing to do.
func (r *region) steps() {
	for range 200 {
		if !r.line.Step(context.Background()) {
			return
		}
	}
	r.t.Fatalf("the line does not come to rest")
}

// copied is what a peer would hand in: the records after the checkpoint.
func (r *region) copied(name string) (from journal.Position, recs []string) {
	r.t.Helper()
	r.must(r.peers[name].store.Read(ID{7, r.j.ID()}, func(src Source) error {
		state, pos, _ := src.Checkpoint()
		from = pos
		if pos > 0 && string(state) != fmt.Sprint("state of ", pos) {
			r.t.Fatalf("the copy's checkpoint is %q at %d", state, pos)
		}
		next := pos
		return src.Replay(func(at journal.Position, rec []byte) error {
			if next++; at != next {
				r.t.Fatalf("the copy goes on with record %d, expected %d", at, next)
			}
			recs = append(recs, string(rec))
			return nil
		}, func(at journal.Position, _ journal.Hash) error {
			if at != next {
				r.t.Fatalf("a boundary at %d after record %d", at, next)
			}
			return nil
		})
	}))
	return from, recs
}

// has holds a peer's copy against the journal.
func (r *region) has(name string, least journal.Position) {
	r.t.Helper()
	from, recs := r.copied(name)
	if end := from + journal.Position(len(recs)); end < least {
		r.t.Fatalf("the copy of %s ends at %d, expected %d", name, end, least)
	}
	for i, rec := range recs {
		if at := int(from) + i; at < len(r.kept) && at < int(least) && rec != r.kept[at] {
			r.t.Fatalf("the copy's record %d is %q, the journal's %q", at+1, rec, r.kept[at])
		}
	}
}

func (r *region) checkpoint() {
	r.t.Helper()
	pos := r.j.Cut()
	r.must(r.j.Flush())
	r.steps()
	_, hash, ok := r.j.HashAt(pos)
	if ok {
		r.must(r.j.SaveCheckpoint([]byte(fmt.Sprint("state of ", pos)), pos, hash))
	}
}

func (r *region) covered() journal.Position {
	r.line.mu.Lock()
	defer r.line.mu.Unlock()
	return r.line.covered
}

func TestACopyFollowsItsJournal(t *testing.T) {
	r := newRegion(t, 1, "a")
	r.append(3)
	r.must(r.j.Flush())
	r.steps()
	r.has("a", 3)
	if ok, err := r.line.Covered(r.j, 3); !ok || err != nil {
		t.Errorf("record 3 is covered: %v, %v", ok, err)
	}
	if ok, _ := r.line.Covered(r.j, 4); ok {
		t.Error("a record that was never written is covered")
	}
	for range 40 {
		r.append(20)
		r.must(r.j.Flush())
		r.steps()
	}
	r.checkpoint()
	r.append(5)
	r.must(r.j.Flush())
	r.steps()
	from, recs := r.copied("a")
	if from != 803 || len(recs) != 5 {
		t.Errorf("the copy begins at %d with %d records: it was not cut short by the checkpoint", from, len(recs))
	}
	r.has("a", 808)
}

func TestAPeerThatComesLateGetsCheckpointAndTail(t *testing.T) {
	r := newRegion(t, 2, "a")
	r.peers["a"].down = true
	r.append(10)
	r.checkpoint()
	r.append(200) // more than the tail in memory holds
	r.must(r.j.Flush())
	r.steps()
	r.now = r.now.Add(2 * time.Second)
	r.steps()
	if !r.line.Alone() || r.line.Following() != "" {
		t.Fatal("a holder without a peer is not alone")
	}
	if ok, _ := r.line.Covered(r.j, 200); !ok {
		t.Error("a holder that is alone waits")
	}
	r.peers["a"].down = false
	r.now = r.now.Add(6 * time.Second)
	r.steps()
	if r.line.Alone() || r.line.Following() != "a" {
		t.Error("a holder with a peer is alone")
	}
	from, _ := r.copied("a")
	if from != 10 {
		t.Errorf("the copy begins at %d, expected the checkpoint at 10", from)
	}
	r.has("a", 210)
}

func TestTheNextPeerTakesOver(t *testing.T) {
	r := newRegion(t, 3, "a", "b", "c")
	r.append(5)
	r.must(r.j.Flush())
	r.steps()
	first := r.line.Following()
	r.peers[first].down = true
	r.append(5)
	r.must(r.j.Flush())
	r.steps()
	second := r.line.Following()
	if second == first || second == "" {
		t.Fatalf("%q follows after %q went down", second, first)
	}
	r.has(second, 10)

	// A peer that leaves the region is given up without a call, and told to drop
	// its copy.
	r.names = slices.DeleteFunc(r.names, func(n string) bool { return n == second || n == first })
	r.steps()
	third := r.line.Following()
	r.has(third, 10)
	r.steps()
	if n := r.peers[second].store.Copies(); n != 0 {
		t.Errorf("%s keeps %d copies after the role moved", second, n)
	}
	if n := r.peers[first].store.Copies(); n != 1 {
		t.Errorf("%s, which is down, keeps %d copies", first, n)
	}
}

func TestATailThatTheHolderLostIsCutOff(t *testing.T) {
	r := newRegion(t, 4, "a")
	r.append(3)
	r.must(r.j.Flush())
	r.steps()
	// The frame reaches the peer, but not the disk: its write fails.
	r.disk.FailAt(faultfs.Sync, 1, "seg-", faultfs.ErrIO)
	r.append(2)
	_ = r.j.Flush()
	r.steps()
	if at := r.covered(); at != 3 && at != 5 {
		t.Fatalf("covered is %d", at)
	}
	lost := slices.Clone(r.kept)
	r.disk.Crash()
	r.open()
	if len(r.kept) == 5 {
		t.Skip("this seed's crash kept the group")
	}
	r.append(4)
	r.must(r.j.Flush())
	r.steps()
	r.has("a", 7)
	_, recs := r.copied("a")
	if slices.Contains(recs, lost[4]) {
		t.Error("the copy still has what its holder lost and wrote anew")
	}
}

func TestARolledBackHolderIsRefused(t *testing.T) {
	r := newRegion(t, 5, "a")
	r.append(3)
	r.must(r.j.Flush())
	r.steps()
	was := r.disk.Snapshot()
	r.append(3)
	r.must(r.j.Flush())
	r.steps()
	r.append(1)
	r.must(r.j.Flush())
	r.steps()
	r.disk.Rollback(was)
	before := slices.Clone(r.kept)
	r.open()
	r.append(2)
	r.must(r.j.Flush())
	r.steps()
	if r.line.Following() != "" {
		t.Error("the peer follows a journal that was rolled back")
	}
	_, recs := r.copied("a")
	if !slices.Equal(recs, before) {
		t.Errorf("the copy is %q, expected what was there before the disk was rolled back", recs)
	}
}

func TestStoreRefuses(t *testing.T) {
	r := newRegion(t, 6, "a")
	s := r.peers["a"].store
	ctx := context.Background()
	hash := make([]byte, 16)
	follow := func() uint64 {
		f, err := s.Follow(ctx, &wire.FollowRequest{Holder: 2, Journal: hash, End: &wire.Boundary{Hash: hash}})
		r.must(err)
		return f.GetSession()
	}
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"no holder", func() error {
			_, err := s.Follow(ctx, &wire.FollowRequest{Journal: hash, End: &wire.Boundary{Hash: hash}})
			return err
		}},
		{"no journal", func() error {
			_, err := s.Follow(ctx, &wire.FollowRequest{Holder: 1, End: &wire.Boundary{Hash: hash}})
			return err
		}},
		{"no end", func() error { _, err := s.Follow(ctx, &wire.FollowRequest{Holder: 1, Journal: hash}); return err }},
		{"a copy that nobody follows", func() error {
			_, err := s.Append(ctx, &wire.AppendRequest{Holder: 1, Journal: hash, Session: 1})
			return err
		}},
		{"a frame that does not follow", func() error {
			q := &wire.AppendRequest{Holder: 2, Journal: hash, Session: follow(), Turn: 1, Checkpoint: &wire.CheckpointPart{At: &wire.Boundary{Hash: hash}, Afresh: true}}
			_, err := s.Append(ctx, q)
			r.must(err)
			q.Checkpoint, q.Turn, q.Before = nil, 2, &wire.Boundary{Hash: hash}
			q.Frames = []*wire.Frame{{End: &wire.Boundary{Position: 1, Hash: hash}, Body: []byte{0, 0, 0, 1, 'x'}}}
			_, err = s.Append(ctx, q)
			return err
		}},
		{"an old session", func() error {
			old := follow()
			follow()
			_, err := s.Append(ctx, &wire.AppendRequest{Holder: 2, Journal: hash, Session: old, Turn: 1, Before: &wire.Boundary{Hash: hash}})
			return err
		}},
	} {
		if c.do() == nil {
			t.Errorf("%s: not refused", c.name)
		}
	}
}

func TestCopiesAreBounded(t *testing.T) {
	r := newRegion(t, 7, "a")
	s := r.peers["a"].store
	s.cfg.Most = 2
	hash := make([]byte, 16)
	var refused error
	for h := uint32(1); h <= 3; h++ {
		_, refused = s.Follow(context.Background(), &wire.FollowRequest{Holder: h, Journal: hash, End: &wire.Boundary{Hash: hash}})
	}
	if !errors.Is(refused, ErrNoRoom) || s.Copies() != 2 {
		t.Errorf("the third copy of two: %v, %d kept", refused, s.Copies())
	}
}

// TestWhatIsCoveredIsThere is the promise: whatever crashes, is lost, comes
// twice or late, a record that the line covered is in the copy of the peer that
// follows, unaltered, as long as that peer's disk keeps its word.
func TestWhatIsCoveredIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(t, rapid.Uint64().Draw(t, "seed"), "a", "b")
		r.loss = rapid.SampledFrom([]float64{0, 0.05, 0.3}).Draw(t, "loss")
		for range rapid.IntRange(5, 60).Draw(t, "events") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0, 1, 2, 3:
				r.append(rapid.IntRange(1, 12).Draw(t, "records"))
				r.must(r.j.Flush())
			case 4:
				r.steps()
			case 5: // the holder's machine crashes, perhaps while it writes
				if rapid.Bool().Draw(t, "in the middle") {
					r.disk.FailAt(faultfs.Sync, 1, "seg-", faultfs.ErrIO)
					r.append(2)
					_ = r.j.Flush()
					r.line.Step(context.Background())
				}
				at, name := r.covered(), r.line.Following()
				r.disk.Crash()
				r.open()
				if name != "" && int(at) <= len(r.kept) {
					r.has(name, at)
				}
			case 6: // a peer's machine crashes
				s := r.peers[rapid.SampledFrom([]string{"a", "b"}).Draw(t, "peer")]
				s.disk.Crash()
				s.open()
			case 7:
				s := r.peers[rapid.SampledFrom([]string{"a", "b"}).Draw(t, "peer")]
				s.down = !s.down
			case 8:
				r.checkpoint()
			case 9:
				r.now = r.now.Add(time.Duration(rapid.IntRange(100, 7000).Draw(t, "ms")) * time.Millisecond)
			}
			if name := r.line.Following(); name != "" {
				// What the peer has beyond its own crash is what it answered for.
				r.has(name, min(r.covered(), journal.Position(len(r.kept))))
			}
		}
	})
}

// The format is kept: a copy that was written once can be read for ever.
func TestGolden(t *testing.T) {
	at := boundary{0x0102, journal.Hash{0xa, 0xb, 0xc}}
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"frame":      {appendFrame(nil, &journal.Frame{Last: at.pos, Hash: at.hash, Body: []byte("xy")}, 3), "0101" + "0000000000000102" + "0a0b0c00000000000000000000000000" + "0000000000000003" + "7879"},
		"cut":        {cutRecord(at), "0102" + "0000000000000102" + "0a0b0c00000000000000000000000000"},
		"mark":       {markRecord(), "0103"},
		"checkpoint": {checkpointState(ID{5, [16]byte{6}}, at, 7, []byte("z")), "01" + "00000005" + "06000000000000000000000000000000" + "0000000000000102" + "0a0b0c00000000000000000000000000" + "0000000000000007" + "7a"},
		"directory":  {[]byte(ID{5, [16]byte{6}}.String()), fmt.Sprintf("%x", "5-06000000000000000000000000000000")},
	} {
		if got := fmt.Sprintf("%x", c.got); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
	if id, ok := parseID("5-06000000000000000000000000000000"); !ok || id != (ID{5, [16]byte{6}}) {
		t.Errorf("the directory's name is read as %v, %v", id, ok)
	}
}
