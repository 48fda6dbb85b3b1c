// Package hint guesses what the author of a manifest meant where it does not
// fit its type: the spelling of a field that does not exist, the place where it
// belongs, the value that was expected.
//
// It knows Go types by their json tags and nothing of Kubernetes, keeps no
// state, and only ever adds words: a guess that is not good is left out. Tests
// are tables.
package hint
