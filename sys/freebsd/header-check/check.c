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
#include <net/if.h>
#include <netinet/in_var.h>
#include <netinet6/in6_var.h>
#include <netinet6/nd6.h>
#include <sys/sockio.h>
#include <ifaddrs.h>
#include <net/if_dl.h>
#include <net/if_types.h>
#include <net/route.h>
#include <sys/filio.h>
#include <netlink/netlink.h>
#include <netlink/netlink_generic.h>
#include <netlink/route/common.h>
#include <netlink/route/interface.h>
#include <net/pfvar.h>
#include <netpfil/pf/pf.h>
#include <netpfil/pf/pf_nl.h>
#include <net/if_pflog.h>
#include <net/bpf.h>
#if __FreeBSD_version >= 1500000
#include <sys/inotify.h>
#endif
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
static int (*const is_pdgetpid)(int, pid_t *) = pdgetpid;
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
#if __FreeBSD_version >= 1500000
static int (*const is_inotify_init1)(int) = inotify_init1;
#endif
#if __FreeBSD_version >= 1500000
static int (*const is_inotify_add_watch)(int, const char *, __uint32_t) = inotify_add_watch;
#endif
#if __FreeBSD_version >= 1500000
static int (*const is_inotify_rm_watch)(int, int) = inotify_rm_watch;
#endif

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
	same("sys/procdesc.h", "pdgetpid()", is_pdgetpid != NULL, 1LL);
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
	same("sys/proc.h", "P_STOPPED_SIG", (long long)(P_STOPPED_SIG), 131072LL);
	same("sys/user.h", "sizeof(struct kinfo_proc)", (long long)sizeof(struct kinfo_proc), 1088LL);
	same("sys/user.h", "offsetof(struct kinfo_proc, ki_pid)", (long long)offsetof(struct kinfo_proc, ki_pid), 72LL);
	same("sys/user.h", "offsetof(struct kinfo_proc, ki_flag)", (long long)offsetof(struct kinfo_proc, ki_flag), 368LL);
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
	same("net/if.h", "IFNAMSIZ", (long long)(IFNAMSIZ), 16LL);
	same("net/if.h", "IFF_UP", (long long)(IFF_UP), 1LL);
	same("net/if.h", "IFCAP_TXCSUM | IFCAP_TXCSUM_IPV6", (long long)(IFCAP_TXCSUM | IFCAP_TXCSUM_IPV6), 4194306LL);
	same("net/if.h", "sizeof(struct ifreq)", (long long)sizeof(struct ifreq), 32LL);
	same("net/if.h", "offsetof(struct ifreq, ifr_flags)", (long long)offsetof(struct ifreq, ifr_flags), 16LL);
	same("net/if.h", "offsetof(struct ifreq, ifr_flagshigh)", (long long)offsetof(struct ifreq, ifr_flagshigh), 18LL);
	same("net/if.h", "offsetof(struct ifreq, ifr_reqcap)", (long long)offsetof(struct ifreq, ifr_reqcap), 16LL);
	same("net/if.h", "offsetof(struct ifreq, ifr_curcap)", (long long)offsetof(struct ifreq, ifr_curcap), 20LL);
	same("net/if.h", "offsetof(struct ifreq, ifr_index)", (long long)offsetof(struct ifreq, ifr_index), 16LL);
	same("net/if.h", "offsetof(struct ifreq, ifr_mtu)", (long long)offsetof(struct ifreq, ifr_mtu), 16LL);
	same("net/if.h", "offsetof(struct ifreq, ifr_jid)", (long long)offsetof(struct ifreq, ifr_jid), 16LL);
	same("net/if.h", "offsetof(struct ifreq, ifr_addr)", (long long)offsetof(struct ifreq, ifr_addr), 16LL);
	same("net/if.h", "offsetof(struct ifreq, ifr_data)", (long long)offsetof(struct ifreq, ifr_data), 16LL);
	same("net/if.h", "sizeof(struct ifgroupreq)", (long long)sizeof(struct ifgroupreq), 40LL);
	same("net/if.h", "offsetof(struct ifgroupreq, ifgr_group)", (long long)offsetof(struct ifgroupreq, ifgr_group), 24LL);
	same("net/if.h", "offsetof(struct ifgroupreq, ifgr_len)", (long long)offsetof(struct ifgroupreq, ifgr_len), 16LL);
	same("net/if.h", "offsetof(struct ifgroupreq, ifgr_groups)", (long long)offsetof(struct ifgroupreq, ifgr_groups), 24LL);
	same("net/if.h", "sizeof(struct ifg_req)", (long long)sizeof(struct ifg_req), 16LL);
	same("netinet/in_var.h", "sizeof(struct in_aliasreq)", (long long)sizeof(struct in_aliasreq), 68LL);
	same("netinet/in_var.h", "offsetof(struct in_aliasreq, ifra_addr)", (long long)offsetof(struct in_aliasreq, ifra_addr), 16LL);
	same("netinet/in_var.h", "offsetof(struct in_aliasreq, ifra_broadaddr)", (long long)offsetof(struct in_aliasreq, ifra_broadaddr), 32LL);
	same("netinet/in_var.h", "offsetof(struct in_aliasreq, ifra_mask)", (long long)offsetof(struct in_aliasreq, ifra_mask), 48LL);
	same("netinet/in_var.h", "offsetof(struct in_aliasreq, ifra_vhid)", (long long)offsetof(struct in_aliasreq, ifra_vhid), 64LL);
	same("netinet6/in6_var.h", "sizeof(struct in6_ndireq)", (long long)sizeof(struct in6_ndireq), 72LL);
	same("netinet6/in6_var.h", "offsetof(struct in6_ndireq, ndi.flags)", (long long)offsetof(struct in6_ndireq, ndi.flags), 36LL);
	same("netinet6/nd6.h", "ND6_IFF_IFDISABLED", (long long)(ND6_IFF_IFDISABLED), 8LL);
	same("netinet6/nd6.h", "ND6_IFF_AUTO_LINKLOCAL", (long long)(ND6_IFF_AUTO_LINKLOCAL), 32LL);
	same("sys/sockio.h", "SIOCSIFFLAGS", (long long)(SIOCSIFFLAGS), 2149607696LL);
	same("sys/sockio.h", "SIOCGIFFLAGS", (long long)(SIOCGIFFLAGS), 3223349521LL);
	same("sys/sockio.h", "SIOCSIFNAME", (long long)(SIOCSIFNAME), 2149607720LL);
	same("sys/sockio.h", "SIOCAIFADDR", (long long)(SIOCAIFADDR), 2151967019LL);
	same("sys/sockio.h", "SIOCSIFCAP", (long long)(SIOCSIFCAP), 2149607710LL);
	same("sys/sockio.h", "SIOCGIFCAP", (long long)(SIOCGIFCAP), 3223349535LL);
	same("sys/sockio.h", "SIOCGIFMTU", (long long)(SIOCGIFMTU), 3223349555LL);
	same("sys/sockio.h", "SIOCSIFMTU", (long long)(SIOCSIFMTU), 2149607732LL);
	same("sys/sockio.h", "SIOCGIFINDEX", (long long)(SIOCGIFINDEX), 3223349536LL);
	same("sys/sockio.h", "SIOCSIFLLADDR", (long long)(SIOCSIFLLADDR), 2149607740LL);
	same("sys/sockio.h", "SIOCSIFVNET", (long long)(SIOCSIFVNET), 3223349594LL);
	same("sys/sockio.h", "SIOCIFCREATE2", (long long)(SIOCIFCREATE2), 3223349628LL);
	same("sys/sockio.h", "SIOCIFDESTROY", (long long)(SIOCIFDESTROY), 2149607801LL);
	same("sys/sockio.h", "SIOCAIFGROUP", (long long)(SIOCAIFGROUP), 2150132103LL);
	same("sys/sockio.h", "SIOCGIFGMEMB", (long long)(SIOCGIFGMEMB), 3223873930LL);
	same("netinet6/in6_var.h", "SIOCGIFINFO_IN6", (long long)(SIOCGIFINFO_IN6), 3225971052LL);
	same("netinet6/in6_var.h", "SIOCSIFINFO_FLAGS", (long long)(SIOCSIFINFO_FLAGS), 3225971031LL);
	same("ifaddrs.h", "sizeof(struct ifaddrs)", (long long)sizeof(struct ifaddrs), 56LL);
	same("ifaddrs.h", "offsetof(struct ifaddrs, ifa_next)", (long long)offsetof(struct ifaddrs, ifa_next), 0LL);
	same("ifaddrs.h", "offsetof(struct ifaddrs, ifa_name)", (long long)offsetof(struct ifaddrs, ifa_name), 8LL);
	same("ifaddrs.h", "offsetof(struct ifaddrs, ifa_flags)", (long long)offsetof(struct ifaddrs, ifa_flags), 16LL);
	same("ifaddrs.h", "offsetof(struct ifaddrs, ifa_addr)", (long long)offsetof(struct ifaddrs, ifa_addr), 24LL);
	same("sys/socket.h", "AF_INET", (long long)(AF_INET), 2LL);
	same("sys/socket.h", "AF_LINK", (long long)(AF_LINK), 18LL);
	same("sys/socket.h", "PF_ROUTE", (long long)(PF_ROUTE), 17LL);
	same("netinet/in.h", "sizeof(struct sockaddr_in)", (long long)sizeof(struct sockaddr_in), 16LL);
	same("netinet/in.h", "offsetof(struct sockaddr_in, sin_family)", (long long)offsetof(struct sockaddr_in, sin_family), 1LL);
	same("netinet/in.h", "offsetof(struct sockaddr_in, sin_addr)", (long long)offsetof(struct sockaddr_in, sin_addr), 4LL);
	same("net/if_dl.h", "offsetof(struct sockaddr_dl, sdl_family)", (long long)offsetof(struct sockaddr_dl, sdl_family), 1LL);
	same("net/if_dl.h", "offsetof(struct sockaddr_dl, sdl_index)", (long long)offsetof(struct sockaddr_dl, sdl_index), 2LL);
	same("net/if_dl.h", "offsetof(struct sockaddr_dl, sdl_type)", (long long)offsetof(struct sockaddr_dl, sdl_type), 4LL);
	same("net/if_dl.h", "offsetof(struct sockaddr_dl, sdl_nlen)", (long long)offsetof(struct sockaddr_dl, sdl_nlen), 5LL);
	same("net/if_dl.h", "offsetof(struct sockaddr_dl, sdl_alen)", (long long)offsetof(struct sockaddr_dl, sdl_alen), 6LL);
	same("net/if_dl.h", "offsetof(struct sockaddr_dl, sdl_slen)", (long long)offsetof(struct sockaddr_dl, sdl_slen), 7LL);
	same("net/if_dl.h", "offsetof(struct sockaddr_dl, sdl_data)", (long long)offsetof(struct sockaddr_dl, sdl_data), 8LL);
	same("net/if_dl.h", "sizeof(struct sockaddr_dl)", (long long)sizeof(struct sockaddr_dl), 54LL);
	same("net/if_types.h", "IFT_ETHER", (long long)(IFT_ETHER), 6LL);
	same("net/route.h", "RTM_VERSION", (long long)(RTM_VERSION), 5LL);
	same("net/route.h", "RTM_ADD", (long long)(RTM_ADD), 1LL);
	same("net/route.h", "RTM_GET", (long long)(RTM_GET), 4LL);
	same("net/route.h", "RTA_DST", (long long)(RTA_DST), 1LL);
	same("net/route.h", "RTA_GATEWAY", (long long)(RTA_GATEWAY), 2LL);
	same("net/route.h", "RTA_NETMASK", (long long)(RTA_NETMASK), 4LL);
	same("net/route.h", "RTF_UP", (long long)(RTF_UP), 1LL);
	same("net/route.h", "RTF_GATEWAY", (long long)(RTF_GATEWAY), 2LL);
	same("net/route.h", "RTF_HOST", (long long)(RTF_HOST), 4LL);
	same("net/route.h", "RTF_LLDATA", (long long)(RTF_LLDATA), 1024LL);
	same("net/route.h", "RTF_STATIC", (long long)(RTF_STATIC), 2048LL);
	same("net/route.h", "sizeof(struct rt_msghdr)", (long long)sizeof(struct rt_msghdr), 152LL);
	same("net/route.h", "offsetof(struct rt_msghdr, rtm_version)", (long long)offsetof(struct rt_msghdr, rtm_version), 2LL);
	same("net/route.h", "offsetof(struct rt_msghdr, rtm_type)", (long long)offsetof(struct rt_msghdr, rtm_type), 3LL);
	same("net/route.h", "offsetof(struct rt_msghdr, rtm_index)", (long long)offsetof(struct rt_msghdr, rtm_index), 4LL);
	same("net/route.h", "offsetof(struct rt_msghdr, rtm_flags)", (long long)offsetof(struct rt_msghdr, rtm_flags), 8LL);
	same("net/route.h", "offsetof(struct rt_msghdr, rtm_addrs)", (long long)offsetof(struct rt_msghdr, rtm_addrs), 12LL);
	same("net/route.h", "offsetof(struct rt_msghdr, rtm_pid)", (long long)offsetof(struct rt_msghdr, rtm_pid), 16LL);
	same("net/route.h", "offsetof(struct rt_msghdr, rtm_seq)", (long long)offsetof(struct rt_msghdr, rtm_seq), 20LL);
	same("sys/filio.h", "FIONBIO", (long long)(FIONBIO), 2147772030LL);
	same("sys/filio.h", "FIONREAD", (long long)(FIONREAD), 1074030207LL);
	same("sys/capsicum.h", "CAP_READ", (long long)(CAP_READ), 144115188075855873LL);
	same("sys/capsicum.h", "CAP_WRITE", (long long)(CAP_WRITE), 144115188075855874LL);
	same("sys/capsicum.h", "CAP_SHUTDOWN", (long long)(CAP_SHUTDOWN), 144115462953762816LL);
	same("sys/capsicum.h", "CAP_GETSOCKNAME", (long long)(CAP_GETSOCKNAME), 144115196665790464LL);
	same("sys/capsicum.h", "CAP_GETPEERNAME", (long long)(CAP_GETPEERNAME), 144115192370823168LL);
	same("sys/capsicum.h", "CAP_GETSOCKOPT", (long long)(CAP_GETSOCKOPT), 144115205255725056LL);
	same("sys/capsicum.h", "CAP_SETSOCKOPT", (long long)(CAP_SETSOCKOPT), 144115325514809344LL);
	same("sys/capsicum.h", "CAP_IOCTL", (long long)(CAP_IOCTL), 288230376151711872LL);
	same("sys/capsicum.h", "CAP_FCNTL_GETFL", (long long)(CAP_FCNTL_GETFL), 8LL);
	same("sys/capsicum.h", "CAP_FCNTL_SETFL", (long long)(CAP_FCNTL_SETFL), 16LL);
	same("sys/socket.h", "AF_NETLINK", (long long)(AF_NETLINK), 38LL);
	same("netlink/netlink.h", "sizeof(struct nlmsghdr)", (long long)sizeof(struct nlmsghdr), 16LL);
	same("netlink/netlink.h", "NLA_F_NESTED", (long long)(NLA_F_NESTED), 32768LL);
	same("netlink/netlink.h", "offsetof(struct nlmsghdr, nlmsg_type)", (long long)offsetof(struct nlmsghdr, nlmsg_type), 4LL);
	same("netlink/netlink.h", "offsetof(struct nlmsghdr, nlmsg_flags)", (long long)offsetof(struct nlmsghdr, nlmsg_flags), 6LL);
	same("netlink/netlink.h", "offsetof(struct nlmsghdr, nlmsg_seq)", (long long)offsetof(struct nlmsghdr, nlmsg_seq), 8LL);
	same("netlink/netlink.h", "sizeof(struct nlattr)", (long long)sizeof(struct nlattr), 4LL);
	same("netlink/netlink.h", "offsetof(struct nlattr, nla_type)", (long long)offsetof(struct nlattr, nla_type), 2LL);
	same("netlink/netlink.h", "sizeof(struct sockaddr_nl)", (long long)sizeof(struct sockaddr_nl), 12LL);
	same("netlink/netlink.h", "offsetof(struct sockaddr_nl, nl_family)", (long long)offsetof(struct sockaddr_nl, nl_family), 1LL);
	same("netlink/netlink.h", "offsetof(struct sockaddr_nl, nl_pid)", (long long)offsetof(struct sockaddr_nl, nl_pid), 4LL);
	same("netlink/netlink.h", "offsetof(struct sockaddr_nl, nl_groups)", (long long)offsetof(struct sockaddr_nl, nl_groups), 8LL);
	same("netlink/netlink.h", "NETLINK_GENERIC", (long long)(NETLINK_GENERIC), 16LL);
	same("netlink/netlink.h", "NLMSG_ERROR", (long long)(NLMSG_ERROR), 2LL);
	same("netlink/netlink.h", "NLMSG_DONE", (long long)(NLMSG_DONE), 3LL);
	same("netlink/netlink.h", "NLM_F_REQUEST", (long long)(NLM_F_REQUEST), 1LL);
	same("netlink/netlink.h", "NLM_F_ACK", (long long)(NLM_F_ACK), 4LL);
	same("netlink/netlink.h", "NLM_F_DUMP", (long long)(NLM_F_DUMP), 768LL);
	same("netlink/netlink.h", "NETLINK_ROUTE", (long long)(NETLINK_ROUTE), 0LL);
	same("netlink/netlink.h", "NLM_F_CREATE | NLM_F_EXCL", (long long)(NLM_F_CREATE | NLM_F_EXCL), 1536LL);
	same("netlink/netlink.h", "NLMSGERR_ATTR_COOKIE", (long long)(NLMSGERR_ATTR_COOKIE), 3LL);
	same("netlink/netlink.h", "sizeof(struct nlmsgerr)", (long long)sizeof(struct nlmsgerr), 20LL);
	same("netlink/netlink_generic.h", "sizeof(struct genlmsghdr)", (long long)sizeof(struct genlmsghdr), 4LL);
	same("netlink/netlink_generic.h", "offsetof(struct genlmsghdr, cmd)", (long long)offsetof(struct genlmsghdr, cmd), 0LL);
	same("netlink/netlink_generic.h", "GENL_ID_CTRL", (long long)(GENL_ID_CTRL), 16LL);
	same("netlink/netlink_generic.h", "CTRL_CMD_GETFAMILY", (long long)(CTRL_CMD_GETFAMILY), 3LL);
	same("netlink/netlink_generic.h", "CTRL_ATTR_FAMILY_ID", (long long)(CTRL_ATTR_FAMILY_ID), 1LL);
	same("netlink/netlink_generic.h", "CTRL_ATTR_FAMILY_NAME", (long long)(CTRL_ATTR_FAMILY_NAME), 2LL);
	same("netlink/route/common.h", "NL_RTM_NEWLINK", (long long)(NL_RTM_NEWLINK), 16LL);
	same("netlink/route/common.h", "NL_RTM_GETLINK", (long long)(NL_RTM_GETLINK), 18LL);
	same("netlink/route/interface.h", "IFLA_IFNAME", (long long)(IFLA_IFNAME), 3LL);
	same("netlink/route/interface.h", "IFLA_LINKINFO", (long long)(IFLA_LINKINFO), 18LL);
	same("netlink/route/interface.h", "IFLA_INFO_KIND", (long long)(IFLA_INFO_KIND), 1LL);
	same("netlink/route/interface.h", "IFLA_IFALIAS", (long long)(IFLA_IFALIAS), 20LL);
	same("netlink/route/interface.h", "sizeof(struct ifinfomsg)", (long long)sizeof(struct ifinfomsg), 16LL);
	same("net/pfvar.h", "DIOCNATLOOK", (long long)(DIOCNATLOOK), 3226223639LL);
	same("net/pfvar.h", "sizeof(struct pfioc_natlook)", (long long)sizeof(struct pfioc_natlook), 76LL);
	same("net/pfvar.h", "offsetof(struct pfioc_natlook, saddr)", (long long)offsetof(struct pfioc_natlook, saddr), 0LL);
	same("net/pfvar.h", "offsetof(struct pfioc_natlook, daddr)", (long long)offsetof(struct pfioc_natlook, daddr), 16LL);
	same("net/pfvar.h", "offsetof(struct pfioc_natlook, rdaddr)", (long long)offsetof(struct pfioc_natlook, rdaddr), 48LL);
	same("net/pfvar.h", "offsetof(struct pfioc_natlook, sport)", (long long)offsetof(struct pfioc_natlook, sport), 64LL);
	same("net/pfvar.h", "offsetof(struct pfioc_natlook, dport)", (long long)offsetof(struct pfioc_natlook, dport), 66LL);
	same("net/pfvar.h", "offsetof(struct pfioc_natlook, rdport)", (long long)offsetof(struct pfioc_natlook, rdport), 70LL);
	same("net/pfvar.h", "offsetof(struct pfioc_natlook, af)", (long long)offsetof(struct pfioc_natlook, af), 72LL);
	same("net/pfvar.h", "offsetof(struct pfioc_natlook, proto)", (long long)offsetof(struct pfioc_natlook, proto), 73LL);
	same("net/pfvar.h", "offsetof(struct pfioc_natlook, direction)", (long long)offsetof(struct pfioc_natlook, direction), 74LL);
	same("net/pfvar.h", "DIOCRGETTSTATS", (long long)(DIOCRGETTSTATS), 3293594688LL);
	same("net/pfvar.h", "MAXPATHLEN", (long long)(MAXPATHLEN), 1024LL);
	same("net/pfvar.h", "PFR_TFLAG_ACTIVE", (long long)(PFR_TFLAG_ACTIVE), 4LL);
	same("net/pfvar.h", "sizeof(struct pfioc_table)", (long long)sizeof(struct pfioc_table), 1104LL);
	same("net/pfvar.h", "offsetof(struct pfioc_table, pfrio_table.pfrt_name)", (long long)offsetof(struct pfioc_table, pfrio_table.pfrt_name), 1024LL);
	same("net/pfvar.h", "offsetof(struct pfioc_table, pfrio_buffer)", (long long)offsetof(struct pfioc_table, pfrio_buffer), 1064LL);
	same("net/pfvar.h", "offsetof(struct pfioc_table, pfrio_esize)", (long long)offsetof(struct pfioc_table, pfrio_esize), 1072LL);
	same("net/pfvar.h", "offsetof(struct pfioc_table, pfrio_size)", (long long)offsetof(struct pfioc_table, pfrio_size), 1076LL);
	same("net/pfvar.h", "sizeof(struct pfr_table)", (long long)sizeof(struct pfr_table), 1064LL);
	same("net/pfvar.h", "sizeof(struct pfr_tstats)", (long long)sizeof(struct pfr_tstats), 1200LL);
	same("net/pfvar.h", "offsetof(struct pfr_tstats, pfrts_t.pfrt_flags)", (long long)offsetof(struct pfr_tstats, pfrts_t.pfrt_flags), 1056LL);
	same("net/pfvar.h", "offsetof(struct pfr_tstats, pfrts_cnt)", (long long)offsetof(struct pfr_tstats, pfrts_cnt), 1184LL);
	same("netpfil/pf/pf.h", "PF_IN", (long long)(PF_IN), 1LL);
	same("netpfil/pf/pf.h", "PF_OUT", (long long)(PF_OUT), 2LL);
	same("netpfil/pf/pf.h", "PF_PASS", (long long)(PF_PASS), 0LL);
	same("netpfil/pf/pf.h", "PF_NAT", (long long)(PF_NAT), 4LL);
	same("netpfil/pf/pf.h", "PF_RDR", (long long)(PF_RDR), 8LL);
	same("netpfil/pf/pf.h", "PF_DROP", (long long)(PF_DROP), 1LL);
	same("netpfil/pf/pf.h", "PFRES_MAXSTATES", (long long)(PFRES_MAXSTATES), 12LL);
	same("netpfil/pf/pf.h", "PFRES_SRCLIMIT", (long long)(PFRES_SRCLIMIT), 13LL);
	same("netpfil/pf/pf_nl.h", "PFNL_CMD_GETSTATES", (long long)(PFNL_CMD_GETSTATES), 1LL);
	same("netpfil/pf/pf_nl.h", "PF_ST_ID", (long long)(PF_ST_ID), 1LL);
	same("netpfil/pf/pf_nl.h", "PF_ST_CREATORID", (long long)(PF_ST_CREATORID), 2LL);
	same("netpfil/pf/pf_nl.h", "PF_ST_IFNAME", (long long)(PF_ST_IFNAME), 3LL);
	same("netpfil/pf/pf_nl.h", "PF_ST_ORIG_IFNAME", (long long)(PF_ST_ORIG_IFNAME), 4LL);
	same("netpfil/pf/pf_nl.h", "PF_ST_KEY_WIRE", (long long)(PF_ST_KEY_WIRE), 5LL);
	same("netpfil/pf/pf_nl.h", "PF_ST_KEY_STACK", (long long)(PF_ST_KEY_STACK), 6LL);
	same("netpfil/pf/pf_nl.h", "PF_ST_PROTO", (long long)(PF_ST_PROTO), 21LL);
	same("netpfil/pf/pf_nl.h", "PF_ST_DIRECTION", (long long)(PF_ST_DIRECTION), 22LL);
	same("netpfil/pf/pf_nl.h", "PF_ST_DNPIPE", (long long)(PF_ST_DNPIPE), 34LL);
	same("netpfil/pf/pf_nl.h", "PF_STK_ADDR0", (long long)(PF_STK_ADDR0), 1LL);
	same("netpfil/pf/pf_nl.h", "PF_STK_ADDR1", (long long)(PF_STK_ADDR1), 2LL);
	same("netpfil/pf/pf_nl.h", "PF_STK_PORT0", (long long)(PF_STK_PORT0), 3LL);
	same("netpfil/pf/pf_nl.h", "PF_STK_PORT1", (long long)(PF_STK_PORT1), 4LL);
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PFNL_CMD_GETRULES", (long long)(PFNL_CMD_GETRULES), 6LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PF_GR_ANCHOR", (long long)(PF_GR_ANCHOR), 1LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PF_GR_ACTION", (long long)(PF_GR_ACTION), 2LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PFNL_CMD_KILLSTATES", (long long)(PFNL_CMD_KILLSTATES), 9LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PF_CS_CMP_ID", (long long)(PF_CS_CMP_ID), 1LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PF_CS_CMP_CREATORID", (long long)(PF_CS_CMP_CREATORID), 2LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PF_CS_LABEL", (long long)(PF_CS_LABEL), 10LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PFNL_CMD_GET_STATUS", (long long)(PFNL_CMD_GET_STATUS), 11LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PF_GS_RUNNING", (long long)(PF_GS_RUNNING), 2LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PF_GS_SINCE", (long long)(PF_GS_SINCE), 3LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PF_GR_NR", (long long)(PF_GR_NR), 3LL);
#endif
#if __FreeBSD_version >= 1500000
	same("netpfil/pf/pf_nl.h", "PF_GR_TICKET", (long long)(PF_GR_TICKET), 4LL);
