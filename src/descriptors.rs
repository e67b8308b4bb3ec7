//! Open files: every connection is two (one of them to cut it by), and every file of the log is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::settings::Limits;

/// What the service opens beside connections: 256 files of the log, what it watches, and what its targets write to.
const OTHERS: u64 = 512;
/// Open files of a connection.
const PER_CONNECTION: u64 = 2;

/// Raises the limit of this process to what the system allows it, and says when that is too little for the connections
/// that may be open.
pub fn raise(limits: &Limits) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    let connections = u64::try_from(limits.max_connections).unwrap_or(u64::MAX);
    let needed = connections.saturating_mul(PER_CONNECTION).saturating_add(OTHERS);
    match raised {
        Ok(limit) if limit < needed => tracing::warn!(
            limit,
            needed,
            "the limit of open files is less than server.limits.max_connections and the log need: raise it \
             (LimitNOFILE= of systemd, or `ulimit -Hn`), or set max_connections to {} or less",
            (limit.saturating_sub(OTHERS) / PER_CONNECTION).max(1),
        ),
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}
