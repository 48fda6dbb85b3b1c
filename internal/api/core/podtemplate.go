package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func podTemplateRow() *api.Kind {
	at := field.NewPath("template")
	return api.Define(api.Spec[*corev1.PodTemplate]{
		GVK: gvk("PodTemplate"), Plural: "podtemplates", Singular: "podtemplate", Namespaced: true, Generation: true, UnconditionalUpdate: true,
		List:    &corev1.PodTemplateList{},
		Default: func(t *corev1.PodTemplate) { DefaultPodTemplateSpec(&t.Template) },
		PrepareCreate: func(t *corev1.PodTemplate) {
			t.Generation = 1
			DropUnservedFields(&t.Template.Spec)
		},
		PrepareUpdate: func(t, _ *corev1.PodTemplate) { DropUnservedFields(&t.Template.Spec) },
		Validate: func(t *corev1.PodTemplate) field.ErrorList {
			return append(meta.ValidateObjectMeta(&t.ObjectMeta, true, meta.DNSSubdomain), ValidatePodTemplateSpec(&t.Template, at)...)
		},
		ValidateUpdate: func(t, old *corev1.PodTemplate) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&t.ObjectMeta, &old.ObjectMeta), ValidatePodTemplateSpec(&t.Template, at)...)
		},
		Warnings: func(t *corev1.PodTemplate) []string { return PodTemplateWarnings(at, &t.Template) },
		UpdateWarnings: func(t, old *corev1.PodTemplate) []string {
			if t.Generation == old.Generation {
				return nil
			}
			return PodTemplateWarnings(at, &t.Template)
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Containers", "Names of each container in the template."),
			meta.Text("Images", "Images referenced by each container in the template."),
			meta.Text("Pod Labels", "The labels for the pod template."),
		},
		Row: func(t *corev1.PodTemplate, _ time.Time) []any {
			names, images := meta.ContainersAndImages(t.Template.Spec.Containers)
			return []any{t.Name, names, images, labels.FormatLabels(t.Template.Labels)}
		},
	})
}

// ValidateTemplateMeta judges the labels and annotations of a template alone.
func ValidateTemplateMeta(t *corev1.PodTemplateSpec, p *field.Path) field.ErrorList {
	var r meta.Report
	r.Add(meta.Labels(t.Labels, p.Child("labels")))
	r.Add(meta.Annotations(t.Annotations, p.Child("annotations")))
	podAnnotations(&r, t.Annotations, &t.Spec, p.Child("annotations"))
	return r.Errs
}

// ValidateContainerResourceName judges the name of a resource that a container
// may ask for.
func ValidateContainerResourceName(n corev1.ResourceName, p *field.Path) field.ErrorList {
	var r meta.Report
	containerResourceName(&r, n, p)
	return r.Errs
}
