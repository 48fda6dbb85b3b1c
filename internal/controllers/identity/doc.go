// Package identity keeps what identities in a cluster live on. Each namespace gets what pods need to speak to the
// cluster, a default service account and the certificate to trust; aggregated ClusterRoles get their rules; Secrets of
// service account tokens are filled, and go with their account or when nobody uses them; tokens for joining expire, and
// cluster-info is signed with them; extension API servers learn whom to trust.
//
// The room reads Namespaces, ServiceAccounts, Secrets, ConfigMaps, Pods and ClusterRoles. It creates the account, writes
// the ConfigMaps kube-root-ca.crt, cluster-info, extension-apiserver-authentication and
// kube-apiserver-legacy-service-account-token-tracking, the data and labels of token Secrets (and deletes them), the
// lists of secrets of accounts, and the rules of aggregated roles.
//
// What becomes of an object is decided in the _decide files, without effects. Tests: tables of those, and loops over
// controllertest.
package identity
