package lifecycle

import "github.com/monohull/monohull/internal/controllers"

// Controllers are the control loops of this area.
func Controllers(deps controllers.Deps) []*controllers.Controller {
	return []*controllers.Controller{namespaceController(deps), garbageCollector(deps), eventExpiry(deps), podCollector(deps)}
}
