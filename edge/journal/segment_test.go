package journal

import (
	"bytes"
	"hash/crc32"
	"strings"
	"testing"
)

var (
	testID   = [16]byte{'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'}
	testSeed = seedOf(testID, 7)
	testBase = boundary{40, Hash{9, 9, 9}}
)

// frameOf is a whole frame, padded, that follows before.
func frameOf(before boundary, records ...string) (frame []byte, after boundary) {
	frame = make([]byte, frameHeader)
	for _, r := range records {
		frame = append(be.AppendUint32(frame, uint32(len(r))), r...)
	}
	after.pos = before.pos + Position(len(records))
	after.hash = finishFrame(frame, testSeed, before.hash, after.pos)
	return append(frame, make([]byte, align(len(frame))-len(frame))...), after
}

func segmentOf(groups ...[]string) []byte {
	data, at := appendSegmentHeader(nil, testID, 7, testBase), testBase
	for _, g := range groups {
		var frame []byte
		frame, at = frameOf(at, g...)
		data = append(data, frame...)
	}
	return data
}

// seal makes the checksums of a changed frame right again, as an attacker who
// knew the seed could, so that what stands behind them is reached.
func seal(frame []byte) {
	n := min(uint64(be.Uint32(frame[4:])), uint64(len(frame)-frameHeader))
	be.PutUint32(frame[48:], crc32.Update(testSeed, castagnoli, frame[frameHeader:frameHeader+n]))
	be.PutUint32(frame, crc32.Update(testSeed, castagnoli, frame[4:frameHeader]))
}

func TestReadFrameRefuses(t *testing.T) {
	for _, tt := range []struct {
		says   string
		change func(frame []byte)
		sealed bool
	}{
		{"no frame header", func(f []byte) { f[9] ^= 1 }, false},
		{"body checksum differs", func(f []byte) { f[60] ^= 1 }, false},
		{"body hash differs", func(f []byte) { f[60] ^= 1 }, true},
		{"body hash differs", func(f []byte) { f[15]++ }, true},
		{"body hash differs", func(f []byte) { f[40] ^= 1 }, true},
		{"does not follow", func(f []byte) { f[20] ^= 1 }, true},
		{"longer than the segment", func(f []byte) { be.PutUint32(f[4:], 1<<32-1) }, true},
		{"longer than the segment", func(f []byte) { be.PutUint32(f[4:], uint32(len(f)-frameHeader+1)) }, true},
	} {
		frame, _ := frameOf(testBase, "one", "two")
		tt.change(frame)
		if tt.sealed {
			seal(frame)
		}
		if _, body, reason := readFrame(frame, testSeed, testBase); !strings.Contains(reason, tt.says) || body != nil {
			t.Errorf("%q, expected %q", reason, tt.says)
		}
	}
	frame, after := frameOf(testBase, "one", "two")
	if got, _, reason := readFrame(frame, testSeed, testBase); reason != "" || got != after {
		t.Errorf("the whole frame: %v %q", got, reason)
	}
	if _, _, reason := readFrame(frame, seedOf(testID, 8), testBase); reason != "no frame header" {
		t.Errorf("in another segment: %q", reason)
	}
}

func TestHolds(t *testing.T) {
	for _, tt := range []struct {
		body string
		n    uint64
		want bool
	}{
		{"", 0, false},
		{"", 1, false},
		{"\x00\x00\x00\x00", 1, true},
		{"\x00\x00\x00\x01a", 1, true},
		{"\x00\x00\x00\x01a", 0, false},
		{"\x00\x00\x00\x01a", 2, false},
		{"\x00\x00\x00\x02a", 1, false},
		{"\x00\x00\x00\x01ab", 1, false},
		{"\xff\xff\xff\xffab", 1, false},
		{"\x00\x00\x00\x01a\x00\x00\x00", 2, false},
		{"\x00\x00\x00\x01a\x00\x00\x00\x00", 2, true},
		{"\x00\x00\x00\x00", 1 << 63, false},
	} {
		if got := holds([]byte(tt.body), tt.n); got != tt.want {
			t.Errorf("%q as %d records: %v", tt.body, tt.n, got)
		}
	}
}

