package volumes

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type fakeMounter struct{ points []string }

func (f *fakeMounter) Mount(_, target, _ string, _ []string) error {
	f.points = append(f.points, target)
	return nil
}

func (f *fakeMounter) Unmount(target string) error {
	f.points = slices.DeleteFunc(f.points, func(p string) bool { return p == target })
	return nil
}

func (f *fakeMounter) MountsBelow(dir string) ([]string, error) {
	var out []string
	for _, p := range f.points {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	return out, nil
}

type setup struct {
	v       *Volumes
	m       *fakeMounter
	data    map[string]string
	now     time.Time
	issued  int
	dir     string
	missing bool
}

func newSetup(t *testing.T) *setup {
	s := &setup{m: &fakeMounter{}, data: map[string]string{"a": "1"}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), dir: t.TempDir()}
	s.v = New(Config{Dir: s.dir, Mounter: s.m, Now: func() time.Time { return s.now },
		Allocatable: func() corev1.ResourceList { return nil },
		ConfigMap:   func(string, string) (*corev1.ConfigMap, bool) { return &corev1.ConfigMap{Data: s.data}, !s.missing },
		Secret: func(string, string) (*corev1.Secret, bool) {
			return &corev1.Secret{Data: map[string][]byte{"k": []byte("v")}}, true
		},
		Token: func(context.Context, *corev1.Pod, string, time.Duration) (string, time.Time, error) {
			s.issued++
			return "token", s.now.Add(time.Hour), nil
		}})
	return s
}

func podWith(vols ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"l": "v"}}, Spec: corev1.PodSpec{Volumes: vols}}
}

func configVolume() corev1.Volume {
	return corev1.Volume{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}}}}
}

func TestFilesAreReplacedAllAtOnce(t *testing.T) {
	s := newSetup(t)
	pod := podWith(configVolume())
	set, err := s.v.Mount(context.Background(), pod)
	if err != nil {
		t.Fatal(err)
	}
	dir := set.Paths["c"]
	first, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.v.Mount(context.Background(), pod); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.Readlink(filepath.Join(dir, "..data")); again != first {
		t.Error("written again without a change")
	}
	s.data = map[string]string{"b": "2"}
	if _, err := s.v.Mount(context.Background(), pod); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || string(b) != "2" {
		t.Errorf("%q %v", b, err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 3 { // the data, ..data, b
		t.Errorf("left: %v", entries)
	}
	if err := s.v.Unmount("u"); err != nil {
		t.Fatal(err)
	}
	if s.v.Exists("u") {
		t.Error("volumes are still there")
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	s := newSetup(t)
	s.missing = true
	_, err := s.v.Mount(context.Background(), podWith(configVolume()))
	if want := `MountVolume.SetUp failed for volume "c" : configmap "x" not found`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	v := configVolume()
	yes := true
	v.ConfigMap.Optional = &yes
	if _, err := s.v.Mount(context.Background(), podWith(v)); err != nil {
		t.Error(err)
	}
}

func TestTokensAreRenewedInTime(t *testing.T) {
	s := newSetup(t)
	hour := int64(3600)
	pod := podWith(corev1.Volume{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &hour}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "sub/labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
	}}}})
	set, err := s.v.Mount(context.Background(), pod)
	if err != nil {
		t.Fatal(err)
	}
	if want := s.now.Add(48 * time.Minute); !set.Expire.Equal(want) {
		t.Errorf("renewed at %v, want %v", set.Expire, want)
	}
	if !slices.Contains(s.m.points, set.Paths["t"]) {
		t.Error("a token lies on disk")
	}
	if b, err := os.ReadFile(filepath.Join(set.Paths["t"], "sub/labels")); err != nil || string(b) != `l="v"` {
		t.Errorf("%q %v", b, err)
	}
	s.now = s.now.Add(47 * time.Minute)
	if _, err := s.v.Mount(context.Background(), pod); err != nil || s.issued != 1 {
		t.Errorf("issued %d: %v", s.issued, err)
	}
	s.now = s.now.Add(2 * time.Minute)
	if _, err := s.v.Mount(context.Background(), pod); err != nil || s.issued != 2 {
		t.Errorf("issued %d: %v", s.issued, err)
	}
}

func TestSubpathsStayInTheirVolume(t *testing.T) {
	s := newSetup(t)
	vol := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(vol, "out")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"../x", "/x", "out/passwd"} {
		if _, err := s.v.Subpath("u", "v", vol, "c", 0, bad); err == nil {
			t.Errorf("%s was mounted", bad)
		}
	}
	target, err := s.v.Subpath("u", "v", vol, "c", 0, "new/dir")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(vol, "new/dir")); err != nil || !info.IsDir() {
		t.Error(err)
	}
	if !slices.Contains(s.m.points, target) {
		t.Error("it was not mounted")
	}
}

func TestHostPathsAreWhatTheyAreTakenFor(t *testing.T) {
	dir := t.TempDir()
	kind := func(k corev1.HostPathType) *corev1.HostPathType { return &k }
	for _, tc := range []struct {
		path string
		kind corev1.HostPathType
		want string
	}{
		{dir, corev1.HostPathDirectory, ""},
		{dir, corev1.HostPathFile, "hostPath type check failed: " + dir + " is not a file"},
		{dir + "/none", corev1.HostPathDirectory, "hostPath type check failed: " + dir + "/none is not a directory"},
		{dir + "/made/deep", corev1.HostPathDirectoryOrCreate, ""},
		{dir + "/f", corev1.HostPathFileOrCreate, ""},
		{"/dev/null", corev1.HostPathCharDev, ""},
		{"/nowhere", corev1.HostPathUnset, ""},
	} {
		err := hostPath(&corev1.HostPathVolumeSource{Path: tc.path, Type: kind(tc.kind)})
		if got := errText(err); got != tc.want {
			t.Errorf("%s as %s: %q, want %q", tc.path, tc.kind, got, tc.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
