// Package pki keeps a cluster's keys and certificates in a directory: its authorities, the certificates of the API server
// and the node, the administrator's, and the key that signs service account tokens.
//
// [Ensure] makes what is missing and renews what is worn; what is there and good stays, and an authority that exists is
// never replaced, whoever made it. Files have kubeadm's names and formats, so that a cluster's authority can be
// brought along by copying ca.crt and ca.key in before the first start. Keys are ECDSA P-256, which makes a
// start with an empty directory take milliseconds; RSA keys are read as well.
//
// The package touches its directory and nothing else, starts no goroutine, and takes its clock as a function. It is tested on
// temporary directories with a clock that is a variable.
package pki
