// Package arch holds tests about the tree itself: who may import whom and why,
// what pure code keeps away from, that every room says what it is for. It has
// no code of its own. The tests read the sources' imports; they build nothing.
//
// A test that fails here is answered by moving code, or by a line in one of the
// lists below that says why this once it may be otherwise.
package arch
