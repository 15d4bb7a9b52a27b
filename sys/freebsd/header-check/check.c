/* Made from the tables of sys/freebsd/header-check: WARDER_BLESS=1 cargo test -p warder-header-check */

#include <sys/types.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/socketvar.h>
#include <netinet/in.h>
#include <netinet/in_pcb.h>
#include <sys/jail.h>
#include <sys/uio.h>
#include <sys/mount.h>
#include <sys/procdesc.h>
#include <sys/procctl.h>
#include <sys/wait.h>
#include <sys/event.h>
#include <sys/sysctl.h>
#include <sys/proc.h>
#include <sys/user.h>
#include <sys/time.h>
#include <sys/rctl.h>
#include <sys/module.h>
#include <signal.h>
#include <unistd.h>
#include <sys/capsicum.h>
#include <sys/ioccom.h>
#include <fs/devfs/devfs.h>
#include <sys/cpuset.h>
#include <sys/un.h>
#include <sys/ucred.h>
#include <netinet/tcp_var.h>
#include <time.h>
#include <stddef.h>
#include <stdio.h>

static int wrong;

static void
same(const char *header, const char *what, long long here, long long meant)
{
	if (here == meant) {
		printf("ok     %s: %s is %lld\n", header, what, here);
		return;
	}
	printf("WRONG  %s: %s is %lld here, but Warder was written for %lld\n", header, what, here, meant);
	wrong++;
}

static int (*const is_jail_set)(struct iovec *, unsigned int, int) = jail_set;
static int (*const is_jail_get)(struct iovec *, unsigned int, int) = jail_get;
static int (*const is_jail_attach)(int) = jail_attach;
static int (*const is_jail_remove)(int) = jail_remove;
#if __FreeBSD_version >= 1500000
static int (*const is_jail_attach_jd)(int) = jail_attach_jd;
#endif
#if __FreeBSD_version >= 1500000
static int (*const is_jail_remove_jd)(int) = jail_remove_jd;
#endif
static int (*const is_nmount)(struct iovec *, unsigned int, int) = nmount;
static int (*const is_unmount)(const char *, int) = unmount;
static int (*const is_getfsstat)(struct statfs *, long, int) = getfsstat;
static pid_t (*const is_pdfork)(int *, int) = pdfork;
static int (*const is_pdkill)(int, int) = pdkill;
static int (*const is_procctl)(idtype_t, id_t, int, void *) = procctl;
static int (*const is_rctl_add_rule)(const char *, size_t, char *, size_t) = rctl_add_rule;
static int (*const is_rctl_remove_rule)(const char *, size_t, char *, size_t) = rctl_remove_rule;
static int (*const is_rctl_get_rules)(const char *, size_t, char *, size_t) = rctl_get_rules;
static int (*const is_rctl_get_racct)(const char *, size_t, char *, size_t) = rctl_get_racct;
static int (*const is_modfind)(const char *) = modfind;
static int (*const is_close_range)(unsigned int, unsigned int, int) = close_range;
static int (*const is_fexecve)(int, char *const *, char *const *) = fexecve;
static int (*const is_cpuset_setaffinity)(cpulevel_t, cpuwhich_t, id_t, size_t, const cpuset_t *) = cpuset_setaffinity;
static int (*const is_setlogin)(const char *) = setlogin;

