package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	apimeta "github.com/monohull/monohull/internal/api/meta"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/store"
)

const (
	nameAlphabet   = "bcdfghjklmnpqrstvwxz2456789"
	nameSuffix     = 5
	maxBaseName    = 63 - nameSuffix
	maxNameRetries = 8
)

// Create implements client.Writer.
func (p *Pipeline) Create(ctx context.Context, r client.Request, obj api.Object) (*cache.Item, error) {
	if err := p.authorize(ctx, r, "create"); err != nil {
		return nil, err
	}
	if r.Subresource != "" {
		return p.createSubresource(ctx, r, obj)
	}
	return p.create(ctx, r, obj, true)
}

// create stores a new object. track says that its fields are those of the
// request's manager; what was applied comes with its own.
func (p *Pipeline) create(ctx context.Context, r client.Request, obj api.Object, track bool) (*cache.Item, error) {
	if err := place(r, obj); err != nil {
		return nil, err
	}
	if obj.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	base := ""
	if obj.GetName() == "" {
		base = obj.GetGenerateName()
	}
	for try := 0; ; try++ {
		attempt := obj
		if base != "" {
			if try < maxNameRetries {
				attempt = obj.DeepCopyObject().(api.Object)
			}
			attempt.SetName(generateName(base))
			r.Name = attempt.GetName()
		}
		it, err := p.createNamed(ctx, r, attempt, track, base != "")
		if base != "" && errors.Is(err, store.ErrExists) && try < maxNameRetries {
			continue
		}
		if base != "" && errors.Is(err, store.ErrExists) {
			err = apierrors.NewGenerateNameConflict(r.Kind.GroupResource(), r.Name, 1)
		}
		return it, storeError(r, err)
	}
}

func (p *Pipeline) createNamed(ctx context.Context, r client.Request, obj api.Object, track, generated bool) (*cache.Item, error) {
	k := r.Kind
	if r.Name == "" {
		r.Name = obj.GetName()
	}
	obj.GetObjectKind().SetGroupVersionKind(noKind)
	obj.SetUID(types.UID(uuid.NewString()))
	obj.SetCreationTimestamp(metav1.NewTime(p.Clock.Now().Truncate(time.Second)))
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	if k.Stamp != nil {
		k.Stamp(obj, r.User)
	}
	if k.Default != nil {
		k.Default(obj)
	}
	if track {
		p.Fields.Update(p.tracking(r), nil, obj)
	}
	entries := obj.GetManagedFields()
	a := p.attributes(r, admission.Create, obj, nil)
	a.Generated = generated
	kept := false
	defer func() { a.Outcome.Tell(kept) }()
	if err := p.admit(ctx, a, false); err != nil {
		return nil, err
	}
	keepValid(r, obj, entries)
	if k.ClearStatus != nil && !k.StatusOnCreate {
		k.ClearStatus(obj)
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	if k.Date != nil {
		k.Date(obj, nil, p.Clock.Now())
	}
	// what is taken for an object that is not stored after all is given back
	grant, err := p.Services.allocate(k, obj, nil)
	if err != nil {
		return nil, err
	}
	stored := false
	defer func() {
		if !stored {
			grant.undo()
		}
	}()
	validate := k.Validate
	if v := versionOf(r).Validate; v != nil {
		validate = v
	}
	var errs field.ErrorList
	if validate != nil {
		errs = validate(obj)
	}
	if len(errs) == 0 {
		errs = apimeta.Common(obj, k.Namespaced)
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(k.GVK.GroupKind(), obj.GetName(), errs)
	}
	p.warn(r, obj, nil)
	if err := p.admit(ctx, a, true); err != nil {
		return nil, err
	}
	if p.Roles != nil {
		if err := p.Roles.Check(ctx, r.User, obj, nil); err != nil {
			return nil, err
		}
	}
	if r.DryRun {
		if p.current(r) != nil {
			return nil, store.ErrExists
		}
		return &cache.Item{Kind: k, Obj: obj}, nil
	}
	value, err := k.EncodeStored(obj)
	if err != nil {
		return nil, err
	}
	it, err := p.putTracked(ctx, r, obj, value, track, func(key string, value []byte) (int64, error) { return p.Store.Create(ctx, key, value) })
	kept, stored = err == nil, err == nil || uncertain(err)
	return it, err
}

// uncertain tells whether a write that failed may have happened all the same:
// then what it took stays taken, rather than be given twice.
func uncertain(err error) bool {
	var c *store.Conflict
	return err != nil && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrTooLarge) && !errors.As(err, &c)
}

// place checks that the object says the same namespace and name as the request
// and fills in what it leaves out.
func place(r client.Request, obj api.Object) error {
	switch {
	case !r.Kind.Namespaced:
		obj.SetNamespace("")
	case obj.GetNamespace() == "":
		obj.SetNamespace(r.Namespace)
	case obj.GetNamespace() != r.Namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if r.Name != "" && obj.GetName() != "" && obj.GetName() != r.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), r.Name))
	}
	if r.Name != "" && obj.GetName() == "" && r.Subresource == "" && obj.GetGenerateName() == "" {
		obj.SetName(r.Name)
	}
	return nil
}

func generateName(base string) string {
	if len(base) > maxBaseName {
		base = base[:maxBaseName]
	}
	b := []byte(base)
	for range nameSuffix {
		b = append(b, nameAlphabet[rand.IntN(len(nameAlphabet))])
	}
	return string(b)
}

func methodNotAllowed(r client.Request, action string) error {
	resource := r.Kind.GroupResource()
	if r.Subresource != "" {
		resource.Resource += "/" + r.Subresource
	}
	err := apierrors.NewMethodNotSupported(resource, action)
	err.ErrStatus.Code = http.StatusMethodNotAllowed
	return err
}
