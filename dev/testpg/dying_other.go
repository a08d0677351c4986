//go:build !linux

package testpg

import "syscall"

// dying is attr: only Linux ends a child with its parent.
func dying(attr *syscall.SysProcAttr) *syscall.SysProcAttr { return attr }
