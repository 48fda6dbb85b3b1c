package oracle

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serveroptions "k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	apiservicestore "k8s.io/kube-aggregator/pkg/registry/apiservice/etcd"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	coreapi "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/controlplane"
	"k8s.io/kubernetes/pkg/kubeapiserver"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
	admissionregistrationrest "k8s.io/kubernetes/pkg/registry/admissionregistration/rest"
	apiserverinternalrest "k8s.io/kubernetes/pkg/registry/apiserverinternal/rest"
	appsrest "k8s.io/kubernetes/pkg/registry/apps/rest"
	authenticationrest "k8s.io/kubernetes/pkg/registry/authentication/rest"
	authorizationrest "k8s.io/kubernetes/pkg/registry/authorization/rest"
	autoscalingrest "k8s.io/kubernetes/pkg/registry/autoscaling/rest"
	batchrest "k8s.io/kubernetes/pkg/registry/batch/rest"
	certificatesrest "k8s.io/kubernetes/pkg/registry/certificates/rest"
	coordinationrest "k8s.io/kubernetes/pkg/registry/coordination/rest"
	"k8s.io/kubernetes/pkg/registry/core/componentstatus"
	endpointsstore "k8s.io/kubernetes/pkg/registry/core/endpoint/storage"
	limitrangestore "k8s.io/kubernetes/pkg/registry/core/limitrange/storage"
	nodestore "k8s.io/kubernetes/pkg/registry/core/node/storage"
	pvstore "k8s.io/kubernetes/pkg/registry/core/persistentvolume/storage"
	pvcstore "k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim/storage"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	podtemplatestore "k8s.io/kubernetes/pkg/registry/core/podtemplate/storage"
	controllerstore "k8s.io/kubernetes/pkg/registry/core/replicationcontroller/storage"
	corerest "k8s.io/kubernetes/pkg/registry/core/rest"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	servicestore "k8s.io/kubernetes/pkg/registry/core/service/storage"
	serviceaccountstore "k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage"
	discoveryrest "k8s.io/kubernetes/pkg/registry/discovery/rest"
	eventsrest "k8s.io/kubernetes/pkg/registry/events/rest"
	flowcontrolrest "k8s.io/kubernetes/pkg/registry/flowcontrol/rest"
	networkingrest "k8s.io/kubernetes/pkg/registry/networking/rest"
	noderest "k8s.io/kubernetes/pkg/registry/node/rest"
	policyrest "k8s.io/kubernetes/pkg/registry/policy/rest"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	resourcerest "k8s.io/kubernetes/pkg/registry/resource/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
	storagerest "k8s.io/kubernetes/pkg/registry/storage/rest"
	svmrest "k8s.io/kubernetes/pkg/registry/storagemigration/rest"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// Upstream is every resource a default kube-apiserver serves.
type Upstream struct {
	Resources map[schema.GroupVersionResource]*Resource
	config    *serverstorage.ResourceConfig
	held      *holder
}

// Resource is one resource with the storage behind it.
type Resource struct {
	GVR     schema.GroupVersionResource
	Scheme  *runtime.Scheme
	Storage rest.Storage
	Store   *registry.Store         // nil for a resource that is not stored
	Subs    map[string]rest.Storage // by the name of the subresource

	held *holder
}

// upstream is built once: it costs a second.
var upstream = sync.OnceValues(buildUpstream)

