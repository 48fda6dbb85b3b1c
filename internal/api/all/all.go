// Package all gathers the rows of every group into the one table. It is the
// only place that lists the groups; the cluster and tests start from it.
package all

import (
	"slices"
	"sync"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/admissionregistration"
	"github.com/monohull/monohull/internal/api/apiextensions"
	"github.com/monohull/monohull/internal/api/apiregistration"
	"github.com/monohull/monohull/internal/api/apps"
	"github.com/monohull/monohull/internal/api/autoscaling"
	"github.com/monohull/monohull/internal/api/batch"
	"github.com/monohull/monohull/internal/api/certificates"
	"github.com/monohull/monohull/internal/api/coordination"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/discovery"
	"github.com/monohull/monohull/internal/api/flowcontrol"
	"github.com/monohull/monohull/internal/api/legacy"
	"github.com/monohull/monohull/internal/api/networking"
	"github.com/monohull/monohull/internal/api/node"
	"github.com/monohull/monohull/internal/api/policy"
	"github.com/monohull/monohull/internal/api/rbac"
	"github.com/monohull/monohull/internal/api/resource"
	"github.com/monohull/monohull/internal/api/scheduling"
	"github.com/monohull/monohull/internal/api/storage"
)

// Table is the table of all kinds, made once.
var Table = sync.OnceValue(func() *api.Table {
	rows := slices.Concat(
		core.Rows(), apps.Rows(), autoscaling.Rows(), batch.Rows(), policy.Rows(), coordination.Rows(), discovery.Rows(), rbac.Rows(), scheduling.Rows(),
		certificates.Rows(), flowcontrol.Rows(), networking.Rows(), node.Rows(), storage.Rows(),
		admissionregistration.Rows(), apiextensions.Rows(), apiregistration.Rows(), resource.Rows(),
	)
	legacy.Attach(rows)
	return api.NewTable(rows...)
})
