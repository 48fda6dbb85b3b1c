package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const accounts = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
const groups = "root:x:0:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n"

// command runs a program and returns what it prints.
func command(dir, name string, args ...string) ([]byte, error) {
	if _, err := exec.LookPath(name); err != nil {
		return nil, fmt.Errorf("%s is missing on this machine: %w", name, err)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// unpack downloads packages and lays them out below work/root.
func unpack(work string, packages ...string) (root string, err error) {
	debs, root := filepath.Join(work, "debs"), filepath.Join(work, "root")
	for _, dir := range []string{debs, root} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return "", err
		}
	}
	args := append([]string{"-o", "APT::Sandbox::User=root", "download"}, packages...)
	if _, err := command(debs, "apt-get", args...); err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return "", err
	}
	slices.Sort(files)
	for _, f := range files {
		if _, err := command(debs, "dpkg-deb", "-x", f, root); err != nil {
			return "", err
		}
	}
	return root, nil
}

// libraryPackages returns the library packages that a package depends on.
func libraryPackages(pkg string) ([]string, error) {
	out, err := command("", "apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances", "--no-pre-depends", pkg)
	if err != nil {
		return nil, err
	}
	var libs []string
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSpace(line)
		if (strings.HasPrefix(line, "lib") || strings.HasPrefix(line, "zlib")) && !strings.Contains(name, ":") && !slices.Contains(libs, name) {
			libs = append(libs, name)
		}
	}
	return libs, nil
}

// needs copies a program's libraries, found below root, and theirs.
func (i *image) needs(root, program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name := make([]byte, p.Filesz)
			if _, err := p.ReadAt(name, 0); err != nil {
				return err
			}
			interp := string(bytes.TrimRight(name, "\x00"))
			from, err := findLibrary(root, filepath.Base(interp))
			if err != nil {
				return err
			}
			if err := i.copy(interp, from); err != nil {
				return err
			}
		}
	}
	for _, lib := range libs {
		target := "/usr/lib/" + lib
		if _, done := i.files[strings.TrimPrefix(target, "/")]; done {
			continue
		}
		from, err := findLibrary(root, lib)
		if err != nil {
			return err
		}
		if err := i.copy(target, from); err != nil {
			return err
		}
		if err := i.needs(root, from); err != nil {
			return err
		}
	}
	return nil
}

func findLibrary(root, name string) (string, error) {
	for _, pattern := range []string{"lib/*/", "usr/lib/*/", "lib64/", "lib/", "usr/lib/", "usr/lib64/"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern, name))
		for _, f := range found {
			if _, err := os.Stat(f); err == nil {
				return f, nil
			}
			// An absolute link in a package is one within its root.
			if link, err := os.Readlink(f); err == nil && filepath.IsAbs(link) {
				if inside := filepath.Join(root, link); inside != f {
					return inside, nil
				}
			}
		}
	}
	return "", fmt.Errorf("library %s is in none of the packages", name)
}

// shell adds busybox with its applets as links, except for names that are taken.
func (i *image) shell(binary string) error {
	if err := i.copy("/bin/busybox", binary); err != nil {
		return err
	}
	out, err := command("", binary, "--list")
	if err != nil {
		return err
	}
	for _, applet := range strings.Fields(string(out)) {
		if applet != "busybox" {
			if _, taken := i.files["bin/"+applet]; !taken {
				i.link("/bin/"+applet, "busybox")
			}
		}
	}
	return nil
}

// base adds what every image has.
func (i *image) base() {
	i.text("/etc/passwd", accounts)
	i.text("/etc/group", groups)
	i.text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
	i.dir("/root", 0o700)
	i.dir("/tmp", os.ModeSticky|0o777)
	i.dir("/var/tmp", os.ModeSticky|0o777)
	for _, d := range []string{"/dev", "/proc", "/sys", "/run", "/home", "/etc"} {
		i.dir(d, 0o755)
	}
}

// programs lays out packages with the libraries they need and takes programs from
// them, with theirs; a program is a path below the packages' root, and keeps it.
func (i *image) programs(work string, packages []string, names ...string) (root string, err error) {
	all := slices.Clone(packages)
	for _, p := range packages {
		libs, err := libraryPackages(p)
		if err != nil {
			return "", err
		}
		for _, l := range libs {
			if !slices.Contains(all, l) {
				all = append(all, l)
			}
		}
	}
	if root, err = unpack(work, all...); err != nil {
		return "", err
	}
	for _, name := range names {
		binary := filepath.Join(root, name)
		if err := i.copy(name, binary); err != nil {
			return "", err
		}
		if err := i.needs(root, binary); err != nil {
			return "", err
		}
	}
	return root, nil
}

func busybox(work string) (*image, error) {
	root, err := unpack(work, "busybox-static")
	if err != nil {
		return nil, err
	}
	img := newImage("docker.io/library/busybox:latest")
	img.base()
	binary, err := firstOf(root, "bin/busybox", "usr/bin/busybox")
	if err != nil {
		return nil, err
	}
	if err := img.shell(binary); err != nil {
		return nil, err
	}
	img.config["Cmd"] = []string{"sh"}
	img.config["Env"] = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return img, nil
}

func firstOf(root string, names ...string) (string, error) {
	for _, n := range names {
		if p := filepath.Join(root, n); exists(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("none of %v is in the packages", names)
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return !errors.Is(err, os.ErrNotExist)
}

const nginxConf = `user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events {
    worker_connections 1024;
}
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /dev/stdout;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}
`

const nginxServer = `server {
    listen 80;
    server_name localhost;
    location / {
        root /usr/share/nginx/html;
        index index.html index.htm;
    }
}
`

const nginxPage = "<!DOCTYPE html>\n<html>\n<head><title>Welcome to nginx!</title></head>\n<body>\n<h1>Welcome to nginx!</h1>\n</body>\n</html>\n"

func nginx(work string) (*image, error) {
	libs, err := libraryPackages("nginx")
	if err != nil {
		return nil, err
	}
	root, err := unpack(work, append([]string{"nginx", "nginx-common", "busybox-static"}, libs...)...)
	if err != nil {
		return nil, err
	}
	img := newImage("docker.io/library/nginx:latest")
	img.base()
	binary := filepath.Join(root, "usr/sbin/nginx")
	if err := img.copy("/usr/sbin/nginx", binary); err != nil {
		return nil, err
	}
	if err := img.needs(root, binary); err != nil {
		return nil, err
	}
	if err := img.copy("/etc/nginx/mime.types", filepath.Join(root, "etc/nginx/mime.types")); err != nil {
		return nil, err
	}
	shell, err := firstOf(root, "bin/busybox", "usr/bin/busybox")
	if err != nil {
		return nil, err
	}
	if err := img.shell(shell); err != nil {
		return nil, err
	}
	img.text("/etc/nginx/nginx.conf", nginxConf)
	img.text("/etc/nginx/conf.d/default.conf", nginxServer)
	img.text("/usr/share/nginx/html/index.html", nginxPage)
	for _, d := range []string{"body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		img.dir("/var/lib/nginx/"+d, 0o755)
	}
	img.dir("/var/log/nginx", 0o755)
	img.link("/var/log/nginx/access.log", "/dev/stdout")
	img.link("/var/log/nginx/error.log", "/dev/stderr")
	img.config["Cmd"] = []string{"nginx", "-g", "daemon off;"}
	img.config["Env"] = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	img.config["ExposedPorts"] = map[string]any{"80/tcp": map[string]any{}}
	img.config["StopSignal"] = "SIGQUIT"
	return img, nil
}
