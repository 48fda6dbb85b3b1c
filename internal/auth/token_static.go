package auth

import (
	"crypto/subtle"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// ReadTokenFile is ParseTokenFile of a file: --token-auth-file.
func ReadTokenFile(path string) (map[string]*user.DefaultInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read token file: %w", err)
	}
	defer f.Close()
	return ParseTokenFile(f)
}

// ParseTokenFile reads lines of "token,user,uid" with an optional fourth column of groups, `"a,b"`.
func ParseTokenFile(r io.Reader) (map[string]*user.DefaultInfo, error) {
	reader := csv.NewReader(r)
	reader.FieldsPerRecord = -1
	tokens := map[string]*user.DefaultInfo{}
	for line := 1; ; line++ {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return tokens, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read token file: %w", err)
		}
		if len(record) < 3 {
			return nil, fmt.Errorf("read token file: record %d has %d columns, expected at least token, user name and user uid", line, len(record))
		}
		if record[0] == "" {
			continue // an empty token would let anyone in
		}
		info := &user.DefaultInfo{Name: record[1], UID: record[2]}
		if len(record) >= 4 && record[3] != "" {
			info.Groups = strings.Split(record[3], ",")
		}
		tokens[record[0]] = info
	}
}

const (
	bootstrapSecretType   = "bootstrap.kubernetes.io/token"
	bootstrapSecretPrefix = "bootstrap-token-"
	bootstrapUserPrefix   = "system:bootstrap:"
	bootstrapGroup        = "system:bootstrappers"
)

// isBootstrapWord says that s has the length and only the letters that a part of a bootstrap token may have.
func isBootstrapWord(s string, length int) bool {
	return len(s) == length && !strings.ContainsFunc(s, func(r rune) bool { return !isBootstrapLetter(r) })
}

func isBootstrapLetter(r rune) bool { return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' }

// isBootstrapGroup says that a token's Secret may add its user to the group: of the form system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9].
func isBootstrapGroup(group string) bool {
	rest, ok := strings.CutPrefix(group, bootstrapGroup+":")
	if !ok || rest == "" || len(rest) > 256 {
		return false
	}
	for i, r := range rest {
		if !isBootstrapLetter(r) && (r != ':' && r != '-' || i == len(rest)-1) {
			return false
		}
	}
	return true
}

// checkBootstrapToken gives the user of a token that a Secret in kube-system vouches for, or nil.
func checkBootstrapToken(lookup Lookup, token string, now time.Time) user.Info {
	id, password, ok := strings.Cut(token, ".")
	if !ok || !isBootstrapWord(id, 6) || !isBootstrapWord(password, 16) {
		return nil
	}
	secret := lookup.Secret(metav1.NamespaceSystem, bootstrapSecretPrefix+id)
	if secret == nil || secret.DeletionTimestamp != nil || secret.Type != corev1.SecretType(bootstrapSecretType) {
		return nil
	}
	if subtle.ConstantTimeCompare(secret.Data["token-secret"], []byte(password)) != 1 || string(secret.Data["token-id"]) != id {
		return nil
	}
	if expiration := string(secret.Data["expiration"]); expiration != "" {
		until, err := time.Parse(time.RFC3339, expiration)
		if err != nil || !now.Before(until) {
			return nil
		}
	}
	if string(secret.Data["usage-bootstrap-authentication"]) != "true" {
		return nil
	}
	info := &user.DefaultInfo{Name: bootstrapUserPrefix + id, Groups: []string{bootstrapGroup}}
	if extra := string(secret.Data["auth-extra-groups"]); extra != "" {
		for group := range strings.SplitSeq(extra, ",") {
			if !isBootstrapGroup(group) {
				return nil
			}
			if !has(info.Groups, group) {
				info.Groups = append(info.Groups, group)
			}
		}
		slices.Sort(info.Groups)
	}
	return info
}
