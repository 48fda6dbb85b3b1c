package meta

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

const (
	nameText = "Name must be unique within a namespace."
	ageText  = "CreationTimestamp is the time when the object was created by the server."
)

// NameColumn is the first column of nearly every kind, AgeColumn its usual age.
var (
	NameColumn = metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: nameText}
	AgeColumn  = metav1.TableColumnDefinition{Name: "Age", Type: "string", Description: ageText}
)

// Text is a column of strings, Wide one that -o wide adds, Number one of integers.
func Text(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

// Wide is a column of strings that only -o wide shows.
func Wide(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Priority: 1, Description: description}
}

// Number is a column of integers.
func Number(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

// Age prints the time since t.
func Age(t metav1.Time, now time.Time) string { return since(t.Time, now) }

// AgeMicro is Age for the finer stamps of events.
func AgeMicro(t metav1.MicroTime, now time.Time) string { return since(t.Time, now) }

func since(t, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t))
}

// ContainersAndImages prints the two columns that show a template's containers.
func ContainersAndImages(containers []corev1.Container) (names, images string) {
	var n, i []string
	for _, c := range containers {
		n, i = append(n, c.Name), append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// OrNone prints <none> for an empty cell.
func OrNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}
