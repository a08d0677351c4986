package visitor

import (
	"testing"
	"time"
)

func TestWaitingIsNotProcessorTime(t *testing.T) {
	waited := make(chan struct{})
	took := processorTime(func() {
		time.AfterFunc(200*time.Millisecond, func() { close(waited) })
		<-waited
	})
	if took >= 100*time.Millisecond {
		t.Errorf("waiting for 200 ms counted as %v of processor time", took)
	}
	worked := processorTime(func() {
		start, ok := threadClock()
		for now := start; ok && now-start < 5*time.Millisecond; {
			now, ok = threadClock()
		}
	})
	if worked < 5*time.Millisecond {
		t.Errorf("5 ms of work counted as %v", worked)
	}
}
