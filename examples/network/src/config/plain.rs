//! Values that can be written on a command line, in the environment and in a file alike.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use reconvene_executor::Tag;
use reconvene_resolve::StrategyKind;

use crate::duration;

/// A value with one spelling for flags, the environment and files.
pub(crate) trait Plain: Clone + Send + Sync + Sized + 'static {
    /// Reads it.
    ///
    /// # Errors
    /// What may be written instead, as the end of a sentence.
    fn read(text: &str) -> Result<Self, String>;

    /// The value in TOML.
    fn show(&self) -> String;
}

impl Plain for String {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("expected at least one character".to_owned()) } else { Ok(text.to_owned()) }
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Plain for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        String::read(text).map(Self::from)
    }

    fn show(&self) -> String {
        quoted(&self.display().to_string())
    }
}

impl Plain for SocketAddr {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:7400 or [::1]:7400".to_owned())
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Plain for Duration {
    fn read(text: &str) -> Result<Self, String> {
        duration::parse(text)
    }

    fn show(&self) -> String {
        quoted(&duration::show(*self))
    }
}

impl Plain for StrategyKind {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected fcfs, priority, emergency, resource or causal".to_owned())
    }

    fn show(&self) -> String {
        quoted(self.short_name())
    }
}

impl Plain for Tag {
    fn read(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|_| "expected 1 to 64 characters of a-z, 0-9, '.', '_' and '-'".to_owned())
    }

    fn show(&self) -> String {
        quoted(self.as_str())
    }
}

/// An address to dial: a host name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort(String);

impl HostPort {
    /// Where a broker on this machine listens if nobody says otherwise.
    pub(crate) fn local() -> Self {
        Self("127.0.0.1:7400".to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Plain for HostPort {
    fn read(text: &str) -> Result<Self, String> {
        let good = text.rsplit_once(':').is_some_and(|(host, port)| {
            let host_is_one =
                !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
            host_is_one && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if good && text.len() <= ADDRESS_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a host and a port, such as 10.0.0.7:7400 or broker.example:7400".to_owned())
        }
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// The name under which a node keeps its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeName(String);

impl NodeName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Plain for NodeName {
    fn read(text: &str) -> Result<Self, String> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=NAME_BYTES).contains(&text.len()) && text != "authority" && text.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected 1 to 64 characters of a-z, 0-9 and '-', other than 'authority'".to_owned())
        }
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

macro_rules! plain_numbers {
    ($($number:ty),*) => {$(
        impl Plain for $number {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("expected a whole number from 0 to {}", Self::MAX))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

plain_numbers!(u8, u32, u64, usize);

impl Plain for bool {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected true or false".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// As many as a file name has on every system, with room to spare.
const NAME_BYTES: usize = 64;

/// As many as fit the hello of a link.
const ADDRESS_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Plain + PartialEq + fmt::Debug>(text: &str) {
        let value = T::read(text).unwrap();
        let shown = toml::from_str::<toml::Table>(&format!("x = {}", value.show())).unwrap();
        let shown = shown["x"].as_str().map_or_else(|| shown["x"].to_string(), str::to_owned);
        assert_eq!(T::read(&shown), Ok(value));
    }

    #[test]
    fn what_is_shown_reads_back() {
        round_trip::<String>("a \"quoted\" name");
        round_trip::<PathBuf>("/var/lib/re convene");
        round_trip::<SocketAddr>("[::1]:7400");
        round_trip::<Duration>("90s");
        round_trip::<Duration>("1500ms");
        round_trip::<Duration>("0s");
        round_trip::<StrategyKind>("causal");
        round_trip::<Tag>("medical-imaging");
        round_trip::<HostPort>("broker.example:7400");
        round_trip::<NodeName>("north-3");
        round_trip::<u32>("17");
        round_trip::<bool>("true");
    }

    #[test]
    fn names_are_file_names() {
        for bad in ["", "North", "a b", "../x", "authority", &"x".repeat(65)] {
            assert!(NodeName::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_to_dial_need_a_host_and_a_port() {
        for good in ["10.0.0.7:7400", "[::1]:1", "broker:65535"] {
            assert!(HostPort::read(good).is_ok(), "{good}");
        }
        for bad in ["", "7400", ":7400", "host:", "host:0", "host:65536", "::1:7400", "ho st:1", "http://h:1"] {
            assert!(HostPort::read(bad).is_err(), "{bad}");
        }
    }
}
