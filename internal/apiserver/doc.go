// Package apiserver is the cluster's door: HTTPS, in Kubernetes' REST.
//
// A request is parsed (request.go), its sender found and authorized
// (filters.go), and served by the file named after its verb: get, list, watch,
// create, update, delete. Reads come from the object cache and cost no
// encoding where the stored bytes serve (encode.go); writes go through
// internal/pipeline, as every component's do. Discovery, health, metrics and
// the create-only review kinds have files of their own; exec, attach,
// port-forward and logs are internal/apiserver/streams.
//
// Nothing here knows a kind by name, except where upstream's paths do.
package apiserver
