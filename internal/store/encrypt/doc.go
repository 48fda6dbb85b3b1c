// Package encrypt keeps values encrypted in the store, by the keys of an
// EncryptionConfiguration.
//
// A Store stands before another one: what is written is encrypted with the
// first key that the configuration gives the resource, what is read is
// decrypted with whichever key it was written with. Prefixes, ciphers and the
// authenticated data (the key in the store) are upstream's, so that either can
// read what the other has written.
//
// Keys change: the file is read again every minute where asked for, and a key
// management service (KMS v2, over a local socket) may name another key at any
// time. Each change begins a new epoch. A value carries the epoch in which it
// was found to be stored with the newest key; one of an older epoch is stale,
// and is written anew even by an update that changes nothing.
//
//	config.go   the file → rules about resources
//	keyring.go  rules → transformers, one immutable set of them
//	kms.go      the state of one key management service
//	store.go    the store
//	reload.go   what runs beside it
//
// A value that no key fits is handed on as it is: it cannot be decoded, and
// whoever reads it leaves it out with an error. A service that does not answer
// is another matter: the read fails, and is tried again.
//
// Tests: upstream's transformers as the other side, and a KMS on a socket.
package encrypt
