package main

import (
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// searchPath is where a shell of these images looks.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// named begins an image under all the names that the command line gives it.
func (in inputs) named(what string) (*image, error) {
	names := in.tags[what]
	if len(names) == 0 {
		return nil, fmt.Errorf("no -tag %s=NAME says what the image is called", what)
	}
	img := newImage(names...)
	img.base()
	img.config["Env"] = []string{searchPath}
	return img, nil
}

// posix gives an image bash for a shell and busybox for the rest. Debian's busybox
// would do as a shell only where there is nothing else: it runs its own nc whatever
// nc the image has, and loses environment variables with odd names.
func (i *image) posix(work string) error {
	root, err := unpack(filepath.Join(work, "posix"), "bash-static", "busybox-static")
	if err != nil {
		return err
	}
	bash, err := firstOf(root, "bin/bash-static", "usr/bin/bash-static")
	if err != nil {
		return err
	}
	if err := i.copy("/bin/bash", bash); err != nil {
		return err
	}
	if _, taken := i.files["bin/sh"]; !taken {
		i.link("/bin/sh", "bash")
	}
	box, err := firstOf(root, "bin/busybox", "usr/bin/busybox")
	if err != nil {
		return err
	}
	return i.shell(box)
}

// program takes one of upstream's Go programs.
func (i *image) program(in inputs, target, name string) error {
	return i.copy(target, filepath.Join(in.programs, name))
}

// bind is what dig and its kin need.
var bind = []string{"bind9-dnsutils", "bind9-host", "bind9-libs"}

func e2eAgnhost(in inputs) ([]*image, error) {
	img, err := in.named("agnhost")
	if err != nil {
		return nil, err
	}
	packages := append([]string{"curl", "netcat-openbsd", "iproute2", "iperf", "util-linux", "libc-bin"}, bind...)
	if _, err := img.programs(in.work, packages, "usr/bin/dig", "usr/bin/nslookup", "usr/bin/host", "usr/bin/curl", "bin/nc.openbsd",
		"bin/ip", "bin/ss", "usr/bin/iperf", "usr/bin/ipcs", "usr/bin/getent"); err != nil {
		return nil, err
	}
	img.link("/bin/nc", "nc.openbsd")
	img.link("/usr/local/bin/iperf", "/usr/bin/iperf")
	if err := img.posix(in.work); err != nil {
		return nil, err
	}
	if err := img.program(in, "/agnhost", "agnhost"); err != nil {
		return nil, err
	}
	img.link("/agnhost-2", "agnhost")
	for _, f := range []string{"localhost.crt", "localhost.key"} {
		if err := img.copy("/"+f, filepath.Join(in.source, "agnhost/porter", f)); err != nil {
			return nil, err
		}
	}
	img.dir("/uploads", 0o755)
	// a test reads this file and looks for upstream's distribution
	img.text("/etc/os-release", "NAME=\"Debian packages, in place of Alpine Linux\"\nID=debian\n")
	// a user and a group that tests of supplemental groups expect in the image
	img.text("/etc/passwd", accounts+"user-defined-in-image:x:1000:1000:user:/home/user-defined-in-image:/bin/sh\n")
	img.text("/etc/group", groups+"user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n")
	img.dir("/home/user-defined-in-image", 0o755)
	img.config["Entrypoint"] = []string{"/agnhost"}
	img.config["Cmd"] = []string{"pause"}
	ports := map[string]any{}
	for _, p := range []string{"80", "8080", "8081", "9376", "5000"} {
		ports[p+"/tcp"] = map[string]any{}
	}
	img.config["ExposedPorts"] = ports
	all := []*image{img}
	for _, name := range []string{"kitten", "nautilus"} {
		if len(in.tags[name]) == 0 {
			return nil, fmt.Errorf("no -tag %s=NAME says what the image is called", name)
		}
		d := img.derive(in.tags[name]...)
		for _, f := range []string{name + ".jpg", "data.json"} {
			if err := d.copy("/"+f, filepath.Join(in.source, name, "html", f)); err != nil {
				return nil, err
			}
		}
		d.config["Cmd"] = []string{"test-webserver"}
		all = append(all, d)
	}
	return all, nil
}

//go:embed sh/sh.c
var shellSource []byte

// e2eBusybox makes busybox and the images that are little more. Their shell is
// busybox's, whose words tests expect, or bash where busybox's would lose
// environment variables that tests look for: sh.c says more.
func e2eBusybox(in inputs) ([]*image, error) {
	img, err := in.named("busybox")
	if err != nil {
		return nil, err
	}
	shell, err := compile(in.work, "sh", shellSource)
	if err != nil {
		return nil, err
	}
	if err := img.copy("/bin/sh", shell); err != nil {
		return nil, err
	}
	if err := img.posix(in.work); err != nil {
		return nil, err
	}
	img.config["Cmd"] = []string{"sh"}
	nonroot := img.derive(in.tags["nonroot"]...)
	nonroot.config["User"] = "1234"
	nonroot.config["Cmd"] = []string{"bash"}
	ipc := img.derive(in.tags["ipc-utils"]...)
	if _, err := ipc.programs(in.work, []string{"util-linux"}, "usr/bin/ipcs", "usr/bin/ipcmk", "usr/bin/ipcrm"); err != nil {
		return nil, err
	}
	ipc.config["Cmd"] = []string{"/bin/sh"}
	return []*image{img, nonroot, ipc}, nil
}

// e2eDNS makes the image of a machine with glibc's resolver.
func e2eDNS(in inputs) ([]*image, error) {
	img, err := in.named("glibc-dns-testing")
	if err != nil {
		return nil, err
	}
	packages := append([]string{"libc-bin", "hostname"}, bind...)
	if _, err := img.programs(in.work, packages, "usr/bin/dig", "usr/bin/nslookup", "usr/bin/host", "usr/bin/getent", "bin/hostname"); err != nil {
		return nil, err
	}
	if err := img.posix(in.work); err != nil {
		return nil, err
	}
	img.config["Cmd"] = []string{"bash"}
	return []*image{img}, nil
}

func e2eNginx(in inputs) ([]*image, error) {
	img, err := nginx(in.work)
	if err != nil {
		return nil, err
	}
	delete(img.files, "bin/sh")
	if err := img.posix(in.work); err != nil {
		return nil, err
	}
	if img.names = in.tags["nginx"]; len(img.names) == 0 {
		return nil, fmt.Errorf("no -tag nginx=NAME says what the image is called")
	}
	// two versions that differ in name alone are two images nonetheless
	all := []*image{}
	for n, name := range img.names {
		d := img.derive(name)
		d.config["Labels"] = map[string]string{"variant": fmt.Sprint(n)}
		all = append(all, d)
	}
	return all, nil
}

func e2eNonewprivs(in inputs) ([]*image, error) {
	img, err := in.named("nonewprivs")
	if err != nil {
		return nil, err
	}
	if err := img.posix(in.work); err != nil {
		return nil, err
	}
	if err := img.program(in, "/usr/local/bin/nnp", "nonewprivs"); err != nil {
		return nil, err
	}
	e := img.files["usr/local/bin/nnp"]
	e.mode |= fs.ModeSetuid
	img.files["usr/local/bin/nnp"] = e
	img.config["Cmd"] = []string{"nnp"}
	return []*image{img}, nil
}

//go:embed pause/pause.c
var pauseSource []byte

func e2ePause(in inputs) ([]*image, error) {
	names := in.tags["pause"]
	if len(names) == 0 {
		return nil, fmt.Errorf("no -tag pause=NAME says what the image is called")
	}
	binary, err := compile(in.work, "pause", pauseSource)
	if err != nil {
		return nil, err
	}
	img := newImage(names...)
	if err := img.copy("/pause", binary); err != nil {
		return nil, err
	}
	img.config["Entrypoint"] = []string{"/pause"}
	img.config["User"] = "65535:65535"
	img.config["WorkingDir"] = "/"
	return []*image{img}, nil
}

// e2eRegressions makes the images of one program each.
func e2eRegressions(in inputs) ([]*image, error) {
	base, err := in.named("regression-issue-74839")
	if err != nil {
		return nil, err
	}
	if err := base.posix(in.work); err != nil {
		return nil, err
	}
	var all []*image
	for _, p := range []struct {
		tag     string
		files   map[string]string // in the image: among the programs
		entries []string
	}{
		{"regression-issue-74839", map[string]string{"/regression-issue-74839": "regression-issue-74839"}, []string{"/regression-issue-74839"}},
		{"resource-consumer", map[string]string{"/consumer": "resource-consumer", "/consume-cpu": "consume-cpu"}, []string{"/consumer"}},
	} {
		names := in.tags[p.tag]
		if len(names) == 0 {
			return nil, fmt.Errorf("no -tag %s=NAME says what the image is called", p.tag)
		}
		img := base.derive(names...)
		for target, name := range p.files {
			if err := img.program(in, target, name); err != nil {
				return nil, err
			}
		}
		img.config["Entrypoint"] = p.entries
		all = append(all, img)
	}
	return all, nil
}

// compile makes a static program from one C source.
func compile(work, name string, source []byte) (string, error) {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "gcc"
	}
	binary := filepath.Join(work, name)
	if err := os.WriteFile(binary+".c", source, 0o600); err != nil {
		return "", err
	}
	if _, err := command(work, cc, "-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror", "-ffunction-sections", "-fdata-sections",
		"-Wl,--gc-sections", "-Wl,--build-id=none", "-o", binary, name+".c"); err != nil {
		return "", fmt.Errorf("compile: %w", err)
	}
	return binary, nil
}
