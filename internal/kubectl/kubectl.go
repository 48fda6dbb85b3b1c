// Package kubectl is the kubectl of the API level Monohull serves, inside the
// binary.
package kubectl

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	kubectlcmd "k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	"k8s.io/kubectl/pkg/cmd/util"

	_ "github.com/monohull/monohull/internal/kubectl/quiet" // before kubectl initializes
	"github.com/monohull/monohull/internal/version"
)

// Main runs kubectl with arguments (those after its name) and does not return
// where kubectl ends the process. kubeconfig is used where the user names none.
func Main(args []string, kubeconfig string) int {
	if os.Getenv("KUBECONFIG") == "" {
		if _, err := os.Stat(kubeconfig); err == nil {
			os.Setenv("KUBECONFIG", kubeconfig)
		}
	}
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50.0)
	flags.WrapConfigFn = func(c *rest.Config) *rest.Config {
		// servers name who owns a field by it
		c.UserAgent = fmt.Sprintf("kubectl/%s (%s/%s) monohull/%s", version.GitVersion(), runtime.GOOS, runtime.GOARCH, version.Release)
		return c
	}
	c := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     append([]string{"kubectl"}, args...),
		ConfigFlags:   flags,
		IOStreams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
	})
	c.SetArgs(args)
	util.BehaviorOnFatal(func(message string, code int) {
		if message != "" {
			fmt.Fprintln(os.Stderr, strings.TrimSuffix(message, "\n"))
		}
		for _, line := range append(locate(message, args), meantKinds(message, scheme.Scheme.AllKnownTypes())...) {
			fmt.Fprintln(os.Stderr, line)
		}
		os.Exit(code)
	})
	if err := kubectlcmd.RunNoErrOutput(c); err != nil {
		util.CheckErr(err)
	}
	return 0
}
