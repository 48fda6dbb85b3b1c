package apply

import (
	"strings"
	"unicode"
	"unicode/utf8"

	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
)

// DefaultManager is the manager of a client that names none: the word before
// the version in its User-Agent, as far as it can be printed.
func DefaultManager(userAgent string) string {
	word, _, _ := strings.Cut(userAgent, "/")
	out := make([]byte, 0, len(word))
	for _, r := range word {
		if !unicode.IsPrint(r) {
			continue
		}
		if len(out)+utf8.RuneLen(r) > metavalidation.FieldManagerMaxLength {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}
