//go:build !linux

package serve

import "syscall"

// socket reads and writes the socket of one connection that never blocks, for the
// lane.
type socket struct{}

// receive reads into b. It never knows whether that was all.
func (*socket) receive(fd uintptr, b []byte) (n int, all bool, err error) {
	n, err = syscall.Read(int(fd), b)
	return max(n, 0), false, err
}

// send writes what the socket has room for.
func (*socket) send(fd uintptr, b []byte) (int, error) {
	n, err := syscall.Write(int(fd), b)
	return max(n, 0), err
}
