// Package quota is what objects count for against a ResourceQuota. Admission
// asks it before an object is stored (Check), the quota controller when it
// adds up what is there (Used): so both always come to the same numbers.
//
// Everything here is pure: objects, quotas and the time go in, lists of
// resources come out. What an evaluator must look up it is handed as Lookup.
// Tests are tables.
package quota