int
main(void)
{
	printf("headers of FreeBSD %d\n", __FreeBSD_version);
	same("sys/jail.h", "JAIL_CREATE", (long long)(JAIL_CREATE), 1LL);
	same("sys/jail.h", "JAIL_UPDATE", (long long)(JAIL_UPDATE), 2LL);
	same("sys/jail.h", "JAIL_ATTACH", (long long)(JAIL_ATTACH), 4LL);
	same("sys/jail.h", "JAIL_DYING", (long long)(JAIL_DYING), 8LL);
#if __FreeBSD_version >= 1500000
	same("sys/jail.h", "JAIL_GET_DESC", (long long)(JAIL_GET_DESC), 64LL);
#endif
	same("sys/jail.h", "JAIL_SYS_DISABLE", (long long)(JAIL_SYS_DISABLE), 0LL);
	same("sys/jail.h", "JAIL_SYS_NEW", (long long)(JAIL_SYS_NEW), 1LL);
	same("sys/jail.h", "JAIL_SYS_INHERIT", (long long)(JAIL_SYS_INHERIT), 2LL);
	same("sys/jail.h", "jail_set()", is_jail_set != NULL, 1LL);
	same("sys/jail.h", "jail_get()", is_jail_get != NULL, 1LL);
	same("sys/jail.h", "jail_attach()", is_jail_attach != NULL, 1LL);
	same("sys/jail.h", "jail_remove()", is_jail_remove != NULL, 1LL);
#if __FreeBSD_version >= 1500000
	same("sys/jail.h", "jail_attach_jd()", is_jail_attach_jd != NULL, 1LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/jail.h", "jail_remove_jd()", is_jail_remove_jd != NULL, 1LL);
#endif
	same("sys/uio.h", "sizeof(struct iovec)", (long long)sizeof(struct iovec), 16LL);
	same("sys/mount.h", "MNT_RDONLY", (long long)(MNT_RDONLY), 1LL);
	same("sys/mount.h", "MNT_NOEXEC", (long long)(MNT_NOEXEC), 4LL);
	same("sys/mount.h", "MNT_NOSUID", (long long)(MNT_NOSUID), 8LL);
	same("sys/mount.h", "MNT_UPDATE", (long long)(MNT_UPDATE), 65536LL);
	same("sys/mount.h", "MNT_FORCE", (long long)(MNT_FORCE), 524288LL);
	same("sys/mount.h", "MNT_BYFSID", (long long)(MNT_BYFSID), 134217728LL);
	same("sys/mount.h", "MNT_NOCOVER", (long long)(MNT_NOCOVER), 68719476736LL);
	same("sys/mount.h", "MNT_EMPTYDIR", (long long)(MNT_EMPTYDIR), 137438953472LL);
	same("sys/mount.h", "MNT_NOWAIT", (long long)(MNT_NOWAIT), 2LL);
	same("sys/mount.h", "sizeof(struct statfs)", (long long)sizeof(struct statfs), 2344LL);
	same("sys/mount.h", "offsetof(struct statfs, f_flags)", (long long)offsetof(struct statfs, f_flags), 8LL);
	same("sys/mount.h", "offsetof(struct statfs, f_bsize)", (long long)offsetof(struct statfs, f_bsize), 16LL);
	same("sys/mount.h", "offsetof(struct statfs, f_blocks)", (long long)offsetof(struct statfs, f_blocks), 32LL);
	same("sys/mount.h", "offsetof(struct statfs, f_bfree)", (long long)offsetof(struct statfs, f_bfree), 40LL);
	same("sys/mount.h", "offsetof(struct statfs, f_bavail)", (long long)offsetof(struct statfs, f_bavail), 48LL);
	same("sys/mount.h", "offsetof(struct statfs, f_fsid)", (long long)offsetof(struct statfs, f_fsid), 192LL);
	same("sys/mount.h", "offsetof(struct statfs, f_fstypename)", (long long)offsetof(struct statfs, f_fstypename), 280LL);
	same("sys/mount.h", "offsetof(struct statfs, f_mntfromname)", (long long)offsetof(struct statfs, f_mntfromname), 296LL);
	same("sys/mount.h", "offsetof(struct statfs, f_mntonname)", (long long)offsetof(struct statfs, f_mntonname), 1320LL);
	same("sys/mount.h", "nmount()", is_nmount != NULL, 1LL);
	same("sys/mount.h", "unmount()", is_unmount != NULL, 1LL);
	same("sys/mount.h", "getfsstat()", is_getfsstat != NULL, 1LL);
	same("sys/procdesc.h", "PD_DAEMON", (long long)(PD_DAEMON), 1LL);
	same("sys/procdesc.h", "PD_CLOEXEC", (long long)(PD_CLOEXEC), 2LL);
	same("sys/procdesc.h", "pdfork()", is_pdfork != NULL, 1LL);
	same("sys/procdesc.h", "pdkill()", is_pdkill != NULL, 1LL);
	same("sys/procctl.h", "PROC_SPROTECT", (long long)(PROC_SPROTECT), 1LL);
	same("sys/procctl.h", "PPROT_SET", (long long)(PPROT_SET), 1LL);
	same("sys/procctl.h", "PROC_REAP_ACQUIRE", (long long)(PROC_REAP_ACQUIRE), 2LL);
	same("sys/procctl.h", "PROC_REAP_KILL", (long long)(PROC_REAP_KILL), 6LL);
	same("sys/procctl.h", "PROC_TRAPCAP_CTL", (long long)(PROC_TRAPCAP_CTL), 9LL);
	same("sys/procctl.h", "PROC_TRAPCAP_CTL_ENABLE", (long long)(PROC_TRAPCAP_CTL_ENABLE), 1LL);
	same("sys/procctl.h", "PROC_NO_NEW_PRIVS_CTL", (long long)(PROC_NO_NEW_PRIVS_CTL), 19LL);
	same("sys/procctl.h", "PROC_NO_NEW_PRIVS_ENABLE", (long long)(PROC_NO_NEW_PRIVS_ENABLE), 1LL);
	same("sys/procctl.h", "sizeof(struct procctl_reaper_kill)", (long long)sizeof(struct procctl_reaper_kill), 80LL);
	same("sys/procctl.h", "offsetof(struct procctl_reaper_kill, rk_sig)", (long long)offsetof(struct procctl_reaper_kill, rk_sig), 0LL);
	same("sys/procctl.h", "offsetof(struct procctl_reaper_kill, rk_killed)", (long long)offsetof(struct procctl_reaper_kill, rk_killed), 12LL);
	same("sys/procctl.h", "procctl()", is_procctl != NULL, 1LL);
	same("sys/wait.h", "P_PID", (long long)(P_PID), 0LL);
	same("sys/wait.h", "WNOHANG", (long long)(WNOHANG), 1LL);
	same("sys/event.h", "EVFILT_READ", (long long)(EVFILT_READ), -1LL);
	same("sys/event.h", "EVFILT_PROC", (long long)(EVFILT_PROC), -5LL);
	same("sys/event.h", "EVFILT_SIGNAL", (long long)(EVFILT_SIGNAL), -6LL);
	same("sys/event.h", "EVFILT_PROCDESC", (long long)(EVFILT_PROCDESC), -8LL);
	same("sys/event.h", "EV_ADD", (long long)(EV_ADD), 1LL);
	same("sys/event.h", "EV_DELETE", (long long)(EV_DELETE), 2LL);
	same("sys/event.h", "NOTE_EXIT", (long long)(NOTE_EXIT), 2147483648LL);
	same("sys/event.h", "sizeof(struct kevent)", (long long)sizeof(struct kevent), 64LL);
	same("sys/event.h", "offsetof(struct kevent, filter)", (long long)offsetof(struct kevent, filter), 8LL);
	same("sys/event.h", "offsetof(struct kevent, flags)", (long long)offsetof(struct kevent, flags), 10LL);
	same("sys/event.h", "offsetof(struct kevent, fflags)", (long long)offsetof(struct kevent, fflags), 12LL);
	same("sys/event.h", "offsetof(struct kevent, data)", (long long)offsetof(struct kevent, data), 16LL);
	same("sys/event.h", "offsetof(struct kevent, udata)", (long long)offsetof(struct kevent, udata), 24LL);
	same("sys/sysctl.h", "CTL_KERN", (long long)(CTL_KERN), 1LL);
	same("sys/sysctl.h", "KERN_PROC", (long long)(KERN_PROC), 14LL);
	same("sys/sysctl.h", "KERN_PROC_PID", (long long)(KERN_PROC_PID), 1LL);
	same("sys/sysctl.h", "KERN_PROC_PROC", (long long)(KERN_PROC_PROC), 8LL);
	same("sys/sysctl.h", "KERN_PROC_INC_THREAD", (long long)(KERN_PROC_INC_THREAD), 16LL);
	same("sys/proc.h", "SRUN", (long long)(SRUN), 2LL);
	same("sys/proc.h", "SSLEEP", (long long)(SSLEEP), 3LL);
	same("sys/proc.h", "SSTOP", (long long)(SSTOP), 4LL);
	same("sys/proc.h", "SZOMB", (long long)(SZOMB), 5LL);
	same("sys/user.h", "sizeof(struct kinfo_proc)", (long long)sizeof(struct kinfo_proc), 1088LL);
	same("sys/user.h", "offsetof(struct kinfo_proc, ki_pid)", (long long)offsetof(struct kinfo_proc, ki_pid), 72LL);
	same("sys/user.h", "offsetof(struct kinfo_proc, ki_ppid)", (long long)offsetof(struct kinfo_proc, ki_ppid), 76LL);
	same("sys/user.h", "offsetof(struct kinfo_proc, ki_uid)", (long long)offsetof(struct kinfo_proc, ki_uid), 168LL);
	same("sys/user.h", "offsetof(struct kinfo_proc, ki_start)", (long long)offsetof(struct kinfo_proc, ki_start), 336LL);
	same("sys/user.h", "offsetof(struct kinfo_proc, ki_stat)", (long long)offsetof(struct kinfo_proc, ki_stat), 388LL);
	same("sys/user.h", "offsetof(struct kinfo_proc, ki_comm)", (long long)offsetof(struct kinfo_proc, ki_comm), 447LL);
	same("sys/user.h", "offsetof(struct kinfo_proc, ki_jid)", (long long)offsetof(struct kinfo_proc, ki_jid), 592LL);
	same("sys/time.h", "sizeof(struct timeval)", (long long)sizeof(struct timeval), 16LL);
	same("sys/rctl.h", "rctl_add_rule()", is_rctl_add_rule != NULL, 1LL);
	same("sys/rctl.h", "rctl_remove_rule()", is_rctl_remove_rule != NULL, 1LL);
	same("sys/rctl.h", "rctl_get_rules()", is_rctl_get_rules != NULL, 1LL);
	same("sys/rctl.h", "rctl_get_racct()", is_rctl_get_racct != NULL, 1LL);
	same("sys/module.h", "modfind()", is_modfind != NULL, 1LL);
	same("signal.h", "SIG_BLOCK", (long long)(SIG_BLOCK), 1LL);
	same("signal.h", "SIG_SETMASK", (long long)(SIG_SETMASK), 3LL);
	same("signal.h", "sizeof(sigset_t)", (long long)sizeof(sigset_t), 16LL);
	same("unistd.h", "CLOSE_RANGE_CLOEXEC", (long long)(CLOSE_RANGE_CLOEXEC), 4LL);
	same("unistd.h", "close_range()", is_close_range != NULL, 1LL);
	same("unistd.h", "fexecve()", is_fexecve != NULL, 1LL);
	same("sys/capsicum.h", "CAP_RIGHTS_VERSION", (long long)(CAP_RIGHTS_VERSION), 0LL);
	same("sys/capsicum.h", "sizeof(cap_rights_t)", (long long)sizeof(cap_rights_t), 16LL);
	same("sys/capsicum.h", "CAP_MMAP_RX", (long long)(CAP_MMAP_RX), 144115188075855933LL);
	same("sys/capsicum.h", "CAP_MMAP_RW", (long long)(CAP_MMAP_RW), 144115188075855903LL);
	same("sys/capsicum.h", "CAP_PREAD", (long long)(CAP_PREAD), 144115188075855885LL);
	same("sys/capsicum.h", "CAP_PWRITE", (long long)(CAP_PWRITE), 144115188075855886LL);
	same("sys/capsicum.h", "CAP_CREATE", (long long)(CAP_CREATE), 144115188075855936LL);
	same("sys/capsicum.h", "CAP_FEXECVE", (long long)(CAP_FEXECVE), 144115188075856000LL);
	same("sys/capsicum.h", "CAP_FSYNC", (long long)(CAP_FSYNC), 144115188075856128LL);
	same("sys/capsicum.h", "CAP_FTRUNCATE", (long long)(CAP_FTRUNCATE), 144115188075856384LL);
	same("sys/capsicum.h", "CAP_LOOKUP", (long long)(CAP_LOOKUP), 144115188075856896LL);
	same("sys/capsicum.h", "CAP_FCHMOD", (long long)(CAP_FCHMOD), 144115188075864064LL);
	same("sys/capsicum.h", "CAP_FCNTL", (long long)(CAP_FCNTL), 144115188075888640LL);
	same("sys/capsicum.h", "CAP_FLOCK", (long long)(CAP_FLOCK), 144115188075921408LL);
	same("sys/capsicum.h", "CAP_FPATHCONF", (long long)(CAP_FPATHCONF), 144115188075986944LL);
	same("sys/capsicum.h", "CAP_FSTAT", (long long)(CAP_FSTAT), 144115188076380160LL);
	same("sys/capsicum.h", "CAP_FSTATFS", (long long)(CAP_FSTATFS), 144115188076904448LL);
	same("sys/capsicum.h", "CAP_FUTIMES", (long long)(CAP_FUTIMES), 144115188077953024LL);
	same("sys/capsicum.h", "CAP_LINKAT_TARGET", (long long)(CAP_LINKAT_TARGET), 144115188080051200LL);
	same("sys/capsicum.h", "CAP_MKDIRAT", (long long)(CAP_MKDIRAT), 144115188084245504LL);
	same("sys/capsicum.h", "CAP_RENAMEAT_SOURCE", (long long)(CAP_RENAMEAT_SOURCE), 144115188142965760LL);
	same("sys/capsicum.h", "CAP_SYMLINKAT", (long long)(CAP_SYMLINKAT), 144115188210074624LL);
	same("sys/capsicum.h", "CAP_UNLINKAT", (long long)(CAP_UNLINKAT), 144115188344292352LL);
	same("sys/capsicum.h", "CAP_LINKAT_SOURCE", (long long)(CAP_LINKAT_SOURCE), 144117387099112448LL);
	same("sys/capsicum.h", "CAP_RENAMEAT_TARGET", (long long)(CAP_RENAMEAT_TARGET), 144119586122368000LL);
	same("sys/capsicum.h", "CAP_EVENT", (long long)(CAP_EVENT), 288230376151711776LL);
	same("sys/ioccom.h", "IOC_IN", (long long)(IOC_IN), 2147483648LL);
	same("sys/ioccom.h", "IOC_INOUT", (long long)(IOC_INOUT), 3221225472LL);
	same("fs/devfs/devfs.h", "DEVFS_MAGIC", (long long)(DEVFS_MAGIC), 3674867834LL);
	same("fs/devfs/devfs.h", "DRC_PATHPTRN", (long long)(DRC_PATHPTRN), 2LL);
	same("fs/devfs/devfs.h", "DRA_BACTS", (long long)(DRA_BACTS), 1LL);
	same("fs/devfs/devfs.h", "DRB_HIDE", (long long)(DRB_HIDE), 1LL);
	same("fs/devfs/devfs.h", "DRB_UNHIDE", (long long)(DRB_UNHIDE), 2LL);
	same("fs/devfs/devfs.h", "DEVFSIO_RADD", (long long)(DEVFSIO_RADD), 3236709376LL);
	same("fs/devfs/devfs.h", "DEVFSIO_RAPPLY", (long long)(DEVFSIO_RAPPLY), 2162967554LL);
	same("fs/devfs/devfs.h", "DEVFSIO_RDEL", (long long)(DEVFSIO_RDEL), 2147763201LL);
	same("fs/devfs/devfs.h", "DEVFSIO_RGETNEXT", (long long)(DEVFSIO_RGETNEXT), 3236709380LL);
	same("fs/devfs/devfs.h", "DEVFSIO_SGETNEXT", (long long)(DEVFSIO_SGETNEXT), 3221373964LL);
	same("fs/devfs/devfs.h", "sizeof(struct devfs_rule)", (long long)sizeof(struct devfs_rule), 236LL);
	same("fs/devfs/devfs.h", "offsetof(struct devfs_rule, dr_id)", (long long)offsetof(struct devfs_rule, dr_id), 4LL);
	same("fs/devfs/devfs.h", "offsetof(struct devfs_rule, dr_icond)", (long long)offsetof(struct devfs_rule, dr_icond), 8LL);
	same("fs/devfs/devfs.h", "offsetof(struct devfs_rule, dr_pathptrn)", (long long)offsetof(struct devfs_rule, dr_pathptrn), 16LL);
	same("fs/devfs/devfs.h", "offsetof(struct devfs_rule, dr_iacts)", (long long)offsetof(struct devfs_rule, dr_iacts), 216LL);
	same("fs/devfs/devfs.h", "offsetof(struct devfs_rule, dr_bacts)", (long long)offsetof(struct devfs_rule, dr_bacts), 220LL);
	same("fs/devfs/devfs.h", "offsetof(struct devfs_rule, dr_incset)", (long long)offsetof(struct devfs_rule, dr_incset), 234LL);
	same("sys/cpuset.h", "CPU_LEVEL_WHICH", (long long)(CPU_LEVEL_WHICH), 3LL);
	same("sys/cpuset.h", "CPU_WHICH_JAIL", (long long)(CPU_WHICH_JAIL), 5LL);
	same("sys/cpuset.h", "cpuset_setaffinity()", is_cpuset_setaffinity != NULL, 1LL);
	same("unistd.h", "setlogin()", is_setlogin != NULL, 1LL);
	same("sys/socket.h", "AF_UNIX", (long long)(AF_UNIX), 1LL);
	same("sys/socket.h", "SOCK_STREAM", (long long)(SOCK_STREAM), 1LL);
	same("sys/socket.h", "SOCK_SEQPACKET", (long long)(SOCK_SEQPACKET), 5LL);
	same("sys/socket.h", "SCM_RIGHTS", (long long)(SCM_RIGHTS), 1LL);
	same("sys/socket.h", "MSG_EOR", (long long)(MSG_EOR), 8LL);
	same("sys/socket.h", "MSG_TRUNC", (long long)(MSG_TRUNC), 16LL);
	same("sys/socket.h", "MSG_CTRUNC", (long long)(MSG_CTRUNC), 32LL);
	same("sys/socket.h", "MSG_DONTWAIT", (long long)(MSG_DONTWAIT), 128LL);
	same("sys/socket.h", "MSG_NOSIGNAL", (long long)(MSG_NOSIGNAL), 131072LL);
	same("sys/socket.h", "MSG_CMSG_CLOEXEC", (long long)(MSG_CMSG_CLOEXEC), 262144LL);
	same("sys/socket.h", "SO_DOMAIN", (long long)(SO_DOMAIN), 4121LL);
	same("sys/socket.h", "SO_PROTOCOL", (long long)(SO_PROTOCOL), 4118LL);
	same("sys/socket.h", "sizeof(struct cmsghdr)", (long long)sizeof(struct cmsghdr), 12LL);
	same("sys/socket.h", "sizeof(struct msghdr)", (long long)sizeof(struct msghdr), 48LL);
	same("sys/un.h", "sizeof(struct sockaddr_un)", (long long)sizeof(struct sockaddr_un), 106LL);
	same("sys/un.h", "LOCAL_PEERCRED", (long long)(LOCAL_PEERCRED), 1LL);
	same("sys/un.h", "SOL_LOCAL", (long long)(SOL_LOCAL), 0LL);
	same("sys/ucred.h", "XUCRED_VERSION", (long long)(XUCRED_VERSION), 0LL);
	same("sys/ucred.h", "sizeof(struct xucred)", (long long)sizeof(struct xucred), 88LL);
	same("sys/ucred.h", "offsetof(struct xucred, cr_uid)", (long long)offsetof(struct xucred, cr_uid), 4LL);
	same("sys/ucred.h", "offsetof(struct xucred, cr_ngroups)", (long long)offsetof(struct xucred, cr_ngroups), 8LL);
	same("sys/ucred.h", "offsetof(struct xucred, cr_groups)", (long long)offsetof(struct xucred, cr_groups), 12LL);
	same("sys/socket.h", "sizeof(struct sockaddr_storage)", (long long)sizeof(struct sockaddr_storage), 128LL);
	same("netinet/in_pcb.h", "INC_ISIPV6", (long long)(INC_ISIPV6), 1LL);
	same("netinet/tcp_var.h", "offsetof(struct xtcpcb, xt_inp.inp_inc)", (long long)offsetof(struct xtcpcb, xt_inp.inp_inc), 256LL);
	same("signal.h", "SIGEV_THREAD_ID", (long long)(SIGEV_THREAD_ID), 4LL);
	same("signal.h", "SIGALRM", (long long)(SIGALRM), 14LL);
	same("signal.h", "SA_RESTART", (long long)(SA_RESTART), 2LL);
	same("signal.h", "sizeof(struct sigaction)", (long long)sizeof(struct sigaction), 32LL);
	same("signal.h", "sizeof(struct sigevent)", (long long)sizeof(struct sigevent), 80LL);
	same("signal.h", "offsetof(struct sigevent, sigev_signo)", (long long)offsetof(struct sigevent, sigev_signo), 4LL);
	same("signal.h", "offsetof(struct sigevent, sigev_notify_thread_id)", (long long)offsetof(struct sigevent, sigev_notify_thread_id), 16LL);
	same("time.h", "sizeof(struct itimerspec)", (long long)sizeof(struct itimerspec), 32LL);
	same("time.h", "CLOCK_MONOTONIC", (long long)(CLOCK_MONOTONIC), 4LL);
	if (wrong == 0) {
		printf("every number is as Warder takes it\n");
		return (0);
	}
	printf("%d number(s) differ. Warder must not run here: it would pass the kernel something else than it means.\n"
	    "Report the lines marked WRONG, with the output of: uname -a; freebsd-version -ku\n", wrong);
	return (1);
}
