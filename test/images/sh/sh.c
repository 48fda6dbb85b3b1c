// A shell that chooses its shell: busybox's, as in upstream's image, unless there
// are environment variables whose names it would lose. Debian's busybox keeps only
// those that a shell could have set; newer ones keep all, and bash does.
#include <string.h>
#include <unistd.h>

static int settable(const char *v)
{
	const char *letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
	if (!strchr(letters, *v))
		return 0;
	v += strspn(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");
	return *v == '=';
}

int main(int argc, char **argv, char **envp)
{
	const char *shell = "/bin/busybox";
	for (char **v = envp; *v; v++)
		if (!settable(*v))
			shell = "/bin/bash";
	if (argc > 0)
		execve(shell, argv, envp);
	return 127;
}
