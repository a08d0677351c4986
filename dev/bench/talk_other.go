//go:build !linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// talk is the client: a goroutine for each connection. It costs the server more
// than the one for Linux does, and unevenly.
func talk(ctx context.Context, addr string, s script, connections int, until time.Time, out *sample) error {
	var (
		mu   sync.Mutex // around s and out
		errs []error
		wg   sync.WaitGroup
	)
	for range connections {
		wg.Go(func() {
			err := talkOver(ctx, addr, s, until, out, &mu)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func talkOver(ctx context.Context, addr string, s script, until time.Time, out *sample, mu *sync.Mutex) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return fmt.Errorf("connect to the server: %w", err)
	}
	defer conn.Close()
	in := make([]byte, maxAnswer)
	for time.Now().Before(until) && ctx.Err() == nil {
		mu.Lock()
		request := s.next()
		mu.Unlock()
		if request == nil {
			return nil
		}
		sent := time.Now()
		if _, err := conn.Write(request); err != nil {
			return fmt.Errorf("send a request: %w", err)
		}
		for read := 0; ; {
			n, err := conn.Read(in[read:])
			if err != nil {
				return fmt.Errorf("read an answer: %w", err)
			}
			read += n
			body, length, err := answered(in[:read])
			if err != nil {
				return err
			}
			if length == 0 {
				continue
			}
			mu.Lock()
			out.note(body, time.Since(sent))
			if s.heard != nil {
				s.heard(body)
			}
			mu.Unlock()
			break
		}
	}
	return ctx.Err()
}
