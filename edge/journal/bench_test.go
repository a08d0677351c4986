package journal_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"nearside/edge/journal"
)

// BenchmarkAcks is how many records become durable per second on a real disk
// when that many callers each append one and wait for it.
func BenchmarkAcks(b *testing.B) {
	for _, waiters := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprint(waiters), func(b *testing.B) {
			j, err := journal.Open(b.TempDir(), journal.Options{})
			if err != nil {
				b.Fatal(err)
			}
			none := func(journal.Position, []byte) error { return nil }
			if err := j.Replay(none, func(journal.Position, journal.Hash) error { return nil }); err != nil {
				b.Fatal(err)
			}
			rec := bytes.Repeat([]byte("v"), 120)
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range waiters {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						pos, err := j.Append(rec)
						if err == nil {
							_, err = j.Wait(ctx, pos)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			s := j.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acks/s")
			b.ReportMetric(float64(s.Appends.Load())/float64(max(1, s.Commits.Load())), "records/group")
			b.ReportMetric(float64(s.SyncNanos.Load())/float64(max(1, s.Syncs.Load()))/1e3, "µs/sync")
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
