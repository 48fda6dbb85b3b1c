// Command monohull is a Kubernetes cluster in one binary.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if args, ok := asKubectl(os.Args); ok {
		os.Exit(runKubectl(args))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "monohull:", err)
		os.Exit(1)
	}
}
