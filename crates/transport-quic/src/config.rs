//! Limits and durations of an endpoint.

use core::time::Duration;

use reconvene_sync::NetworkId;

/// Which listen address peers are told, so that they can dial back.
///
/// It is a hint: whoever dials it authenticates what answers there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advertise {
    /// The bound address; nothing if that is a wildcard such as `0.0.0.0`, which nobody can dial.
    #[default]
    Bound,
    /// Nothing: for executors and clients, which nobody needs to dial.
    Nothing,
    /// This `host:port`, for endpoints behind address translation or bound to a wildcard. At most 255 bytes.
    Address(String),
}

/// Settings of an [`Endpoint`](crate::Endpoint). The default suits brokers on ordinary networks.
///
/// ```
/// use core::time::Duration;
/// use reconvene_sync::NetworkId;
/// use reconvene_transport_quic::EndpointConfig;
///
/// let network = NetworkId::of_name("harbour");
/// let config = EndpointConfig::default()
///     .with_network(network)
///     .with_idle(Duration::from_secs(3), Duration::from_secs(1));
/// assert_eq!(config.keep_alive, Duration::from_secs(1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// The network: peers of another one are refused after they have authenticated. All zeros by default.
    pub network: NetworkId,
    /// Which listen address peers are told.
    pub advertise: Advertise,
    /// A connection on which nothing arrived for this long is down. 15 s by default.
    pub idle_timeout: Duration,
    /// A quiet connection sends something this often; must be shorter than `idle_timeout`. 5 s by default.
    pub keep_alive: Duration,
    /// How long a connection may take from its first packet to the answered hello, in both directions. 5 s by default.
    pub handshake_timeout: Duration,
    /// How many inbound connections may be between first packet and answered hello. 64 by default.
    pub handshake_slots: u32,
    /// How many connections may be up at a time, for each protocol. 1,024 by default.
    pub max_links: u32,
    /// The longest frame in bytes, sent or received. 2 MiB by default.
    pub max_frame: u32,
    /// Bytes that may wait for one peer on each of the two lanes; what comes on top is dropped. 4 MiB by default.
    pub send_queue: u32,
    /// Bytes of received frames that may wait for [`Links::recv`](crate::Links::recv), for each protocol; what comes
    /// on top waits at the sender. 16 MiB by default.
    pub receive_queue: u32,
    /// How long closing may wait for queued frames to reach the peer. 1 s by default.
    pub close_timeout: Duration,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            network: NetworkId::new([0; 16]),
            advertise: Advertise::Bound,
            idle_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            handshake_slots: 64,
            max_links: 1024,
            max_frame: 2 * 1024 * 1024,
            send_queue: 4 * 1024 * 1024,
            receive_queue: 16 * 1024 * 1024,
            close_timeout: Duration::from_secs(1),
        }
    }
}

impl EndpointConfig {
    /// The same settings for another network.
    #[must_use]
    pub const fn with_network(mut self, network: NetworkId) -> Self {
        self.network = network;
        self
    }

    /// The same settings with another advertised address.
    #[must_use]
    pub fn with_advertise(mut self, advertise: Advertise) -> Self {
        self.advertise = advertise;
        self
    }

    /// The same settings with other idle durations: down after `idle_timeout` of silence, sign of life each `keep_alive`.
    #[must_use]
    pub const fn with_idle(mut self, idle_timeout: Duration, keep_alive: Duration) -> Self {
        self.idle_timeout = idle_timeout;
        self.keep_alive = keep_alive;
        self
    }

    /// The name and value of the first setting that cannot work.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let checks = [
            (self.idle_timeout.is_zero(), "idle_timeout must not be zero"),
            (self.idle_timeout > MAX_DURATION, "idle_timeout must not exceed a day"),
            (self.keep_alive.is_zero(), "keep_alive must not be zero"),
            (self.keep_alive >= self.idle_timeout, "keep_alive must be shorter than idle_timeout"),
            (self.handshake_timeout.is_zero(), "handshake_timeout must not be zero"),
            (self.handshake_timeout > MAX_DURATION, "handshake_timeout must not exceed a day"),
            (self.close_timeout > MAX_DURATION, "close_timeout must not exceed a day"),
            (self.handshake_slots == 0, "handshake_slots must not be zero"),
            (self.max_links == 0, "max_links must not be zero"),
            (self.max_frame == 0, "max_frame must not be zero"),
            (self.send_queue == 0, "send_queue must not be zero"),
            (self.receive_queue == 0, "receive_queue must not be zero"),
            (
                [self.handshake_slots, self.max_links, self.max_frame, self.send_queue, self.receive_queue]
                    .iter()
                    .any(|&size| size > MAX_SIZE),
                "a size exceeds 2^28",
            ),
            (
                matches!(&self.advertise, Advertise::Address(address) if !is_address(address.as_bytes())),
                "the advertised address must be 1 to 255 printable ASCII characters without spaces",
            ),
        ];
        checks.into_iter().find_map(|(wrong, what)| wrong.then_some(what))
    }
}

/// Whether these bytes may be an address in a hello: something to show and to dial, nothing that controls a terminal.
pub(crate) fn is_address(bytes: &[u8]) -> bool {
    (1..=MAX_ADDRESS).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// Longest address in a hello, in bytes: its length is one byte.
pub(crate) const MAX_ADDRESS: usize = 255;

/// Far beyond any use, and far from the ends of the runtime's timers.
const MAX_DURATION: Duration = Duration::from_secs(86_400);

/// Below the most permits that a semaphore holds on a 32-bit machine.
const MAX_SIZE: u32 = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        assert_eq!(EndpointConfig::default().fault(), None);
        let second = Duration::from_secs(1);
        let fault = EndpointConfig::default().with_idle(second, second).fault();
        assert_eq!(fault, Some("keep_alive must be shorter than idle_timeout"));
        let long = Advertise::Address("a".repeat(256));
        assert!(EndpointConfig::default().with_advertise(long).fault().is_some());
        let control = Advertise::Address("a\u{1b}b:1".to_owned());
        assert!(EndpointConfig::default().with_advertise(control).fault().is_some());
    }
}
