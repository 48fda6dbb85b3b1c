package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Options say what the certificates are for.
type Options struct {
	NodeName      string // empty: there is no node on this server
	NodeIPs       []net.IP
	ServiceIP     net.IP   // of the service "kubernetes"; nil: 10.96.0.1
	ClusterDomain string   // empty: cluster.local
	ExtraSANs     []string // more names and addresses of the API server
	Clock         func() time.Time
}

// Bundle is all keys and certificates of a server.
type Bundle struct {
	Dir string

	CA      *Authority // of servers and clients in the cluster
	ProxyCA *Authority // of front proxies, who may speak for anyone: an authority of its own

	APIServer     *Pair // the API server's, to its clients
	Kubelet       *Pair // the kubelet's, to its clients; nil without a node
	Node          *Pair // the kubelet's, to the API server: system:node:<name> in system:nodes; nil without a node
	Admin         *Pair // kubernetes-admin in system:masters
	KubeletClient *Pair // the API server's, to kubelets
	ProxyClient   *Pair // the API server's, to extension API servers

	// AccountKey signs service account tokens; AccountPublicKeys verify them. There are more than one where sa.pub
	// holds former keys.
	AccountKey        crypto.Signer
	AccountPublicKeys []crypto.PublicKey
}

// Ensure loads what is in dir/pki, makes what is missing, and renews what is worn. An error leaves what was good.
func Ensure(dir string, options Options) (*Bundle, error) {
	if options.Clock == nil {
		options.Clock = time.Now
	}
	if options.ServiceIP == nil {
		options.ServiceIP = net.IPv4(10, 96, 0, 1)
	}
	if options.ClusterDomain == "" {
		options.ClusterDomain = "cluster.local"
	}
	b := &Bundle{Dir: filepath.Join(dir, "pki")}
	if err := os.MkdirAll(b.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("make directory for certificates: %w", err)
	}
	var err error
	if b.CA, err = ensureAuthority(b.Dir, "ca", "kubernetes", options.Clock); err != nil {
		return nil, err
	}
	if b.ProxyCA, err = ensureAuthority(b.Dir, "front-proxy-ca", "front-proxy-ca", options.Clock); err != nil {
		return nil, err
	}
	if err := b.ensureAccountKey(); err != nil {
		return nil, err
	}
	node := "system:node:" + options.NodeName
	names := append([]string{
		options.NodeName,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + options.ClusterDomain,
		"localhost", "127.0.0.1", "::1",
	}, options.ExtraSANs...)
	for _, p := range []struct {
		into      **Pair
		authority *Authority
		name      string
		template  *x509.Certificate
	}{
		{&b.APIServer, b.CA, "apiserver", serverTemplate("kube-apiserver", nil, names, append([]net.IP{options.ServiceIP}, options.NodeIPs...))},
		{&b.Kubelet, b.CA, "kubelet", serverTemplate(node, []string{"system:nodes"}, []string{options.NodeName}, options.NodeIPs)},
		{&b.Node, b.CA, "kubelet-client", clientTemplate(node, "system:nodes")},
		{&b.Admin, b.CA, "admin", clientTemplate("kubernetes-admin", "system:masters")},
		{&b.KubeletClient, b.CA, "apiserver-kubelet-client", clientTemplate("kube-apiserver-kubelet-client", "system:masters")},
		{&b.ProxyClient, b.ProxyCA, "front-proxy-client", clientTemplate("front-proxy-client")},
	} {
		if options.NodeName == "" && (p.into == &b.Kubelet || p.into == &b.Node) {
			continue
		}
		if *p.into, err = ensurePair(p.authority, b.Dir, p.name, p.template); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// ensureAccountKey loads or makes sa.key and sa.pub.
func (b *Bundle) ensureAccountKey() error {
	keyPath, publicPath := filepath.Join(b.Dir, "sa.key"), filepath.Join(b.Dir, "sa.pub")
	data, err := os.ReadFile(keyPath)
	switch {
	case err == nil:
		if b.AccountKey, err = parseKey(data); err != nil {
			return fmt.Errorf("load service account key %s: %w; restore it: without it every token becomes invalid", keyPath, err)
		}
	case errors.Is(err, fs.ErrNotExist):
		if b.AccountKey, err = newKey(); err != nil {
			return err
		}
		if data, err = encodeKey(b.AccountKey); err != nil {
			return err
		}
		if err := writeFile(keyPath, data, keyMode, true); err != nil {
			return err
		}
	default:
		return fmt.Errorf("load service account key: %w", err)
	}
	own := b.AccountKey.Public()
	b.AccountPublicKeys = []crypto.PublicKey{own}
	data, err = os.ReadFile(publicPath)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = encodePublicKey(own); err != nil {
			return err
		}
		return writeFile(publicPath, data, certMode, false)
	}
	if err != nil {
		return fmt.Errorf("load service account public keys: %w", err)
	}
	more, err := parsePublicKeys(data)
	if err != nil {
		return fmt.Errorf("load service account public keys %s: %w", publicPath, err)
	}
	for _, key := range more {
		if same, ok := key.(interface{ Equal(crypto.PublicKey) bool }); ok && !same.Equal(own) {
			b.AccountPublicKeys = append(b.AccountPublicKeys, key)
		}
	}
	return nil
}

// ServerTLS is the API server's side of TLS. A client certificate is asked for but judged by the authenticator, so
// that a bad one is answered with 401 and not with a broken connection.
func (b *Bundle) ServerTLS() *tls.Config { return serverTLS(b.APIServer, b.CA) }

// KubeletTLS is the same for the kubelet's server.
func (b *Bundle) KubeletTLS() *tls.Config { return serverTLS(b.Kubelet, b.CA) }

func serverTLS(pair *Pair, clients *Authority) *tls.Config {
	return &tls.Config{
		GetCertificate: pair.GetCertificate,
		ClientAuth:     tls.RequestClientCert,
		ClientCAs:      clients.Pool(), // only named to clients, to help them choose a certificate
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

// ClientTLS is how one of our clients talks to a server of the cluster.
func (b *Bundle) ClientTLS(pair *Pair) *tls.Config {
	return &tls.Config{
		RootCAs:              b.CA.Pool(),
		GetClientCertificate: pair.GetClientCertificate,
		MinVersion:           tls.VersionTLS12,
		NextProtos:           []string{"h2", "http/1.1"},
	}
}
