/*
 * hello: the sample application of a fresh cluster. Answers every GET on port 8080
 * with the pod's name and address, so that one can watch a Service spread requests.
 *
 *   /          "Hello from <hostname> at <address>"
 *   /healthz   "ok", for probes
 *
 * Built static and small, since it travels inside the monohull binary. One process
 * per connection, ten seconds for each. On SIGTERM it answers who has connected
 * already, then ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PORT = 8080, BACKLOG = 128, MAX_REQUEST = 8192, TIME_LIMIT = 10 };

static volatile sig_atomic_t stopping;

static void stop(int sig)
{
	(void)sig;
	stopping = 1;
}

static void send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, p, n);
		if (w <= 0)
			return;
		p += w;
		n -= (size_t)w;
	}
}

/* The address the client asked for is the pod's. */
static void own_address(int fd, char *out, socklen_t size)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof a;

	snprintf(out, size, "unknown");
	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return;
	if (a.ss_family == AF_INET) {
		inet_ntop(AF_INET, &((struct sockaddr_in *)&a)->sin_addr, out, size);
	} else if (a.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&a)->sin6_addr, out, size);
		if (strncmp(out, "::ffff:", 7) == 0 && strchr(out, '.'))
			memmove(out, out + 7, strlen(out + 7) + 1);
	}
}

static void answer(int fd)
{
	char request[MAX_REQUEST + 1], body[512], head[512], host[256], address[INET6_ADDRSTRLEN];
	char method[8] = "", path[256] = "";
	size_t have = 0;
	const char *status = "200 OK";

	alarm(TIME_LIMIT);
	for (;;) {
		ssize_t n = read(fd, request + have, MAX_REQUEST - have);
		if (n <= 0)
			return;
		have += (size_t)n;
		request[have] = 0;
		if (strstr(request, "\r\n\r\n") || strstr(request, "\n\n"))
			break;
		if (have == MAX_REQUEST)
			return;
	}
	sscanf(request, "%7s %255s", method, path);
	gethostname(host, sizeof host);
	host[sizeof host - 1] = 0;
	own_address(fd, address, sizeof address);
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
		status = "405 Method Not Allowed";
		snprintf(body, sizeof body, "only GET and HEAD\n");
	} else if (strcmp(path, "/healthz") == 0) {
		snprintf(body, sizeof body, "ok\n");
	} else {
		snprintf(body, sizeof body, "Hello from %s at %s\n", host, address);
		printf("%s %.200s\n", method, path);
		fflush(stdout);
	}
	int n = snprintf(head, sizeof head,
	                 "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
	                 "Content-Length: %zu\r\nConnection: close\r\n\r\n",
	                 status, strlen(body));
	send_all(fd, head, (size_t)n);
	if (strcmp(method, "HEAD") != 0)
		send_all(fd, body, strlen(body));
	shutdown(fd, SHUT_WR);
	while (read(fd, request, MAX_REQUEST) > 0) /* let the client close first */
		;
}

static int open_listener(void)
{
	int on = 1, off = 0;
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
		if (bind(fd, (struct sockaddr *)&six, sizeof six) == 0 && listen(fd, BACKLOG) == 0)
			return fd;
		close(fd);
	}
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&four, sizeof four) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	return -1;
}

/* Takes one connection, if there is one; false where there is none. */
static int serve(int listener, const sigset_t *mask)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return 0;
	if (fork() == 0) {
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		sigprocmask(SIG_SETMASK, mask, NULL);
		close(listener);
		answer(fd);
		_exit(0);
	}
	close(fd);
	return 1;
}

int main(void)
{
	sigset_t held, before;

	/* Held but while waiting, so that none comes between looking and waiting. */
	sigemptyset(&held);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGINT);
	sigprocmask(SIG_BLOCK, &held, &before);
	signal(SIGTERM, stop); /* as PID 1 there is no default for it */
	signal(SIGINT, stop);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	int listener = open_listener();
	if (listener < 0) {
		perror("hello: listen on port 8080");
		return 1;
	}
	fcntl(listener, F_SETFL, O_NONBLOCK);
	printf("listening on port %d\n", PORT);
	fflush(stdout);
	while (!stopping) {
		struct pollfd p = {.fd = listener, .events = POLLIN};
		ppoll(&p, 1, NULL, &before);
		while (serve(listener, &before))
			;
	}
	while (serve(listener, &before))
		;
	close(listener);
	while (wait(NULL) > 0) /* with SIGCHLD ignored it returns when all are done */
		;
	return 0;
}
