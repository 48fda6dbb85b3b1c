package pki

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// kubeconfigName is what cluster, user and context are called.
const kubeconfigName = "monohull"

// Kubeconfig lets whoever holds it act as the certificate's user at the server ("https://host:port").
func Kubeconfig(server string, ca, cert, key []byte) []byte {
	quote := func(s string) string {
		b, err := json.Marshal(s) // a JSON string is a YAML one
		if err != nil {
			panic(err) // a string always encodes
		}
		return string(b)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    certificate-authority-data: %[3]s
    server: %[2]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[1]s
current-context: %[1]s
preferences: {}
users:
- name: %[1]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
`, kubeconfigName, quote(server), base64.StdEncoding.EncodeToString(ca), base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
	return []byte(out.String())
}

// AdminKubeconfig is the administrator's.
func (b *Bundle) AdminKubeconfig(server string) ([]byte, error) {
	cert, key, err := b.Admin.PEM()
	if err != nil {
		return nil, err
	}
	return Kubeconfig(server, b.CA.PEM(), cert, key), nil
}

// WriteKubeconfig puts a kubeconfig in its place for its owner alone, making the directory if there is none.
func WriteKubeconfig(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return writeFile(path, data, keyMode, false)
}
