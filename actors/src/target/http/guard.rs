//! The guard of requests out: which addresses a target may reach (server-side request forgery).
//!
//! Public addresses only, unless a network is allowed. The check is made on the resolved addresses at the moment of
//! connecting, and the connection goes to those addresses and no others, so a name that changes its address between
//! check and use gains nothing. Literal addresses do not go through the resolver and are checked in the URL; the `url`
//! crate turns every spelling of an IPv4 address (decimal, octal, hexadecimal, short) into the one that is checked.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub(super) use reqwest::dns::Addrs;
use reqwest::dns::{Name, Resolve, Resolving};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use url::{Host, Url};

use crate::target::Lookup;

/// Why an address may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{host}` is at {address}, which is {range}: targets reach public addresses only; \
     to allow it, add `allow_networks = [\"{suggestion}\"]` to what sends it (target, source or function) or to [targets]"
)]
pub struct Refused {
    /// The host in the URL.
    pub host: String,
    /// Its address.
    pub address: IpAddr,
    /// What that address is for.
    pub range: &'static str,
    /// The network to allow.
    pub suggestion: IpNet,
}

/// Why a host cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Its addresses may not be reached.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It has none.
    #[error("the name `{0}` has no address")]
    NoAddress(String),
    /// Nobody can say.
    #[error("the name cannot be resolved: {0}")]
    Lookup(#[from] std::io::Error),
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// IPv4 that is not public: the IANA special-purpose registry, and the metadata addresses of clouds.
const REFUSED_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "unspecified (\"this network\")"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared address space of providers (CGNAT)"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(168, 63, 129, 16, 32), "the metadata and agent address of Azure"),
    (v4(169, 254, 0, 0, 16), "link-local (cloud metadata)"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved for protocols"),
    (v4(192, 0, 2, 0, 24), "for documentation"),
    (v4(192, 88, 99, 0, 24), "the relays of 6to4"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documentation"),
    (v4(203, 0, 113, 0, 24), "for documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved or broadcast"),
];

/// IPv6 that is not public. What is outside 2000::/3 and not listed is not public either.
const REFUSED_V6: &[(Ipv6Net, &str)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "an IPv4 address mapped into IPv6"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "an IPv4 address in IPv6 (obsolete)"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "an IPv4 address behind NAT64"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "an IPv4 address behind a local NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "for discarding"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "reserved for protocols (Teredo, ORCHID)"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "for documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "an IPv4 address in 6to4"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "for documentation"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "unique local (private)"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local (private)"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// Public IPv6 as far as it is assigned.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What a non-public address is for; `None` for a public one.
pub fn special_range(address: IpAddr) -> Option<&'static str> {
    let find_v6 = |a: Ipv6Addr| REFUSED_V6.iter().find(|(net, _)| net.contains(&a)).map(|(_, range)| *range);
    match address {
        IpAddr::V4(a) => REFUSED_V4.iter().find(|(net, _)| net.contains(&a)).map(|(_, range)| *range),
        IpAddr::V6(a) => find_v6(a).or((!GLOBAL_V6.contains(&a)).then_some("not assigned to the public")),
    }
}

/// Names that one target looks up at a time.
const LOOKUPS: usize = 16;
/// Whoever asks for a name after so long begins another lookup.
const STALE: Duration = Duration::from_secs(30);

type Found = Result<Vec<IpAddr>, Arc<std::io::Error>>;

#[derive(Default)]
struct Lookups {
    under_way: Mutex<HashMap<String, UnderWay>>,
    /// One has ended: there is room for another name.
    ended: Notify,
}

struct UnderWay {
    since: Instant,
    found: Shared<BoxFuture<'static, Found>>,
}

/// Decides over addresses, and resolves names for the client so that it only ever connects to what was decided.
#[derive(Clone)]
pub struct Guard {
    allowed: Arc<[IpNet]>,
    lookup: Arc<dyn Lookup>,
    /// The lookups under way, by name. They go on when whoever asked has given up, and each may keep a thread as long.
    lookups: Arc<Lookups>,
}

impl Guard {
    /// A guard that lets through public addresses and the networks given.
    pub fn new(allowed: Arc<[IpNet]>, lookup: Arc<dyn Lookup>) -> Self {
        Self { allowed, lookup, lookups: Arc::default() }
    }

    /// Decides over one address of a host.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        let Some(range) = special_range(address) else { return Ok(()) };
        // An IPv4 address in IPv6 clothes is allowed when either form is.
        let plain = address.to_canonical();
        if self.allowed.iter().any(|net| net.contains(&address) || net.contains(&plain)) {
            return Ok(());
        }
        let suggestion = match plain {
            IpAddr::V4(a) if a.is_loopback() => IpNet::V4(v4(127, 0, 0, 0, 8)),
            other => IpNet::from(other),
        };
        Err(Refused { host: host.to_owned(), address, range, suggestion })
    }

    /// Decides over the literal address in a URL; names are decided over when they are resolved.
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        match url.host() {
            Some(Host::Ipv4(a)) => self.check(&a.to_string(), a.into()),
            Some(Host::Ipv6(a)) => self.check(&a.to_string(), a.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// Whether what is sent to a host may stay within networks that are not public. Of a name nobody can say before it is
    /// resolved: it may where such networks are allowed at all.
    pub(crate) fn may_stay_inside(&self, host: &str) -> bool {
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => special_range(address).is_some(),
            Err(_) => !self.allowed.is_empty(),
        }
    }

    /// Decides over a host that another library resolves and connects to by itself. All of its addresses must be allowed,
    /// since nobody knows which one it takes.
    ///
    /// # Errors
    /// An address is refused, or there is none.
    pub async fn check_host(&self, host: &str) -> Result<(), Unreachable> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(self.check(bare, address)?);
        }
        let found = self.found(bare).await?;
        if found.is_empty() {
            return Err(Unreachable::NoAddress(bare.to_owned()));
        }
        found.into_iter().try_for_each(|address| self.check(bare, address).map_err(Unreachable::from))
    }

    /// The addresses of a host that may be connected to: what a literal says, or what its name resolves to now.
    ///
    /// # Errors
    /// There is none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unreachable> {
        if let Ok(address) = host.parse::<IpAddr>() {
            self.check(host, address)?;
            return Ok(vec![address]);
        }
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in self.found(host).await? {
            match self.check(host, address) {
                Ok(()) => allowed.push(address),
                Err(reason) => refused = refused.or(Some(reason)),
            }
        }
        match (allowed.is_empty(), refused) {
            (true, Some(reason)) => Err(reason.into()),
            (true, None) => Err(Unreachable::NoAddress(host.to_owned())),
            (false, _) => Ok(allowed),
        }
    }

    /// What a name resolves to, unchecked. All who ask at the same time share one lookup, and names that nobody answers for keep no
    /// more than [`LOOKUPS`] threads: other names wait for them, as long as whoever asks is willing to.
    async fn found(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        let found = loop {
            // Listens from before the look, so that no end is missed in between.
            let mut ended = std::pin::pin!(self.lookups.ended.notified());
            ended.as_mut().enable();
            if let Some(found) = self.join(host) {
                break found;
            }
            ended.await;
        };
        found.await.map_err(|error| std::io::Error::new(error.kind(), error.to_string()))
    }

    /// The lookup of a name that is under way, or one that begins now; `None` where there are too many of other names.
    fn join(&self, host: &str) -> Option<Shared<BoxFuture<'static, Found>>> {
        let mut under_way = self.lookups.under_way();
        if let Some(known) = under_way.get(host).filter(|known| known.since.elapsed() < STALE) {
            return Some(known.found.clone());
        }
        if under_way.len() >= LOOKUPS && !under_way.contains_key(host) {
            return None;
        }
        let since = Instant::now();
        let found = self.look_up(host.to_owned(), since).boxed().shared();
        under_way.insert(host.to_owned(), UnderWay { since, found: found.clone() });
        Some(found)
    }

    /// In a task of its own, which ends when it is answered, whoever still waits.
    fn look_up(&self, host: String, since: Instant) -> impl Future<Output = Found> + Send + 'static {
        let (lookup, lookups) = (self.lookup.lookup(host.clone()), self.lookups.clone());
        let asked = tokio::spawn(async move {
            let found = lookup.await.map_err(Arc::new);
            let mut under_way = lookups.under_way();
            if under_way.get(&host).is_some_and(|known| known.since == since) {
                under_way.remove(&host);
                lookups.ended.notify_waiters();
            }
            drop(under_way);
            found
        });
        async move { asked.await.unwrap_or_else(|error| Err(Arc::new(std::io::Error::other(error)))) }
    }

    pub(super) async fn resolve(self, host: String) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        match self.addresses(&host).await {
            Ok(found) => Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)))),
            // By itself: the target looks for it among the causes.
            Err(Unreachable::Refused(refused)) => Err(refused.into()),
            Err(other) => Err(other.into()),
        }
    }
}

