package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/monohull/monohull/shim/protocol"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// memoryTarget is where the collector starts to work harder; gcPercent keeps the
// heap of an almost idle process near what it holds.
const (
	memoryTarget = 16 << 20
	gcPercent    = 20
	listenerFD   = 3
)

// libcontainer enters containers' mount namespaces on threads that it then gives up.
// The first thread cannot be given up, and would hold on to the namespace and show it
// as the process's own: so it belongs to the main goroutine alone.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) != 3 || os.Args[1] != "shim" {
		fmt.Fprintln(os.Stderr, "monohull-shim is started by monohull and is of no use alone")
		os.Exit(2)
	}
	if err := run(os.Args[2]); err != nil {
		logrus.Errorf("shim: %v", err)
		os.Exit(1)
	}
}

func run(id string) error {
	defaultSignals()
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryTarget)
	logrus.SetLevel(logrus.WarnLevel) // to stderr, which is the sandbox's shim.log

	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become child subreaper: %w", err)
	}
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find sandbox directory: %w", err)
	}
	unix.CloseOnExec(listenerFD)
	file := os.NewFile(listenerFD, protocol.SocketFile)
	generic, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("take over the listener: %w", err)
	}
	_ = file.Close()
	listener, ok := generic.(*net.UnixListener)
	if !ok {
		return fmt.Errorf("descriptor %d is a %T, not a unix socket", listenerFD, generic)
	}
	listener.SetUnlinkOnClose(true)
	return newServer(id, dir, listener).serve()
}
