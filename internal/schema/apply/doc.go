// Package apply keeps metadata.managedFields, which says who last set which
// field of an object, and does server-side apply, which asks there who may
// change what.
//
// The rules are those of upstream's field manager: an entry per manager,
// operation, version and subresource; a write takes the fields it changes from
// everybody else; an applied document owns what it says, gives up what it no
// longer says, and fails where it would change what another owns.
//
// There are two roads to the same result. The long one is the library
// (k8s.io/apimachinery managedfields over structured-merge-diff) with schemas
// made lazily of the Go types; it does every apply, and every odd case. The short
// one does plain writes: a plan compiled from the Go type walks the old and the
// new struct side by side, without maps or schemas, and edits the entries'
// sets as tries of path elements (trie.go). Whatever the short road does not
// know for certain it leaves to the long one.
//
// The package decides; it reads no clock and does no I/O. Objects it is given
// as live are shared and never written to.
//
// Tests compare both roads with the library's own FieldManager on mutated
// objects of every kind, byte by byte; merge.txt, the table of how lists and
// maps merge, is compared with client-go's schema and rewritten by -update.
package apply
