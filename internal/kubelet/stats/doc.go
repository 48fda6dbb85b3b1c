// Package stats measures a node and its pods, as /stats/summary tells it.
//
// What containers use comes from the runtime, what groups and disks hold from the
// machine; volumes and logs are measured by walking them, which is slow, so those
// figures are kept for a while. Measuring starts nothing and keeps nothing running:
// whoever asks pays, and those who ask at the same time get one answer.
//
// Conversions are pure and tested by tables.
package stats
