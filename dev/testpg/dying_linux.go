package testpg

import "syscall"

// dying is attr for a program that ends with this one, however this one ends.
func dying(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	with := *attr
	with.Pdeathsig = syscall.SIGQUIT
	return &with
}
