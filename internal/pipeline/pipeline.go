// Package pipeline is the one way to write: every creation, change and
// deletion of an object, from HTTP or from within, takes the same steps.
//
//	authorize → default → track fields → mutating admission → prepare → validate →
//	validating admission → allocate → encode → transact → wait for the cache
//
// A write is refused whole or stored whole. Where the caller gave no resource
// version, a conflict is answered by another attempt on the newer object.
// Errors are apierrors.APIStatus, in upstream's words.
//
// Files are verbs (create, update, patch, delete) and subresources (binding,
// eviction, scale, …). What differs by kind lives in the kind's row of
// internal/api; what needs the cluster's state lives here or in admission.
//
// Tests run on store.Memory with the real cache.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/schema/apply"
	"github.com/monohull/monohull/internal/store"
)

// maxAttempts bounds the retries of a write that named no resource version.
const maxAttempts = 30

// Config is what a pipeline is made of.
type Config struct {
	Table      *api.Table
	Store      store.Store
	Caches     *cache.Set
	Authorizer authorizer.Authorizer
	Admission  []admission.Plugin
	Services   *Allocator
	Tokens     *auth.TokenIssuer
	Roles      RoleGuard
	Fields     *apply.Manager // nil makes one for the table
	Clock      clock.PassiveClock
	Logger     *slog.Logger
}

// RoleGuard refuses RBAC objects that would grant their writer more than it
// has.
type RoleGuard interface {
	// Check judges a role or binding about to be written; old is nil at creation.
	Check(ctx context.Context, u user.Info, obj, old api.Object) error
}

// Pipeline implements client.Writer.
type Pipeline struct {
	Config
}

var _ client.Writer = (*Pipeline)(nil)

// New makes a pipeline.
func New(c Config) *Pipeline {
	if c.Fields == nil {
		c.Fields = apply.New(c.Table, nil)
	}
	return &Pipeline{Config: c}
}

// current reads the object a request names, from the cache.
func (p *Pipeline) current(r client.Request) *cache.Item {
	return p.Caches.Of(r.Kind).Get(r.Kind.Key(r.Namespace, r.Name))
}

func notFound(r client.Request) error {
	return apierrors.NewNotFound(r.Kind.GroupResource(), r.Name)
}

// authorize asks whether the request's user may do verb.
func (p *Pipeline) authorize(ctx context.Context, r client.Request, verb string) error {
	return auth.Check(ctx, p.Authorizer, Attributes(r, verb))
}

// Attributes describes a request to the authorizer.
func Attributes(r client.Request, verb string) authorizer.AttributesRecord {
	a := authorizer.AttributesRecord{
		User: r.User, Verb: verb, Namespace: r.Namespace, APIGroup: versionOf(r).GVK.Group, APIVersion: versionOf(r).GVK.Version,
		Resource: versionOf(r).Plural, Subresource: r.Subresource, Name: r.Name, ResourceRequest: true,
	}
	if r.Kind.Plural == "namespaces" && r.Kind.GVK.Group == "" {
		a.Namespace = r.Name
	}
	return a
}

// versionOf is the version the caller speaks.
func versionOf(r client.Request) *api.Version {
	if r.Version != nil {
		return r.Version
	}
	return r.Kind.Own()
}

// put stores a new value and returns the item once the caches have it.
func (p *Pipeline) put(ctx context.Context, k *api.Kind, obj api.Object, value []byte, write func(key string) (int64, error)) (*cache.Item, error) {
	key := k.StoreKey(obj.GetNamespace(), obj.GetName())
	exp := p.Caches.Expect(key, value, obj)
	rev, err := write(key)
	if err != nil {
		exp.Cancel()
		return nil, err
	}
	return exp.Wait(ctx, p.Caches.Of(k), rev)
}

// storeError turns what the store says into what a client is told.
func storeError(r client.Request, err error) error {
	var st apierrors.APIStatus
	switch {
	case err == nil, errors.As(err, &st):
		return err
	case errors.Is(err, store.ErrExists):
		return apierrors.NewAlreadyExists(r.Kind.GroupResource(), r.Name)
	case errors.Is(err, store.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError("etcdserver: request is too large")
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("the server did not finish the write in time; it may have happened", 0)
	}
	return apierrors.NewInternalError(err)
}

func conflict(r client.Request) error {
	return apierrors.NewConflict(r.Kind.GroupResource(), r.Name, errors.New(optimisticLock))
}

const optimisticLock = "the object has been modified; please apply your changes to the latest version and try again"

// parseRevision reads the resource version of a written object; "" and "0" are
// none.
func parseRevision(r client.Request, v string) (int64, error) {
	if v == "" || v == "0" {
		return 0, nil
	}
	rev, err := strconv.ParseInt(v, 10, 64)
	if err != nil || rev < 0 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q: %v", v, err))
	}
	return rev, nil
}

func (p *Pipeline) admit(ctx context.Context, a *admission.Attributes, validate bool) error {
	if validate {
		return admission.Validate(ctx, p.Admission, a)
	}
	return admission.Mutate(ctx, p.Admission, a)
}

// Connect takes the opening of a connection through admission.
func (p *Pipeline) Connect(ctx context.Context, r client.Request) error {
	return p.admitBoth(ctx, p.attributes(r, admission.Connect, nil, nil))
}

// admitBoth takes what is not stored itself through both passes: the body of a
// subresource, a deletion.
func (p *Pipeline) admitBoth(ctx context.Context, a *admission.Attributes) error {
	if err := p.admit(ctx, a, false); err != nil {
		return err
	}
	return p.admit(ctx, a, true)
}

func (p *Pipeline) attributes(r client.Request, op admission.Operation, obj, old api.Object) *admission.Attributes {
	return &admission.Attributes{
		User: r.User, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Subresource: r.Subresource,
		Operation: op, Object: obj, Old: old, Warn: r.Warn, DryRun: r.DryRun, Requested: versionOf(r).GVR(), Outcome: &admission.Outcome{},
		Audit: r.Audit,
	}
}

// warn tells the client what is doubtful in what it wrote; old is nil at
// creation.
func (p *Pipeline) warn(r client.Request, obj, old api.Object) {
	if r.Warn == nil {
		return
	}
	var list []string
	switch k := r.Kind; {
	case r.Subresource == "status":
		if k.StatusWarnings != nil {
			list = k.StatusWarnings(obj)
		}
	case r.Subresource != "":
	case old != nil && k.UpdateWarnings != nil:
		list = k.UpdateWarnings(obj, old)
	case k.Warnings != nil:
		list = k.Warnings(obj)
	}
	for _, w := range list {
		r.Warn(w)
	}
}

// allowAll serves writes that another right has already allowed.
type allowAll struct{}

func (allowAll) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}
