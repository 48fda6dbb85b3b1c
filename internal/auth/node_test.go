package auth

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// cluster is a NodeView.
type cluster struct {
	pods        []*corev1.Pod
	claims      map[string]*corev1.PersistentVolumeClaim
	volumes     map[string]*corev1.PersistentVolume
	attachments map[string]*storagev1.VolumeAttachment
	slices      map[string]*resourcev1.ResourceSlice
}

func (c *cluster) PodsOnNode(node string) (out []*corev1.Pod) {
	for _, p := range c.pods {
		if p.Spec.NodeName == node {
			out = append(out, p)
		}
	}
	return out
}

func (c *cluster) Pod(namespace, name string) *corev1.Pod {
	for _, p := range c.pods {
		if p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return nil
}

func (c *cluster) PersistentVolumeClaim(namespace, name string) *corev1.PersistentVolumeClaim {
	return c.claims[namespace+"/"+name]
}
func (c *cluster) PersistentVolume(name string) *corev1.PersistentVolume { return c.volumes[name] }
func (c *cluster) VolumeAttachment(name string) *storagev1.VolumeAttachment {
	return c.attachments[name]
}
func (c *cluster) ResourceSlice(name string) *resourcev1.ResourceSlice { return c.slices[name] }

func local(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func kubelet(node string) user.Info {
	return person("system:node:"+node, user.NodesGroup)
}

func newCluster() *cluster {
	one, generated := "one", "web-gpu-x7"
	web := &corev1.Pod{ObjectMeta: objectMeta("n", "web", "u"), Spec: corev1.PodSpec{
		NodeName: "one", ServiceAccountName: "app",
		ImagePullSecrets: []corev1.LocalObjectReference{local("pull")},
		InitContainers:   []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local("init-env")}}}}},
		Containers: []corev1.Container{{
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("all-env")}}},
			Env: []corev1.EnvVar{
				{Name: "PLAIN", Value: "x"},
				{Name: "A", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local("one-env")}}},
				{Name: "B", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local("one-map")}}},
			},
		}},
		Volumes: []corev1.Volume{
			{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol"}}},
			{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("vol-map")}}},
			{Name: "p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: local("projected")}}, {ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("projected-map")}}}}}},
			{Name: "d", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
			{Name: "csi", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: &corev1.LocalObjectReference{Name: "inline"}}}},
		},
		ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu"}, {Name: "fixed", ResourceClaimName: &one}},
	}, Status: corev1.PodStatus{ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{Name: "gpu", ResourceClaimName: &generated}}}}
	mirror := &corev1.Pod{ObjectMeta: objectMeta("kube-system", "static-one", "u"), Spec: corev1.PodSpec{NodeName: "one",
		Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "crown"}}}}}}
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	elsewhere := &corev1.Pod{ObjectMeta: objectMeta("n", "far", "u"), Spec: corev1.PodSpec{NodeName: "two", ServiceAccountName: "far"}}
	return &cluster{
		pods: []*corev1.Pod{web, mirror, elsewhere},
		claims: map[string]*corev1.PersistentVolumeClaim{
			"n/data": {ObjectMeta: objectMeta("n", "data", "u"), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1"}},
		},
		volumes: map[string]*corev1.PersistentVolume{
			"pv-1": {Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "n", Name: "data"}, PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				NodeStageSecretRef:         &corev1.SecretReference{Namespace: "storage", Name: "stage"},
				ControllerPublishSecretRef: &corev1.SecretReference{Namespace: "storage", Name: "controller"},
			}}}},
			"pv-2": {Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "n", Name: "other"}}},
			"pv-3": {},
		},
		attachments: map[string]*storagev1.VolumeAttachment{"va-1": {Spec: storagev1.VolumeAttachmentSpec{NodeName: "one"}}},
		slices:      map[string]*resourcev1.ResourceSlice{"slice-1": {Spec: resourcev1.ResourceSliceSpec{NodeName: &one}}},
	}
}

