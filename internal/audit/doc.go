// Package audit writes down who asked the API for what, and what came of it.
//
// A Policy of audit.k8s.io/v1 says which requests are written down and how much
// of them. A Record is one request's event in the making; at each stage of the
// request (received, response begun, complete, panic) it is handed to the
// sinks: a log that rotates itself, a webhook, or both. A sink takes events at
// once, so that the request waits for it, or gathers them in a bounded buffer
// and drops what does not fit.
//
//	policy.go   the policy
//	record.go   one request
//	sink.go     what events are handed to; encode.go how they look
//	log.go, webhook.go, batch.go   the sinks
//
// Whoever handles a request may add an annotation to its event with Annotate;
// where nothing is written down that costs one look into the context.
//
// The room knows requests by their attributes and bodies as JSON; that these
// are Kubernetes objects matters only to find names and managed fields.
//
// Tests: tables for the policy, files and an HTTP server for the sinks.
package audit
