// Package certificates decides on CertificateSigningRequests for the signers that Kubernetes has built in: it approves
// what kubelets ask for themselves, signs what was approved, and deletes requests that nobody needs any more.
//
// The room reads CertificateSigningRequests and writes their approval and status, or deletes them. It asks the cluster's
// authorizer whether a requester may be approved unseen, and signs with the authorities it is handed.
//
// What a signer takes and what is stale is decided by pure functions (signer.go, stale.go), tested by tables; the loops
// run over controllertest, and certificates are checked with crypto/x509.
package certificates
