// Package batch holds the rows of the batch group: jobs and cron jobs.
//
// Everything here is pure, but for the time zones of the host, which a cron
// job names; tests are tables beside each kind.
package batch
