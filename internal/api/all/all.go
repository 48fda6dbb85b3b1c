// Package all gathers the rows of every group into the one table. It is the
// only place that lists the groups; the cluster and tests start from it.
package all

import (
	"slices"
	"sync"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/apps"
	"github.com/monohull/monohull/internal/api/coordination"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/discovery"
	"github.com/monohull/monohull/internal/api/rbac"
	"github.com/monohull/monohull/internal/api/scheduling"
)

// Table is the table of all kinds, made once.
var Table = sync.OnceValue(func() *api.Table {
	return api.NewTable(slices.Concat(
		core.Rows(), apps.Rows(), coordination.Rows(), discovery.Rows(), rbac.Rows(), scheduling.Rows(),
	)...)
})
