// Package modes puts the authorizers of a server in their order: from --authorization-mode and the flags beside it, or
// from an AuthorizationConfiguration file, which may change while the server runs.
//
// The RBAC and Node authorizers are handed in; AlwaysAllow, AlwaysDeny, ABAC and Webhook are made here, the last from
// k8s.io/apiserver with its match conditions in CEL. What CEL needs is made for a file or a webhook alone: the usual
// order costs a slice. [auth.Masters] always comes first, so that an administrator is not locked out.
//
// It reads the files it is given and sends to webhooks. Tests run a webhook on loopback.
package modes
