package scheduler

import (
	"encoding/binary"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// signature is equal for pods that every node treats alike: it holds all of a
// pod that filters, scores and preemption read. The order of what is appended
// is fixed and each part says its length, so no two shapes share one.
func signature(p *podInfo) string {
	pod := p.pod
	w := writer{buf: make([]byte, 0, 512)}
	w.text(pod.Namespace)
	w.stringMap(pod.Labels)
	if c := metav1.GetControllerOfNoCopy(pod); c != nil {
		w.text(string(c.UID)) // its selector groups the pod for spreading
	} else {
		w.text("")
	}
	w.number(int64(p.priority))
	if pod.Spec.PreemptionPolicy != nil {
		w.text(string(*pod.Spec.PreemptionPolicy))
	} else {
		w.text("")
	}
	w.text(pod.Spec.NodeName)
	w.stringMap(pod.Spec.NodeSelector)
	if pod.Spec.Affinity != nil {
		w.message(pod.Spec.Affinity)
	} else {
		w.text("")
	}
	w.number(int64(len(pod.Spec.Tolerations)))
	for i := range pod.Spec.Tolerations {
		t := &pod.Spec.Tolerations[i]
		w.text(t.Key)
		w.text(string(t.Operator))
		w.text(t.Value)
		w.text(string(t.Effect))
	}
	w.number(int64(len(pod.Spec.TopologySpreadConstraints)))
	for i := range pod.Spec.TopologySpreadConstraints {
		w.message(&pod.Spec.TopologySpreadConstraints[i])
	}
	w.resources(&p.requests)
	w.number(p.scoredCPU)
	w.number(p.scoredMem)
	w.number(int64(len(p.ports)))
	for _, hp := range p.ports {
		w.text(hp.ip)
		w.text(string(hp.protocol))
		w.number(int64(hp.port))
	}
	images := podImages(pod)
	w.number(int64(len(images)))
	for _, name := range images {
		w.text(name)
	}
	w.text(preflight(pod))
	return string(w.buf)
}

// podImages lists the images a node would need, as the manifest names them.
func podImages(pod *corev1.Pod) []string {
	var out []string
	for i := range pod.Spec.InitContainers {
		out = append(out, pod.Spec.InitContainers[i].Image)
	}
	for i := range pod.Spec.Containers {
		out = append(out, pod.Spec.Containers[i].Image)
	}
	for i := range pod.Spec.Volumes {
		if im := pod.Spec.Volumes[i].Image; im != nil {
			out = append(out, im.Reference)
		}
	}
	return out
}

type writer struct{ buf []byte }

func (w *writer) number(n int64) { w.buf = binary.AppendVarint(w.buf, n) }

func (w *writer) text(s string) {
	w.number(int64(len(s)))
	w.buf = append(w.buf, s...)
}

func (w *writer) stringMap(m map[string]string) {
	w.number(int64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.text(k)
		w.text(m[k])
	}
}

func (w *writer) resources(r *resources) {
	w.number(r.milliCPU)
	w.number(r.memory)
	w.number(r.ephemeral)
	w.number(int64(len(r.scalars)))
	for _, k := range slices.Sorted(maps.Keys(r.scalars)) {
		w.text(string(k))
		w.number(r.scalars[k])
	}
}

func (w *writer) message(m interface{ Marshal() ([]byte, error) }) {
	b, err := m.Marshal()
	if err != nil {
		panic(err) // a message in memory always has an encoding
	}
	w.text(string(b))
}
