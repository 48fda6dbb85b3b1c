package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// maySign tells whether a user may do verb (approve, sign, attest) for a
// signer, by its name or its domain's.
func maySign(ctx context.Context, z authorizer.Authorizer, u user.Info, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := z.Authorize(ctx, authorizer.AttributesRecord{
			User: u, Verb: verb, Name: name, APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", ResourceRequest: true,
		})
		if err == nil && decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}

// certificateApproval lets those approve or deny who may for the signer.
func certificateApproval(d Deps) Plugin {
	return Plugin{Validate: func(ctx context.Context, a *Attributes) error {
		old, ok := a.Old.(*certificatesv1.CertificateSigningRequest)
		if !ok || a.Subresource != "approval" || a.Operation != Update {
			return nil
		}
		if !maySign(ctx, d.Authorizer, a.User, "approve", old.Spec.SignerName) {
			return forbidden(a, fmt.Errorf("user not permitted to approve requests with signerName %q", old.Spec.SignerName))
		}
		return nil
	}}
}

// certificateSigning lets those issue certificates who may for the signer.
func certificateSigning(d Deps) Plugin {
	return Plugin{Validate: func(ctx context.Context, a *Attributes) error {
		old, ok := a.Old.(*certificatesv1.CertificateSigningRequest)
		csr, ok2 := a.Object.(*certificatesv1.CertificateSigningRequest)
		if !ok || !ok2 || a.Subresource != "status" || a.Operation != Update {
			return nil
		}
		if reflect.DeepEqual(old.Status.Certificate, csr.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, csr.Status.Conditions) {
			return nil
		}
		if !maySign(ctx, d.Authorizer, a.User, "sign", old.Spec.SignerName) {
			return forbidden(a, fmt.Errorf("user not permitted to sign requests with signerName %q", old.Spec.SignerName))
		}
		return nil
	}}
}

// certificateSubject keeps the general client signer from making
// administrators.
func certificateSubject(Deps) Plugin {
	return Plugin{Validate: func(_ context.Context, a *Attributes) error {
		csr, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
		if !ok || !a.writes(Create) || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			return nil
		}
		req, err := parseRequest(csr.Spec.Request)
		if err != nil {
			return forbidden(a, fmt.Errorf("failed to parse CSR: %v", err))
		}
		if slices.Contains(req.Subject.Organization, user.SystemPrivilegedGroup) {
			return forbidden(a, fmt.Errorf("use of %s signer with %s group is not allowed", certificatesv1.KubeAPIServerClientSignerName, user.SystemPrivilegedGroup))
		}
		return nil
	}}
}

func parseRequest(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