func TestNodeAuthorizer(t *testing.T) {
	const none = "no relationship found between node 'one' and this object"
	tests := []struct {
		question string
		reason   string // "allow", or why not
	}{
		{"get secrets n/pull", "allow"}, {"get secrets n/init-env", "allow"}, {"watch secrets n/one-env", "allow"}, {"list secrets n/vol", "allow"},
		{"get secrets n/projected", "allow"}, {"get secrets n/inline", "allow"}, {"get secrets storage/stage", "allow"},
		{"get secrets storage/controller", none}, {"get secrets n/other", none}, {"get secrets m/vol", none}, {"get secrets kube-system/crown", none},
		{"list secrets n", "No Object name found"}, {"list secrets", "can only read namespaced object of this type"}, {"update secrets n/vol", "can only read resources of this type"},
		{"get configmaps n/all-env", "allow"}, {"get configmaps n/one-map", "allow"}, {"get configmaps n/vol-map", "allow"}, {"get configmaps n/projected-map", "allow"}, {"get configmaps n/x", none},
		{"get persistentvolumeclaims n/data", "allow"}, {"get persistentvolumeclaims n/web-scratch", "allow"}, {"patch persistentvolumeclaims/status n/data", "allow"},
		{"get persistentvolumeclaims n/x", none}, {"list persistentvolumeclaims n", "can only get individual resources of this type"}, {"get persistentvolumeclaims/status n/data", "can only get/update/patch this type"},
		{"get persistentvolumes /pv-1", "allow"}, {"get persistentvolumes /pv-2", none}, {"get persistentvolumes /pv-3", none}, {"get persistentvolumes /pv-9", none},
		{"get storage.k8s.io:volumeattachments /va-1", "allow"}, {"get storage.k8s.io:volumeattachments /va-2", none},
		{"get resource.k8s.io:resourceclaims n/web-gpu-x7", "allow"}, {"get resource.k8s.io:resourceclaims n/one", "allow"}, {"get resource.k8s.io:resourceclaims n/gpu", none},
		{"create serviceaccounts/token n/app", "allow"}, {"get serviceaccounts n/app", "allow"}, {"create serviceaccounts/token n/far", none}, {"create serviceaccounts n", "can only create tokens for individual service accounts"},
		{"get coordination.k8s.io:leases kube-node-lease/one", "allow"}, {"create coordination.k8s.io:leases kube-node-lease", "allow"},
		{"update coordination.k8s.io:leases kube-node-lease/two", "can only access node lease with the same name as the requesting node"},
		{"get coordination.k8s.io:leases kube-system/one", `can only access leases in the "kube-node-lease" system namespace`},
		{"list coordination.k8s.io:leases kube-node-lease", "can only get, create, update, patch, or delete a node lease"},
		{"update storage.k8s.io:csinodes /one", "allow"}, {"update storage.k8s.io:csinodes /two", "can only access CSINode with the same name as the requesting node"},
		{"create resource.k8s.io:resourceslices", "allow"}, {"delete resource.k8s.io:resourceslices /slice-1", "allow"}, {"delete resource.k8s.io:resourceslices /slice-2", none},
		{"list resource.k8s.io:resourceslices", "can only list/watch/deletecollection resourceslices with nodeName field selector"},
		{"get nodes /one", "allow"}, {"patch nodes/status /one", "allow"}, {"get nodes /two", "node 'one' cannot read 'two', only its own Node object"},
		{"list nodes", "node 'one' cannot read all nodes, only its own Node object"}, {"delete nodes /one", ""},
		{"get pods n/web", "allow"}, {"get pods n/far", none}, {"list pods", "can only list/watch pods with spec.nodeName field selector"},
		{"create pods n", "allow"}, {"delete pods n/web", "allow"}, {"patch pods/status n/web", "allow"}, {"create pods/eviction n/web", "allow"}, {"update pods n/web", ""},
		{"create certificates.k8s.io:certificatesigningrequests", "allow"}, {"list services", "allow"}, {"create events n", "allow"}, {"list node.k8s.io:runtimeclasses", "allow"},
		{"list apps:deployments", ""}, {"get /metrics", ""},
	}
	n := NewNodeAuthorizer(newCluster())
	for _, test := range tests {
		decision, reason, err := n.Authorize(t.Context(), ask(kubelet("one"), test.question))
		if allowed := decision == authorizer.DecisionAllow; allowed != (test.reason == "allow") || !allowed && reason != test.reason || err != nil {
			t.Errorf("%s: %v %q %v, expected %q", test.question, decision, reason, err, test.reason)
		}
	}
	for _, question := range []string{"watch pods", "deletecollection resource.k8s.io:resourceslices"} {
		for _, node := range []string{"one", "two"} {
			attrs := ask(kubelet("one"), question)
			attrs.FieldSelectorRequirements = fields.OneTermEqualSelector("spec.nodeName", node).Requirements()
			decision, _, _ := n.Authorize(t.Context(), attrs)
			if (decision == authorizer.DecisionAllow) != (node == "one") {
				t.Errorf("%s of node %s: %v", question, node, decision)
			}
		}
	}
	for _, who := range []user.Info{person("ann"), person("system:node:one"), person("ann", user.NodesGroup), person("system:node:", user.NodesGroup)} {
		if decision, _, _ := n.Authorize(t.Context(), ask(who, "list services")); decision != authorizer.DecisionNoOpinion {
			t.Errorf("%s %v is taken for a kubelet", who.GetName(), who.GetGroups())
		}
	}
}

func BenchmarkNodeAuthorizer(b *testing.B) {
	c := newCluster()
	for range 110 {
		pod := c.pods[0].DeepCopy()
		pod.Spec.ImagePullSecrets = nil
		c.pods = append(c.pods, pod)
	}
	n := NewNodeAuthorizer(c)
	attrs := ask(kubelet("one"), "get secrets n/unrelated")
	for b.Loop() {
		_, _, _ = n.Authorize(b.Context(), attrs)
	}
}
