package config

import (
	"strings"
	"testing"
	"time"
)

const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

func TestAFileIsReadWithDefaultsAround(t *testing.T) {
	c, err := Decode([]byte(head + "maxPods: 7\nevictionHard: {memory.available: 5%}\nsystemReserved: {cpu: 100m}\nkubeReserved: {cpu: 50m, memory: 1Gi}\n" +
		"containerLogMaxSize: 1Ki\nserializeImagePulls: true\nnodeStatusUpdateFrequency: 3s\nshutdownGracePeriod: 30s\n"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if k := o.Kubelet; k.MaxPods != 7 || k.Port != 10250 || k.NodeStatusReportFrequency.Duration != 3*time.Second || *k.PodPidsLimit != -1 {
		t.Errorf("%+v", k)
	}
	if len(o.Eviction.Thresholds) != 1 || o.MaxPulls != 1 || o.Logs.MaxBytes != 1024 || o.Logs.MaxFiles != 5 || o.Images.High != 85 {
		t.Errorf("%+v", o)
	}
	if cpu := o.Reserved["cpu"]; cpu.String() != "150m" {
		t.Errorf("reserved: %v", o.Reserved)
	}
	if len(o.Warnings) != 1 || !strings.HasPrefix(o.Warnings[0], "shutdownGracePeriod has no effect") {
		t.Errorf("%q", o.Warnings)
	}
}

func TestMergedThresholdsKeepTheDefaults(t *testing.T) {
	c, err := Decode([]byte(head + "mergeDefaultEvictionSettings: true\nevictionHard: {memory.available: 1Gi}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if o, err := New(c); err != nil || len(o.Eviction.Thresholds) != 5 {
		t.Errorf("%v %v", o.Eviction, err)
	}
}

func TestWhatIsWrongIsRefused(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"kind", "apiVersion: v1\nkind: Pod\n", `no kind "Pod" is registered`},
		{"unknown field", head + "maxpods: 3\n", "unknown field"},
		{"thresholds", head + "imageGCLowThresholdPercent: 90\n", "imageGCLowThresholdPercent (--image-gc-low-threshold) 90 must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) 85"},
		{"signal", head + "evictionHard: {disk: 1%}\n", "unsupported eviction signal disk"},
		{"soft without grace", head + "evictionSoft: {memory.available: 1Gi}\n", "grace period must be specified for the soft eviction threshold memory.available"},
		{"log size", head + "containerLogMaxSize: big\n", `failed to parse container log max size "big"`},
		{"reserved", head + "kubeReserved: {gpu: '1'}\n", `cannot reserve "gpu" resource`},
		{"cpu manager", head + "cpuManagerPolicy: static\n", "cpuManagerPolicy"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Decode([]byte(tc.text))
			if err == nil {
				_, err = New(c)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
