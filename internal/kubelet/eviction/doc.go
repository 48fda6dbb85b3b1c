// Package eviction decides when a node is under pressure, and which pods leave it.
//
// A threshold names a signal (memory.available, nodefs.available …) and how little of
// it is too little; a hard one acts at once, a soft one when it was met for its grace
// period. Step takes what was observed and says which node conditions hold and what,
// if anything, is to be reclaimed; Rank orders pods for that, Message tells users
// why one left. Over names pods that use more local storage than they may, whatever
// the node has.
//
// All of it is pure: no goroutine, clock, I/O or logger. Tested by tables.
package eviction
