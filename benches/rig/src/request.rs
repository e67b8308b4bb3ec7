//! The requests that are sent: a constant head in which only the digits of the delivery id differ, so that making one
//! costs next to nothing; and, where the body carries its time, one whose signature is computed anew.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What to send.
#[derive(Clone)]
pub struct Template {
    /// Host and port.
    pub address: String,
    /// The path.
    pub path: String,
    /// The body.
    pub body: Vec<u8>,
    /// The secret of GitHub's signature; without it no delivery id and no signature are sent.
    pub secret: Option<String>,
    /// What all delivery ids of this run begin with.
    pub prefix: String,
    /// Whether each body carries the time at which it was due, and ids of its own.
    pub stamped: bool,
}

const DIGITS: usize = 12;

/// Hexadecimal digits in a row from which on they are taken for an id, a hash or a token.
const RUN: usize = 12;

/// One connection's requests.
pub struct Maker {
    template: Template,
    bytes: Vec<u8>,
    id_at: usize,
    /// Where ids, hashes and tokens are in the body.
    ids: Vec<std::ops::Range<usize>>,
}

/// Runs of at least [`RUN`] lower-case hexadecimal digits.
fn ids(body: &[u8]) -> Vec<std::ops::Range<usize>> {
    let is_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let mut found = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let run = body[at..].iter().take_while(|b| is_hex(b)).count();
        if run >= RUN {
            found.push(at..at + run);
        }
        at += run.max(1);
    }
    found
}

/// Gives each id other digits (xorshift64*, Vigna 2016): events of senders differ there, and what compresses them must not find the
/// same again.
fn renew(body: &mut [u8], ids: &[std::ops::Range<usize>], seed: u64) {
    let mut state = seed | 1;
    for digit in ids.iter().cloned().flatten() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        body[digit] = b"0123456789abcdef"[(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 60) as usize];
    }
}

fn signature(secret: &str, body: &[u8]) -> String {
    match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        Ok(mut mac) => {
            mac.update(body);
            hex::encode(mac.finalize().into_bytes())
        }
        Err(_) => String::new(), // HMAC takes keys of any length
    }
}

impl Maker {
    /// The requests of a template.
    pub fn new(template: Template) -> Self {
        let ids = ids(&template.body);
        let mut maker = Self { template, bytes: Vec::new(), id_at: 0, ids };
        let body = maker.template.body.clone();
        maker.build(&body);
        maker
    }

    fn build(&mut self, body: &[u8]) {
        let t = &self.template;
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            t.path,
            t.address,
            body.len()
        );
        self.id_at = 0;
        if let Some(secret) = &t.secret {
            head += &format!("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={}\r\n", signature(secret, body));
            head += &format!("X-GitHub-Delivery: {}", t.prefix);
            self.id_at = head.len();
            head += &format!("{:0DIGITS$}\r\n", 0);
        }
        head += "\r\n";
        self.bytes = head.into_bytes();
        self.bytes.extend_from_slice(body);
    }

    /// The request that was made last.
    pub fn made(&self) -> &[u8] {
        &self.bytes
    }

    /// The request number `n`, due at `due`, in nanoseconds since 1970.
    pub fn make(&mut self, n: u64, due: u64) -> &[u8] {
        if self.template.stamped {
            let mut body = format!("{{\"t\":{due:019},").into_bytes();
            let before = body.len() - 1;
            body.extend_from_slice(&self.template.body[1..]);
            renew(&mut body[before..], &self.ids, due);
            self.build(&body);
        }
        if self.id_at > 0 {
            let mut rest = n;
            for at in (self.id_at..self.id_at + DIGITS).rev() {
                self.bytes[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        &self.bytes
    }
}

/// The status and the length of a whole answer at the beginning of `bytes`; `None` while something is missing.
pub fn answer(bytes: &[u8]) -> Option<(u16, usize)> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let status = bytes.get(9..12).and_then(|s| std::str::from_utf8(s).ok()?.parse().ok()).unwrap_or(0);
    let mut length = 0;
    for line in bytes[..head].split(|b| *b == b'\n') {
        let (Some(name), Some(value)) = (line.get(..15), line.get(15..)) else { continue };
        if name.eq_ignore_ascii_case(b"content-length:") {
            length = std::str::from_utf8(value).ok().and_then(|v| v.trim().parse().ok()).unwrap_or(0);
        }
    }
    (bytes.len() >= head + length).then_some((status, head + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_request_is_as_github_documents_it() {
        let template = Template {
            address: "h:1".into(),
            path: "/p".into(),
            body: b"Hello, World!".to_vec(),
            secret: Some("It's a Secret to Everybody".into()),
            prefix: "x-".into(),
            stamped: false,
        };
        let mut maker = Maker::new(template);
        let text = String::from_utf8(maker.make(42, 0).to_vec()).unwrap_or_default();
        assert!(text.contains("sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\r\n"), "{text}");
        assert!(text.contains("X-GitHub-Delivery: x-000000000042\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nHello, World!"), "{text}");
    }

    #[test]
    fn a_stamped_body_has_its_time_and_ids_of_its_own() {
        let body = br#"{"ref":"main","after":"76ae82c7b1a177c8d03f","face":"cafe"}"#.to_vec();
        let (address, path) = ("h:1".into(), "/p".into());
        let template = Template { address, path, body, secret: None, prefix: String::new(), stamped: true };
        let mut maker = Maker::new(template);
        let mut made = |due| {
            let text = String::from_utf8(maker.make(1, due).to_vec()).unwrap_or_default();
            text.rsplit("\r\n").next().unwrap_or_default().to_owned()
        };
        let (one, two) = (made(7), made(8));
        assert!(one.starts_with(r#"{"t":0000000000000000007,"ref":"main","after":""#), "{one}");
        assert!(one.ends_with(r#"","face":"cafe"}"#), "{one}");
        assert_eq!(one.len(), two.len());
        assert_ne!(one[48..68], two[48..68]);
        assert_ne!(one[48..68], *"76ae82c7b1a177c8d03f");
    }

    #[test]
    fn answers() {
        assert_eq!(answer(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok"), Some((202, 46)));
        assert_eq!(answer(b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nok"), None);
        assert_eq!(answer(b"HTTP/1.1 204 No Content\r\n\r\n"), Some((204, 27)));
        assert_eq!(answer(b"HTTP/1.1 204 No"), None);
    }
}
