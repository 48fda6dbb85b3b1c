// Package storetest is the suite that every store passes: memory, etcd inside
// the process, and etcd over the network. A behaviour the cluster leans on is
// written here once; a store that differs is wrong, or the contract is.
//
// It imports nothing but the store, and each test opens a store of its own.
package storetest
