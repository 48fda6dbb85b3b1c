package runtime

import runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

var (
	_ runtimeapi.RuntimeServiceServer = (*Runtime)(nil)
	_ runtimeapi.ImageServiceServer   = (*Runtime)(nil)
)
