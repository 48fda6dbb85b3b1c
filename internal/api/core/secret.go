package core

import (
	"crypto/tls"
	"encoding/json"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func secretRow() *api.Kind {
	return api.Define(api.Spec[*corev1.Secret]{
		GVK: gvk("Secret"), Plural: "secrets", Singular: "secret", Namespaced: true, UnconditionalUpdate: true,
		List: &corev1.SecretList{},
		Default: func(s *corev1.Secret) {
			mergeStringData(s)
			setDefault(&s.Type, corev1.SecretTypeOpaque)
		},
		Validate:       validateSecret,
		ValidateUpdate: validateSecretUpdate,
		Warnings: func(s *corev1.Secret) []string {
			if s.Type != corev1.SecretTypeTLS {
				return nil
			}
			if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
				return []string{err.Error()}
			}
			return nil
		},
		Fields: map[string]func(*corev1.Secret) string{
			"type": func(s *corev1.Secret) string { return string(s.Type) },
		},
		Columns: []metav1.TableColumnDefinition{meta.NameColumn, meta.Text("Type", "Used to facilitate programmatic handling of secret data."), meta.Text("Data", "The number of entries."), meta.AgeColumn},
		Row: func(s *corev1.Secret, now time.Time) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), meta.Age(s.CreationTimestamp, now)}
		},
	})
}

// mergeStringData moves the write-only field to where it is kept.
func mergeStringData(s *corev1.Secret) {
	for k, v := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&s.ObjectMeta, true, meta.DNSSubdomain)}
	p := field.NewPath("data")
	size := 0
	for _, k := range keys(s.Data) {
		r.InvalidAll(p.Key(k), k, validation.IsConfigMapKey(k))
		size += len(s.Data[k])
	}
	if size > corev1.MaxSecretSize {
		r.TooLong(p, corev1.MaxSecretSize)
	}
	need := func(key string) bool {
		_, ok := s.Data[key]
		r.RequiredIf(!ok, p.Key(key))
		return ok
	}
	object := func(key string) {
		if !need(key) {
			return
		}
		if err := json.Unmarshal(s.Data[key], &map[string]any{}); err != nil {
			r.Invalid(p.Key(key), "<secret contents redacted>", err.Error())
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		r.RequiredIf(s.Annotations[corev1.ServiceAccountNameKey] == "", metaPath.Child("annotations").Key(corev1.ServiceAccountNameKey))
	case corev1.SecretTypeDockercfg:
		object(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		object(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			r.Required(p.Key(corev1.BasicAuthUsernameKey), "")
			r.Required(p.Key(corev1.BasicAuthPasswordKey), "")
		}
	case corev1.SecretTypeSSHAuth:
		r.RequiredIf(len(s.Data[corev1.SSHAuthPrivateKey]) == 0, p.Key(corev1.SSHAuthPrivateKey))
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey)
		need(corev1.TLSPrivateKeyKey)
	}
	return r.Errs
}

func validateSecretUpdate(s, old *corev1.Secret) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&s.ObjectMeta, &old.ObjectMeta)}
	r.Add(meta.Immutable(s.Type, old.Type, field.NewPath("type")))
	if old.Immutable != nil && *old.Immutable {
		r.ForbiddenIf(s.Immutable == nil || !*s.Immutable, field.NewPath("immutable"), frozen)
		r.ForbiddenIf(!reflect.DeepEqual(s.Data, old.Data), field.NewPath("data"), frozen)
	}
	r.Add(validateSecret(s))
	return r.Errs
}
