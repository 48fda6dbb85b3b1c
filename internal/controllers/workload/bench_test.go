package workload

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/monohull/monohull/internal/controllers/controllertest"
)

// BenchmarkDeploymentOf3000 is a Deployment of 3000 pods until all are ready,
// on a kubelet that takes no time.
func BenchmarkDeploymentOf3000(b *testing.B) {
	for range b.N {
		c := controllertest.New(b)
		d := deployment(3000, "25%", "25%")
		d.UID = ""
		controllertest.Create(c, d)
		c.RunKubelet("n1", nil)
		c.Run(deployments(c.Deps()), replicaSets(c.Deps()))
		c.Eventually("all pods are ready", func() bool {
			d, _ := controllertest.Get[*appsv1.Deployment](c, "ns", "web")
			return d.Status.AvailableReplicas == 3000
		})
		d, _ = controllertest.Get[*appsv1.Deployment](c, "ns", "web")
		b.ReportMetric(float64(c.Revision()), "writes/op")
	}
}
