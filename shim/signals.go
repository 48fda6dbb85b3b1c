package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The two signals that the C library keeps to itself.
var libraryRange = [...]uintptr{32, 33}

// defaultSignals undoes what the process was started with: a program started by
// posix_spawn (make starts its commands so) comes with the C library's own signals
// ignored, and what is ignored stays so in every process after it, to the
// containers. The kernel is asked directly: the library lets nobody name them.
func defaultSignals() {
	var act [4]uint64 // struct sigaction of the kernel: SIG_DFL, no flags
	for _, s := range libraryRange {
		var old [4]uint64
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, s, 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
		if errno != 0 || old[0] != 1 { // only what is ignored: handlers are the library's
			continue
		}
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, s, uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	}
}
