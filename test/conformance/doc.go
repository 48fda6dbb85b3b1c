// Command conformance measures Monohull with upstream's own ruler: the end-to-end
// tests of Kubernetes that conformance is made of, 446 in v1.36.
//
//	go run . [-focus WORDS] [-select all|open|pending|failed|passed] [-budget 5m] [-procs 2]
//
// It builds upstream's test binary, kubectl and test programs as ordinary Go
// dependencies, assembles the images that the tests use without a registry
// (test/images), starts a cluster of its own in a network namespace with no way out,
// gives it a registry that knows these images alone, runs what is asked for, and
// writes what came of it:
//
//	docs/CONFORMANCE.md   one row per test, for readers
//	results.json          the same, for this program: a run changes the rows it ran
//	reasons.yaml          why a test fails or cannot run yet; kept by hand
//	build/                programs, images, the logs of runs; not committed
//
// A test that passed before and fails now is a regression: the program says so, ends
// with status 1 and keeps the row until -accept says that the failure is the news.
//
// The module is apart from Monohull's because the product never imports
// k8s.io/kubernetes. It needs root, Go, gcc, and a Debian mirror once for the images.
//
// Selecting, merging and rendering are pure, in select.go, results.go and render.go,
// and tested; the rest is effects, tested by running it.
package main
