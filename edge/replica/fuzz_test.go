package replica

import (
	"bytes"
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/sync/wire"
)

func FuzzEntry(f *testing.F) {
	at := boundary{7, journal.Hash{1, 2, 3}}
	f.Add(appendFrame(nil, &journal.Frame{Last: 7, Hash: at.hash, Body: []byte("body")}, 5))
	f.Add(cutRecord(at))
	f.Add(markRecord())
	f.Add(checkpointState(ID{3, [16]byte{4}}, at, 6, []byte("state")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := readEntry(b); err == nil {
			var again []byte
			switch e.kind {
			case kindFrame:
				again = appendFrame(nil, &journal.Frame{Last: e.at.pos, Hash: e.at.hash, Body: e.body}, e.durable)
			case kindCut:
				again = cutRecord(e.at)
			case kindMark:
				again = markRecord()
			}
			if !bytes.Equal(again, b) {
				t.Errorf("%x is read as %+v, which is written as %x", b, e, again)
			}
		}
		id := ID{3, [16]byte{4}}
		if at, durable, state, err := readCheckpoint(b, id); err == nil && !bytes.Equal(checkpointState(id, at, durable, state), b) {
			t.Errorf("%x is read as a checkpoint at %v, which is written otherwise", b, at)
		}
	})
}

// FuzzAppend gives a store what any node with the region's key could send.
func FuzzAppend(f *testing.F) {
	hash := make([]byte, 16)
	id := ID{3, [16]byte{4}}
	for _, r := range []*wire.AppendRequest{
		{Holder: 3, Journal: id.Journal[:], Session: 9, Turn: 1, Before: &wire.Boundary{Hash: hash}, Frames: []*wire.Frame{{End: &wire.Boundary{Position: 1, Hash: hash}, Body: []byte{0, 0, 0, 0}}}},
		{Holder: 3, Journal: id.Journal[:], Session: 9, Turn: 1, Checkpoint: &wire.CheckpointPart{At: &wire.Boundary{Position: 4, Hash: hash}, Size: 3, Part: []byte("abc"), Afresh: true}},
		{Holder: 3, Journal: id.Journal[:], Session: 9, Turn: 1, Checkpoint: &wire.CheckpointPart{At: &wire.Boundary{Hash: hash}, Offset: 1, Size: 1 << 40}},
		{Holder: 3, Journal: id.Journal[:], Session: 9, Turn: 1, Forget: true},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r wire.AppendRequest
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		s, err := OpenStore(StoreConfig{
			Dir: "copies", FS: faultfs.New(1), Reserve: 1, Session: func() uint64 { return 9 },
			Journal: journal.Options{SegmentSize: 32 << 10, Inline: true, Rand: bytes.NewReader(make([]byte, 64))},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		if _, err := s.Follow(ctx, &wire.FollowRequest{Holder: 3, Journal: id.Journal[:], End: &wire.Boundary{Hash: hash}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(ctx, &wire.AppendRequest{Holder: 3, Journal: id.Journal[:], Session: 9, Turn: 1, Checkpoint: &wire.CheckpointPart{At: &wire.Boundary{Hash: hash}, Afresh: true}}); err != nil {
			t.Fatal(err)
		}
		r.Turn = 2
		before := s.copies[id].newest()
		if answer, err := s.Append(ctx, &r); err == nil && len(r.GetFrames()) > 0 && answer.GetTaken() && r.GetCheckpoint() == nil {
			last := r.GetFrames()[len(r.GetFrames())-1].GetEnd()
			if answer.GetAt().GetPosition() != last.GetPosition() {
				t.Errorf("%d frames up to %d are taken onto %d, the copy is at %d", len(r.GetFrames()), last.GetPosition(), before.pos, answer.GetAt().GetPosition())
			}
		}
		if s.Copies() > 0 {
			if err := s.Read(id, func(src Source) error {
				return src.Replay(func(journal.Position, []byte) error { return nil }, func(journal.Position, journal.Hash) error { return nil })
			}); err != nil {
				t.Errorf("the copy cannot be read: %v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
