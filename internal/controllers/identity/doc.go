// Package identity gives each namespace what pods need to speak to the
// cluster: a default service account and the certificate to trust. It also
// keeps the rules of aggregated ClusterRoles.
//
// The room reads Namespaces, ServiceAccounts, ConfigMaps and ClusterRoles; it
// creates the account, writes the ConfigMap kube-root-ca.crt and the rules of
// aggregated roles. Tests: loops over controllertest.
package identity
