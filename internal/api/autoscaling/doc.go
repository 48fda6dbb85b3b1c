// Package autoscaling holds the rows of the autoscaling group: horizontal pod
// autoscalers, stored as v2 and served as v1 too. What v1 cannot say it keeps
// in annotations, by which nothing is lost.
//
// Everything here is pure; tests are tables beside each file.
package autoscaling
