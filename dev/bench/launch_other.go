//go:build !linux

package bench

import (
	"fmt"
	"io"
	"path/filepath"
)

// launch starts the command. Nothing holds it to one processor here, so the
// figures say less than on Linux.
func (p *process) launch() error {
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(p.cmd.Path), err)
	}
	return nil
}

func keepOff(io.Writer) (back func() error, err error) { return func() error { return nil }, nil }
