// Package auth answers two questions about a request: who sends it, and may they.
//
// Who: [Authenticator] reads client certificates, front-proxy headers and bearer tokens (service
// account tokens, bootstrap tokens, a static list, and those that others it is handed know) and gives a
// user, or says 401. [TokenIssuer] makes the service account tokens that it reads. [Impersonator] lets one
// user speak as another.
//
// May: [RBAC] decides from Roles and bindings through an index that is rebuilt when they change,
// [NodeAuthorizer] decides for kubelets from what is bound to their node, [Union] asks several in turn.
// [ConfirmNoEscalation] and its neighbours keep users from granting what they do not hold.
//
// Rooms of their own, since they read files and speak over the network, and weigh more: issuers (OpenID
// Connect and token webhooks), modes (the order of authorizers, authorization webhooks, ABAC), reload (files
// that change).
//
// [BootstrapObjects] is the policy a new cluster starts with; [Reconcile] brings an old one up to it.
//
// The package reads objects through the small interfaces it declares ([Lookup], [Rules], [NodeView]),
// never writes any, starts no goroutine, and takes its clock as a function. Objects it is given are
// shared and are not modified. Locks: each cache has its own, held for map operations only.
//
// Tests are tables over objects made in the test; nothing listens, and time is a variable.
package auth