func TestProvenSynced(t *testing.T) {
	whole := segmentOf([]string{"a"}, []string{strings.Repeat("b", 1500)}, []string{"c"})
	_, first := frameOf(testBase, "a")
	for _, tt := range []struct {
		name   string
		change func(data []byte) []byte
		want   bool
	}{
		{"second torn, third there", func(d []byte) []byte { d[1100] ^= 1; return d }, true},
		{"header of the second gone, third there", func(d []byte) []byte { clear(d[1024:1536]); return d }, true},
		{"second torn, third gone", func(d []byte) []byte { d[1100] ^= 1; clear(d[1024+2048:]); return d }, false},
		{"second torn, of the third only the header", func(d []byte) []byte { d[1100] ^= 1; return d[:1024+2048+frameHeader] }, true},
		{"second torn, header of the third torn", func(d []byte) []byte { d[1100] ^= 1; d[1024+2048+20] ^= 1; return d }, false},
		{"second replaced by the third", func(d []byte) []byte { copy(d[1024:], d[1024+2048:]); clear(d[1536:]); return d }, true},
		{"nothing behind", func(d []byte) []byte { return d[:1024] }, false},
	} {
		data := tt.change(bytes.Clone(whole))
		if got := provenSynced(data, 1024, testSeed, first); got != tt.want {
			t.Errorf("%s: %v, expected %v", tt.name, got, tt.want)
		}
	}
}

// FuzzSegment feeds the reader of segments whatever a disk may hold. Nothing
// may panic, and what reads as a frame must chain and be what was hashed.
func FuzzSegment(f *testing.F) {
	f.Add(segmentOf())
	f.Add(segmentOf([]string{"one"}, []string{"two", "", "four"}))
	f.Add(segmentOf([]string{strings.Repeat("long", 400)})[:900])
	f.Fuzz(func(t *testing.T, data []byte) {
		if base, reason := readSegmentHeader(data, testID, 7); reason == "" && !bytes.Equal(appendSegmentHeader(nil, testID, 7, base)[:64], data[:64]) {
			t.Fatalf("header %x reads as %v", data[:64], base)
		}
		for _, sealed := range []bool{false, true} {
			if sealed && len(data) > sector+frameHeader {
				data = bytes.Clone(data)
				copy(data[sector+16:], testBase.hash[:])
				seal(data[sector:])
			}
			at := testBase
			end, last, reason, err := readFrames(data, testSeed, testBase, func(before, after boundary, body []byte) error {
				if before != at || after.pos <= before.pos || after.hash != hashOf(before.hash, after.pos, body) {
					t.Fatalf("frame from %v to %v after %v", before, after, at)
				}
				at = after
				return nil
			})
			if err != nil || reason == "" || last != at || end < sector || end > max(sector, align(len(data))) {
				t.Fatalf("end %d at %v (%q, %v) of %d bytes", end, last, reason, err, len(data))
			}
			provenSynced(data, end, testSeed, last)
			tornBytes(data[min(end, len(data)):], testSeed)
		}
	})
}

// FuzzBody feeds what stands behind all checksums and the hash.
func FuzzBody(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03one"), uint64(1))
	f.Add([]byte("\x00\x00\x00\x03one\x00\x00\x00\x00"), uint64(2))
	f.Add([]byte("\xff\xff\xff\xff"), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, body []byte, n uint64) {
		if !holds(body, n) {
			return
		}
		var again []byte
		for rest := body; len(rest) > 0; n-- {
			l := be.Uint32(rest)
			again = append(be.AppendUint32(again, l), rest[recordHeader:recordHeader+l]...)
			rest = rest[recordHeader+l:]
		}
		if n != 0 || !bytes.Equal(again, body) {
			t.Fatalf("%x is not its records: %x, %d missing", body, again, n)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	whole := func(state string) []byte {
		b := append(checkpointHeader(testID, testBase, len(state)), state...)
		return be.AppendUint32(b, checksum(b))
	}
	f.Add(whole(""))
	f.Add(whole("a state"))
	f.Add(whole("a state")[:70])
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, sealed := range []bool{false, true} {
			if sealed && len(b) > 4 {
				b = be.AppendUint32(bytes.Clone(b[:len(b)-4]), checksum(b[:len(b)-4]))
			}
			at, state, reason := readCheckpoint(b, testID)
			if reason != "" {
				continue
			}
			again := append(checkpointHeader(testID, at, len(state)), state...)
			if !bytes.Equal(be.AppendUint32(again, checksum(again)), b) {
				t.Fatalf("%x reads as %v with %x", b, at, state)
			}
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add(encodeIdentity(testID, place{12, "00ff"}))
	f.Add([]byte("nearside journal 1\ncrc 00000000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, sealed := range []bool{false, true} {
			if i := bytes.LastIndex(b, []byte("crc ")); sealed && i >= 0 {
				b = append(bytes.Clone(b[:i]), "crc "+hex32(checksum(b[:i]))+"\n"...)
			}
			id, p, reason := readIdentity(b)
			if reason == "" && !bytes.Equal(encodeIdentity(id, p), b) {
				t.Fatalf("%q reads as %x, %v", b, id, p)
			}
		}
	})
}

func hex32(n uint32) string {
	const digits = "0123456789abcdef"
	var b [8]byte
	for i := range b {
		b[i] = digits[n>>(28-4*i)&15]
	}
	return string(b[:])
}
