package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/monohull/monohull/internal/cluster"
	"github.com/monohull/monohull/internal/runtime/image"
)

func newImage() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Manage the images on this node",
		Long: `Manage the images on this node, with or without a server running.

Archives are what docker save, skopeo copy and buildah push make: OCI or docker
layout, as a tar file, compressed or not, or as a directory.`,
	}
	cmd.PersistentFlags().StringVar(&dataDir, "data-dir", defaultDataDir(), "the server's data directory")
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the images", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return withImages(dataDir, func(d doer) error { return listImages(c.Context(), d, c.OutOrStdout()) })
	}}
	imp := &cobra.Command{Use: "import FILE...", Short: "Import images from archives (- for standard input)", Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, args []string) error {
		return withImages(dataDir, func(d doer) error {
			for _, f := range args {
				if err := importImage(c.Context(), d, f, c); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	var user, passwordFile string
	pull := &cobra.Command{Use: "pull IMAGE...", Short: "Pull images from their registries", Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, args []string) error {
		password := ""
		if passwordFile != "" {
			b, err := os.ReadFile(passwordFile)
			if err != nil {
				return fmt.Errorf("reading the password: %w", err)
			}
			password = strings.TrimRight(string(b), "\r\n")
		}
		return withImages(dataDir, func(d doer) error {
			for _, ref := range args {
				req := request(c.Context(), http.MethodPost, "/images/pull", url.Values{"ref": {ref}}, nil)
				if user != "" {
					req.SetBasicAuth(user, password)
				}
				if err := follow(d, req, c.OutOrStdout(), c.ErrOrStderr(), ref); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	pull.Flags().StringVar(&user, "user", "", "user `name` at the registry")
	pull.Flags().StringVar(&passwordFile, "password-file", "", "`file` that holds the password")
	remove := &cobra.Command{Use: "remove IMAGE...", Aliases: []string{"rm"}, Short: "Remove images", Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, args []string) error {
		return withImages(dataDir, func(d doer) error {
			for _, ref := range args {
				req := request(c.Context(), http.MethodDelete, "/images", url.Values{"ref": {ref}}, nil)
				if err := follow(d, req, c.OutOrStdout(), c.ErrOrStderr(), ref); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	cmd.AddCommand(imp, pull, list, remove)
	return cmd
}

// doer sends a request to whoever has the image store open.
type doer func(*http.Request) (*http.Response, error)

// withImages reaches the store through the running server, or opens it where
// none runs.
func withImages(dataDir string, use func(doer) error) error {
	socket := cluster.SocketPath(dataDir)
	if c, err := net.Dial("unix", socket); err == nil {
		c.Close()
		t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}}
		defer t.CloseIdleConnections()
		return use(t.RoundTrip)
	}
	s, err := image.New(image.Config{Dir: filepath.Join(dataDir, "images")})
	if errors.Is(err, image.ErrInUse) {
		return fmt.Errorf("the image store of %s is in use, but no server answers at %s; is one starting?", dataDir, socket)
	} else if err != nil {
		return fmt.Errorf("opening the image store of %s: %w", dataDir, err)
	}
	defer s.Close()
	h := cluster.ImageHandler(s)
	return use(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	})
}

func request(ctx context.Context, method, path string, q url.Values, body io.Reader) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, "http://monohull"+path+"?"+q.Encode(), body)
	if err != nil {
		panic(err) // constant paths
	}
	return req
}

func importImage(ctx context.Context, d doer, file string, c *cobra.Command) error {
	var in io.Reader = c.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	return follow(d, request(ctx, http.MethodPost, "/images/import", nil, in), c.OutOrStdout(), c.ErrOrStderr(), file)
}

// follow prints how a request goes on, and the images' names at its end.
func follow(d doer, req *http.Request, out, progress io.Writer, what string) error {
	res, err := d(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	terminal := isTerminal(progress)
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		var p cluster.ImageProgress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return fmt.Errorf("reading the server's answer: %w", err)
		}
		switch {
		case p.Error != "":
			return errors.New(p.Error)
		case p.Done > 0 || p.Total > 0:
			if terminal {
				fmt.Fprintf(progress, "\r%s: %s of %s\033[K", what, megabytes(p.Done), megabytes(p.Total))
			}
		default:
			if terminal {
				fmt.Fprint(progress, "\r\033[K")
			}
			for _, i := range p.Images {
				fmt.Fprintln(out, i)
			}
		}
	}
	return lines.Err()
}

func listImages(ctx context.Context, d doer, out io.Writer) error {
	res, err := d(request(ctx, http.MethodGet, "/images", nil, nil))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var list []cluster.ImageInfo
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tID\tSIZE")
	for _, i := range list {
		id := strings.TrimPrefix(i.ID, "sha256:")
		names := i.Names
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		for _, name := range names {
			fmt.Fprintf(w, "%s\t%s\t%s\n", name, id[:min(12, len(id))], megabytes(i.Size))
		}
	}
	return w.Flush()
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
