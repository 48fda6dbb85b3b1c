package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// inputs is what a builder finds: a directory to work in, and what the command line
// says about the images of upstream's end-to-end tests.
type inputs struct {
	work     string
	programs string              // directory of upstream's programs, built
	source   string              // directory of upstream's test/images
	tags     map[string][]string // the names of an image
}

var builders = map[string]func(inputs) ([]*image, error){
	"busybox": one(busybox),
	"nginx":   one(nginx),
	"hello":   one(hello),

	"e2e-agnhost":     e2eAgnhost,
	"e2e-busybox":     e2eBusybox,
	"e2e-dns":         e2eDNS,
	"e2e-nginx":       e2eNginx,
	"e2e-nonewprivs":  e2eNonewprivs,
	"e2e-pause":       e2ePause,
	"e2e-regressions": e2eRegressions,
}

func one(build func(work string) (*image, error)) func(inputs) ([]*image, error) {
	return func(in inputs) ([]*image, error) {
		img, err := build(in.work)
		return []*image{img}, err
	}
}

func main() {
	in := inputs{tags: map[string][]string{}}
	out := flag.String("out", "", "directory to write the archives to")
	flag.StringVar(&in.programs, "programs", "", "directory of upstream's test programs, for the images of its tests")
	flag.StringVar(&in.source, "source", "", "upstream's directory test/images, for the images of its tests")
	flag.Func("tag", "`IMAGE=NAME`: a full name of an image of upstream's tests, such as agnhost=registry.k8s.io/e2e-test-images/agnhost:2.63.0", func(s string) error {
		image, name, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not IMAGE=NAME", s)
		}
		in.tags[image] = append(in.tags[image], name)
		return nil
	})
	flag.Parse()
	names := flag.Args()
	if len(names) == 0 {
		names = []string{"busybox", "hello", "nginx"}
	}
	if *out == "" {
		fmt.Fprintln(os.Stderr, "images: -out DIR is missing")
		os.Exit(2)
	}
	if err := run(*out, names, in); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

func run(out string, names []string, in inputs) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		build, ok := builders[name]
		if !ok {
			return fmt.Errorf("no image is called %q", name)
		}
		var err error
		if in.work, err = os.MkdirTemp("", "monohull-image-"); err != nil {
			return err
		}
		images, err := build(in)
		if err == nil {
			err = write(filepath.Join(out, name+".tar"), images...)
		}
		_ = os.RemoveAll(in.work)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
