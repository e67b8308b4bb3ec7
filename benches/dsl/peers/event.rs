//! The events of the benchmark and the results that every contender must give.

/// A push of about `size` bytes, with as many commits as fit. Sizes go from 1 to 40 and begin again.
pub fn event(size: usize) -> Vec<u8> {
    let head = r#"{"action":"push","branch":"refs/heads/main","forced":false,"size":3,"labels":["core","dsl","bench"],
"repository":{"id":4711,"name":"hexafn/hexafn","visibility":"public","stars":1284,"language":"rust",
"owner":{"login":"hexafn","kind":"org"}},
"sender":{"login":"jo","id":17,"email":"jo.doe@example.org","admin":false},
"commits":["#;
    let mut out = head.to_owned();
    for at in 0.. {
        let commit = format!(
            r#"{{"id":"{at:08x}c0ffee","message":"Change number {at}","size":{},"author":{{"name":"Jo Doe","login":"jo"}}}}"#,
            at % 40 + 1
        );
        if at > 0 && out.len() + commit.len() + 3 > size {
            break;
        }
        if at > 0 {
            out.push(',');
        }
        out.push_str(&commit);
    }
    out.push_str("]}");
    out.into_bytes()
}

/// The number of commits of an event.
pub fn commits(event: &[u8]) -> usize {
    event.windows(10).filter(|part| part == b"\"message\":").count()
}

/// The sum of their sizes.
pub fn total(event: &[u8]) -> i64 {
    (0..commits(event)).map(|at| at as i64 % 40 + 1).sum()
}
