//! What stands behind targets that are no HTTP receivers: real servers, started by the test on free ports.

use super::servers::program;
use super::service::Scenario;
use super::watch::PATIENCE;
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A process that ends with the test.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The Python that the servers are installed for.
fn python() -> Command {
    Command::new(program("aiosmtpd").parent().unwrap().join("python3"))
}

impl Server {
    /// Starts a server, and waits until it listens.
    fn start(mut command: Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, port };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "{command:?} does not listen");
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            std::thread::yield_now();
        }
        server
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// An S3 server (moto).
    pub fn s3(port: u16) -> Self {
        let mut command = Command::new(program("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        Self::start(command, port)
    }

    /// A mail server (aiosmtpd); mails are lines of JSON in `out`.
    pub fn smtp(port: u16, out: &Path, more: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/smtp.py");
        let mut command = python();
        command.arg(script).arg(port.to_string()).arg(out).args(more);
        Self::start(command, port)
    }
}

/// A certificate for `localhost` by an authority of its own (trustme): `server.pem`, `server.key`, and `client.pem`, the
/// authority.
pub fn certify(folder: &Path) {
    let mut command = python();
    command.args(["-m", "trustme", "-q", "-i", "localhost", "-d"]).arg(folder);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// The scenario whose one target is as written.
pub fn scenario(target: &str) -> Scenario {
    Scenario::new("outlet").edit("kind = \"topic\"\n", target)
}

/// The lines of a file, as JSON; none when it is not there yet.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // A last line that is being written is not read.
    text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(|l| serde_json::from_str(l).unwrap()).collect()
}
