//go:build cgo

package main

func Example() {
	main()
	// Output:
	// private: {Home:/home/me Hosts:[]}
	// work: {Home:/projects Hosts:[a.example.org b.example.org]}
	//   groups.api.globus.org [redacted]
	//   transfer.api.globus.org [redacted]
}
