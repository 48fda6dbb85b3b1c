package main

import (
	"archive/tar"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
)

// The registry of a cluster without a way out: a proxy on its node that answers for
// the public registries itself, from the archives that were imported. Tests that
// insist on pulling find there what they look for, and nothing else.
const (
	registryVariable = "MONOHULL_CONFORMANCE_REGISTRY" // the role of a process: certificate file
	registryAddress  = "127.0.0.1:5900"
)

// registry serves images by digest and by name.
type registry struct {
	certificate tls.Certificate
	tags        map[string]string // repository:tag to digest
	blobs       map[string]blob   // by digest
}

// blob is a piece of an archive, read where it lies.
type blob struct {
	file         string
	offset, size int64
	mediaType    string
}

// serveRegistry runs until it is killed.
func serveRegistry(certificateFile string, archives []string) error {
	r := &registry{tags: map[string]string{}, blobs: map[string]blob{}}
	for _, a := range archives {
		if err := r.load(a); err != nil {
			return fmt.Errorf("read %s: %w", a, err)
		}
	}
	hosts := map[string]bool{}
	for name := range r.tags {
		host, _, _ := strings.Cut(name, "/")
		hosts[host] = true
	}
	if err := r.certify(certificateFile, hosts); err != nil {
		return err
	}
	l, err := net.Listen("tcp", registryAddress)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		host, _, _ := net.SplitHostPort(q.Host)
		if q.Method != http.MethodConnect || !hosts[host] {
			http.Error(w, "no such host", http.StatusBadGateway)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		server := &http.Server{
			ErrorLog: log.New(io.Discard, "", 0), IdleTimeout: time.Minute,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { r.answer(w, q, host) }),
		}
		_ = server.Serve(&single{conn: tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{r.certificate}})})
	}))
}

// load notes what is in an archive and where.
func (r *registry) load(archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	var index struct {
		Manifests []struct {
			Digest, MediaType string
			Annotations       map[string]string
		}
	}
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if h.Name == "index.json" {
			if err := json.NewDecoder(tr).Decode(&index); err != nil {
				return err
			}
			continue
		}
		if sum, ok := strings.CutPrefix(h.Name, "blobs/sha256/"); ok {
			offset, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			r.blobs["sha256:"+sum] = blob{archive, offset, h.Size, "application/octet-stream"}
		}
	}
	for _, m := range index.Manifests {
		b := r.blobs[m.Digest]
		b.mediaType = m.MediaType
		r.blobs[m.Digest] = b
		r.tags[m.Annotations["io.containerd.image.name"]] = m.Digest
	}
	return nil
}

// answer speaks as much of the registry protocol as pulling takes.
func (r *registry) answer(w http.ResponseWriter, q *http.Request, host string) {
	name, ok := strings.CutPrefix(q.URL.Path, "/v2/")
	if !ok {
		http.NotFound(w, q)
		return
	}
	if name == "" {
		return
	}
	repository, reference := path.Split(name)
	digest := reference
	if before, ok := strings.CutSuffix(repository, "/manifests/"); ok && !strings.Contains(reference, ":") {
		digest = r.tags[host+"/"+before+":"+reference]
	}
	b, ok := r.blobs[digest]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)
		return
	}
	f, err := os.Open(b.file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", b.mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeContent(w, q, "", time.Time{}, io.NewSectionReader(f, b.offset, b.size))
}

// certify makes the certificate of the registries' names, and leaves it where the
// server under test takes it for an authority.
func (r *registry) certify(file string, hosts map[string]bool) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "conformance registry"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for h := range hosts {
		template.DNSNames = append(template.DNSNames, h)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	r.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// single is a listener of one connection: the second Accept ends the server, which
// goes on with the first.
type single struct{ conn net.Conn }

func (s *single) Accept() (net.Conn, error) {
	if c := s.conn; c != nil {
		s.conn = nil
		return c, nil
	}
	return nil, net.ErrClosed
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return &net.TCPAddr{} }
