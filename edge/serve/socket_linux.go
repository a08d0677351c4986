package serve

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket reads and writes the socket of one connection, for the lane. The calls
// never block, so the runtime is not told of them, as package net tells it: that
// would only make its monitor look after them. With what is received comes how much
// is left (TCP_INQ; where the connection has ended, one more than that), so that it
// need not be read once more to know that there is nothing.
//
// It is used by one goroutine, which holds the connection open meanwhile.
type socket struct {
	asked   bool // the kernel, to say what is left
	header  unix.Msghdr
	vector  unix.Iovec
	control struct {
		unix.Cmsghdr
		left int32
		_    [4]byte
	}
}

// receive reads into b, which is not empty; n is 0 at the end. Where that was all,
// whatever is still to come, and the end too, will be an event to wait for.
func (s *socket) receive(fd uintptr, b []byte) (n int, all bool, err error) {
	if !s.asked {
		s.asked = true
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INQ, 1) // a kernel that does not know it never says that it was all
		s.header.Iov = &s.vector
		s.header.SetIovlen(1)
		s.header.Control = (*byte)(unsafe.Pointer(&s.control))
	}
	s.vector.Base = &b[0]
	s.vector.SetLen(len(b))
	s.header.SetControllen(int(unsafe.Sizeof(s.control)))
	s.control.Type = 0
	r, _, e := syscall.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&s.header)), 0)
	s.vector.Base = nil
	if e != 0 {
		return 0, false, e
	}
	told := s.header.Controllen != 0 && s.control.Level == unix.IPPROTO_TCP && s.control.Type == unix.TCP_CM_INQ
	return int(r), told && s.control.left == 0, nil
}

// send writes what the socket has room for of b, which is not empty.
func (*socket) send(fd uintptr, b []byte) (int, error) {
	r, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}
