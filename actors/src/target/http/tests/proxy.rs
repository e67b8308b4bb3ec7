//! Proxies that let nobody through: what fails is told of them, and not of the host behind.

use super::*;

/// What is said of a host behind this proxy.
async fn behind(proxy: &str, url: &str, more: &str) -> Failure {
    let toml = format!(
        "name = \"t\"\nkind = \"http\"\nurl = \"{url}\"\nproxy = \"{proxy}\"\nallow_networks = [\"127.0.0.0/8\"]\n{more}"
    );
    match send(&*build(&toml).unwrap(), "{}").await {
        Outcome::Failed(failure) => failure,
        Outcome::Delivered { detail } => panic!("delivered: {detail:?}"),
    }
}

#[tokio::test]
async fn a_proxy_that_is_down_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    drop(listener);
    for url in ["https://example.com/x", "http://example.com/x"] {
        let failure = behind(&format!("http://jo@{proxy}"), url, "").await;
        assert_eq!((failure.class, failure.verdict), (FailureClass::Connect, Verdict::Retry), "{failure:?}");
        let begin = format!("`example.com` was not reached: the proxy `{proxy}` cannot be connected to: ");
        assert!(failure.message.starts_with(&begin), "`{begin}` does not begin {failure:?}");
        assert!(!failure.message.contains("jo"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_named() {
    for (answer, said) in [
        (
            Answer::Cut("HTTP/1.1 403 Forbidden\r\n\r\n".into()),
            "did not open a tunnel: it answered CONNECT with another status than 200",
        ),
        (Answer::Cut("HTTP/1.1 502 Bad Gateway\r\n\r\n".into()), "did not open a tunnel: it answered CONNECT with"),
        (
            Answer::Cut("HTTP/1.1 407 X\r\n\r\n".into()),
            "answered CONNECT with 407: it wants a user name and a password",
        ),
        (Answer::Cut(String::new()), "did not open a tunnel: it closed the connection without an answer"),
    ] {
        let server = Server::start(answer).await;
        let failure = behind(&format!("http://{}", server.address), "https://example.com/x", "").await;
        assert_eq!((failure.class, failure.verdict), (FailureClass::Connect, Verdict::Retry), "{failure:?}");
        let begin = format!("`example.com` was not reached: the proxy `{}` {said}", server.address);
        assert!(failure.message.starts_with(&begin), "`{begin}` does not begin {failure:?}");
    }
    let server = Server::start(Answer::Hang("")).await;
    let proxy = format!("http://{}", server.address);
    let failure = behind(&proxy, "https://example.com/x", "connect_timeout = \"150ms\"").await;
    let said = format!("`example.com` was not reached through the proxy `{}` within `connect_timeout`", server.address);
    assert_eq!((failure.class, &*failure.message), (FailureClass::Connect, &*said));
}

#[tokio::test]
async fn what_fails_in_a_tunnel_is_told_of_the_host() {
    // What comes through the tunnel is no TLS.
    let server = Server::start(Answer::Cut("HTTP/1.1 200 OK\r\n\r\nSSH-2.0-OpenSSH_9.2\r\n".into())).await;
    let failure = behind(&format!("http://{}", server.address), "https://example.com/x", "").await;
    assert!(failure.message.starts_with("`example.com` c"), "{failure:?}");
    assert!(!failure.message.contains("proxy"), "{failure:?}");
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_named() {
    let server = Server::start(Answer::Cut("HTTP/1.1 400 X\r\n\r\n".into())).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
    });
    let failure = behind(&format!("https://{proxy}"), "https://example.com/x", "").await;
    assert_eq!(failure.class, FailureClass::Tls, "{failure:?}");
    let begin = format!("`example.com` was not reached: the proxy `{proxy}` cannot be trusted or does not speak TLS");
    assert!(failure.message.starts_with(&begin), "`{begin}` does not begin {failure:?}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}
