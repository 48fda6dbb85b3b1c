package client

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

// Bind assigns a pod to a node.
func Bind(ctx context.Context, c *Client, pod *corev1.Pod, node string) error {
	b := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	r := c.Request(api.For[*corev1.Pod](c.table), pod.Namespace, pod.Name, "binding")
	_, err := c.writer.Create(ctx, r, b)
	return err
}