func buildUpstream() (*Upstream, error) {
	capabilities.Setup(true, 0)
	config := controlplane.DefaultAPIResourceConfigSource()
	config.EnableVersions(apiextensionsv1.SchemeGroupVersion, apiregistrationv1.SchemeGroupVersion)
	u := &Upstream{Resources: map[schema.GroupVersionResource]*Resource{}, config: config}
	getter, err := newOptions(config)
	if err != nil {
		return nil, err
	}
	u.held = getter.held
	if err := u.addCore(getter); err != nil {
		return nil, fmt.Errorf("building the core group: %w", err)
	}
	offline := &restclient.Config{Host: "http://127.0.0.1:1"}
	clients, err := kubernetes.NewForConfig(offline)
	if err != nil {
		return nil, err
	}
	all := authorizerfactory.NewAlwaysAllowAuthorizer()
	for _, p := range []interface {
		GroupName() string
		NewRESTStorage(serverstorage.APIResourceConfigSource, generic.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error)
	}{
		apiserverinternalrest.StorageProvider{},
		authenticationrest.RESTStorageProvider{Authenticator: nobody{}},
		authorizationrest.RESTStorageProvider{Authorizer: all, RuleResolver: all},
		autoscalingrest.RESTStorageProvider{},
		batchrest.RESTStorageProvider{},
		certificatesrest.RESTStorageProvider{Authorizer: all},
		coordinationrest.RESTStorageProvider{},
		discoveryrest.StorageProvider{},
		networkingrest.RESTStorageProvider{},
		noderest.RESTStorageProvider{},
		policyrest.RESTStorageProvider{},
		rbacrest.RESTStorageProvider{Authorizer: all},
		schedulingrest.RESTStorageProvider{},
		storagerest.RESTStorageProvider{},
		svmrest.RESTStorageProvider{},
		flowcontrolrest.RESTStorageProvider{InformerFactory: informers.NewSharedInformerFactory(clients, 0)},
		appsrest.StorageProvider{},
		admissionregistrationrest.RESTStorageProvider{DiscoveryClient: clients.Discovery()},
		eventsrest.RESTStorageProvider{TTL: time.Hour},
		resourcerest.RESTStorageProvider{NamespaceClient: adminNamespaces{}, Authorizer: all},
	} {
		info, err := p.NewRESTStorage(config, getter)
		if err != nil {
			return nil, fmt.Errorf("building the group %s: %w", p.GroupName(), err)
		}
		for version, resources := range info.VersionedResourcesStorageMap {
			u.add(schema.GroupVersion{Group: p.GroupName(), Version: version}, legacyscheme.Scheme, resources)
		}
	}
	crds, err := customresourcedefinition.NewREST(apiextensionsserver.Scheme, getter)
	if err != nil {
		return nil, err
	}
	u.add(apiextensionsv1.SchemeGroupVersion, apiextensionsserver.Scheme, map[string]rest.Storage{
		"customresourcedefinitions":        crds,
		"customresourcedefinitions/status": customresourcedefinition.NewStatusREST(apiextensionsserver.Scheme, crds),
	})
	services := apiservicestore.NewREST(aggregatorscheme.Scheme, getter)
	u.add(apiregistrationv1.SchemeGroupVersion, aggregatorscheme.Scheme, map[string]rest.Storage{
		"apiservices":        services,
		"apiservices/status": apiservicestore.NewStatusREST(aggregatorscheme.Scheme, services),
	})
	return u, nil
}

// addCore builds the core group by hand: upstream's own provider would ask etcd
// for its allocators.
func (u *Upstream) addCore(getter generic.RESTOptionsGetter) error {
	factory := getter.(*options).StorageFactory
	generic := corerest.GenericConfig{StorageFactory: factory, EventTTL: time.Hour, ServiceAccountIssuer: noTokens{}}
	info, err := generic.NewRESTStorage(u.config, getter)
	if err != nil {
		return err
	}
	out := info.VersionedResourcesStorageMap["v1"]
	templates, err := podtemplatestore.NewREST(getter)
	if err != nil {
		return err
	}
	limits, err := limitrangestore.NewREST(getter)
	if err != nil {
		return err
	}
	pv, pvStatus, err := pvstore.NewREST(getter)
	if err != nil {
		return err
	}
	pvc, pvcStatus, err := pvcstore.NewREST(getter)
	if err != nil {
		return err
	}
	endpoints, err := endpointsstore.NewREST(getter)
	if err != nil {
		return err
	}
	nodes, err := nodestore.NewStorage(getter, kubeletclient.KubeletClientConfig{Port: 10250, PreferredAddressTypes: []string{"InternalIP"}}, http.DefaultTransport)
	if err != nil {
		return err
	}
	pods, err := podstore.NewStorage(getter, nodes.KubeletConnectionInfo, http.DefaultTransport, nil, authorizerfactory.NewAlwaysAllowAuthorizer())
	if err != nil {
		return err
	}
	svc, svcStatus, svcProxy, err := servicestore.NewREST(getter, coreapi.IPv4Protocol, map[coreapi.IPFamily]ipallocator.Interface{}, nil, endpoints, pods.Pod, http.DefaultTransport)
	if err != nil {
		return err
	}
	controllers, err := controllerstore.NewStorage(getter)
	if err != nil {
		return err
	}
	accounts, err := serviceaccountstore.NewREST(getter, noTokens{}, nil, time.Hour, pods.Pod.Store, out["secrets"].(rest.Getter), nodes.Node.Store, true, time.Hour)
	if err != nil {
		return err
	}
	for name, s := range map[string]rest.Storage{
		"bindings": pods.LegacyBinding, "pods": pods.Pod, "pods/status": pods.Status, "pods/binding": pods.Binding, "pods/eviction": pods.Eviction,
		"pods/ephemeralcontainers": pods.EphemeralContainers, "pods/resize": pods.Resize, "pods/log": pods.Log, "pods/proxy": pods.Proxy,
		"pods/exec": pods.Exec, "pods/attach": pods.Attach, "pods/portforward": pods.PortForward,
		"podtemplates": templates, "limitranges": limits, "endpoints": endpoints,
		"replicationcontrollers": controllers.Controller, "replicationcontrollers/status": controllers.Status, "replicationcontrollers/scale": controllers.Scale,
		"persistentvolumes": pv, "persistentvolumes/status": pvStatus, "persistentvolumeclaims": pvc, "persistentvolumeclaims/status": pvcStatus,
		"nodes": nodes.Node, "nodes/status": nodes.Status, "nodes/proxy": nodes.Proxy,
		"services": svc, "services/status": svcStatus, "services/proxy": svcProxy,
		"serviceaccounts": accounts, "serviceaccounts/token": accounts.Token,
		"componentstatuses": componentstatus.NewStorage(func() map[string]componentstatus.Server { return nil }),
	} {
		out[name] = s
	}
	u.add(schema.GroupVersion{Version: "v1"}, legacyscheme.Scheme, out)
	return nil
}

