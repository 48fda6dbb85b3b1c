package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/monohull/monohull/internal/cluster"
	"github.com/monohull/monohull/internal/kubectl"
)

// dataDirVariable names the data directory for commands that have no flag.
const dataDirVariable = "MONOHULL_DATA_DIR"

func defaultDataDir() string {
	if d := os.Getenv(dataDirVariable); d != "" {
		return d
	}
	return cluster.DefaultDataDir
}

// asKubectl tells whether the process was called as kubectl, by its name or by
// its first argument, and with which arguments.
func asKubectl(args []string) ([]string, bool) {
	switch {
	case filepath.Base(args[0]) == "kubectl":
		return args[1:], true
	case len(args) > 1 && args[1] == "kubectl":
		return args[2:], true
	}
	return nil, false
}

func runKubectl(args []string) int {
	return kubectl.Main(args, cluster.KubeconfigPath(defaultDataDir()))
}

// newKubectl is here for the help text; main runs kubectl before cobra sees
// the arguments, so that every flag of kubectl is kubectl's.
func newKubectl() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [command]",
		Short: "Use a cluster: the kubectl of this API level",
		Long: `Use a cluster: the kubectl of this API level.

Without KUBECONFIG it talks to the cluster on this machine, whose data directory
is $` + dataDirVariable + ` or ` + cluster.DefaultDataDir + `. Linked or copied to the name kubectl, monohull
is kubectl.`,
		DisableFlagParsing: true,
		Run:                func(_ *cobra.Command, args []string) { os.Exit(runKubectl(args)) },
	}
}
