// Package netdisk tells file systems that several machines share from those of one.
package netdisk

// Find returns the name of the network file system that path, which exists, lies on;
// "" if it is on a disk of this machine alone. One that is reached through FUSE counts
// as one, since nothing tells what is behind it.
func Find(path string) (name string, err error) { return find(path) }
