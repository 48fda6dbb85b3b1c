package runtime

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// BenchmarkPod measures a pod's whole life, and its parts.
func BenchmarkPod(b *testing.B) {
	dir := b.TempDir()
	r, err := New(Config{DataDir: dir, CgroupParent: "/monohull-bench", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = r.Run(b.Context()) }()
	b.Cleanup(func() { _ = Reset(dir) })
	image, err := buildToolsImage("tools")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := r.Images().Import(b.Context(), bytes.NewReader(image)); err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	var last time.Time
	spent := map[string]time.Duration{}
	lap := func(name string) {
		now := time.Now()
		spent[name] += now.Sub(last)
		last = now
	}
	for i := 0; b.Loop(); i++ {
		last = time.Now()
		pod := &runtimeapi.PodSandboxConfig{
			Metadata: &runtimeapi.PodSandboxMetadata{Name: fmt.Sprint("pod", i), Namespace: "default", Uid: "u"}, LogDirectory: dir + "/logs",
			Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}}},
		}
		sb, err := r.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: pod})
		if err != nil {
			b.Fatal(err)
		}
		lap("run-sandbox-ms")
		c, err := r.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: sb.PodSandboxId, SandboxConfig: pod, Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Image: &runtimeapi.ImageSpec{Image: "tools"}, Command: []string{"/bin/sleep", "1000"}, LogPath: "c.log",
			Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: pod.Linux.SecurityContext.NamespaceOptions,
			}},
		}})
		if err != nil {
			b.Fatal(err)
		}
		lap("create-ms")
		if _, err := r.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
			b.Fatal(err)
		}
		lap("start-ms")
		if i == 0 {
			sandbox, _ := r.sandbox(sb.PodSandboxId)
			b.ReportMetric(pss(sandbox.record().ShimPid), "shim-kB")
		}
		last = time.Now()
		if _, err := r.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: sb.PodSandboxId}); err != nil {
			b.Fatal(err)
		}
		lap("stop-ms")
		if _, err := r.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sb.PodSandboxId}); err != nil {
			b.Fatal(err)
		}
		lap("remove-ms")
	}
	for name, d := range spent {
		b.ReportMetric(d.Seconds()*1000/float64(b.N), name)
	}
}

// pss is the proportional set size of a process in kB.
func pss(pid int) float64 {
	body, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(body)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "Pss: %f kB", &kb); err == nil {
			return kb
		}
	}
	return 0
}
