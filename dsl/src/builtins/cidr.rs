//! Addresses and networks, IPv4 and IPv6.

use std::net::IpAddr;

use ipnet::IpNet;

use super::args::{count, text};
use super::{Prepare, Prepared, Row, Run};
use crate::codes;
use crate::eval::Result;
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "is_ip",
        signature: "(text: string) -> bool",
        doc: "Whether the text is an IPv4 or IPv6 address.",
        examples: &[("is_ip('::1')", "true"), ("is_ip('1.2.3')", "false")],
        run: Run::Pure(|_, a| Ok(Value::Bool(text(a, 0).parse::<IpAddr>().is_ok()))),
    },
    Row {
        name: "ip_version",
        signature: "(text: string) -> int | null",
        doc: "4 or 6 for an IP address; null for anything else.",
        examples: &[("ip_version('::1')", "6"), ("ip_version('localhost')", "null")],
        run: Run::Pure(|_, a| {
            Ok(match text(a, 0).parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => Value::Int(4),
                Ok(IpAddr::V6(_)) => Value::Int(6),
                Err(_) => Value::Null,
            })
        }),
    },
    Row {
        name: "ip_in_cidr",
        signature: "(address: string, networks: string | array) -> bool!",
        doc: "Whether the address lies in the network, or in one of the networks. An IPv4 address in IPv6 form counts \
              as IPv4.",
        examples: &[
            ("ip_in_cidr('10.1.2.3', '10.0.0.0/8')", "true"),
            ("ip_in_cidr('2001:db8::1', ['10.0.0.0/8', '2001:db8::/32'])", "true"),
        ],
        run: Run::Prepared(Prepare { make: networks, each: 5 }, |m, a, prepared| {
            let Prepared::Networks(networks) = prepared else { return Ok(Value::Null) };
            m.budget.step(networks.len() as u64 / 4)?;
            let address = address(text(a, 0))?;
            Ok(Value::Bool(networks.iter().any(|network| network.contains(&address))))
        }),
    },
    Row {
        name: "is_private_ip",
        signature: "(address: string) -> bool!",
        doc: "Whether the address is one that the Internet does not reach: private, loopback, link-local, shared (RFC \
              6598), unique local, unspecified, documentation or multicast.",
        examples: &[("is_private_ip('192.168.1.9')", "true"), ("is_private_ip('8.8.8.8')", "false")],
        run: Run::Pure(|_, a| Ok(Value::Bool(private(address(text(a, 0))?)))),
    },
    Row {
        name: "normalize_ip",
        signature: "(address: string) -> string!",
        doc: "The address in its shortest form, in lower case; an IPv4 address in IPv6 form as IPv4.",
        examples: &[
            ("normalize_ip('2001:DB8:0:0::1')", "\"2001:db8::1\""),
            ("normalize_ip('::ffff:10.0.0.1')", "\"10.0.0.1\""),
        ],
        run: Run::Pure(|m, a| {
            let address = address(text(a, 0))?;
            m.string(address.to_string())
        }),
    },
    Row {
        name: "ip_network",
        signature: "(address: string, prefix: int, prefix6?: int) -> string!",
        doc: "The network of an address with a prefix of so many bits (`prefix6` for IPv6, if given): also what \
              anonymises an address.",
        examples: &[
            ("ip_network('203.0.113.77', 24)", "\"203.0.113.0/24\""),
            ("ip_network('2001:db8::1', 24, 48)", "\"2001:db8::/48\""),
        ],
        run: Run::Pure(|m, a| {
            let address = address(text(a, 0))?;
            let prefix = match (address, a.get(2)) {
                (IpAddr::V6(_), Some(_)) => count(a, 2, "prefix6")?,
                _ => count(a, 1, "prefix")?,
            };
            let network = u8::try_from(prefix).ok().and_then(|prefix| IpNet::new(address, prefix).ok());
            let network = network.ok_or_else(|| {
                let most = if address.is_ipv4() { 32 } else { 128 };
                Fault::new(codes::BAD_ARGUMENT, format!("a prefix of {address} is 0 to {most} bits, not {prefix}"))
            })?;
            m.string(network.trunc().to_string())
        }),
    },
    Row {
        name: "parse_cidr",
        signature: "(network: string) -> object!",
        doc: "The parts of a network: its first and last address, the bits of its prefix, and 4 or 6.",
        examples: &[(
            "parse_cidr('10.1.2.3/8')",
            "{\"network\":\"10.0.0.0/8\",\"version\":4,\"prefix\":8,\"first\":\"10.0.0.0\",\"last\":\"10.255.255.255\"}",
        )],
        run: Run::Pure(|m, a| {
            let network = network(text(a, 0)).map_err(|why| Fault::new(codes::BAD_ARGUMENT, why))?.trunc();
            let mut object = ObjectBuilder::with_capacity(5);
            object.push_new(Text::Borrowed("network"), Value::string(network.to_string()));
            object.push_new(Text::Borrowed("version"), Value::Int(if network.addr().is_ipv4() { 4 } else { 6 }));
            object.push_new(Text::Borrowed("prefix"), Value::Int(i64::from(network.prefix_len())));
            object.push_new(Text::Borrowed("first"), Value::string(network.network().to_string()));
            object.push_new(Text::Borrowed("last"), Value::string(network.broadcast().to_string()));
            m.object(object)
        }),
    },
];

fn address(text: &str) -> Result<IpAddr> {
    text.parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| Fault::new(codes::BAD_ARGUMENT, format!("{} is not an IP address", Value::text(text).preview())))
}

fn network(text: &str) -> std::result::Result<IpNet, String> {
    text.parse().map_err(|_| format!("{} is not a network such as 10.0.0.0/8", Value::text(text).preview()))
}

fn networks(value: &Value<'_>) -> std::result::Result<Prepared, String> {
    if let Some(text) = value.as_str() {
        return Ok(Prepared::Networks(vec![network(text)?]));
    }
    let items = value.items().into_iter().flatten();
    let networks = items.map(|item| match item.as_str() {
        Some(text) => network(text),
        None => Err(format!("{} is not a network such as 10.0.0.0/8", item.preview())),
    });
    networks.collect::<std::result::Result<_, _>>().map(Prepared::Networks)
}

fn private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_multicast()
                || v4.is_broadcast()
                || a == 0
                || a == 100 && b & 0xC0 == 64
                || a >= 240
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || first == 0x2001 && v6.segments()[1] == 0x0DB8
        }
    }
}
