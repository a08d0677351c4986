//go:build !linux

package world

import "syscall"

// dieWithParent does nothing where the kernel offers no such thing: there,
// what a killed world leaves behind has to be ended by hand.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