impl Lookups {
    fn under_way(&self) -> MutexGuard<'_, HashMap<String, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(self.clone().resolve(name.as_str().to_owned()))
    }
}

/// The resolver of the system (getaddrinfo on the blocking pool).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|a| a.ip()).collect()) }.boxed()
    }
}

/// Reads `allow_networks`: networks in CIDR notation, or single addresses.
pub fn parse_networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let one = |text: &String| {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(|n| n.trunc()).map_err(|_| {
            format!(
                "`{}` is not a network; write it as `10.0.0.0/8`, `fd00::/8` or a single address",
                text.escape_debug()
            )
        })
    };
    texts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use tokio::sync::Semaphore;

    fn guard(allowed: &[&str]) -> Guard {
        let allowed: Vec<String> = allowed.iter().map(|s| (*s).to_owned()).collect();
        Guard::new(parse_networks(&allowed).unwrap().into(), Arc::new(SystemLookup))
    }

    /// Counts lookups that have begun; answers one for each permit that is given.
    struct Reluctant(AtomicUsize, Arc<Semaphore>);

    impl Lookup for Reluctant {
        fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
            self.0.fetch_add(1, SeqCst);
            let answers = self.1.clone();
            async move {
                answers.acquire().await.map_err(std::io::Error::other)?.forget();
                Ok(vec![IpAddr::from([1, 1, 1, 1])])
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_nobody_answers_for_keep_a_few_lookups_and_others_get_their_turn() {
        let answers = Arc::new(Semaphore::new(0));
        let lookup = Arc::new(Reluctant(AtomicUsize::new(0), answers.clone()));
        let guard = Guard::new(Arc::new([]), lookup.clone());
        let ask = async |name: &str| tokio::time::timeout(Duration::from_millis(100), guard.addresses(name)).await;
        let begun = || lookup.0.load(SeqCst);
        for _ in 0..20 {
            assert!(ask("never.example").await.is_err(), "nobody answers");
        }
        assert_eq!(begun(), 1, "one lookup serves all who ask for a name");
        for n in 1..LOOKUPS {
            assert!(ask(&format!("never-{n}.example")).await.is_err());
        }
        assert_eq!(begun(), LOOKUPS);
        assert!(ask("one-more.example").await.is_err(), "it waits for its turn");
        assert_eq!(begun(), LOOKUPS);
        // The first one is answered, which is the turn of whoever waits, who is answered next.
        let waiting = ask("one-more.example");
        let answered = async {
            tokio::task::yield_now().await;
            answers.add_permits(LOOKUPS + 1);
        };
        let (found, ()) = tokio::join!(waiting, answered);
        assert_eq!(found.unwrap().unwrap(), [IpAddr::from([1, 1, 1, 1])]);
        assert_eq!(begun(), LOOKUPS + 1);
        assert!(guard.lookups.under_way().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_asked_for_anew_after_a_while() {
        let lookup = Arc::new(Reluctant(AtomicUsize::new(0), Arc::new(Semaphore::new(0))));
        let guard = Guard::new(Arc::new([]), lookup.clone());
        for expected in [1, 1, 2] {
            let asked = tokio::time::timeout(STALE * 2 / 3, guard.addresses("never.example")).await;
            assert!(asked.is_err());
            assert_eq!(lookup.0.load(SeqCst), expected);
        }
    }

    #[test]
    fn every_spelling_of_a_private_address_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "017700000001",
            "127.0.0.1.",
            "127.255.255.254",
            "0.0.0.0",
            "0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:8.8.8.8]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::8.8.8.8]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001::1]",
            "[2001:db8::1]",
            "[3fff::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[100::1]",
            "[4000::1]",
            "[5f00::1]",
        ] {
            let url = Url::parse(&format!("http://{host}/hook")).unwrap_or_else(|e| panic!("{host}: {e}"));
            let refused = guard(&[]).check_url(&url);
            assert!(refused.is_err(), "{host} was let through as {url}");
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("allow_networks = [\""), "{message}");
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for host in [
            "8.8.8.8",
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "[2606:4700::1111]",
            "[2a00:1450:4001:81b::200e]",
            "example.com",
            "localhost",
        ] {
            guard(&[]).check_url(&Url::parse(&format!("https://{host}/")).unwrap()).unwrap();
        }
    }

    #[test]
    fn an_allowed_network_opens_itself_only() {
        let guard = guard(&["10.0.0.0/8", "fd00::/8", "127.0.0.1"]);
        for (host, ok) in [
            ("10.1.2.3", true),
            ("[::ffff:10.1.2.3]", true),
            ("[fd12::1]", true),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("192.168.0.1", false),
            ("[fe80::1]", false),
        ] {
            assert_eq!(guard.check_url(&Url::parse(&format!("http://{host}/")).unwrap()).is_ok(), ok, "{host}");
        }
    }

    #[test]
    fn the_message_names_the_line_to_add() {
        let url = Url::parse("http://127.1/").unwrap();
        assert_eq!(
            guard(&[]).check_url(&url).unwrap_err().to_string(),
            "`127.0.0.1` is at 127.0.0.1, which is loopback: targets reach public addresses only; \
             to allow it, add `allow_networks = [\"127.0.0.0/8\"]` to what sends it (target, source or function) or to [targets]"
        );
        assert!(parse_networks(&["10.0.0.0/33".into()]).unwrap_err().contains("10.0.0.0/8"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_inside_ipv4_in_ipv6_is_never_let_through(bits: u32) {
            let [a, b, c, d] = bits.to_be_bytes();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for address in [
                Ipv4Addr::from(bits).to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                proptest::prop_assert!(guard(&[]).check("h", address.into()).is_err());
            }
        }

        #[test]
        fn what_the_standard_library_calls_special_is_refused(bits: u32) {
            let a = Ipv4Addr::from(bits);
            let special = a.is_private() || a.is_loopback() || a.is_link_local() || a.is_broadcast()
                || a.is_documentation() || a.is_multicast() || a.is_unspecified();
            proptest::prop_assert!(!special || guard(&[]).check("h", a.into()).is_err());
        }
    }
}