#endif
	same("net/if_pflog.h", "sizeof(struct pfloghdr)", (long long)sizeof(struct pfloghdr), 72LL);
	same("net/if_pflog.h", "offsetof(struct pfloghdr, length)", (long long)offsetof(struct pfloghdr, length), 0LL);
	same("net/if_pflog.h", "offsetof(struct pfloghdr, action)", (long long)offsetof(struct pfloghdr, action), 2LL);
	same("net/if_pflog.h", "offsetof(struct pfloghdr, reason)", (long long)offsetof(struct pfloghdr, reason), 3LL);
	same("net/if_pflog.h", "offsetof(struct pfloghdr, ridentifier)", (long long)offsetof(struct pfloghdr, ridentifier), 64LL);
	same("net/bpf.h", "offsetof(struct bpf_hdr, bh_caplen)", (long long)offsetof(struct bpf_hdr, bh_caplen), 16LL);
	same("net/bpf.h", "offsetof(struct bpf_hdr, bh_hdrlen)", (long long)offsetof(struct bpf_hdr, bh_hdrlen), 24LL);
	same("net/bpf.h", "BPF_ALIGNMENT", (long long)(BPF_ALIGNMENT), 8LL);
	same("net/bpf.h", "DLT_PFLOG", (long long)(DLT_PFLOG), 117LL);
	same("net/bpf.h", "BIOCGBLEN", (long long)(BIOCGBLEN), 1074020966LL);
	same("net/bpf.h", "BIOCGDLT", (long long)(BIOCGDLT), 1074020970LL);
	same("net/bpf.h", "BIOCGSTATS", (long long)(BIOCGSTATS), 1074283119LL);
	same("net/bpf.h", "BIOCSBLEN", (long long)(BIOCSBLEN), 3221504614LL);
	same("net/bpf.h", "BIOCSETF", (long long)(BIOCSETF), 2148549223LL);
	same("net/bpf.h", "BIOCSETIF", (long long)(BIOCSETIF), 2149597804LL);
	same("net/bpf.h", "BIOCIMMEDIATE", (long long)(BIOCIMMEDIATE), 2147762800LL);
	same("net/bpf.h", "BIOCLOCK", (long long)(BIOCLOCK), 536887930LL);
	same("net/bpf.h", "offsetof(struct bpf_stat, bs_drop)", (long long)offsetof(struct bpf_stat, bs_drop), 4LL);
	same("net/bpf.h", "sizeof(struct bpf_program)", (long long)sizeof(struct bpf_program), 16LL);
	same("net/bpf.h", "offsetof(struct bpf_program, bf_len)", (long long)offsetof(struct bpf_program, bf_len), 0LL);
	same("net/bpf.h", "offsetof(struct bpf_program, bf_insns)", (long long)offsetof(struct bpf_program, bf_insns), 8LL);
	same("net/bpf.h", "sizeof(struct bpf_insn)", (long long)sizeof(struct bpf_insn), 8LL);
	same("net/bpf.h", "offsetof(struct bpf_insn, code)", (long long)offsetof(struct bpf_insn, code), 0LL);
	same("net/bpf.h", "offsetof(struct bpf_insn, jt)", (long long)offsetof(struct bpf_insn, jt), 2LL);
	same("net/bpf.h", "offsetof(struct bpf_insn, k)", (long long)offsetof(struct bpf_insn, k), 4LL);
	same("net/bpf.h", "BPF_RET | BPF_K", (long long)(BPF_RET | BPF_K), 6LL);
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "inotify_init1()", is_inotify_init1 != NULL, 1LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "inotify_add_watch()", is_inotify_add_watch != NULL, 1LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "inotify_rm_watch()", is_inotify_rm_watch != NULL, 1LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_NONBLOCK", (long long)(IN_NONBLOCK), 4LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_CLOEXEC", (long long)(IN_CLOEXEC), 1048576LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_MODIFY", (long long)(IN_MODIFY), 2LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_ATTRIB", (long long)(IN_ATTRIB), 4LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_MOVED_FROM", (long long)(IN_MOVED_FROM), 64LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_MOVED_TO", (long long)(IN_MOVED_TO), 128LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_CREATE", (long long)(IN_CREATE), 256LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_DELETE", (long long)(IN_DELETE), 512LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_DELETE_SELF", (long long)(IN_DELETE_SELF), 1024LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_MOVE_SELF", (long long)(IN_MOVE_SELF), 2048LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_UNMOUNT", (long long)(IN_UNMOUNT), 8192LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_Q_OVERFLOW", (long long)(IN_Q_OVERFLOW), 16384LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_IGNORED", (long long)(IN_IGNORED), 32768LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_ONLYDIR", (long long)(IN_ONLYDIR), 16777216LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "IN_ISDIR", (long long)(IN_ISDIR), 1073741824LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "sizeof(struct inotify_event)", (long long)sizeof(struct inotify_event), 16LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "offsetof(struct inotify_event, mask)", (long long)offsetof(struct inotify_event, mask), 4LL);
#endif
#if __FreeBSD_version >= 1500000
	same("sys/inotify.h", "offsetof(struct inotify_event, len)", (long long)offsetof(struct inotify_event, len), 12LL);
#endif
	if (wrong == 0) {
		printf("every number is as Warder takes it\n");
		return (0);
	}
	printf("%d number(s) differ. Warder must not run here: it would pass the kernel something else than it means.\n"
	    "Report the lines marked WRONG, with the output of: uname -a; freebsd-version -ku\n", wrong);
	return (1);
}