func (u *Upstream) add(gv schema.GroupVersion, s *runtime.Scheme, storages map[string]rest.Storage) {
	at := func(name string) *Resource {
		gvr := gv.WithResource(name)
		if u.Resources[gvr] == nil {
			u.Resources[gvr] = &Resource{GVR: gvr, Scheme: s, Subs: map[string]rest.Storage{}, held: u.held}
		}
		return u.Resources[gvr]
	}
	for path, st := range storages {
		name, sub, _ := strings.Cut(path, "/")
		r := at(name)
		if sub != "" {
			r.Subs[sub] = st
			continue
		}
		r.Storage, r.Store = st, storeOf(st)
	}
}

// storeOf digs the generic store out of a storage, which keeps it in a field of
// its own, mostly unexported; nil where there is none.
func storeOf(s rest.Storage) *registry.Store {
	if st, ok := s.(*registry.Store); ok {
		return st
	}
	v := reflect.ValueOf(s)
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || !v.CanAddr() {
		return nil
	}
	want := reflect.TypeFor[*registry.Store]()
	for i := range v.NumField() {
		f := v.Field(i)
		f = reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
		if f.Type() == want {
			return f.Interface().(*registry.Store)
		}
		if (f.Kind() == reflect.Pointer || f.Kind() == reflect.Interface) && !f.IsNil() {
			st, ok := f.Interface().(rest.Storage)
			if !ok {
				continue
			}
			if found := storeOf(st); found != nil {
				return found
			}
		}
	}
	return nil
}

// options gives every storage a store with nothing in it but what is held.
type options struct {
	StorageFactory *serverstorage.DefaultStorageFactory
	held           *holder
}

func newOptions(config *serverstorage.ResourceConfig) (*options, error) {
	c := kubeapiserver.NewStorageFactoryConfig()
	c.APIResourceConfig = config
	f, err := c.Complete(serveroptions.NewEtcdOptions(storagebackend.NewDefaultConfig("/registry", nil))).New()
	if err != nil {
		return nil, fmt.Errorf("building the storage factory: %w", err)
	}
	return &options{f, &holder{}}, nil
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o *options) GetRESTOptions(r schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	prefix := o.StorageFactory.ResourcePrefix(r)
	if r.Group == apiextensionsv1.GroupName || r.Group == apiregistrationv1.SchemeGroupVersion.Group {
		prefix = r.Group + "/" + r.Resource // servers of their own, which know no factory
	}
	return generic.RESTOptions{
		StorageConfig:  &storagebackend.ConfigForResource{GroupResource: r},
		ResourcePrefix: prefix,
		Decorator: func(*storagebackend.ConfigForResource, string, func(runtime.Object) (string, error), func() runtime.Object, func() runtime.Object,
			storage.AttrFunc, storage.IndexerFuncs, *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
			return empty{held: o.held}, func() {}, nil
		},
	}, nil
}

// empty is a store with nothing in it. Only strategies that look up what an
// object names ask it, and storages that show an object otherwise, which is then
// held.
type empty struct {
	storage.Interface
	held *holder
}

// holder has the object that is found under any name, in upstream's own type.
type holder struct{ obj runtime.Object }

func (e empty) Get(_ context.Context, key string, _ storage.GetOptions, into runtime.Object) error {
	if e.held.obj == nil || reflect.TypeOf(e.held.obj) != reflect.TypeOf(into) {
		return storage.NewKeyNotFoundError(key, 0)
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(e.held.obj.DeepCopyObject()).Elem())
	return nil
}

type nobody struct{}

func (nobody) AuthenticateRequest(*http.Request) (*authenticator.Response, bool, error) {
	return nil, false, nil
}

type noTokens struct{ serviceaccount.TokenGenerator }

// adminNamespaces lets every claim ask for admin access: whether a namespace
// does is not the row's to judge.
type adminNamespaces struct{ typedcorev1.NamespaceInterface }

func (adminNamespaces) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"resource.kubernetes.io/admin-access": "true"}}}, nil
}
