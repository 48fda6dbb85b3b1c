package cluster

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/client"
)

// Admission is what the command line says of admission plugins.
type Admission struct {
	Enable, Disable []string // --enable-admission-plugins, --disable-admission-plugins
	ConfigFile      string   // --admission-control-config-file
}

// newAdmission makes the chain. NodeRestriction is on: kubelets write with the
// rights of the Node authorizer, which counts on it.
func (c *cluster) newAdmission(reader *client.Client, authz authorizer.Authorizer, reservations *admission.Reservations) ([]admission.Plugin, error) {
	cfg := admission.Config{Enable: append([]string{admission.NodeRestriction}, c.cfg.Admission.Enable...), Disable: c.cfg.Admission.Disable}
	if f := c.cfg.Admission.ConfigFile; f != "" {
		if err := cfg.ReadFile(f); err != nil {
			return nil, fmt.Errorf("cluster: --admission-control-config-file: %w", err)
		}
	}
	chain, err := admission.New(cfg, admission.Deps{
		Client: reader, Writer: func() *client.Client { return c.admin }, Authorizer: authz, Clock: c.clock, Logger: c.cfg.Logger, Reservations: reservations,
	})
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return chain, nil
}

// computed are the objects that are made when they are read.
func (c *cluster) computed() map[string]func(context.Context) []api.Object {
	return map[string]func(context.Context) []api.Object{
		"componentstatuses": func(ctx context.Context) (out []api.Object) {
			for _, name := range core.ComponentNames {
				var err error
				if name == "etcd-0" {
					_, err = c.store.Revision(ctx)
				}
				out = append(out, core.ComponentStatus(name, err))
			}
			return out
		},
	}
}
