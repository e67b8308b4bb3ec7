//! What a worker process gives up before it looks at its function: files, network, processes, the environment.
//!
//! Three layers, each on its own enough for most of it, and each only where the kernel has it: limits of the process
//! (`setrlimit(2)`), system calls (seccomp), the file system (Landlock).

use std::fmt;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use crate::Limits;

/// What could be applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confined {
    /// Limits of the process.
    pub rlimits: bool,
    /// A list of allowed system calls.
    pub seccomp: bool,
    /// No access to files.
    pub landlock: bool,
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = [("rlimits", self.rlimits), ("seccomp", self.seccomp), ("landlock", self.landlock)];
        let names: Vec<&str> = layers.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

/// Confines this process, for ever; it keeps these sockets, and so much more address space. What the kernel does not have is left
/// out, and said.
pub fn confine(space: u64, sockets: [&UnixStream; 2]) -> Confined {
    close_inherited(&sockets.map(AsRawFd::as_raw_fd));
    linux::die_with_parent();
    Confined { rlimits: rlimits(space), landlock: linux::landlock(), seccomp: linux::seccomp() }
}

/// What the service had open without saying that it is not for its children.
fn close_inherited(kept: &[i32]) {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> = open.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|n| *n > 2 && !kept.contains(n)) {
        // One of them was the folder that has just been read.
        nix::unistd::close(number).ok();
    }
}

/// The address space that the process itself needs beside the function's memory: code, libraries, allocator, stacks.
const OWN: u64 = 256 << 20;

/// What a process needs to run a function.
pub fn space_to_run(limits: &Limits) -> u64 {
    OWN + 2 * limits.memory as u64
}

/// What a compiler may take: twice what a module of 3.5 MB takes.
pub const SPACE_TO_COMPILE: u64 = 512 << 20;

fn rlimits(space: u64) -> bool {
    use nix::sys::resource::{Resource, setrlimit};
    let space = mapped().unwrap_or(1 << 30) + space;
    let all = [
        (Resource::RLIMIT_AS, space),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, 8),
        (Resource::RLIMIT_NPROC, 0),
    ];
    all.into_iter().all(|(what, most)| setrlimit(what, most, most).is_ok())
}

/// The address space in use, in bytes.
fn mapped() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').next()?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

#[cfg(target_os = "linux")]
mod linux {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
        TargetArch,
    };
    use std::collections::BTreeMap;

    /// Ends with the thread that started it, also in the middle of a call that reads nothing any more.
    pub(super) fn die_with_parent() {
        use nix::sys::signal::Signal;
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).ok();
    }

    /// No file may be opened, no port connected to.
    pub(super) fn landlock() -> bool {
        let abi = ABI::V4;
        let restricted = Ruleset::default()
            .handle_access(AccessFs::from_all(abi))
            .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
            .and_then(|rules| rules.create())
            .and_then(|rules| rules.restrict_self());
        restricted.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
    }

    /// What an engine needs to compute and to talk over its socket; all else is refused with EPERM.
    pub(super) fn seccomp() -> bool {
        nix::sys::prctl::set_no_new_privs().is_ok()
            && nix::sys::prctl::set_dumpable(false).is_ok()
            && filter().is_some_and(|filter| seccompiler::apply_filter(&filter).is_ok())
    }

    pub(super) fn filter() -> Option<BpfProgram> {
        use nix::libc::*;
        let allowed = [
            SYS_read,
            SYS_readv,
            SYS_recvfrom,
            SYS_write,
            SYS_writev,
            SYS_sendto,
            SYS_close,
            SYS_munmap,
            SYS_mremap,
            SYS_madvise,
            SYS_brk,
            SYS_futex,
            SYS_sched_yield,
            SYS_clock_gettime,
            SYS_clock_nanosleep,
            SYS_getrandom,
            SYS_getpid,
            SYS_gettid,
            SYS_rt_sigaction,
            SYS_rt_sigprocmask,
            SYS_rt_sigreturn,
            SYS_sigaltstack,
            SYS_restart_syscall,
            SYS_exit,
            SYS_exit_group,
        ];
        let mut rules: BTreeMap<_, Vec<SeccompRule>> = allowed.into_iter().map(|call| (call, Vec::new())).collect();
        // Memory, but none that could be run: neither engine makes code.
        let executable = SeccompCmpOp::MaskedEq(PROT_EXEC as u64);
        let data = SeccompCondition::new(2, SeccompCmpArgLen::Dword, executable, 0).ok()?;
        for call in [SYS_mmap, SYS_mprotect] {
            rules.insert(call, vec![SeccompRule::new(vec![data.clone()]).ok()?]);
        }
        // A signal to itself, which is how it aborts, and to nobody else.
        let id = u64::from(std::process::id());
        let own = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, id).ok()?;
        rules.insert(SYS_tgkill, vec![SeccompRule::new(vec![own]).ok()?]);
        let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
        let refuse = SeccompAction::Errno(EPERM as u32);
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch).ok()?.try_into().ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    pub(super) fn die_with_parent() {}

    pub(super) fn landlock() -> bool {
        false
    }

    pub(super) fn seccomp() -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;

    #[test]
    fn a_function_may_offer_its_processor_to_others_and_open_nothing() {
        // The filter is this thread's alone.
        let confined = std::thread::spawn(|| {
            nix::sys::prctl::set_no_new_privs().unwrap();
            seccompiler::apply_filter(&super::linux::filter().unwrap()).unwrap();
            (nix::sched::sched_yield(), std::fs::File::open("/").map_err(|e| e.kind()))
        });
        let (offered, opened) = confined.join().unwrap();
        assert_eq!(offered, Ok(()));
        assert_eq!(opened.unwrap_err(), io::ErrorKind::PermissionDenied);
    }
}
