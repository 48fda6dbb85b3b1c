// Package issuers accepts bearer tokens that others vouch for: the JWTs of outside issuers (OpenID Connect), told of in
// an AuthenticationConfiguration file or by the older --oidc-* flags, and the tokens that a webhook knows.
//
// It takes the verification from k8s.io/apiserver, expressions in CEL with it. All of that is heavy, so nothing of it is
// made before an issuer is configured; a server without one does not call this package.
//
// [Load] reads and checks the configuration, [Issuers.Run] keeps it up to date with its file. A change that is no good
// leaves what was in force; issuers that a change takes away are heard for another minute, so that requests under way
// end well. [WebhookTokens] asks a webhook and remembers its answers.
//
// It sends to the issuers' addresses and to the webhook, and reads the files it is given. Tests run an issuer on loopback.
package issuers
