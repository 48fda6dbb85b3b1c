package api

import (
	"fmt"
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Object is any API object that is stored: a pointer to a struct of k8s.io/api.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is one row of the table, with types erased. Build it with Define.
// A nil function means the kind needs nothing there. All functions may write
// to the new object they are given and never to the old one.
type Kind struct {
	GVK        schema.GroupVersionKind // served and stored version
	Plural     string                  // resource name in paths: "pods"
	Singular   string                  // "pod"
	ShortNames []string
	Categories []string
	Namespaced bool

	// Prefix is the path below /registry/ in the store, upstream's: "pods",
	// "services/specs", "minions".
	Prefix string

	// Verbs served on the main resource; nil means all of
	// create delete deletecollection get list patch update watch.
	Verbs []string

	// HasStatus serves the status subresource, and keeps status out of writes
	// to the main resource.
	HasStatus bool
	// StatusOnCreate keeps the status a new object comes with: nodes register
	// with theirs.
	StatusOnCreate bool
	// Generation counts changes of the desired state in metadata.generation.
	// PrepareCreate sets the first.
	Generation bool
	// CreateOnUpdate lets PUT create an object that does not exist.
	CreateOnUpdate bool
	// UnconditionalUpdate lets PUT omit metadata.resourceVersion.
	UnconditionalUpdate bool

	// New makes an empty object, NewList an empty list of its list type.
	New     func() Object
	NewList func() runtime.Object
	GoType  reflect.Type

	// Stamp writes into a new object what is known of the user who creates it,
	// over what the client wrote. It runs before Default.
	Stamp func(Object, user.Info)
	// Default fills every default of the object, as the API reference gives
	// them. Idempotent.
	Default func(Object)
	// PrepareCreate and PrepareUpdate reset what a client may not set on the
	// main resource (beyond status, which HasStatus resets), PrepareStatus what
	// it may not set through the status subresource (the caller has already put
	// the old spec in place; labels and annotations may change there).
	PrepareCreate func(Object)
	PrepareUpdate func(newObj, old Object)
	PrepareStatus func(newObj, old Object)
	// Validate judges a new object, ValidateUpdate a change (it includes what
	// Validate checks), ValidateStatus a change through the status subresource.
	Validate       func(Object) field.ErrorList
	ValidateUpdate func(newObj, old Object) field.ErrorList
	ValidateStatus func(newObj, old Object) field.ErrorList
	// Warnings are sent to the client as Warning headers on create and, unless
	// UpdateWarnings is set, on update; StatusWarnings on writes of the status.
	Warnings       func(Object) []string
	UpdateWarnings func(newObj, old Object) []string
	StatusWarnings func(Object) []string
	// Date fills the times that a change is to carry, where its writer gave
	// none. It runs before validation; old is nil at creation.
	Date func(newObj, old Object, now time.Time)
	// Restore puts back what the protobuf encoding does not keep.
	Restore func(Object)
	// Terminating writes into an object whose deletion begins what its status
	// says of that. Nil for nothing.
	Terminating func(obj Object, now time.Time)
	// Deprecated is the warning that every request for the kind earns.
	Deprecated string

	// ClearStatus zeroes the status, CopyStatus copies it from old to new,
	// CopySpec copies everything but status and metadata from old to new,
	// SpecEqual compares what CopySpec copies. Derived by Define.
	ClearStatus func(Object)
	CopyStatus  func(newObj, old Object)
	CopySpec    func(newObj, old Object)
	SpecEqual   func(a, b Object) bool

	// Fields gives the values of field selectors beyond metadata.name and
	// metadata.namespace. FieldNames lists them, for refusing the others.
	Fields     func(Object, string) string
	FieldNames []string

	// Columns and Row make the Table that kubectl prints. Row gives one cell
	// per column.
	Columns []metav1.TableColumnDefinition
	Row     func(obj Object, now time.Time) []any

	// Scale, where set, serves the scale subresource.
	Scale *Scale
	// Parts are the subresources besides status that write a part of the
	// object, by name: approval, ephemeralcontainers, resize, finalize.
	Parts map[string]*Part

	// Versions are the other API versions the kind is served in, the preferred
	// first.
	Versions []*Version
	own      *Version

	// GracePeriod gives the seconds a deletion waits for its kubelet: nil means
	// deleted at once. requested is the client's wish or nil.
	GracePeriod func(obj Object, requested *int64) int64
	// OrphanByDefault, where set, leaves dependents alone when a deletion does
	// not say what becomes of them.
	OrphanByDefault *Orphaning
}

// Orphaning is how a kind orphans by default.
type Orphaning struct {
	// Warning is sent to a client that has not said; none where empty.
	Warning string
}

// Part is a subresource through which a part of an object is written.
type Part struct {
	// Verbs served: of get, patch and update.
	Verbs []string
	// Settle puts back from old whatever the part may not change; metadata that
	// no write may change has been put back before.
	Settle func(newObj, old Object)
	// Validate judges the change.
	Validate func(newObj, old Object) field.ErrorList
}

// PartSpec is a Part, typed.
type PartSpec[T Object] struct {
	Verbs    []string // nil means get, patch and update
	Settle   func(newObj, old T)
	Validate func(newObj, old T) field.ErrorList
}

// Scale reads and writes the part of an object that the scale subresource
// shows.
type Scale struct {
	Get func(Object) (spec, status int32, selector string)
	Set func(Object, int32)
}

// Spec is a row as its author writes it, typed. See Kind for each field.
type Spec[T Object] struct {
	GVK                 schema.GroupVersionKind
	Plural, Singular    string
	ShortNames          []string
	Categories          []string
	Namespaced          bool
	Prefix              string
	Verbs               []string
	Generation          bool
	CreateOnUpdate      bool
	UnconditionalUpdate bool
	StatusOnCreate      bool
	NoStatus            bool // the type has a Status field that is no subresource
	List                runtime.Object

	Stamp           func(T, user.Info)
	Default         func(T)
	PrepareCreate   func(T)
	PrepareUpdate   func(newObj, old T)
	PrepareStatus   func(newObj, old T)
	Validate        func(T) field.ErrorList
	ValidateUpdate  func(newObj, old T) field.ErrorList
	ValidateStatus  func(newObj, old T) field.ErrorList
	Warnings        func(T) []string
	UpdateWarnings  func(newObj, old T) []string
	StatusWarnings  func(T) []string
	Date            func(newObj, old T, now time.Time) // old is nil at creation
	Restore         func(T)
	Terminating     func(obj T, now time.Time)
	Deprecated      string
	Fields          map[string]func(T) string
	Columns         []metav1.TableColumnDefinition
	Row             func(obj T, now time.Time) []any
	ScaleGet        func(T) (spec, status int32, selector string)
	ScaleSet        func(T, int32)
	GracePeriod     func(obj T, requested *int64) int64
	OrphanByDefault *Orphaning
	Parts           map[string]PartSpec[T]
	Versions        []*Version
}

// Define turns a typed row into a Kind. It panics on a row that cannot be
// served: it runs at start and in every test.
func Define[T Object](s Spec[T]) *Kind {
	var zero T
	t := reflect.TypeOf(zero).Elem()
	lt := reflect.TypeOf(s.List).Elem()
	k := &Kind{
		GVK: s.GVK, Plural: s.Plural, Singular: s.Singular, ShortNames: s.ShortNames, Categories: s.Categories,
		Namespaced: s.Namespaced, Prefix: s.Prefix, Verbs: s.Verbs, Generation: s.Generation, StatusOnCreate: s.StatusOnCreate,
		CreateOnUpdate: s.CreateOnUpdate, UnconditionalUpdate: s.UnconditionalUpdate,
		GoType:  reflect.TypeOf(zero),
		New:     func() Object { return reflect.New(t).Interface().(Object) },
		NewList: func() runtime.Object { return reflect.New(lt).Interface().(runtime.Object) },
		Columns: s.Columns, Deprecated: s.Deprecated, OrphanByDefault: s.OrphanByDefault,
	}
	if k.Prefix == "" {
		k.Prefix = s.Plural
	}
	if k.GVK.Kind == "" || k.Plural == "" || k.Singular == "" {
		panic(fmt.Sprintf("api: row %v lacks a name", s.GVK))
	}
	k.deriveStatus(t, !s.NoStatus)
	if s.Stamp != nil {
		k.Stamp = func(o Object, u user.Info) { s.Stamp(o.(T), u) }
	}
	k.Default = one(s.Default)
	k.PrepareCreate = one(s.PrepareCreate)
	k.PrepareUpdate = two(s.PrepareUpdate)
	k.PrepareStatus = two(s.PrepareStatus)
	if s.Validate != nil {
		k.Validate = func(o Object) field.ErrorList { return s.Validate(o.(T)) }
	}
	k.ValidateUpdate = judge(s.ValidateUpdate)
	k.ValidateStatus = judge(s.ValidateStatus)
	if s.Warnings != nil {
		k.Warnings = func(o Object) []string { return s.Warnings(o.(T)) }
	}
	if s.UpdateWarnings != nil {
		k.UpdateWarnings = func(n, old Object) []string { return s.UpdateWarnings(n.(T), old.(T)) }
	}
	if s.StatusWarnings != nil {
		k.StatusWarnings = func(o Object) []string { return s.StatusWarnings(o.(T)) }
	}
	if s.Date != nil {
		k.Date = func(n, old Object, now time.Time) {
			was, _ := old.(T)
			s.Date(n.(T), was, now)
		}
	}
	k.Restore = one(s.Restore)
	if s.Terminating != nil {
		k.Terminating = func(o Object, now time.Time) { s.Terminating(o.(T), now) }
	}
	if len(s.Fields) > 0 {
		k.Fields = func(o Object, name string) string {
			if f := s.Fields[name]; f != nil {
				return f(o.(T))
			}
			return ""
		}
		for name := range s.Fields {
			k.FieldNames = append(k.FieldNames, name)
		}
	}
	if s.Row != nil {
		k.Row = func(o Object, now time.Time) []any { return s.Row(o.(T), now) }
	}
	if s.ScaleGet != nil {
		k.Scale = &Scale{
			Get: func(o Object) (int32, int32, string) { return s.ScaleGet(o.(T)) },
			Set: func(o Object, n int32) { s.ScaleSet(o.(T), n) },
		}
	}
	if s.GracePeriod != nil {
		k.GracePeriod = func(o Object, r *int64) int64 { return s.GracePeriod(o.(T), r) }
	}
	for name, p := range s.Parts {
		if k.Parts == nil {
			k.Parts = map[string]*Part{}
		}
		verbs := p.Verbs
		if verbs == nil {
			verbs = []string{"get", "patch", "update"}
		}
		k.Parts[name] = &Part{Verbs: verbs, Settle: two(p.Settle), Validate: judge(p.Validate)}
	}
	k.own = &Version{Kind: k, GVK: k.GVK, Plural: k.Plural, New: k.New, NewList: k.NewList, GoType: k.GoType}
	for _, v := range s.Versions {
		v.Kind = k
		if v.Plural == "" {
			v.Plural = k.Plural
		}
		k.Versions = append(k.Versions, v)
	}
	return k
}

// NoWarnings are those of an update of which only the creation is worth a
// warning.
func NoWarnings[T Object](_, _ T) []string { return nil }

func one[T Object](f func(T)) func(Object) {
	if f == nil {
		return nil
	}
	return func(o Object) { f(o.(T)) }
}

func two[T Object](f func(a, b T)) func(a, b Object) {
	if f == nil {
		return nil
	}
	return func(a, b Object) { f(a.(T), b.(T)) }
}

func judge[T Object](f func(a, b T) field.ErrorList) func(a, b Object) field.ErrorList {
	if f == nil {
		return nil
	}
	return func(a, b Object) field.ErrorList { return f(a.(T), b.(T)) }
}

// GVR is the resource the kind is served as.
func (k *Kind) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: k.GVK.Group, Version: k.GVK.Version, Resource: k.Plural}
}

// GroupResource is the resource without its version, as errors name it.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.GVK.Group, Resource: k.Plural}
}

// Key is the name of an object in the cache: "namespace/name", or "name" for a
// kind without namespaces.
func (k *Kind) Key(namespace, name string) string {
	if k.Namespaced {
		return namespace + "/" + name
	}
	return name
}

// StoreKey is the object's key in the store, upstream's.
func (k *Kind) StoreKey(namespace, name string) string {
	return "/registry/" + k.Prefix + "/" + k.Key(namespace, name)
}
