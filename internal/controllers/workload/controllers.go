package workload

import "github.com/monohull/monohull/internal/controllers"

// Controllers are the control loops of this area.
func Controllers(deps controllers.Deps) []*controllers.Controller {
	return []*controllers.Controller{replicaSets(deps), replicationControllers(deps), deployments(deps)}
}
