// Package admission is the ordered chain every write passes, after it is known
// who asks and before the object is stored. Mutate may change the new object,
// Validate may only refuse. The order is upstream's and stands in chain.go;
// which plugins are in it is Config, by the names and defaults upstream's
// --enable-admission-plugins knows.
//
// Plugins read the caches and start nothing. Two keep state: ResourceQuota
// gathers the writes of a namespace so that one write of a quota's status
// reserves for all of them, and EventRateLimit counts. Two write, through the
// pipeline like anyone: ResourceQuota the status of quotas,
// NamespaceAutoProvision namespaces.
//
// A kind that is not in the table has no objects here: the plugins about it do
// nothing.
//
// Errors are apierrors.APIStatus in upstream's words. Tests: tables for each
// plugin, and admissiontest for what needs the pipeline.
package admission
