package spec

import (
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// What a container may ask of the kernel by default, by theme. A name that a
// machine's kernel or libseccomp does not know is harmless: it is left out.
const (
	seccompFiles = `
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3
faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat
fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64
fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 link
linkat listmount _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at
newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2
read readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile
sendfile64 splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync
sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
utimensat_time64 utimes vmsplice write writev
fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr
listxattrat llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat`

	seccompProcesses = `
alarm brk capget capset execve execveat exit exit_group fork getcpu getegid getegid32
geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid
getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid
getuid getuid32 get_thread_area ioprio_get ioprio_set kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
lsm_set_self_attr pause pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease
process_vm_readv process_vm_writev ptrace restart_syscall rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid
setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid
setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32
set_thread_area set_tid_address sigaltstack signalfd signalfd4 sigprocmask sigreturn
sysinfo tgkill times tkill ugetrlimit uname uretprobe vfork wait4 waitid waitpid`

	seccompMemory = `
cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
pkey_mprotect remap_file_pages`

	seccompWaiting = `
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv
futex_wake get_robust_list io_cancel io_destroy io_getevents io_pgetevents
io_pgetevents_time64 io_setup io_submit _newselect poll ppoll ppoll_time64 pselect6
pselect6_time64 select set_robust_list`

	seccompTime = `
adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep
setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
timerfd_settime timerfd_settime64 getrandom`

	seccompMessages = `
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
semtimedop_time64 shmat shmctl shmdt shmget`
)

// seccompByArch is allowed on one architecture only.
var seccompByArch = map[string]string{
	"amd64":   "arch_prctl modify_ldt",
	"arm64":   "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
	"ppc64le": "sync_file_range2 swapcontext",
	"riscv64": "riscv_flush_icache riscv_hwprobe",
	"s390x":   "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}

// seccompByCapability is allowed to whoever holds the capability.
var seccompByCapability = map[string]string{
	"CAP_DAC_READ_SEARCH": "open_by_handle_at",
	"CAP_SYS_ADMIN": `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
sethostname setns syslog umount umount2 unshare`,
	"CAP_SYS_BOOT":       "reboot",
	"CAP_SYS_CHROOT":     "chroot",
	"CAP_SYS_MODULE":     "delete_module init_module finit_module",
	"CAP_SYS_PACCT":      "acct",
	"CAP_SYS_PTRACE":     "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
	"CAP_SYS_RAWIO":      "iopl ioperm",
	"CAP_SYS_TIME":       "settimeofday stime clock_settime clock_settime64",
	"CAP_SYS_TTY_CONFIG": "vhangup",
	"CAP_SYS_NICE":       "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
	"CAP_SYSLOG":         "syslog",
	"CAP_BPF":            "bpf",
	"CAP_PERFMON":        "perf_event_open",
}

var seccompArches = map[string][]specs.Arch{
	"amd64":   {specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
	"arm64":   {specs.ArchARM, specs.ArchAARCH64},
	"ppc64le": {specs.ArchPPC64LE},
	"riscv64": {specs.ArchRISCV64},
	"s390x":   {specs.ArchS390, specs.ArchS390X},
}

// namespaceFlags are what clone must not be given without CAP_SYS_ADMIN.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// personalities are the execution domains a program may switch to: Linux, 32 bit,
// UNAME26 and both, and the question which one is set.
var personalities = []uint64{0x0, 0x8, 0x20000, 0x20008, 0xffffffff}

// DefaultSeccomp is the RuntimeDefault profile for a process with these bounding
// capabilities: what is not named is refused with EPERM.
func DefaultSeccomp(bounding []string) *specs.LinuxSeccomp {
	allow := func(names string) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: strings.Fields(names), Action: specs.ActAllow}
	}
	allowArg := func(name string, index uint, value uint64, op specs.LinuxSeccompOperator) specs.LinuxSyscall {
		return specs.LinuxSyscall{
			Names: []string{name}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: index, Value: value, Op: op}},
		}
	}
	rules := []specs.LinuxSyscall{allow(strings.Join([]string{
		seccompFiles, seccompProcesses, seccompMemory, seccompWaiting, seccompTime, seccompMessages,
	}, " "))}
	if names := seccompByArch[runtime.GOARCH]; names != "" {
		rules = append(rules, allow(names))
	}
	// Every socket family up to AF_ALG (38), the kernel's cryptography, and from there
	// all but AF_VSOCK (40), which reaches past the network namespace to the hypervisor.
	rules = append(rules, allowArg("socket", 0, unix.AF_ALG, specs.OpLessThan))
	for _, family := range []uint64{unix.AF_NFC, unix.AF_KCM, unix.AF_QIPCRTR, unix.AF_SMC, unix.AF_XDP, unix.AF_MCTP} {
		rules = append(rules, allowArg("socket", 0, family, specs.OpEqualTo))
	}
	for _, domain := range personalities {
		rules = append(rules, allowArg("personality", 0, domain, specs.OpEqualTo))
	}
	for _, name := range AllCapabilities { // in a fixed order
		if names := seccompByCapability[name]; names != "" && slices.Contains(bounding, name) {
			rules = append(rules, allow(names))
		}
	}
	if !slices.Contains(bounding, "CAP_SYS_ADMIN") {
		index := uint(0)
		if runtime.GOARCH == "s390x" {
			index = 1
		}
		rules = append(rules, allowArg("clone", index, namespaceFlags, specs.OpMaskedEqual))
		// clone3 takes its flags through a pointer, where no filter can look: say it
		// does not exist, so that libraries fall back to clone.
		nosys := uint(unix.ENOSYS)
		rules = append(rules, specs.LinuxSyscall{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &nosys})
	}
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Architectures: seccompArches[runtime.GOARCH],
		Syscalls:      rules,
	}
}
