package script

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/nftables"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
)

// The test binary in other roles: what a script needs on its node beside the
// cluster.
const (
	registryVariable = "MONOHULL_SCRIPT_REGISTRY"
	tracesVariable   = "MONOHULL_SCRIPT_TRACES"
)

// background starts a program on the node that goes on while the script does.
func background(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: background NAME kubectl|node ARGS...")
	}
	rest := args[2:]
	if args[1] == "kubectl" {
		rest = append([]string{binary, "kubectl"}, rest...)
	}
	c := of(ts)
	out, err := os.Create(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	defer out.Close()
	cmd := c.command(rest[0], rest[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.Getenv("WORK"), out, out
	ts.Check(cmd.Start())
	c.loads[args[0]] = cmd
}

// end ends a program in the background, or waits for one that ended by itself.
func end(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 || of(ts).loads[args[0]] == nil {
		ts.Fatalf("usage: end NAME, of a program in the background")
	}
	cmd := of(ts).loads[args[0]]
	delete(of(ts).loads, args[0])
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
}

// registryCommand starts a registry on the node and returns when it answers.
func registryCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: registry PORT [USER:PASSWORD]")
	}
	c := of(ts)
	role(ts, c, "registry-"+args[0], registryVariable+"="+strings.Join(args, " "))
	for range 100 {
		if c.command("curl", "-s", "-o", "/dev/null", "http://127.0.0.1:"+args[0]+"/v2/").Run() == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("the registry at port %s does not answer", args[0])
}

func role(ts *testscript.TestScript, c *clusterOf, name, variable string) {
	self, err := os.Executable()
	ts.Check(err)
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	cmd := c.command(self)
	cmd.Env = append(os.Environ(), variable, "IMAGES="+imagesDir)
	cmd.Stdout, cmd.Stderr = out, out
	ts.Check(cmd.Start())
	c.loads[name] = cmd
}

// serveRegistry serves the test images as test/NAME:1 until it is killed.
func serveRegistry(args string) int {
	port, secret, locked := strings.Cut(args, " ")
	content := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The images go in by the front door, before the lock is on it.
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() { _ = http.Serve(inside, content) }()
	for _, image := range []string{"busybox", "nginx"} {
		if err := push(filepath.Join(os.Getenv("IMAGES"), image+".tar"), inside.Addr().String()+"/test/"+image+":1"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(secret))
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if locked && r.Header.Get("Authorization") != want {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		fmt.Println(r.Method, r.URL.Path)
		content.ServeHTTP(w, r)
	}))
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func push(archive, to string) error {
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return fmt.Errorf("reading %s: %w", archive, err)
	}
	ref, err := name.ParseReference(to)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, image); err != nil {
		return fmt.Errorf("pushing %s: %w", to, err)
	}
	return nil
}

// traces prints what is on the node, in stdout.
func traces(ts *testscript.TestScript, neg bool, _ []string) {
	c := of(ts)
	self, err := os.Executable()
	ts.Check(err)
	err = ts.Exec("nsenter", "--net=/run/netns/"+c.netns, "env", tracesVariable+"="+c.dir, self)
	if (err != nil) != neg {
		ts.Fatalf("traces: %v", err)
	}
}

// printTraces says what this network namespace and the machine hold for the
// cluster of a data directory, a line each.
func printTraces(dir string) int {
	if err := findTraces(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func findTraces(dir string) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		fmt.Println("link", l.Type(), a.Name)
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("listing the addresses of %s: %w", a.Name, err)
		}
		for _, address := range addrs {
			if !address.IP.IsLinkLocalUnicast() {
				fmt.Println("address", address.IPNet, a.Name)
			}
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	for _, r := range routes {
		fmt.Println("route", r.Dst)
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := conn.ListTables()
	if err != nil {
		return fmt.Errorf("listing nftables tables: %w", err)
	}
	for _, t := range tables {
		fmt.Println("table", t.Name)
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if f := strings.Fields(lines.Text()); strings.HasPrefix(f[4], dir) {
			fmt.Println("mount", f[4])
		}
	}
	if _, err := os.Stat(dir); err == nil {
		fmt.Println("directory", dir)
	}
	// A control group is named for its cluster by nothing a script can know, so
	// all are listed; the node's other end of the name is its data directory.
	_ = filepath.WalkDir("/sys/fs/cgroup", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "monohull-") {
			fmt.Println("cgroup", p)
			return fs.SkipDir
		}
		return nil
	})
	procs, err := exec.Command("ps", "-eo", "pid=,args=").Output()
	if err != nil {
		return fmt.Errorf("listing processes: %w", err)
	}
	for line := range strings.Lines(string(procs)) {
		if strings.Contains(line, dir) && !strings.Contains(line, tracesVariable) {
			fmt.Println("process", strings.TrimSpace(line))
		}
	}
	return nil
}
