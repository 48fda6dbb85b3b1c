package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

var builders = map[string]func(work string) (*image, error){
	"busybox": busybox,
	"nginx":   nginx,
	"hello":   hello,
}

func main() {
	out := flag.String("out", "", "directory to write the archives to")
	flag.Parse()
	names := flag.Args()
	if len(names) == 0 {
		for name := range builders {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	if *out == "" {
		fmt.Fprintln(os.Stderr, "images: -out DIR is missing")
		os.Exit(2)
	}
	if err := run(*out, names); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}

func run(out string, names []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		build, ok := builders[name]
		if !ok {
			return fmt.Errorf("no image is called %q", name)
		}
		work, err := os.MkdirTemp("", "monohull-image-")
		if err != nil {
			return err
		}
		img, err := build(work)
		if err == nil {
			err = img.write(filepath.Join(out, name+".tar"))
		}
		_ = os.RemoveAll(work)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
