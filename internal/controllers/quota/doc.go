// Package quota keeps the status of ResourceQuotas: what is allowed, and what
// the objects of the namespace use of it.
//
// Admission adds to the status what it lets in; this room counts everything
// anew when a quota changes, when an object that counts is deleted or made to
// use less, when a write that was let in failed, and every five minutes for
// what only time frees. The counting itself is internal/api/quota, which
// admission uses too.
//
// It reads every kind that can be counted and writes the status of quotas.
// Tests run the loop over admissiontest, with admission in force.
package quota
