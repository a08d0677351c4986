package uplink

import (
	"maps"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"nearside/sync/token"
)

// A table of counts is a map that refuses new keys beyond a number.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c counts
		like := map[decisionKey]decided{}
		small := rapid.Uint32Range(0, 20)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				seed := uint64(0) // so that keys without anything in them are tried too
				for range rapid.IntRange(1, 50).Draw(t, "times") {
					key := decisionKey{
						hour: int64(small.Draw(t, "hour")), publisher: small.Draw(t, "publisher"), flight: small.Draw(t, "flight"),
						country: [2]byte{byte(small.Draw(t, "country")), 'x'}, topics: token.TopicsOf(rapid.SliceOfN(rapid.Uint16Range(0, 3), 0, 8).Draw(t, "topics")),
					}
					more := decided{int64(small.Draw(t, "decisions")), 1}
					const most = 300
					have, known := like[key]
					if fits := known || len(like) < most; fits {
						like[key] = have.plus(more)
					} else if c.add(&key, seed, more, most) {
						t.Fatalf("there was room for key %d", len(like)+1)
					} else {
						continue
					}
					if !c.add(&key, seed, more, most) {
						t.Fatalf("there was no room for key %d", len(like))
					}
				}
			},
			"clear": func(*rapid.T) { c.clear(); clear(like) },
			"": func(t *rapid.T) {
				if got := maps.Collect(c.all()); !maps.Equal(got, like) || c.used != len(like) {
					t.Fatalf("%v (%d), want %v", got, c.used, like)
				}
			},
		})
	})
}

func TestACountIsOneCacheLine(t *testing.T) {
	if size := unsafe.Sizeof(counted{}); size != 64 {
		t.Errorf("%d bytes", size)
	}
}
