// Package policy holds the rows of the policy group: disruption budgets. The
// body of an eviction is a request, not a kind that is stored.
//
// Everything here is pure; tests are tables.
package policy
