package main

/*
#include <signal.h>
#include <string.h>
#include <unistd.h>

// A sandbox's init does nothing but hold the PID namespace and reap: there is no
// reason to pay for a Go runtime. It runs before one exists. Ignored SIGCHLD makes
// the kernel reap for it, orphans that were already dead included.
static void pause_stop(int sig) { _exit(0); }

__attribute__((constructor)) static void pause_main(int argc, char **argv)
{
	if (argc < 1 || strcmp(argv[0], "/pause") != 0)
		return;
	signal(SIGCHLD, SIG_IGN);
	signal(SIGINT, pause_stop);
	signal(SIGTERM, pause_stop);
	for (;;)
		pause();
}
*/
import "C"
