package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	image "k8s.io/kubernetes/test/utils/image"
)

// kubernetesVersion is the release whose tests these are: go.mod's.
const kubernetesVersion = "v1.36.3"

// programs are upstream's, built.
type programs struct {
	suite, ginkgo, kubectl string
	images                 string // directory of the programs in test images
}

// buildPrograms builds what is not there yet. Programs stay until go.mod or go.sum
// change: what they are made of is in no other place.
func buildPrograms(ctx context.Context, dir string) (*programs, error) {
	stamp, err := hashOf(kubernetesVersion, "go.mod", "go.sum")
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "bin")
	p := &programs{
		suite: filepath.Join(bin, "e2e.test"), ginkgo: filepath.Join(bin, "ginkgo"), kubectl: filepath.Join(bin, "kubectl"),
		images: filepath.Join(bin, "images"),
	}
	if stamped(bin, stamp) {
		return p, nil
	}
	if err := os.RemoveAll(filepath.Join(bin, "stamp")); err != nil {
		return nil, err
	}
	const v = "k8s.io/component-base/version"
	major, minor, _ := strings.Cut(strings.TrimPrefix(kubernetesVersion, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	flags := fmt.Sprintf("-s -w -X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s", v, kubernetesVersion, v, major, v, minor)
	const images = "k8s.io/kubernetes/test/images/"
	for _, b := range [][]string{
		{"test", "-c", "-vet=off", "-trimpath", "-ldflags", flags, "-o", p.suite, "k8s.io/kubernetes/test/e2e"},
		{"build", "-trimpath", "-ldflags", flags, "-o", p.kubectl, "k8s.io/kubernetes/cmd/kubectl"},
		{"build", "-trimpath", "-ldflags", "-s -w", "-o", p.ginkgo, "github.com/onsi/ginkgo/v2/ginkgo"},
		{"build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(p.images, "agnhost"), images + "agnhost"},
		{"build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(p.images, "nonewprivs"), images + "nonewprivs"},
		{"build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(p.images, "regression-issue-74839"), images + "regression-issue-74839"},
		{"build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(p.images, "resource-consumer"), images + "resource-consumer"},
		{"build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(p.images, "consume-cpu"), images + "resource-consumer/consume-cpu"},
	} {
		began := time.Now()
		if err := goCommand(ctx, ".", b...); err != nil {
			return nil, err
		}
		fmt.Printf("built %s in %s\n", b[len(b)-1], time.Since(began).Round(time.Second))
	}
	return p, os.WriteFile(filepath.Join(bin, "stamp"), []byte(stamp), 0o644)
}

func goCommand(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out.Bytes())
	}
	return nil
}

// testImages are the images that tests use, by our builders' names for them.
var testImages = map[string][]image.ImageID{
	"agnhost":                {image.Agnhost, image.AgnhostPrev},
	"busybox":                {image.BusyBox},
	"glibc-dns-testing":      {image.GlibcDnsTesting},
	"ipc-utils":              {image.IpcUtils},
	"kitten":                 {image.Kitten},
	"nautilus":               {image.Nautilus},
	"nginx":                  {image.Nginx, image.NginxNew},
	"nonewprivs":             {image.Nonewprivs},
	"nonroot":                {image.NonRoot},
	"pause":                  {image.Pause},
	"regression-issue-74839": {image.RegressionIssue74839},
	"resource-consumer":      {image.ResourceConsumer},
}

// buildImages assembles the archives under the names that the tests ask for.
func buildImages(ctx context.Context, repo, dir string) ([]string, error) {
	out := filepath.Join(dir, "images")
	names := []string{"e2e-agnhost", "e2e-busybox", "e2e-dns", "e2e-nginx", "e2e-nonewprivs", "e2e-pause", "e2e-regressions"}
	var archives, sources []string
	for _, n := range names {
		archives = append(archives, filepath.Join(out, n+".tar"))
	}
	err := filepath.WalkDir(filepath.Join(repo, "test", "images"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			sources = append(sources, p)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	stamp, err := hashOf(kubernetesVersion, append(sources, "build.go", "go.sum")...)
	if err != nil {
		return nil, err
	}
	if stamped(out, stamp) {
		return archives, nil
	}
	began := time.Now()
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return nil, fmt.Errorf("find upstream's module: %w", err)
	}
	args := []string{
		"run", "./test/images", "-out", out, "-programs", filepath.Join(dir, "bin", "images"),
		"-source", filepath.Join(strings.TrimSpace(string(module)), "test", "images"),
	}
	for name, ids := range testImages {
		for _, id := range ids {
			args = append(args, "-tag", name+"="+image.GetE2EImage(id))
		}
	}
	if err := goCommand(ctx, repo, append(args, names...)...); err != nil {
		return nil, fmt.Errorf("assemble the test images: %w", err)
	}
	fmt.Printf("assembled the test images in %s\n", time.Since(began).Round(time.Second))
	return archives, os.WriteFile(filepath.Join(out, "stamp"), []byte(stamp), 0o644)
}

func stamped(dir, stamp string) bool {
	body, err := os.ReadFile(filepath.Join(dir, "stamp"))
	return err == nil && string(body) == stamp
}

// hashOf is of a word and the contents of files.
func hashOf(word string, files ...string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, word)
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, filepath.Base(f), len(body))
		h.Write(body)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
