package admission

import (
	"reflect"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

// reader reads the objects of a kind; of one that is not in the table there
// are none.
type reader[T api.Object] struct {
	kind   client.Kind[T]
	served bool
}

func read[T api.Object](c *client.Client) reader[T] {
	t := reflect.TypeFor[T]()
	for _, k := range c.Table().Kinds() {
		if k.GoType == t {
			return reader[T]{client.Of[T](c), true}
		}
	}
	return reader[T]{}
}

func (r reader[T]) Get(namespace, name string) (T, bool) {
	if !r.served {
		var none T
		return none, false
	}
	return r.kind.Get(namespace, name)
}

// List returns the objects of a namespace, "" for all.
func (r reader[T]) List(namespace string) []T {
	if !r.served {
		return nil
	}
	return r.kind.List(namespace, labels.Everything())
}
