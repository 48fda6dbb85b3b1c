package lifecycle

import "github.com/monohull/monohull/internal/controllers"

func keyOf(namespace, name string) controllers.Key {
	return controllers.Key{Namespace: namespace, Name: name}
}
