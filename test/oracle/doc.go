// Package oracle compares our API rows with upstream Kubernetes, which is the
// judge of how every kind behaves. It is a module of its own, since the
// product itself never imports the other implementation.
//
// The upstream side is its real REST storage of every resource that a default
// kube-apiserver serves, built over a store that holds nothing: strategies,
// table convertors, selectors and names are found there by resource, so that a
// new row is compared without a line written here (upstream.go). Our side is
// the row, taken through the same steps as the pipeline takes it (ours.go).
//
// Objects come from the hand-written seeds in testdata, one file per kind and
// as many documents as the kind has corners, and from changes to them that know
// the Go type: a field removed, emptied, filled, made absurd, copied from
// elsewhere (generate.go, mutate.go). A difference is made small again and
// printed with its object (shrink.go). Differences we keep are listed in
// accepted.go, each with its reason.
//
// One kind, five hundred objects, a fixed seed:
//
//	cd test/oracle && go test . -run 'TestOracle/batch.Job$' -objects 500 -seed 42
//
// (GOFLAGS=-mod=mod once the versions of the main module have moved.) The seed
// is printed, and repeats a run. A failure shows how often a difference occurred,
// what only upstream says, what only we say, and the smallest object that shows
// it; for a change the old object and the new one.
//
// A kind of the core group is named without a group: TestOracle/Pod$. Without
// -objects each kind gets a short run; `make oracle` is the long one. The tests
// beside it compare what is fixed: TestFeatures that upstream's gates are those
// of a default server, TestFacts the rows, TestResetFields what each writer may
// own, TestBootstrapPolicy the roles and bindings, TestBootstrapFlows the
// priority levels and flow schemas, TestDiscovery the list of all resources. A
// new kind needs its seeds, in testdata/<group>.<kind>.yaml in lower case, and
// nothing else.
//
// The pipeline is mirrored in steps.go, which says what it must do around a row:
// default, keep the system's metadata, judge metadata by meta.Common and
// meta.CommonUpdate, count generations. What depends on an allocator, a
// controller or an admission plugin is not compared here.
package oracle
