// Package image keeps the node's images: it pulls and imports them, unpacks their
// layers, names them as Docker does and lists and removes them.
//
// On disk, below the directory it is given:
//
//	index.json                 every image known: names, digests, layers, configuration
//	layers/<diff id>/fs        one unpacked layer, in overlayfs's form (whiteouts)
//	layers/<diff id>/layer.json  its size and inode count
//	tmp/                       what is under way; emptied at start
//
// A layer appears by a rename when it is whole, and the index is replaced by a
// rename after the layers it names are there: a crash at any point leaves the old
// or the new state. Every blob's digest and every layer's diff id is verified.
// Compressed layers are not kept.
//
// It touches its directory and registries, and knows nothing of containers except
// through Config.LayersInUse. Lock order: a layer's own lock, then Store.mu; under it only
// Config.LayersInUse is called. Tested with a registry on loopback and archives made in the test.
package image
