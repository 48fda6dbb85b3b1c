// Package quiet keeps kubectl's translations from being loaded at start: they
// cost more than the rest of a command, in every process that links kubectl.
//
// It works by initializing before the packages that ask for translations: they
// sort behind it by import path, and it depends on no more than they do.
package quiet

import "k8s.io/kubectl/pkg/util/i18n"

func init() {
	i18n.SetLoadTranslationsFunc(func() error { return nil })
}
