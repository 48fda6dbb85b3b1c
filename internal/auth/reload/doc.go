// Package reload follows files that an administrator may change while the server runs: what they hold now, and when to
// look again.
//
// It reads files and nothing else, and costs nothing while they stay as they are: the kernel tells of changes, and a
// slow tick catches those it could not (another machine's file system, a mount put over the directory).
//
// [Watch] calls on every sign of a change; who is called compares what is there with what was. [Authorities] is that
// for a bundle of certificate authorities.
//
// Tests change files in a directory of their own and wait for the call.
package reload
