// Waits for a signal to end, and reaps what is left to it until then.
#include <signal.h>
#include <sys/wait.h>

int main(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, 0);
	for (int got; sigwait(&all, &got) == 0;) {
		if (got == SIGINT || got == SIGTERM)
			return 0;
		while (waitpid(-1, 0, WNOHANG) > 0)
			;
	}
	return 1;
}
