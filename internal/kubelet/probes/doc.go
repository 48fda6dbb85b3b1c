// Package probes asks containers whether they have started, are ready, are alive.
//
// count.go is pure: it turns outcomes into results by the probe's thresholds. The
// checks talk to the pod's address or run a command through a function given to
// them. Run is one probe's loop; it ends with its context.
package probes
