package static

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsjson "sigs.k8s.io/json"

	"github.com/monohull/monohull/internal/api"
)

// Annotations of static pods and their mirrors, upstream's.
const (
	AnnotationHash   = "kubernetes.io/config.hash"
	AnnotationMirror = corev1.MirrorPodAnnotationKey
	AnnotationSource = "kubernetes.io/config.source"
	AnnotationSeen   = "kubernetes.io/config.seen"
)

// Where pods come from, as AnnotationSource says it.
const (
	FromFile = "file"
	FromHTTP = "http"
)

// IsStatic tells a pod that did not come from the API.
func IsStatic(pod *corev1.Pod) bool {
	source, ok := pod.Annotations[AnnotationSource]
	return ok && source != "api"
}

// IsMirror tells the API's picture of a static pod.
func IsMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[AnnotationMirror]
	return ok
}

// IsMirrorOf tells whether a pod of the API is the picture of a static one as it is now.
func IsMirrorOf(mirror, pod *corev1.Pod) bool {
	return mirror.Namespace == pod.Namespace && mirror.Name == pod.Name && mirror.Annotations[AnnotationMirror] == pod.Annotations[AnnotationHash]
}

// Mirror is what stands for a static pod in the API.
func Mirror(pod *corev1.Pod, node *corev1.Node) *corev1.Pod {
	m := pod.DeepCopy()
	m.UID, m.ResourceVersion, m.Status = "", "", corev1.PodStatus{}
	m.Annotations[AnnotationMirror] = pod.Annotations[AnnotationHash]
	controller := true
	m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &controller}}
	return m
}

// Decoder makes pods of what was read.
type Decoder struct {
	Node string
	// Kind is the row of pods: its defaults and rules hold for these, too.
	Kind *api.Kind
}

// Decode reads one pod, or a list of them where list says that may be.
func (d Decoder) Decode(data []byte, source, origin string, list bool, now time.Time) ([]*corev1.Pod, error) {
	js, err := yaml.ToJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%v: couldn't parse as pod(%w), please check config file", origin, err)
	}
	var head metav1.TypeMeta
	if err := sigsjson.UnmarshalCaseSensitivePreserveInts(js, &head); err != nil {
		return nil, fmt.Errorf("%v: couldn't parse as pod(%w), please check config file", origin, err)
	}
	var pods []*corev1.Pod
	switch {
	case head.APIVersion != "v1" || head.Kind != "Pod" && !(list && (head.Kind == "PodList" || head.Kind == "List")):
		return nil, fmt.Errorf("%v: couldn't parse as pod(invalid pod: it is a %s of %s), please check config file", origin, head.Kind, head.APIVersion)
	case head.Kind == "Pod":
		p := &corev1.Pod{}
		if err := sigsjson.UnmarshalCaseSensitivePreserveInts(js, p); err != nil {
			return nil, fmt.Errorf("%v: couldn't parse as pod(%w), please check config file", origin, err)
		}
		pods = append(pods, p)
	default:
		l := &corev1.PodList{}
		if err := sigsjson.UnmarshalCaseSensitivePreserveInts(js, l); err != nil {
			return nil, fmt.Errorf("%v: couldn't parse as a list of pods: %w", origin, err)
		}
		for i := range l.Items {
			pods = append(pods, &l.Items[i])
		}
	}
	for _, p := range pods {
		if err := d.complete(p, source, origin, now); err != nil {
			return nil, fmt.Errorf("%v: %w", origin, err)
		}
	}
	return pods, nil
}

func (d Decoder) complete(p *corev1.Pod, source, origin string, now time.Time) error {
	if p.Name == "" {
		return errors.New("invalid pod: name is needed for the pod")
	}
	p.Kind, p.APIVersion = "", ""
	if p.UID == "" {
		body, err := api.EncodeJSON(p)
		if err != nil {
			return fmt.Errorf("invalid pod: %w", err)
		}
		h := sha256.New()
		h.Write(body)
		if source == FromFile {
			fmt.Fprintf(h, "host:%s", d.Node)
		}
		fmt.Fprintf(h, "%s:%s", source, origin)
		p.UID = types.UID(hex.EncodeToString(h.Sum(nil)[:16]))
	}
	p.Name += "-" + strings.ToLower(d.Node)
	if p.Namespace == "" {
		p.Namespace = metav1.NamespaceDefault
	}
	p.Spec.NodeName = d.Node
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[AnnotationHash] = string(p.UID)
	p.Annotations[AnnotationSource] = source
	p.Annotations[AnnotationSeen] = now.Format(time.RFC3339Nano)
	p.CreationTimestamp = metav1.NewTime(now).Rfc3339Copy()
	if source == FromFile {
		all := corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
		if !slices.Contains(p.Spec.Tolerations, all) {
			p.Spec.Tolerations = append(p.Spec.Tolerations, all)
		}
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodPending}
	if d.Kind.Default != nil {
		d.Kind.Default(p)
	}
	if d.Kind.Validate != nil {
		if errs := d.Kind.Validate(p); len(errs) > 0 {
			return fmt.Errorf("invalid pod: %v", errs)
		}
	}
	if r := needs(p); r != "" {
		return fmt.Errorf("static pods may not reference %s", r)
	}
	return nil
}

// needs names what of the API a pod cannot do without; "" is nothing.
func needs(p *corev1.Pod) string {
	if p.Spec.ServiceAccountName != "" {
		return "serviceaccounts"
	}
	secrets, maps := len(p.Spec.ImagePullSecrets) > 0, false
	for _, l := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range l {
			for _, e := range l[i].EnvFrom {
				secrets, maps = secrets || e.SecretRef != nil, maps || e.ConfigMapRef != nil
			}
			for _, e := range l[i].Env {
				if f := e.ValueFrom; f != nil {
					secrets, maps = secrets || f.SecretKeyRef != nil, maps || f.ConfigMapKeyRef != nil
				}
			}
		}
	}
	for _, v := range p.Spec.Volumes {
		secrets = secrets || v.Secret != nil && v.Secret.SecretName != ""
		maps = maps || v.ConfigMap != nil
	}
	switch {
	case secrets:
		return "secrets"
	case maps:
		return "configmaps"
	case len(p.Spec.ResourceClaims) > 0:
		return "resourceclaims"
	}
	for _, v := range p.Spec.Volumes {
		switch {
		case v.CSI != nil:
			return "csidrivers (via CSI volumes)"
		case v.Glusterfs != nil:
			return "endpoints (via glusterFS volumes)"
		case v.PersistentVolumeClaim != nil:
			return "persistentvolumeclaims"
		case v.Ephemeral != nil:
			return "persistentvolumeclaims (via ephemeral volumes)"
		case v.AzureFile != nil:
			return "secrets (via azureFile volumes)"
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				switch {
				case s.ConfigMap != nil:
					return "configmaps (via projected volumes)"
				case s.Secret != nil:
					return "secrets (via projected volumes)"
				case s.ServiceAccountToken != nil:
					return "serviceaccounts (via projected volumes)"
				case s.ClusterTrustBundle != nil:
					return "clustertrustbundles"
				case s.PodCertificate != nil:
					return "podcertificates"
				}
			}
		}
	}
	return ""
}
