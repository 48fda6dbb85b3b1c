// Command images assembles container images without a registry, for tests and for
// the sample application that a cluster brings along:
//
//	go run ./test/images -out DIR [busybox] [nginx] [hello]
//
// Every archive DIR/<name>.tar is an OCI image layout that "docker load" reads too.
// The same inputs give the same bytes: entries are sorted, times are fixed, owners
// are root.
//
//	busybox  Debian's busybox-static, every applet a link
//	nginx    Debian's nginx, the libraries it needs and nothing else, and busybox for a shell
//	hello    test/images/hello/hello.c, static (needs a C compiler)
//
// The images of upstream's end-to-end tests have names that begin with e2e- and are
// made when asked for, from upstream's own Go programs and Debian packages;
// test/conformance says which, and under which names.
//
// busybox and nginx need apt-get, dpkg-deb and a Debian mirror. The program writes
// below -out and into a temporary directory only.
package main
